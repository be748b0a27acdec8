"""A sum along a tree that was laid out before."""

from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from mpiqopt._coordination import Rules, TreeRules
from mpiqopt.coordination.costs import Call, Network, packed_frame_bytes
from mpiqopt.coordination.protocol import FrameProtocol
from mpiqopt.coordination.wiring import Wiring
from mpiqopt.registry import register
from mpiqopt.topologies.topology import Topology


class Paths(NamedTuple):
    """Shortest paths to node 0 and from it, on links sorted by sender and receiver.

    up: int64 (nodes,), the link out of each node towards node 0, -1 at node 0; children: int64 (nodes,), how many send
    theirs to a node; down: int64 (links,), 1 on links that lead away from node 0; height: steps until all know the sum.
    """

    up: np.ndarray
    children: np.ndarray
    down: np.ndarray
    height: int


@register("coordinator", "tree")
class Tree(FrameProtocol):
    """S goes up the shortest paths to node 0, each node adding v_i to what its children sent, and down again.

    v_i are the integers of node i. On a digraph the ways up and down differ. No coordinator by frames sends less, but
    node 0 is special, and the paths depend on the whole network.
    """

    def overlay(self, topology: Topology) -> Paths:
        return shortest_paths(topology.arcs(), topology.nodes)

    def rules(self, wiring: Wiring, overlay: Any, d: int, seed: int) -> Rules:
        nodes = slice(wiring.first, wiring.first + len(wiring.in_starts) - 1)
        links = slice(wiring.first_link, wiring.first_link + len(wiring.out_box))
        up = overlay.up[nodes]
        return TreeRules(
            d, np.where(up >= 0, up - wiring.first_link, -1), overlay.children[nodes].copy(), overlay.down[links].copy()
        )

    def steps(self, wiring: Wiring, overlay: Any) -> int | None:
        return overlay.height

    def cost(self, network: Network, d: int, spread: float) -> Call:
        return call_along_tree(network, d, spread, spread * sqrt(network.nodes))

    def settling_cost(self, network: Network, d: int, spread: float) -> Call:
        return call_along_tree(network, d, spread, spread / sqrt(network.nodes))


def call_along_tree(network: Network, d: int, spread: float, result: float) -> Call:
    """Predict a call along a tree: sums go up, of a whole branch at most; a result of that size comes down."""
    up, down = packed_frame_bytes(d, spread * sqrt(sqrt(network.nodes))), packed_frame_bytes(d, result)
    return Call(2 * network.diameter, 2 * (network.nodes - 1), (network.nodes - 1) * (up + down))


def shortest_paths(arcs: np.ndarray, nodes: int) -> Paths:
    """Return the paths by breadth-first search; arcs: int64 (links, 2), sorted by sender and receiver.

    >>> paths = shortest_paths(np.array([[0, 1], [1, 2], [2, 0]]), 3)  # a directed ring
    >>> paths.up.tolist(), paths.down.tolist(), paths.height
    ([-1, 1, 2], [1, 1, 0], 4)
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    key = arcs[:, 0] * nodes + arcs[:, 1]
    graph = csr_array((np.ones(len(key)), (arcs[:, 0], arcs[:, 1])), shape=(nodes, nodes))
    next_hop = breadth_first_order(graph.T.tocsr(), 0)[1].astype(np.int64)
    before = breadth_first_order(graph, 0)[1].astype(np.int64)
    others = np.arange(1, nodes)
    up = np.full(nodes, -1)
    up[1:] = np.searchsorted(key, others * nodes + next_hop[1:])
    down = np.zeros(len(key), np.int64)
    down[np.searchsorted(key, before[1:] * nodes + others)] = 1
    return Paths(up, np.bincount(next_hop[1:], minlength=nodes), down, _depth(next_hop) + _depth(before))


def _depth(parent: np.ndarray) -> int:
    """Return the largest number of steps along ``parent`` to node 0, by steps of 1, 2, 4, ... of all nodes at once."""
    ahead = parent.copy()
    ahead[0] = 0
    steps = (np.arange(len(parent)) > 0).astype(np.int64)
    while ahead.any():
        steps += steps[ahead]
        ahead = ahead[ahead]
    return int(steps.max())
