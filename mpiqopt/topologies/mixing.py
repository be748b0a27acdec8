"""Mixing matrices W in compressed sparse rows, and the usual weights for graphs and digraphs.

In a gossip round node i replaces its row x_i by sum_j w_ij x_j: it receives from node j where w_ij != 0.
"""

from typing import Any, NamedTuple

import numpy as np

from mpiqopt.arithmetic.distinct import distinct_values
from mpiqopt.topologies.fdla import fastest_weights


class Mixing(NamedTuple):
    """Store W (n, n) as compressed sparse rows: w_ij of row i are ``weights[starts[i]:starts[i + 1]]``.

    starts: int64 (n + 1,); columns: int64, the j of each entry, ascending in a row; weights: float64. Entries of 0 may
    be stored, and are messages all the same.

    >>> W = mixing_from_edges(3, np.array([[0, 1], [1, 2]]), "metropolis")
    >>> W.dense().round(2).tolist()
    [[0.67, 0.33, 0.0], [0.33, 0.33, 0.33], [0.0, 0.33, 0.67]]
    >>> W.degrees().tolist(), W.row_sums().tolist(), W.is_symmetric()
    ([1, 2, 1], [1.0, 1.0, 1.0], True)
    """

    starts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray

    @property
    def nodes(self) -> int:
        """Return n."""
        return len(self.starts) - 1

    def rows(self) -> np.ndarray:
        """Return the row of each stored entry, int64, as ``columns`` has its column."""
        return np.repeat(np.arange(self.nodes), np.diff(self.starts))

    def links(self) -> np.ndarray:
        """Return which stored entries are messages, bool: those off the diagonal."""
        return self.rows() != self.columns

    def arcs(self) -> np.ndarray:
        """Return the links of a weight that is not 0 as int64 rows (from, to), (E, 2)."""
        kept = self.links() & (self.weights != 0)
        return np.stack([self.columns[kept], self.rows()[kept]], axis=1)

    def row_sums(self) -> np.ndarray:
        """Return W 1, (n,)."""
        return np.bincount(self.rows(), self.weights, minlength=self.nodes)

    def column_sums(self) -> np.ndarray:
        """Return W^T 1, (n,)."""
        return np.bincount(self.columns, self.weights, minlength=self.nodes)

    def dense(self) -> np.ndarray:
        """Return all entries, float64 (n, n)."""
        matrix = np.zeros((self.nodes, self.nodes))
        matrix[self.rows(), self.columns] = self.weights
        return matrix

    def sparse(self) -> Any:
        """Return the matrix as a SciPy CSR array."""
        from scipy.sparse import csr_array

        return csr_array((self.weights, self.columns, self.starts), shape=(self.nodes, self.nodes))

    def transpose(self) -> "Mixing":
        """Return W^T."""
        return mixing_from_entries(self.nodes, self.columns, self.rows(), self.weights)

    def diagonal(self) -> np.ndarray:
        """Return w_ii, (n,), 0 where it is not stored."""
        kept = self.rows() == self.columns
        return np.bincount(self.rows()[kept], self.weights[kept], minlength=self.nodes)

    def smallest_diagonal(self) -> float:
        """Return min_i w_ii; minus infinity if any weight is negative, for which bounds by w_ii do not hold."""
        return -np.inf if self.weights.min() < 0 else float(self.diagonal().min())

    def degrees(self) -> np.ndarray:
        """Return the number of in-neighbours of every node, int64 (n,)."""
        return np.bincount(self.rows()[self.links()], minlength=self.nodes)

    def is_symmetric(self) -> bool:
        """Return True if W = W^T up to 1e-12."""
        other = self.transpose()
        return (
            np.array_equal(self.starts, other.starts)
            and np.array_equal(self.columns, other.columns)
            and np.allclose(self.weights, other.weights, rtol=0, atol=1e-12)
        )


def mixing_from_entries(nodes: int, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> Mixing:
    """Return W (n, n) from its non-zero entries in any order, each place at most once.

    nodes: n; rows, columns, weights: i, j and w_ij of each entry, arrays of the same length.
    """
    order = np.argsort(rows * nodes + columns)
    starts = np.zeros(nodes + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=nodes), out=starts[1:])
    return Mixing(starts, columns[order].astype(np.int64), weights[order].astype(np.float64))


def simple_edges(edges: np.ndarray) -> np.ndarray:
    """Return each undirected edge once, as int64 (smaller, larger), (E, 2), sorted; loops are dropped.

    >>> simple_edges(np.array([[2, 0], [1, 1], [0, 2], [1, 0]])).tolist()
    [[0, 1], [0, 2]]
    """
    a, b = np.asarray(edges, np.int64).reshape(-1, 2).T
    nodes = int(max(a.max(initial=0), b.max(initial=0))) + 1
    return simple_arcs(nodes, np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1))


def simple_arcs(nodes: int, arcs: np.ndarray) -> np.ndarray:
    """Return each arc (from, to) once, int64 (E, 2), sorted; loops are dropped. nodes: numbers are below it."""
    sender, receiver = np.asarray(arcs, np.int64).reshape(-1, 2).T
    key = distinct_values((sender * nodes + receiver)[sender != receiver])
    return np.stack([key // nodes, key % nodes], axis=1)


def mixing_from_edges(nodes: int, edges: np.ndarray, kind: str) -> Mixing:
    """Return symmetric W of an undirected graph, w_ii = 1 - sum_{j != i} w_ij.

    Parameters
    ----------
    nodes:
        n
    edges:
        int64 (E, 2), in any order and direction; repetitions and loops are dropped
    kind:
        "metropolis": w_ij = 1/(1 + max(deg_i, deg_j)); "lazy-metropolis": (I + W)/2 of these, without negative
        eigenvalues; "uniform": w_ij = 1/(1 + max_k deg_k); "fdla": those of the smallest ||W - J||_2, some of which may
        be negative

    Raises
    ------
    UsageError
        for "fdla" and more than 64 nodes

    References
    ----------
    Xiao, Boyd and Lall, "A scheme for robust distributed sensor fusion based on average consensus", IPSN 2005
    (metropolis); Xiao and Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.
    """
    edges = simple_edges(edges)
    if kind == "fdla":
        return mixing_with_diagonal(nodes, edges, fastest_weights(nodes, edges))
    degrees = np.bincount(edges.ravel(), minlength=nodes)
    larger = degrees[edges].max(axis=1) if kind != "uniform" else np.full(len(edges), degrees.max(initial=0))
    weights = 1.0 / (1.0 + larger)
    if kind == "lazy-metropolis":
        weights /= 2
    return mixing_with_diagonal(nodes, edges, weights)


def column_stochastic_mixing(nodes: int, arcs: np.ndarray) -> Mixing:
    """Return W of a digraph, w_ij = 1/(1 + outdegree_j) for every arc j -> i and for i = j.

    A node keeps as much as it sends along each arc. Columns sum to 1, 1^T W = 1^T, so that mixing keeps the sum over
    the nodes; rows do not, as a rule. arcs: int64 (from, to), (E, 2), in any order; repetitions and loops are dropped.
    """
    sender, receiver = simple_arcs(nodes, arcs).T
    share = 1.0 / (1.0 + np.bincount(sender, minlength=nodes))
    node = np.arange(nodes)
    return mixing_from_entries(
        nodes, np.concatenate([node, receiver]), np.concatenate([node, sender]), np.concatenate([share, share[sender]])
    )


def mixing_with_diagonal(nodes: int, edges: np.ndarray, weights: np.ndarray) -> Mixing:
    """Return symmetric W with given w_ij on the edges and w_ii = 1 - sum_{j != i} w_ij.

    edges: int64 (E, 2), each undirected edge once, without loops; weights: float64 (E,), of any sign.
    """
    diagonal = 1.0 - np.bincount(edges.ravel(), np.repeat(weights, 2), minlength=nodes)
    node = np.arange(nodes)
    return mixing_from_entries(
        nodes,
        np.concatenate([node, edges[:, 0], edges[:, 1]]),
        np.concatenate([node, edges[:, 1], edges[:, 0]]),
        np.concatenate([diagonal, weights, weights]),
    )
