"""Directed graphs, for methods that work on any strongly connected digraph."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.registry import register
from mpiqopt.topologies.graph import Digraph

# arcs of a random digraph: as many entries as W of the largest complete graph, 5000 nodes, has
MOST_ARCS = 25_000_000


def directed_cycle(order: np.ndarray) -> np.ndarray:
    """Return arcs (n, 2) from every node to the next in the order, and from the last to the first."""
    return np.stack([order, np.roll(order, -1)], axis=1)


@register("topology", "directed-ring")
@dataclass(frozen=True, kw_only=True)
class DirectedRing(Digraph):
    """Directed circle: i -> i+1 mod n. Every node keeps a half and sends a half."""

    drawn = False

    def arcs(self) -> np.ndarray:
        """Return the n arcs of the circle.

        >>> ring = DirectedRing(nodes=3)
        >>> ring.arcs().tolist()
        [[0, 1], [1, 2], [2, 0]]
        >>> ring.cycle()[0].dense().tolist()  # w_ij is what node i receives from node j
        [[0.5, 0.0, 0.5], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
        """
        return directed_cycle(np.arange(self.nodes))


@register("topology", "random-digraph")
@dataclass(frozen=True, kw_only=True)
class RandomDigraph(Digraph):
    """A directed cycle through all nodes in random order, and every other arc with the same probability.

    Strongly connected, whatever is drawn. w_ij = 1/(1 + outdegree_j) for every arc j -> i and for i = j: columns of
    W sum to 1, rows do not, so only methods for directed graphs can use it.
    """

    probability: Annotated[
        float, Field(ge=0, le=1, description="of each arc outside the cycle, independently of the others")
    ] = 0.2

    def arcs(self) -> np.ndarray:
        """Return the cycle and the other arcs that are drawn. Raises UsageError if W would have too many entries."""
        draw = np.random.default_rng(self.seed)
        pairs = self.nodes * (self.nodes - 1)
        if self.probability * pairs > MOST_ARCS:
            raise UsageError(
                f"topology.probability = {self.probability}: about {self.probability * pairs:.2g} arcs do not fit in "
                f"memory; want at most {MOST_ARCS / pairs:.2g} for topology.nodes = {self.nodes}"
            )
        cycle = directed_cycle(draw.permutation(self.nodes))
        # a binomial number of ordered pairs, each set of that size as likely: the same as each pair independently
        chosen = draw.choice(pairs, draw.binomial(pairs, self.probability), replace=False, shuffle=False)
        sender, receiver = np.divmod(chosen, max(self.nodes - 1, 1))
        return np.concatenate([cycle, np.stack([sender, receiver + (receiver >= sender)], axis=1)])
