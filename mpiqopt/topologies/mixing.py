"""Mixing matrices W in compressed sparse rows, and the usual weights for graphs and digraphs."""

from typing import NamedTuple

import numpy as np

from mpiqopt.arithmetic.distinct import distinct
from mpiqopt.topologies.fdla import fastest_weights


class Mixing(NamedTuple):
    """W as compressed sparse rows: int64 starts (n + 1), int64 columns, float64 weights; columns ascend in a row."""

    starts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray

    @property
    def nodes(self) -> int:
        return len(self.starts) - 1

    def rows(self) -> np.ndarray:
        """The row of each stored entry, int64."""
        return np.repeat(np.arange(self.nodes), np.diff(self.starts))

    def links(self) -> np.ndarray:
        """Which stored entries are messages: off the diagonal."""
        return self.rows() != self.columns

    def arcs(self) -> np.ndarray:
        """Links of a weight that is not 0, as int64 rows (from, to): node i receives from node j where w_ij != 0."""
        kept = self.links() & (self.weights != 0)
        return np.stack([self.columns[kept], self.rows()[kept]], axis=1)

    def row_sums(self) -> np.ndarray:
        return np.bincount(self.rows(), self.weights, minlength=self.nodes)

    def column_sums(self) -> np.ndarray:
        return np.bincount(self.columns, self.weights, minlength=self.nodes)

    def dense(self) -> np.ndarray:
        matrix = np.zeros((self.nodes, self.nodes))
        matrix[self.rows(), self.columns] = self.weights
        return matrix

    def sparse(self):
        """The matrix as a SciPy CSR array."""
        from scipy.sparse import csr_array

        return csr_array((self.weights, self.columns, self.starts), shape=(self.nodes, self.nodes))

    def transpose(self) -> "Mixing":
        return from_entries(self.nodes, self.columns, self.rows(), self.weights)

    def diagonal(self) -> np.ndarray:
        kept = self.rows() == self.columns
        return np.bincount(self.rows()[kept], self.weights[kept], minlength=self.nodes)

    def smallest_diagonal(self) -> float:
        """min_i w_ii; minus infinity if a weight is negative."""
        return -np.inf if self.weights.min() < 0 else float(self.diagonal().min())

    def degrees(self) -> np.ndarray:
        """Number of in-neighbours of every node."""
        return np.bincount(self.rows()[self.links()], minlength=self.nodes)

    def is_symmetric(self) -> bool:
        other = self.transpose()
        return (
            np.array_equal(self.starts, other.starts)
            and np.array_equal(self.columns, other.columns)
            and np.allclose(self.weights, other.weights, rtol=0, atol=1e-12)
        )


def from_entries(nodes: int, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> Mixing:
    """W from its non-zero entries in any order (each place at most once)."""
    order = np.argsort(rows * nodes + columns)
    starts = np.zeros(nodes + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=nodes), out=starts[1:])
    return Mixing(starts, columns[order].astype(np.int64), weights[order].astype(np.float64))


def simple_edges(edges: np.ndarray) -> np.ndarray:
    """Each undirected edge once, as (smaller, larger), sorted; loops dropped."""
    a, b = np.asarray(edges, np.int64).reshape(-1, 2).T
    nodes = int(max(a.max(initial=0), b.max(initial=0))) + 1
    return simple_arcs(nodes, np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1))


def simple_arcs(nodes: int, arcs: np.ndarray) -> np.ndarray:
    """Each arc (from, to) once, sorted; loops dropped."""
    sender, receiver = np.asarray(arcs, np.int64).reshape(-1, 2).T
    key = distinct((sender * nodes + receiver)[sender != receiver])
    return np.stack([key // nodes, key % nodes], axis=1)


def from_edges(nodes: int, edges: np.ndarray, kind: str) -> Mixing:
    """Symmetric W for an undirected graph; the diagonal makes rows sum to 1.

    kind: "metropolis" w_ij = 1/(1 + max(deg_i, deg_j)); "lazy-metropolis" (I + W)/2 of it; "uniform"
    w_ij = 1/(1 + largest degree); "fdla" those of the smallest ||W - J||_2, some of which may be negative. Raises
    UsageError for "fdla" and more than 64 nodes.
    """
    edges = simple_edges(edges)
    if kind == "fdla":
        return with_diagonal(nodes, edges, fastest_weights(nodes, edges))
    degrees = np.bincount(edges.ravel(), minlength=nodes)
    larger = degrees[edges].max(axis=1) if kind != "uniform" else np.full(len(edges), degrees.max(initial=0))
    weights = 1.0 / (1.0 + larger)
    if kind == "lazy-metropolis":
        weights /= 2
    return with_diagonal(nodes, edges, weights)


def column_stochastic(nodes: int, arcs: np.ndarray) -> Mixing:
    """W of a digraph, from its arcs (from, to) in any order; repetitions and loops are dropped.

    w_ij = 1/(1 + outdegree_j) for every arc j -> i and for i = j: a node keeps as much as it sends along each arc.
    Columns sum to 1, 1^T W = 1^T, so that mixing keeps the sum over the nodes; rows do not, as a rule.
    """
    sender, receiver = simple_arcs(nodes, arcs).T
    share = 1.0 / (1.0 + np.bincount(sender, minlength=nodes))
    node = np.arange(nodes)
    return from_entries(
        nodes, np.concatenate([node, receiver]), np.concatenate([node, sender]), np.concatenate([share, share[sender]])
    )


def with_diagonal(nodes: int, edges: np.ndarray, weights: np.ndarray) -> Mixing:
    """Symmetric W with the given weights on the edges (each undirected edge once) and rows that sum to 1."""
    diagonal = 1.0 - np.bincount(edges.ravel(), np.repeat(weights, 2), minlength=nodes)
    node = np.arange(nodes)
    return from_entries(
        nodes,
        np.concatenate([node, edges[:, 0], edges[:, 1]]),
        np.concatenate([node, edges[:, 1], edges[:, 0]]),
        np.concatenate([diagonal, weights, weights]),
    )
