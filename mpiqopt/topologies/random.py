"""Random graphs, the same as networkx draws from ``topology.seed``, but made as arrays.

Random numbers and logarithms are Python's: NumPy's logarithm may differ in the last bit between processors, and a graph
must not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log, pi, sqrt
from random import Random
from typing import Annotated

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.registry import register
from mpiqopt.topologies.graph import Graph


@register("topology", "erdos-renyi")
@dataclass(frozen=True, kw_only=True)
class ErdosRenyi(Graph):
    """Every pair is linked with the same probability, independently."""

    probability: Annotated[
        float | None,
        Field(gt=0, le=1, description="of a link; by default 2 log(n+2)/n, which is connected as a rule"),
    ] = None

    def size(self) -> float:
        """Return the expected number of links, p n (n - 1)/2."""
        return self._chance() * self.nodes * (self.nodes - 1) / 2

    def _chance(self) -> float:
        """Return p, by default twice the log(n)/n at which graphs become connected."""
        return self.probability or min(1.0, 2 * log(self.nodes + 2) / self.nodes)

    def edges(self) -> np.ndarray:
        """Return the edges that ``networkx.fast_gnp_random_graph`` draws, as pairs (larger, smaller).

        >>> graph = ErdosRenyi(nodes=50, probability=0.1, seed=7)
        >>> graph.size(), graph.edges().shape == ErdosRenyi(nodes=50, probability=0.1, seed=7).edges().shape
        (122.5, True)
        """
        probability = self._chance()
        if probability >= 1:
            return np.stack(np.triu_indices(self.nodes, 1), axis=1)
        return _pairs(_successes(Random(self.seed), probability, self.nodes * (self.nodes - 1) // 2))


def _successes(draw: Random, probability: float, trials: int) -> np.ndarray:
    """Return which of so many independent trials succeed, int64, ascending, without a draw for each.

    The gaps between successes are geometric, 1 + floor(log(1 - u)/log(1 - p)), u uniform on [0, 1). Source: Batagelj
    and Brandes, "Efficient generation of large random networks", Physical Review E 71, 2005.
    """
    failure, last, found = log(1.0 - probability), -1, []
    while last < trials:
        count = int(1.1 * probability * (trials - last)) + 100
        gaps = (1 + min(int(log(1.0 - draw.random()) / failure), trials) for _ in range(count))
        found.append(last + np.cumsum(np.fromiter(gaps, np.int64, count)))
        last = int(found[-1][-1])
    places = np.concatenate(found)
    return places[places < trials]


def _pairs(places: np.ndarray) -> np.ndarray:
    """Return the pairs (v, w), w < v, int64 (E, 2), by their place among (1, 0), (2, 0), (2, 1), (3, 0), ...

    >>> _pairs(np.array([0, 2, 3])).tolist()
    [[1, 0], [2, 1], [3, 0]]
    """
    v = ((1 + np.sqrt(8.0 * places + 1)) / 2).astype(np.int64)
    v -= v * (v - 1) // 2 > places  # the root may be rounded up
    return np.stack([v, places - v * (v - 1) // 2], axis=1)


@register("topology", "random-regular")
@dataclass(frozen=True, kw_only=True)
class RandomRegular(Graph):
    """Drawn uniformly (asymptotically) from the graphs in which every node has the same degree."""

    degree: Annotated[int, Field(ge=1, description="links of every node; degree * nodes is even")] = 4

    def size(self) -> float:
        """Return the number of links, degree n/2."""
        return self.degree * self.nodes / 2

    def edges(self) -> np.ndarray:
        """Return the edges that ``networkx.random_regular_graph`` draws: pairings are tried until one has no dead end.

        Raises UsageError if there is no such graph.
        """
        if self.degree >= self.nodes or self.degree * self.nodes % 2:
            raise UsageError(
                f"topology.degree = {self.degree}: want a degree below topology.nodes = {self.nodes} with degree * "
                "nodes even"
            )
        draw, keys = Random(self.seed), None
        while keys is None:
            keys = _paired(draw, self.degree, self.nodes)
        return np.stack(np.divmod(keys, self.nodes), axis=1)


def _paired(draw: Random, degree: int, nodes: int) -> np.ndarray | None:
    """Return the links that stubs make when they are paired at random, int64, a n + b with a < b; None at a dead end.

    Every node has ``degree`` stubs. Stubs of pairs that make no new link are paired again. networkx's algorithm, number
    by number. Source: Kim and Vu, "Generating random regular graphs", STOC 2003.
    """
    keys, stubs = np.empty(0, np.int64), list(range(nodes)) * degree
    while stubs:
        draw.shuffle(stubs)
        pairs = np.sort(np.array(stubs).reshape(-1, 2), axis=1)
        made = pairs @ [nodes, 1]
        new = np.zeros(len(made), bool)
        new[np.unique(made, return_index=True)[1]] = True
        new &= (pairs[:, 0] != pairs[:, 1]) & ~np.isin(made, keys)
        keys = np.concatenate([keys, made[new]])
        left: dict[int, int] = {}
        for node in pairs[~new].ravel().tolist():
            left[node] = left.get(node, 0) + 1
        if left and not _can_go_on(left, set(keys.tolist()), nodes):
            return None
        stubs = [node for node, count in left.items() for _ in range(count)]
    return keys


def _can_go_on(left: Iterable[int], keys: set[int], nodes: int) -> bool:
    """Return True if two nodes with stubs are not linked yet, of the pairs that networkx looks at.

    ``first`` becomes the smaller of the two for the rest of the inner loop, as it does there: the same pairs.
    """
    for first in left:
        for second in left:
            if first == second:
                break
            first, second = min(first, second), max(first, second)
            if first * nodes + second not in keys:
                return True
    return False


@register("topology", "geometric")
@dataclass(frozen=True, kw_only=True)
class Geometric(Graph):
    """Nodes uniform in the unit square, linked when they are near."""

    radius: Annotated[
        float | None,
        Field(
            gt=0,
            description="largest distance of a link; by default sqrt(4 log(n)/(pi n)), which is connected as a rule",
        ),
    ] = None

    def size(self) -> float:
        """Return about pi r^2 n^2/2 links (less, as there is nothing beyond the square), and n at least."""
        reach = min(self._reach(), 1.0)  # at the corners of the square there are fewer
        return max(self.nodes, pi / 4 * reach * reach * self.nodes * self.nodes / 2)

    def _reach(self) -> float:
        """Return r, by default twice the sqrt(log(n)/(pi n)) at which graphs become connected."""
        return self.radius or sqrt(4 * log(max(self.nodes, 2)) / (pi * self.nodes))

    def edges(self) -> np.ndarray:
        """Return the pairs of nodes at most r apart; places are Python's random numbers, x and y of node after node."""
        from scipy.spatial import cKDTree

        draw = Random(self.seed).random
        places = np.fromiter((draw() for _ in range(2 * self.nodes)), float, 2 * self.nodes).reshape(-1, 2)
        return cKDTree(places).query_pairs(self._reach(), output_type="ndarray")
