"""Facts about ProxGT and gossip that hold whatever the data: invariants, estimators, contraction and counters."""

from itertools import islice

import networkx
import numpy as np
import pytest
from tools.dense.networks import chebyshev, contraction, extremes, metropolis
from tools.dense.objectives import Objective
from tools.experiments import after, assembled, states
from tools.methods import GENERAL

from mpiqopt.algorithms.proxgt import ProxGT

VARIANTS = [name for name, cls in GENERAL.items() if issubclass(cls, ProxGT)]
# Some of 83 samples on 8 nodes; a batch of 12 is more than any node has.
SETTINGS = {
    "proxgt-sa": {"batch_size": 3},
    "proxgt-sr-o": {"batch_size": 3, "large_batch_size": 7, "epoch_length": 4},
    "proxgt-sr-e": {"batch_size": 3, "epoch_length": 4},
}
DATA = {"name": "synthetic", "samples": 83, "features": 5, "task": "classification"}
UNEVEN = {**DATA, "split": "dirichlet"}
RING = {"name": "ring", "nodes": 8}
GRAPHS = {
    "ring-8": (RING, networkx.cycle_graph(8)),
    "ring-21": ({"name": "ring", "nodes": 21}, networkx.cycle_graph(21)),
    "path-6": ({"name": "path", "nodes": 6}, networkx.path_graph(6)),
    "grid-12": ({"name": "grid", "nodes": 12}, networkx.grid_2d_graph(3, 4)),
    "star-7": ({"name": "star", "nodes": 7}, networkx.star_graph(6)),
    "hypercube-8": ({"name": "hypercube", "nodes": 8}, networkx.hypercube_graph(3)),
}


def example(algorithm: dict, topology=RING, data=UNEVEN, **run):
    """Logistic regression with l1, at a step that suits these data; no l1 where the method has no prox."""
    regularizer = {"name": "l1", "weight": 0.02} if GENERAL[algorithm["name"]].proximal else None
    return assembled(topology, {"name": "logistic"}, {"step_size": 0.05, **algorithm}, regularizer, data, seed=5, **run)


def algorithm(name: str, **settings) -> dict:
    return {"name": name, **SETTINGS.get(name, {}), **settings}


# The tracker and the estimators


@pytest.mark.parametrize("accelerated", [False, True], ids=["plain", "chebyshev"])
@pytest.mark.parametrize("name", VARIANTS)
def test_tracker_keeps_the_mean_of_the_estimators(name, accelerated):
    """mean_i y_{t+1} = mean_i v_t in every iteration: W preserves means, and y_0 = v_{-1} = 0.

    Starting from y_0 = v_0 instead leaves the bias grad F(x_0) for ever. Rounding: 1e-16 in each of 5 operations
    and 100 iterations on numbers below 1.
    """
    experiment = example(algorithm(name, chebyshev=accelerated))
    for state in islice(states(experiment), 1, 101):
        np.testing.assert_allclose(state.y.mean(axis=0), state.v.mean(axis=0), rtol=0, atol=5e-14)
    assert np.abs(state.v.mean(axis=0)).max() > 1e-3


@pytest.mark.parametrize("name", VARIANTS)
def test_tracker_keeps_the_mean_in_float32(name):
    """To 30 units of rounding (6e-8) after 1000 iterations: weights rounded to float32 must not pump it up."""
    state = after(example(algorithm(name), dtype="float32"), 1000)
    y, v = state.y.astype(np.float64), state.v.astype(np.float64)
    np.testing.assert_allclose(y.mean(axis=0), v.mean(axis=0), rtol=0, atol=2e-6)


FULL = [
    algorithm("proxgt-sa", batch_size="all"),
    algorithm("proxgt-sa", batch_size=80),
    algorithm("proxgt-sr-o", batch_size=80, large_batch_size=80),
    algorithm("proxgt-sr-o", batch_size="all", large_batch_size="all"),
    algorithm("proxgt-sr-e", batch_size=80),
    algorithm("proxgt-sr-e", batch_size="all"),
]


@pytest.mark.parametrize("settings", FULL, ids=lambda s: f"{s['name']}-{s['batch_size']}")
def test_estimators_with_every_sample_are_full_gradients(settings):
    """A batch at least as large as a node's share is its whole share once, and the recursion then telescopes."""
    experiment = example(settings)
    assert experiment.problem.sizes.max() <= 80
    objective, at = Objective(experiment), experiment.start
    for state in islice(states(experiment), 1, 30):
        np.testing.assert_allclose(state.v, objective.grad(at), rtol=0, atol=1e-14)
        at = state.x


def test_recursion_restarts_from_a_full_gradient_and_drifts_between():
    """SR-E with small batches equals the local gradients in iterations 0, q, 2q, ... and in no other."""
    experiment = example(algorithm("proxgt-sr-e", epoch_length=4), data=DATA)
    objective, at = Objective(experiment), experiment.start
    for t, state in enumerate(islice(states(experiment), 1, 13)):
        error = np.abs(state.v - objective.grad(at)).max()
        assert (error < 1e-14) == (t % 4 == 0)
        at = state.x


@pytest.mark.parametrize(
    ("nodes", "samples", "batch", "epoch"),
    [(8, 83, 2, 10), (8, 800, 4, 29), (1, 100, 10, 10), (10, 10, 1, 4)],
)
def test_automatic_batch_and_epoch(nodes, samples, batch, epoch):
    """b = max(sqrt(m/n), 1) and q = sqrt(n m), rounded up: m/n = 83/64, 12.5, 100, 0.1, and n m is all samples."""
    experiment = example({"name": "proxgt-sr-e"}, {**RING, "nodes": nodes}, {**DATA, "samples": samples})
    assert (experiment.algorithm.batch_size, experiment.algorithm.epoch_length) == (batch, epoch)


# What an iteration costs


def drawn(sizes: np.ndarray, size: int) -> np.ndarray:
    """Samples that a batch takes at each node."""
    return np.minimum(sizes, size)


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("proxgt-sa", lambda m: 4 * drawn(m, 3)),
        ("proxgt-sr-o", lambda m: drawn(m, 7) + 3 * 2 * drawn(m, 3)),
        ("proxgt-sr-e", lambda m: m + 3 * 2 * drawn(m, 3)),
    ],
)
def test_samples_of_an_epoch(name, cost):
    """Single-sample gradients of 4 iterations: SA 4b; SR-O B + 3 * 2b (both points); SR-E m_i + 3 * 2b."""
    experiment = example(algorithm(name))
    sizes = experiment.problem.sizes
    assert sizes.min() < 7 < sizes.max()
    after(experiment, 3 * 4)
    np.testing.assert_array_equal(experiment.problem.evaluations, 3 * cost(sizes))


# one gradient an iteration of what is neither ProxGT nor averaging, without several local steps
ONE_STEP = [name for name, cls in GENERAL.items() if getattr(cls, "local_steps", 1) < 2]


@pytest.mark.parametrize("name", [name for name in ONE_STEP if name not in (*SETTINGS, "choco-gossip")])
def test_deterministic_methods_use_every_sample_once_an_iteration(name):
    """After the start, which may need a gradient of its own."""
    experiment = example(algorithm(name))
    counts = [experiment.problem.evaluations.copy() for _ in islice(states(experiment), 6)]
    np.testing.assert_array_equal(np.diff(counts, axis=0), np.tile(experiment.problem.sizes, (5, 1)))


# Directed edges: a ring of 8 has 8 * 2, a 3 x 4 grid 2 (3 * 3 + 4 * 2), a star of 7 has 6 * 2.
LINKS = [(RING, 16), (GRAPHS["grid-12"][0], 34), (GRAPHS["star-7"][0], 12), ({"name": "ring", "nodes": 1}, 0)]


# Bytes up and down of methods that compress by default: a scale of 4 bytes, then 8 bits a value or 1.
CODED = {
    "qsgd-sgd": lambda d, plain: (4 + d, plain),
    "fo-sgd": lambda d, plain: (4 + max(1, 2 ** (d - 1).bit_length() // 8), plain),
    "ef-sgd": lambda d, plain: (4 + (d + 7) // 8, plain),
    "sign-sgd": lambda d, plain: ((d + 7) // 8, (d + 7) // 8),
    "push-sum": lambda d, plain: (8 * (d + 1), None),  # with the weight, in float64
    "push-diging": lambda d, plain: (8 * (2 * d + 1), None),  # and the tracker
    "scaffold": lambda d, plain: (2 * plain, 2 * plain),
}
# how much coordination sends depends on the values
GOSSIPING = [name for name, cls in GENERAL.items() if "coordinator" not in cls.__dataclass_fields__]


@pytest.mark.parametrize(("dtype", "itemsize"), [("float64", 8), ("float32", 4)])
@pytest.mark.parametrize(("topology", "links"), LINKS, ids=lambda part: part["name"] if isinstance(part, dict) else "")
@pytest.mark.parametrize("name", GOSSIPING)
def test_rounds_and_bytes(name, topology, links, dtype, itemsize):
    """A gossip round sends d numbers over every directed edge, a server round d numbers to the server and back."""
    experiment = example(algorithm(name), topology, DATA, dtype=dtype)
    state = after(experiment, 7)
    rounds, d = 7 * experiment.algorithm.rounds(), state.x.shape[1]
    up, down = CODED.get(name, lambda d, plain: (plain, plain))(d, d * itemsize)
    servers = 2 if name == "hierarchical-fedavg" and topology["nodes"] > 1 else 1  # nodes that need no message
    size = (topology["nodes"] - servers) * (up + down) if GENERAL[name].server else links * up
    assert (experiment.network.traffic.rounds, experiment.network.traffic.bytes) == (rounds, rounds * size)


@pytest.mark.parametrize(
    ("name", "rounds"),
    [(name, 2 if name == "gradient-tracking" else 1) for name in GENERAL if name not in SETTINGS]
    + [(name, 6) for name in SETTINGS],
)
def test_rounds_of_an_iteration(name, rounds):
    """ProxGT 2K, gradient tracking two (x and y), all others one."""
    gossip = {"gossip_rounds": 3} if name in SETTINGS else {}
    assert example(algorithm(name, **gossip)).algorithm.rounds() == rounds


@pytest.mark.parametrize("name", ["dgd", "gradient-tracking", "proxgt-sa"])
def test_bytes_of_a_varying_topology(name):
    """One-peer exponential graphs: one message from every node in each round, whatever the round."""
    plain = {"chebyshev": False} if name in SETTINGS else {}
    experiment = example(algorithm(name, **plain), {"name": "one-peer-exponential", "nodes": 6})
    state = after(experiment, 5)
    assert experiment.network.traffic.bytes == 5 * experiment.algorithm.rounds() * 6 * state.x.nbytes // 6


# Gossip


def gossip_matrix(topology: dict, rounds: int, accelerated: bool) -> np.ndarray:
    """P_K, read off the network by gossiping the identity."""
    network = example(algorithm("dgd"), topology).network
    return network.gossip.repeat(np.eye(topology["nodes"]), rounds, accelerated)


@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 9, 16])
@pytest.mark.parametrize("graph", GRAPHS)
def test_gossip_contracts_as_its_polynomial(graph, rounds):
    """||P_K - J||_2 = (c + e)/(1 + c) with Chebyshev, as |T_K| <= 1 on [-1, 1] with equality at 1; plain lambda^K.

    No eigenvalue is below -1/3 with Chebyshev. Both keep means: rows of P_K sum to 1.
    """
    topology, edges = GRAPHS[graph]
    W = metropolis(edges)
    low, high = extremes(W)
    e = 1 / chebyshev(rounds, (2 - high - low) / (high - low)) if high - low > 1e-12 else 0
    c = max(0, (3 * e - 1) / 4)
    for accelerated, expected in ((True, (c + e) / (1 + c)), (False, contraction(W) ** rounds)):
        P = gossip_matrix(topology, rounds, accelerated)
        assert contraction(P) == pytest.approx(expected, rel=0, abs=1e-10)
        assert not accelerated or np.linalg.eigvalsh(P)[0] > -1 / 3 - 1e-10
        np.testing.assert_allclose(P.sum(axis=1), 1, rtol=0, atol=1e-13)
        np.testing.assert_allclose(P, P.T, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("rounds", "accelerated", "norm"), [(8, True, 0.159), (8, False, 0.767), (32, False, 0.346)])
def test_published_contraction_of_the_ring_of_20(rounds, accelerated, norm):
    """Weights 1/3, lambda = 0.967; Chebyshev on [-1/3, lambda], 0.248 on [-lambda, lambda]."""
    ring = {"name": "ring", "nodes": 20}
    assert contraction(metropolis(networkx.cycle_graph(20))) == pytest.approx(0.967, abs=5e-4)
    assert contraction(gossip_matrix(ring, rounds, accelerated)) == pytest.approx(norm, abs=5e-4)


@pytest.mark.parametrize("accelerated", [False, True], ids=["plain", "chebyshev"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_automatic_gossip_rounds_are_the_fewest(graph, accelerated):
    """The smallest K with ||P_K - J|| <= 3/4, measured for K and for K - 1."""
    topology, _ = GRAPHS[graph]
    rounds = example(algorithm("proxgt-sa", chebyshev=accelerated), topology).algorithm.gossip_rounds
    assert contraction(gossip_matrix(topology, rounds, accelerated)) <= 0.75 + 1e-12
    if rounds > 1:
        assert contraction(gossip_matrix(topology, rounds - 1, accelerated)) > 0.75 + 1e-12


def test_automatic_gossip_rounds_of_a_varying_topology():
    """One-peer exponential graphs on 8 nodes average exactly after 3 rounds; two leave ||P - J|| = 0.65, one 0.92."""
    settings = algorithm("proxgt-sa", chebyshev=False)
    assert example(settings, {"name": "one-peer-exponential", "nodes": 8}).algorithm.gossip_rounds == 2


def test_one_node_gossips_once_and_keeps_its_row():
    """n = 1: W = [1], lambda = 0; nothing is divided by lambda."""
    experiment = example(algorithm("proxgt-sa"), {"name": "ring", "nodes": 1})
    row = np.arange(5.0)[None]
    assert experiment.algorithm.gossip_rounds == 1
    np.testing.assert_array_equal(experiment.network.gossip.repeat(row, 4, True), row)
