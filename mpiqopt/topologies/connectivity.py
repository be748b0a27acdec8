"""Which nodes of a graph reach which others, and in how many hops. Arcs are int64 rows (from, to), (E, 2)."""

from typing import Any

import numpy as np

# Bytes of what one pass of the search from all nodes gathers, but for very dense graphs.
SEARCH_BYTES = 32_000_000


def adjacency(nodes: int, arcs: np.ndarray) -> Any:
    """Return a SciPy CSR array (n, n) with an entry at (from, to) of every arc."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(arcs)), (arcs[:, 0], arcs[:, 1])), shape=(nodes, nodes))


def is_strongly_connected(nodes: int, arcs: np.ndarray) -> bool:
    """Return True if arcs lead from every node to every other."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(adjacency(nodes, arcs), connection="strong")[0] == 1


def connected_parts(nodes: int, arcs: np.ndarray) -> np.ndarray:
    """Return the number of the connected part of each node, int (n,), from 0 on; directions do not matter."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(adjacency(nodes, arcs), directed=False)[1]


def hops_from_and_to_0(nodes: int, arcs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return hops from node 0 to every node, and from every node to node 0, float (n,); infinite without a path."""
    from scipy.sparse.csgraph import shortest_path

    graph = adjacency(nodes, arcs)
    away, back = (shortest_path(g, indices=0, unweighted=True) for g in (graph, graph.T.tocsr()))
    return away, back


def exact_diameter(nodes: int, arcs: np.ndarray) -> int:
    """Return max_ij dist(i -> j) of a strongly connected graph, by breadth-first search from 64 nodes at once.

    A bit of a word for each of 64 sources: SciPy's search from node after node takes longer, for dense graphs 50 times.

    >>> exact_diameter(4, np.array([[0, 1], [1, 2], [2, 3], [3, 0]]))
    3
    """
    node = np.arange(nodes)
    sender, receiver = np.concatenate([arcs, np.stack([node, node], axis=1)]).T
    sender = sender[np.argsort(receiver, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(receiver))[:-1]])
    words = max(1, SEARCH_BYTES // (8 * len(sender)))
    return max(_hops(node[first : first + 64 * words], sender, starts) for first in range(0, nodes, 64 * words))


def _hops(sources: np.ndarray, sender: np.ndarray, starts: np.ndarray) -> int:
    """Return hops until every node has heard of all sources. Node i hears from sender[starts[i] : starts[i + 1]]."""
    bit = np.arange(len(sources))
    heard = np.zeros((len(starts), -(-len(sources) // 64)), np.uint64)
    heard[sources, bit // 64] = np.uint64(1) << (bit % 64).astype(np.uint64)
    everything = np.bitwise_or.reduce(heard)
    hops = 0
    while (heard != everything).any():
        heard = np.bitwise_or.reduceat(heard[sender], starts)
        hops += 1
    return hops
