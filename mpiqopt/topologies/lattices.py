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
        node = np.arange(self.nodes - 1)
        return np.stack([node, node + 1], axis=1)


@register("topology", "ring")
@dataclass(frozen=True, kw_only=True)
class Ring(Graph):
    """Nodes on a circle: i -- i+1 mod n."""

    drawn = False

    def edges(self) -> np.ndarray:
        node = np.arange(self.nodes)
        return np.stack([node, (node + 1) % self.nodes], axis=1)


@dataclass(frozen=True, kw_only=True)
class Lattice(Graph):
    drawn = False

    rows: Annotated[
        int | None,
        Field(ge=1, description="rows of the lattice; by default the divisor of nodes nearest its root"),
    ] = None

    def places(self) -> np.ndarray:
        """Node ids on the lattice, row by row."""
        rows = self.rows or max(r for r in range(1, int(self.nodes**0.5) + 1) if self.nodes % r == 0)
        if self.nodes % rows:
            raise UsageError(f"topology.rows = {rows}: does not divide topology.nodes = {self.nodes}")
        return np.arange(self.nodes).reshape(rows, -1)


@register("topology", "grid")
@dataclass(frozen=True, kw_only=True)
class Grid(Lattice):
    """A rectangle of nodes with links to the left, right, up and down."""

    def edges(self) -> np.ndarray:
        node = self.places()
        across = np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], axis=1)
        down = np.stack([node[:-1].ravel(), node[1:].ravel()], axis=1)
        return np.concatenate([across, down])


@register("topology", "torus")
@dataclass(frozen=True, kw_only=True)
class Torus(Lattice):
    """A grid whose opposite sides are joined."""

    def edges(self) -> np.ndarray:
        node = self.places()
        pairs = [np.stack([node.ravel(), np.roll(node, -1, axis).ravel()], axis=1) for axis in (0, 1)]
        return np.concatenate(pairs)
