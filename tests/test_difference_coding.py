"""Difference coding: neighbours know what was sent, and means over the nodes are kept whatever the compressor."""

from itertools import islice

import networkx
import numpy as np
import pytest
from tools.coded import COMPRESSORS, GOSSIPED, ITERATIONS, VARIANTS, D, bytes_sent, example, own_codec
from tools.dense.messages import damping
from tools.dense.networks import accelerated_gossip, around_zero, metropolis
from tools.dense.objectives import Objective
from tools.experiments import GRAPHS, after, states

from mpiqopt.network.network import Network
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.mixing import mixing_from_edges
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.serial import SerialTransport

DIFFERENCES = [c for c in COMPRESSORS if c != "sign"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("compressor", DIFFERENCES)
@pytest.mark.parametrize("name", ["choco-gossip", "choco-sgd"])
def test_neighbours_know_what_was_sent(name, compressor, dtype):
    """X^ is the sum of the decoded, damped messages: the same bits for whoever hears them, here one node at a time."""
    experiment = example(name, compressor, dtype=dtype)
    sent = bytes_sent(experiment)
    memory = after(experiment, ITERATIONS).memory
    codec, known = own_codec(experiment), np.zeros(experiment.start.shape)
    factor = damping(experiment.config.compressor, D)
    for round, nodes, messages in sent:
        for node in nodes[::-1]:
            heard = codec.decode(messages[node : node + 1], np.array([node]), round, np.float64)
            known[node] += factor * heard[0] if factor != 1 else heard[0]
    np.testing.assert_array_equal(known, memory.sent)
    assert np.abs(known).max() > 0.01


def memories(state) -> list:
    """The memories in a state."""
    return [field for field in state if hasattr(field, "sent")]


@pytest.mark.representatives(1)
@pytest.mark.parametrize("compressor", [c for c in DIFFERENCES if c != "identity"])
@pytest.mark.parametrize("graph", ["ring-8", "star-5"])
@pytest.mark.parametrize("name", GOSSIPED)
def test_what_was_heard_is_the_difference_to_the_neighbours(name, graph, compressor):
    """heard = (W - I) sent to 1e-12: 150 roundings of 1e-16 on numbers of order 1 are some 1e-14."""
    topology, edges = GRAPHS[graph]
    experiment = example(name, compressor, topology)
    found = memories(after(experiment, ITERATIONS))
    assert len(found) == (2 if name in VARIANTS else 1)
    W = metropolis(edges)
    for memory in found:
        assert np.abs(memory.sent).max() > 0.01
        np.testing.assert_allclose(memory.heard, W @ memory.sent - memory.sent, rtol=0, atol=1e-12)


@pytest.mark.parametrize("compressor", DIFFERENCES)
def test_coded_gossip_keeps_the_mean(compressor):
    """X+ - X is (W - I) times something, and columns of W sum to 1. So do those of Chebyshev's polynomial."""
    experiment = example("choco-gossip", compressor)
    start, *_, end = (state.x for state in islice(states(experiment), 60))
    assert np.abs(end - start).max() > 1e-3
    np.testing.assert_allclose(end.mean(axis=0), start.mean(axis=0), rtol=0, atol=1e-14)
    network, rows = experiment.network, np.random.default_rng(1).standard_normal((8, D))
    for accelerated in (False, True):
        mixed, memory = network.gossip.repeat_coded(rows, network.gossip.memory(rows), 5, accelerated, 0.3)
        assert np.abs(memory.sent).max() > 0.01
        np.testing.assert_allclose(mixed.mean(axis=0), rows.mean(axis=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("compressor", DIFFERENCES)
@pytest.mark.parametrize("name", VARIANTS)
def test_tracker_keeps_the_mean_of_the_estimators(name, compressor):
    """mean_i y_{t+1} = mean_i v_t, however coarse the messages: what is not sent is not lost but stays at home."""
    for state in islice(states(example(name, compressor)), 1, 60):
        np.testing.assert_allclose(state.y.mean(axis=0), state.v.mean(axis=0), rtol=0, atol=5e-14)
    assert np.abs(state.v.mean(axis=0)).max() > 1e-3


@pytest.mark.parametrize("compressor", DIFFERENCES)
def test_choco_sgd_and_lead_descend_in_the_mean(compressor):
    """mean x+ = mean x - a mean g, whatever the messages: the dual variables of LEAD sum to zero over the nodes."""
    for name in ("choco-sgd", "lead"):
        experiment = example(name, compressor)
        grad, x = Objective(experiment).grad, experiment.start
        for state in islice(states(experiment), 1, ITERATIONS):
            np.testing.assert_allclose(state.x.mean(axis=0), (x - 0.05 * grad(x)).mean(axis=0), rtol=0, atol=1e-14)
            x = state.x
    np.testing.assert_allclose(state.dual.mean(axis=0), 0, rtol=0, atol=1e-13)


FLOAT32 = {
    "choco-gossip": {"step_size": 3.0},
    "lead": {},
    "prox-lead": {},
    "proxgt-sa": {"batch_size": "all", "gossip_rounds": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("compressor", ["identity", "qsgd"])
@pytest.mark.parametrize("name", FLOAT32)
def test_means_do_not_drift_in_float32(name, compressor):
    """What sums to zero over the nodes (and what is kept) still does after 5000 iterations, to 30 roundings (6e-8).

    (W - I) X^ summed from rounded messages has a mean of some 1e-9 instead of 0 for ever: added in every iteration to x
    (CHOCO), to the tracker (ProxGT) or to the dual (LEAD), it grows without end.
    """
    experiment = example(name, compressor, block_size=0, dtype="float32", **FLOAT32[name])
    first, last = (after(experiment, iterations) for iterations in (0, 5000))
    if name == "choco-gossip":
        drift = np.mean(last.x, axis=0, dtype=np.float64) - np.mean(first.x, axis=0, dtype=np.float64)
    elif name in VARIANTS:
        drift = np.mean(last.y, axis=0, dtype=np.float64) - np.mean(last.v, axis=0, dtype=np.float64)
    else:
        drift = np.mean(last.dual, axis=0, dtype=np.float64)
    assert np.abs(drift).max() < 2e-6


# K_33: eigenvalues 1, 1/4 and -1/2, so that lambda = 1/2 is that of the negative one.
EXTREMES = {
    "ring-8": networkx.cycle_graph(8),
    "path-2": networkx.path_graph(2),
    "star-5": networkx.star_graph(4),
    "K-33": networkx.complete_bipartite_graph(3, 3),
}


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("step", [0.2, 0.7, 1.0])
@pytest.mark.parametrize("graph", EXTREMES)
def test_chebyshev_of_the_damped_matrix(graph, step, rounds):
    """P_K of M = (1 - gamma) I + gamma W, read off by gossiping the identity; no eigenvalue is below -1/3."""
    edges = EXTREMES[graph]
    W, n = metropolis(edges), len(edges)
    topology = Topology(graph, (mixing_from_edges(n, np.array(edges.edges), "metropolis"),))
    network = Network(topology, Placement(n), SerialTransport(), compressor=find_member("compressor", "identity")())
    P, _ = network.gossip.repeat_coded(np.eye(n), network.gossip.memory(np.eye(n)), rounds, True, step)
    np.testing.assert_allclose(
        P, accelerated_gossip((1 - step) * np.eye(n) + step * W, rounds, around_zero), rtol=0, atol=1e-12
    )
    assert np.linalg.eigvalsh(P)[0] > -1 / 3 - 1e-12
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=0, atol=1e-13)
    np.testing.assert_allclose(P, P.T, rtol=0, atol=1e-13)
