"""Graphs of small diameter: star, complete, hypercube and exponential."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.registry import register
from mpiqopt.topologies.graph import Graph
from mpiqopt.topologies.mixing import Mixing, mixing_from_entries


@register("topology", "star")
@dataclass(frozen=True, kw_only=True)
class Star(Graph):
    """Node 0 is linked to every other node."""

    drawn = False

    def edges(self) -> np.ndarray:
        """Return the n - 1 edges (0, i)."""
        leaf = np.arange(1, self.nodes)
        return np.stack([np.zeros_like(leaf), leaf], axis=1)


@register("topology", "complete")
@dataclass(frozen=True, kw_only=True)
class Complete(Graph):
    """Every pair of nodes is linked (at most 5000 nodes: W has n^2 entries)."""

    drawn = False

    def edges(self) -> np.ndarray:
        """Return all n (n - 1)/2 pairs. Raises UsageError for more than 5000 nodes."""
        if self.nodes > 5000:
            raise UsageError(
                f"topology.nodes = {self.nodes}: a complete graph of more than 5000 nodes does not fit in memory; "
                "algorithm 'centralized-prox-gradient' averages over all nodes without one"
            )
        return np.stack(np.triu_indices(self.nodes, 1), axis=1)


@register("topology", "hypercube")
@dataclass(frozen=True, kw_only=True)
class Hypercube(Graph):
    """i -- j when their binary forms differ in one bit; nodes is a power of two."""

    drawn = False

    def edges(self) -> np.ndarray:
        """Return the n/2 log2 n edges, each twice. Raises UsageError unless n is a power of two."""
        if self.nodes & (self.nodes - 1):
            raise UsageError(f"topology.nodes = {self.nodes}: a hypercube has 1, 2, 4, 8, ... nodes")
        node = np.arange(self.nodes)
        flips = [np.stack([node, node ^ (1 << bit)], axis=1) for bit in range(self.nodes.bit_length() - 1)]
        return np.concatenate(flips) if flips else np.empty((0, 2), np.int64)


def exponential_hops(nodes: int) -> list[int]:
    """Return 1, 2, 4, ... below ``nodes``.

    >>> exponential_hops(6)
    [1, 2, 4]
    """
    return [1 << k for k in range((nodes - 1).bit_length())]


@register("topology", "exponential")
@dataclass(frozen=True, kw_only=True)
class Exponential(Graph):
    """i -- i + 2^k mod n for all 2^k < n (undirected)."""

    drawn = False

    def edges(self) -> np.ndarray:
        """Return n ceil(log2 n) edges; if n is a power of two, those of the hop n/2 are there twice."""
        node = np.arange(self.nodes)
        links = [np.stack([node, (node + hop) % self.nodes], axis=1) for hop in exponential_hops(self.nodes)]
        return np.concatenate(links) if links else np.empty((0, 2), np.int64)


@register("topology", "one-peer-exponential")
@dataclass(frozen=True, kw_only=True)
class OnePeerExponential(Graph):
    """Varies in time: in round k node i averages with node i + 2^(k mod ceil(log2 n)) mod n.

    Directed and doubly stochastic, w = 1/2 and 1/2; ``weights`` is not used. For n a power of two, log2 n
    rounds average exactly. Source: Assran, Loizou, Ballas, Rabbat, ICML 2019; Ying et al., NeurIPS 2021.
    """

    drawn = False
    weighted = False

    def edges(self) -> np.ndarray:
        """Return the links of all rounds together."""
        return Exponential(nodes=self.nodes).edges()

    def cycle(self) -> list[Mixing]:
        """Return ceil(log2 n) matrices, whose product is J = 11^T/n if n is a power of two.

        >>> first, second = OnePeerExponential(nodes=4).cycle()
        >>> (second.dense() @ first.dense()).tolist()[0]
        [0.25, 0.25, 0.25, 0.25]
        """
        node = np.arange(self.nodes)
        if self.nodes == 1:
            return [mixing_from_entries(1, node, node, np.ones(1))]
        half = np.full(2 * self.nodes, 0.5)
        return [
            mixing_from_entries(
                self.nodes, np.concatenate([node, node]), np.concatenate([node, (node + hop) % self.nodes]), half
            )
            for hop in exponential_hops(self.nodes)
        ]
