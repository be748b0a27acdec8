"""What a round of coordination will cost: a model of ours, fitted to calls of the coordinators (benchmarks/rounds.py).

Pieces of FTQC are random walks that meet and are averaged, so that steps grow like the time in which a random walk on
the graph forgets where it began, times the logarithm of how far values are apart. On well connected graphs the last
pieces decide, which have to meet one by one.
"""

from math import ceil, log, log2, sqrt
from typing import NamedTuple

import numpy as np

from mpiqopt.topologies.topology import Topology

# bytes of a frame's header, and what mailboxes add to it with the acknowledgement
HEADER, MAILED = 2, 17
# values that are packed by themselves
TILE = 1024
# votes in a call of FTQC (mean)
VOTES = 1.6
# s on one core of a present server: of a step, of a node in a step, of a piece, of a value in it; of frames between
# ranks in a step, of a frame by mailboxes
STEP, NODE, PIECE, VALUE, EXCHANGE, FRAME = 1.2e-6, 9e-9, 1.3e-7, 1.8e-9, 2.5e-6, 1e-6


class Network(NamedTuple):
    """What costs depend on. forgetting: steps in which a random walk forgets where it began (relaxation time)."""

    nodes: int
    arcs: int
    diameter: int
    directed: bool
    forgetting: float


class Round(NamedTuple):
    """Bytes of all nodes, headers and votes included, and seconds."""

    bytes: float
    seconds: float


class _Call(NamedTuple):
    steps: float
    pieces: float
    bytes: float


def measure(topology: Topology) -> Network:
    """The network as the model sees it. Raises UsageError unless it is strongly connected."""
    arcs = topology.arcs()
    return Network(topology.nodes, len(arcs), topology.diameter, topology.directed, _forgetting(topology.nodes, arcs))


def _forgetting(nodes: int, arcs: np.ndarray) -> float:
    """Var(f)/E(f, f), f the hops from an outermost node: a lower bound of the relaxation time, and close to it.

    It is exact on hypercubes, 18 % too small on rings and grids. Directions are ignored.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import shortest_path

    if nodes == 1:
        return 1.0
    graph = csr_array((np.ones(len(arcs)), (arcs[:, 0], arcs[:, 1])), shape=(nodes, nodes))
    outermost = shortest_path(graph, directed=False, indices=0, unweighted=True).argmax()
    hops = shortest_path(graph, directed=False, indices=int(outermost), unweighted=True)
    degree = np.bincount(arcs[:, 0], minlength=nodes)
    flow = np.sum((hops[arcs[:, 0]] - hops[arcs[:, 1]]) ** 2 / (1 + degree[arcs[:, 0]])) / (2 * nodes)
    return max(1.0, float(hops.var() / flow))


def predict(protocol: str, network: Network, d: int, spread: float, mailboxes: bool = False, ranks: int = 1) -> Round:
    """A call with vectors (d,) of integers that are up to ``spread`` apart, and from the last result."""
    if protocol == "allreduce" or network.nodes == 1:
        return Round(2 * (network.nodes - 1) * 8 * d, 2 * STEP + network.nodes * d * VALUE / ranks)
    spread = max(spread, 2.0)
    call = {"ftqc": _ftqc, "integer-push-sum": _push_sum, "tree": _tree}[protocol](network, d, spread)
    work = call.steps * network.nodes * NODE + call.pieces * (PIECE + d * VALUE + FRAME * mailboxes)
    seconds = call.steps * (STEP + EXCHANGE * (ranks > 1)) + work / ranks
    return Round(call.bytes + MAILED * mailboxes * (call.pieces + _voting(network)), seconds)


def _ftqc(network: Network, d: int, spread: float) -> _Call:
    rate = max(1.0, 3 * log(spread) + 1.2 * log(d) - 3)
    steps = network.forgetting * rate + min(network.nodes / 5, 6) * (9 + 8 * log(d))
    # of 2 n pieces n stay where they are, and one of degree + 1 comes back to its node
    pieces = steps * network.arcs / (network.arcs / network.nodes + 1)
    good = network.diameter * network.arcs * (_packed(d, spread) + d / 8)
    flood = VOTES * network.diameter * network.arcs * HEADER
    return _Call(steps + VOTES * network.diameter, pieces, pieces * _packed(d, spread) + good + flood)


def _push_sum(network: Network, d: int, spread: float) -> _Call:
    """On undirected graphs momentum takes the root of the time."""
    forgetting, degree = network.forgetting, 1 + network.arcs / network.nodes
    momentum = 0.0 if network.directed else min((1 - sqrt(1 / forgetting)) ** 2, 255 / 256)
    weights = 10 * network.nodes if network.directed else network.arcs + network.nodes
    unit = weights * (6 + 2 / (1 - momentum))
    steps = (2 * forgetting - 1 if network.directed else sqrt(forgetting)) * (7 + 0.9 * log(spread)) + 6
    pieces = steps * network.arcs
    size = _packed(d, 1.5 * unit * spread / degree / (1 - momentum))
    vote = network.diameter * network.arcs * (HEADER + 2 + (_packed(d, spread) if d <= 4 else 10))
    return _Call(steps + network.diameter, pieces, pieces * size + vote)


def _tree(network: Network, d: int, spread: float) -> _Call:
    """Sums go up, of a whole branch at most; the sum of all comes down."""
    up, down = _packed(d, spread * sqrt(sqrt(network.nodes))), _packed(d, spread * sqrt(network.nodes))
    return _Call(2 * network.diameter, 2 * (network.nodes - 1), (network.nodes - 1) * (up + down))


def _voting(network: Network) -> float:
    """Frames of the stages of votes by mailboxes."""
    return VOTES * 2 * network.diameter * network.arcs


def _packed(d: int, largest: float) -> float:
    """Bytes of a frame of d integers, none larger in absolute value."""
    bits = 1 + ceil(log2(largest + 1))
    if d <= 2:
        return HEADER + d * ceil(bits / 7)
    return HEADER + ceil(d / TILE) + d * (bits if bits <= 32 else 64) / 8
