"""Graphs on a line, a circle and a rectangle."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.registry import register
from mpiqopt.topologies.graph import Graph


@register("topology", "path")
@dataclass(frozen=True, kw_only=True)
class Path(Graph):
    """Nodes on a line: i -- i+1."""

    drawn = False

    def edges(self) -> np.ndarray:
        """Return the n - 1 edges (i, i + 1)."""
        node = np.arange(self.nodes - 1)
        return np.stack([node, node + 1], axis=1)


@register("topology", "ring")
@dataclass(frozen=True, kw_only=True)
class Ring(Graph):
    """Nodes on a circle: i -- i+1 mod n."""

    drawn = False

    def edges(self) -> np.ndarray:
        """Return the n edges (i, i + 1 mod n); with the weights 1/3 that Metropolis gives them W averages slowly.

        The eigenvalues are (1 + 2 cos(2 pi k/n))/3, the second one near 1 - 13/n^2.

        >>> ring = Ring(nodes=4)
        >>> ring.edges().tolist()
        [[0, 1], [1, 2], [2, 3], [3, 0]]
        >>> (W,) = ring.cycle()
        >>> W.dense().round(2).tolist()[0]
        [0.33, 0.33, 0.0, 0.33]
        """
        node = np.arange(self.nodes)
        return np.stack([node, (node + 1) % self.nodes], axis=1)


@dataclass(frozen=True, kw_only=True)
class Lattice(Graph):
    """Lay nodes out row by row on a rectangle: the base of grid and torus."""

    drawn = False

    rows: Annotated[
        int | None,
        Field(ge=1, description="rows of the lattice; by default the divisor of nodes nearest its root"),
    ] = None

    def places(self) -> np.ndarray:
        """Return the nodes on the lattice, row by row, int64 (rows, columns).

        Raises UsageError if ``rows`` does not divide the nodes.

        >>> Grid(nodes=6).places().tolist()
        [[0, 1, 2], [3, 4, 5]]
        """
        rows = self.rows or max(r for r in range(1, int(self.nodes**0.5) + 1) if self.nodes % r == 0)
        if self.nodes % rows:
            raise UsageError(f"topology.rows = {rows}: does not divide topology.nodes = {self.nodes}")
        return np.arange(self.nodes).reshape(rows, -1)


@register("topology", "grid")
@dataclass(frozen=True, kw_only=True)
class Grid(Lattice):
    """A rectangle of nodes with links to the left, right, up and down."""

    def edges(self) -> np.ndarray:
        """Return r (c - 1) edges along the rows and (r - 1) c along the columns, of r rows and c columns."""
        node = self.places()
        across = np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], axis=1)
        down = np.stack([node[:-1].ravel(), node[1:].ravel()], axis=1)
        return np.concatenate([across, down])


@register("topology", "torus")
@dataclass(frozen=True, kw_only=True)
class Torus(Lattice):
    """A grid whose opposite sides are joined."""

    def edges(self) -> np.ndarray:
        """Return 2 n edges, to the next node in the row and in the column; loops where there is one only."""
        node = self.places()
        pairs = [np.stack([node.ravel(), np.roll(node, -1, axis).ravel()], axis=1) for axis in (0, 1)]
        return np.concatenate(pairs)
