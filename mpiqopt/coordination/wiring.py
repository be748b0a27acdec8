"""The links of a network seen from one process: where frames for a node go, and where those to its nodes come from."""

import math
from typing import NamedTuple

import numpy as np

from mpiqopt.arithmetic.distinct import distinct
from mpiqopt.errors import UsageError
from mpiqopt.placement.placement import Placement
from mpiqopt.topologies.topology import Topology

# steps of the power method for the stationary distribution; to a factor of 2 is enough
POWER_STEPS = 1000
# integers have to fit beside it
LARGEST_UNIT = 1 << 40
# nodes of which all eigenvalues are found at once
DENSE = 400


class Wiring(NamedTuple):
    """Links into and out of the hosted nodes first, first + 1, ...; all arrays int64.

    Links into hosted nodes are numbered by (receiver, sender), those out of them by (sender, receiver); node i has
    in_starts[i] .. in_starts[i + 1] - 1 and out_starts[i] .. out_starts[i + 1] - 1. ``in_box`` and ``out_box`` name the
    box for what goes to the other end (0: this process; b: ranks[b - 1]), ``in_there`` and ``out_there`` the number
    that the link has there, ``in_place`` and ``out_place`` that among the links of the node there. ``receiver``: of
    links into hosted nodes, the position of the node among them.

    The tree of the shortest paths to node 0 and from it: ``up`` is the link out of each node towards node 0 (-1 at
    node 0), ``children`` how many send theirs to it, ``down`` which links out lead away from node 0. ``height``:
    steps until all know the sum; 0 if there is no tree.

    Of integer push-sum: ``unit``, what integers are multiplied by; ``weight``, z of the hosted nodes at the start, and
    ``total``, its sum over all nodes; ``momentum``, how much of the last piece goes with the next.
    """

    nodes: int
    first: int
    diameter: int
    ranks: tuple[int, ...]
    in_starts: np.ndarray
    in_box: np.ndarray
    in_there: np.ndarray
    in_place: np.ndarray
    receiver: np.ndarray
    in_links: np.ndarray
    out_starts: np.ndarray
    out_box: np.ndarray
    out_there: np.ndarray
    out_place: np.ndarray
    out_links: np.ndarray
    children: np.ndarray
    up: np.ndarray
    down: np.ndarray
    height: int
    unit: int
    weight: np.ndarray
    total: int
    momentum: float

    @property
    def boxes(self) -> int:
        return 1 + len(self.ranks)

    @property
    def gain(self) -> int:
        """How much larger than the sum of all integers anything in integer push-sum may become, a power of two."""
        return _power_of_two(self.unit * (4 / (1 - self.momentum) if self.momentum else 1))


def wire(topology: Topology, place: Placement, protocol: str, overlay: "Overlay | None" = None) -> Wiring:
    """The wiring of a rank; ``in_links`` and ``out_links`` are (links, 2) with (sender, receiver).

    overlay: that of the network and protocol, if it is known: finding it takes libraries that take long to import.
    """
    nodes, bounds = place.nodes, place.bounds
    by_sender = topology.arcs()
    by_receiver = by_sender[np.lexsort((by_sender[:, 0], by_sender[:, 1]))]
    owner = np.repeat(np.arange(place.ranks), np.diff(bounds))
    first_in = np.searchsorted(by_receiver[:, 1], bounds)  # of each rank
    first_out = np.searchsorted(by_sender[:, 0], bounds)
    into = by_receiver[first_in[place.rank] : first_in[place.rank + 1]]
    out = by_sender[first_out[place.rank] : first_out[place.rank + 1]]
    ranks = distinct(np.concatenate([owner[into[:, 0]], owner[out[:, 1]]]))
    ranks = ranks[ranks != place.rank]
    box = np.zeros(place.ranks, np.int64)
    box[ranks] = 1 + np.arange(len(ranks))
    receiver_key, sender_key = by_receiver[:, 1] * nodes + by_receiver[:, 0], by_sender[:, 0] * nodes + by_sender[:, 1]
    sent_by, heard_by = np.searchsorted(sender_key, into @ [nodes, 1]), np.searchsorted(receiver_key, out @ [1, nodes])
    hosted = np.arange(place.first, place.last + 1)
    climb, weights = overlay or overlay_of(topology, protocol)
    mine = slice(first_out[place.rank], first_out[place.rank + 1])
    up = climb.up[place.first : place.last]
    return Wiring(
        nodes=nodes,
        first=place.first,
        diameter=topology.diameter,
        ranks=tuple(ranks.tolist()),
        in_starts=np.searchsorted(into[:, 1], hosted),
        in_box=box[owner[into[:, 0]]],
        in_there=sent_by - first_out[owner[into[:, 0]]],
        in_place=sent_by - np.searchsorted(by_sender[:, 0], into[:, 0]),
        receiver=into[:, 1] - place.first,
        in_links=into,
        out_starts=np.searchsorted(out[:, 0], hosted),
        out_box=box[owner[out[:, 1]]],
        out_there=heard_by - first_in[owner[out[:, 1]]],
        out_place=heard_by - np.searchsorted(by_receiver[:, 1], out[:, 1]),
        out_links=out,
        children=np.bincount(by_sender[climb.up[climb.up >= 0], 1], minlength=nodes)[place.first : place.last],
        up=np.where(up >= 0, up - first_out[place.rank], -1),
        down=climb.down[mine],
        height=climb.height,
        unit=weights.unit,
        weight=weights.start[place.first : place.last],
        total=int(weights.start.sum()),
        momentum=weights.momentum,
    )


def overlay_of(topology: Topology, protocol: str) -> "Overlay":
    """What a protocol needs to know of the whole network, the same on all ranks."""
    by_sender = topology.arcs()
    return Overlay(
        _tree(by_sender, topology.nodes) if protocol == "tree" else _no_tree(by_sender, topology.nodes),
        _weights(topology, by_sender) if protocol == "integer-push-sum" else _no_weights(topology.nodes),
    )


def require_shares(topology: Topology) -> None:
    """Raise UsageError if integer push-sum cannot work on a network."""
    if topology.directed:
        _weights(topology, topology.arcs())


class _Weights(NamedTuple):
    unit: int
    start: np.ndarray
    momentum: float


def _no_weights(nodes: int) -> _Weights:
    return _Weights(1, np.ones(nodes, np.int64), 0.0)


def _weights(topology: Topology, by_sender: np.ndarray) -> _Weights:
    """Of integer push-sum, where every node gives equal shares to its out-neighbours and itself.

    Rounding what it gives costs a node with d neighbours up to d/2 units of y, and momentum hands errors on; wanted is
    Z y/(unit z) to 1/2, where z goes to Z pi, pi the stationary distribution: hence a power of two, unit >= c
    max (d + 1)/pi. On undirected graphs this is c Z; pi is known, z begins there and stays. The eigenvalues are then
    real, and momentum makes up for those close to 1: with the second largest eigenvalue s the error goes with
    1 - sqrt(1 - s) a step instead of s, which is the square root of the momentum (heavy ball, Polyak 1964; applied to
    what travels on each link, it keeps the sum; ours). c = 6 + 2/(1 - momentum) is by experience: on rings, paths,
    stars, lollipops, barbells, random and complete graphs of up to 200 nodes all nodes agreed, and went on to.
    """
    nodes = topology.nodes
    degree = 1 + np.bincount(by_sender[:, 0], minlength=nodes)
    if topology.directed:
        unit = _power_of_two((np.maximum(64, 8 * degree) / _stationary(by_sender, degree)).max())
        if unit > LARGEST_UNIT:
            raise UsageError(
                f"algorithm.coordinator = 'integer-push-sum': a node of {topology.name!r} would hardly get a share of "
                "anything (arcs lead away from it much more often than to it); want 'ftqc'"
            )
        return _Weights(unit, np.full(nodes, unit), 0.0)
    root = 1 - math.sqrt(1 - min(max(_second_eigenvalue(by_sender, degree), 0.0), 1.0))
    # rounded, so that ranks on different machines have the same, also where root is a simple fraction
    momentum = min(round(256 * root**2), 255) / 256
    return _Weights(_power_of_two(degree.sum() * (6 + 2 / (1 - momentum))), degree, momentum)


def _power_of_two(least: float) -> int:
    """The smallest that is at least ``least`` >= 1."""
    mantissa, exponent = math.frexp(least)
    return 1 << exponent - (mantissa == 0.5)


def _stationary(by_sender: np.ndarray, degree: np.ndarray) -> np.ndarray:
    """What equal shares lead to, (nodes,)."""
    nodes = len(degree)
    share = np.full(nodes, 1 / nodes)
    for _ in range(POWER_STEPS):
        sent = share / degree
        share, before = sent + np.bincount(by_sender[:, 1], sent[by_sender[:, 0]], minlength=nodes), share
        if np.abs(share - before).max() < 1e-3 * share.min():
            break
    return share


def _second_eigenvalue(by_sender: np.ndarray, degree: np.ndarray) -> float:
    """Of equal shares on an undirected graph: those of a symmetric matrix."""
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.linalg import eigsh

    nodes = len(degree)
    links = csr_array((np.ones(len(by_sender)), (by_sender[:, 0], by_sender[:, 1])), shape=(nodes, nodes))
    scale = diags_array(1 / np.sqrt(degree))
    shares = scale @ (links + diags_array(np.ones(nodes))) @ scale
    if nodes <= DENSE:
        return float(np.linalg.eigvalsh(shares.toarray())[-2])
    start = np.random.default_rng(0).standard_normal(nodes)
    return float(eigsh(shares.tocsc(), 2, sigma=1 + 1e-9, which="LM", v0=start, return_eigenvectors=False).min())


class _Tree(NamedTuple):
    up: np.ndarray
    down: np.ndarray
    height: int


def _no_tree(by_sender: np.ndarray, nodes: int) -> _Tree:
    return _Tree(np.full(nodes, -1), np.zeros(len(by_sender), np.int64), 0)


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


class Overlay(NamedTuple):
    """A tree or weights over the network."""

    tree: _Tree
    weights: _Weights


def _depth(parent: np.ndarray) -> int:
    """Largest number of steps along ``parent`` to node 0."""
    at, depth = np.arange(len(parent)), 0
    while at.any():
        at = np.where(at > 0, parent[at], 0)
        depth += 1
    return depth
