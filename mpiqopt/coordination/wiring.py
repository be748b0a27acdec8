"""The links of a network seen from one process: where frames for a node go, and where those to its nodes come from."""

import math
from typing import NamedTuple

import numpy as np

from mpiqopt.placement import Placement
from mpiqopt.topologies.spectrum import Topology

# steps of the power method for the stationary distribution; to a factor of 2 is enough
POWER_STEPS = 1000


class Wiring(NamedTuple):
    """Links into and out of the hosted nodes first, first + 1, ...; all arrays int64.

    Links into hosted nodes are numbered by (receiver, sender), those out of them by (sender, receiver); node i has
    in_starts[i] .. in_starts[i + 1] - 1 and out_starts[i] .. out_starts[i + 1] - 1. ``in_box`` and ``out_box`` name the
    box for what goes to the other end (0: this process; b: ranks[b - 1]), ``in_there`` and ``out_there`` the number
    that the link has there. ``receiver``: of links into hosted nodes, the position of the node among them.

    The tree of the shortest paths to node 0 and from it: ``up`` is the link out of each node towards node 0 (-1 at
    node 0), ``children`` how many send theirs to it, ``down`` which links out lead away from node 0. ``height``:
    steps until all know the sum; 0 if there is no tree. ``unit``: z of a node at the start of integer push-sum.
    """

    nodes: int
    first: int
    diameter: int
    ranks: tuple[int, ...]
    in_starts: np.ndarray
    in_box: np.ndarray
    in_there: np.ndarray
    receiver: np.ndarray
    in_links: np.ndarray
    out_starts: np.ndarray
    out_box: np.ndarray
    out_there: np.ndarray
    out_links: np.ndarray
    children: np.ndarray
    up: np.ndarray
    down: np.ndarray
    height: int
    unit: int

    @property
    def boxes(self) -> int:
        return 1 + len(self.ranks)


def wire(topology: Topology, place: Placement, tree: bool) -> Wiring:
    """The wiring of a rank; ``in_links`` and ``out_links`` are (links, 2) with (sender, receiver)."""
    nodes, bounds = place.nodes, place.bounds
    by_sender = topology.arcs()
    by_receiver = by_sender[np.lexsort((by_sender[:, 0], by_sender[:, 1]))]
    owner = np.repeat(np.arange(place.ranks), np.diff(bounds))
    first_in = np.searchsorted(by_receiver[:, 1], bounds)  # of each rank
    first_out = np.searchsorted(by_sender[:, 0], bounds)
    into = by_receiver[first_in[place.rank] : first_in[place.rank + 1]]
    out = by_sender[first_out[place.rank] : first_out[place.rank + 1]]
    ranks = np.setdiff1d(np.concatenate([owner[into[:, 0]], owner[out[:, 1]]]), [place.rank])
    box = np.zeros(place.ranks, np.int64)
    box[ranks] = 1 + np.arange(len(ranks))
    receiver_key, sender_key = by_receiver[:, 1] * nodes + by_receiver[:, 0], by_sender[:, 0] * nodes + by_sender[:, 1]
    hosted = np.arange(place.first, place.last + 1)
    climb = _tree(by_sender, nodes) if tree else _Tree(np.full(nodes, -1), np.zeros(len(by_sender), np.int64), 0)
    mine = slice(first_out[place.rank], first_out[place.rank + 1])
    up = climb.up[place.first : place.last]
    return Wiring(
        nodes=nodes,
        first=place.first,
        diameter=topology.diameter,
        ranks=tuple(ranks.tolist()),
        in_starts=np.searchsorted(into[:, 1], hosted),
        in_box=box[owner[into[:, 0]]],
        in_there=np.searchsorted(sender_key, into[:, 0] * nodes + into[:, 1]) - first_out[owner[into[:, 0]]],
        receiver=into[:, 1] - place.first,
        in_links=into,
        out_starts=np.searchsorted(out[:, 0], hosted),
        out_box=box[owner[out[:, 1]]],
        out_there=np.searchsorted(receiver_key, out[:, 1] * nodes + out[:, 0]) - first_in[owner[out[:, 1]]],
        out_links=out,
        children=np.bincount(by_sender[climb.up[climb.up >= 0], 1], minlength=nodes)[place.first : place.last],
        up=np.where(up >= 0, up - first_out[place.rank], -1),
        down=climb.down[mine],
        height=climb.height,
        unit=_unit(by_sender, nodes),
    )


def _unit(by_sender: np.ndarray, nodes: int) -> int:
    """A power of two so large that the roundings of push-sum at a node come to less than half a unit of the sum.

    They are a few units of y, and n y/z is wanted to 1/2, where z goes to n unit pi, pi the share of a node in the
    stationary distribution of equal shares to all out-neighbours and itself: unit >= 64 / min pi.
    """
    degree = 1.0 + np.bincount(by_sender[:, 0], minlength=nodes)
    share = np.full(nodes, 1 / nodes)
    for _ in range(POWER_STEPS):
        sent = share / degree
        share, before = sent + np.bincount(by_sender[:, 1], sent[by_sender[:, 0]], minlength=nodes), share
        if np.abs(share - before).max() < 1e-3 * share.min():
            break
    return 1 << math.ceil(math.log2(64 / max(share.min(), 2.0**-40)))


class _Tree(NamedTuple):
    up: np.ndarray
    down: np.ndarray
    height: int


def _tree(by_sender: np.ndarray, nodes: int) -> _Tree:
    """Shortest paths to node 0 and from it, on links sorted by sender and receiver."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    key = by_sender[:, 0] * nodes + by_sender[:, 1]
    graph = csr_array((np.ones(len(key)), (by_sender[:, 0], by_sender[:, 1])), shape=(nodes, nodes))
    next_hop = breadth_first_order(graph.T.tocsr(), 0)[1].astype(np.int64)
    before = breadth_first_order(graph, 0)[1].astype(np.int64)
    others = np.arange(1, nodes)
    up = np.full(nodes, -1)
    up[1:] = np.searchsorted(key, others * nodes + next_hop[1:])
    down = np.zeros(len(key), np.int64)
    down[np.searchsorted(key, before[1:] * nodes + others)] = 1
    return _Tree(up, down, _depth(next_hop) + _depth(before))


def _depth(parent: np.ndarray) -> int:
    """Largest number of steps along ``parent`` to node 0."""
    at, depth = np.arange(len(parent)), 0
    while at.any():
        at = np.where(at > 0, parent[at], 0)
        depth += 1
    return depth
