"""What a round of coordination will cost: the coordinators' models of calls, with the seconds that these take."""

from typing import NamedTuple

import numpy as np

from mpiqopt.coordination.costs import VOTES, Call, Network
from mpiqopt.coordination.protocol import CoordinationProtocol, FrameProtocol
from mpiqopt.topologies.topology import Topology

# bytes that mailboxes add to a frame, with its acknowledgement
MAILED = 8
# s on one core of a present server: of a step, of a node in a step, of a piece, of a value in it; of frames between
# ranks in a step, of a frame by mailboxes
STEP, NODE, PIECE, VALUE, EXCHANGE, FRAME = 1.2e-6, 9e-9, 1.3e-7, 1.8e-9, 2.5e-6, 1e-6


class Round(NamedTuple):
    """Bytes of all nodes, headers and votes included, and seconds."""

    bytes: float
    seconds: float


def measure_network(topology: Topology) -> Network:
    """Return the network as models see it. Raises UsageError unless it is strongly connected."""
    arcs = topology.arcs()
    return Network(topology.nodes, len(arcs), topology.diameter, topology.directed, _forgetting(topology.nodes, arcs))


def _forgetting(nodes: int, arcs: np.ndarray) -> float:
    """Return Var(f)/E(f, f), f the hops from an outermost node: a lower bound of the relaxation time, and close to it.

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


def predict_round(
    protocol: CoordinationProtocol,
    network: Network,
    d: int,
    spread: float,
    mailboxes: bool = False,
    ranks: int = 1,
    settles: bool = False,
) -> Round | None:
    """Predict a call with vectors (d,) of integers that are up to ``spread`` apart, and from the last result.

    settles: True of innovations, where nodes keep what they still have at the end.
    None if the coordinator has no model.
    """
    if not isinstance(protocol, FrameProtocol) or network.nodes == 1:  # by MPI_Allreduce, counted as by a server
        return Round(2 * (network.nodes - 1) * 8 * d, 2 * STEP + network.nodes * d * VALUE / ranks)
    cost = protocol.settling_cost if settles else protocol.cost
    call = cost(network, d, max(spread, 1.0))
    if call is None:
        return None
    mailed = MAILED * mailboxes * (call.pieces + protocol.votes * _stages(network))
    return Round(call.bytes + mailed, _seconds(call, network, d, mailboxes, ranks))


def predict_start(
    protocol: CoordinationProtocol, network: Network, mailboxes: bool = False, ranks: int = 1
) -> Round | None:
    """Predict what nodes send before the first call of a process; None if they send nothing."""
    before = protocol.cost_before(network, mailboxes)
    if not before.bytes or network.nodes == 1:
        return None
    return Round(before.bytes, _seconds(before, network, 0, mailboxes, ranks))


def _seconds(call: Call, network: Network, d: int, mailboxes: bool, ranks: int) -> float:
    work = call.steps * network.nodes * NODE + call.pieces * (PIECE + d * VALUE + FRAME * mailboxes)
    return call.steps * (STEP + EXCHANGE * (ranks > 1)) + work / ranks


def _stages(network: Network) -> float:
    """Return the frames of the stages of votes by mailboxes."""
    return VOTES * 2 * network.diameter * network.arcs
