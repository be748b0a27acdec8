"""Methods with coded messages: every iterate against dense.py, and what holds whatever the compressor.

Eleven coordinates, so that blocks of four or eight leave a shorter last one.
"""

from itertools import islice

import networkx
import numpy as np
import pytest
from dense import (
    GRAPHS,
    Objective,
    accelerated_gossip,
    after,
    around_zero,
    arrays,
    assembled,
    assert_follows,
    damping,
    metropolis,
    states,
)

from mpiqopt.algorithms.proxgt import ProxGT
from mpiqopt.compressors.codec import Codec
from mpiqopt.errors import UsageError
from mpiqopt.network.network import Network
from mpiqopt.network.server import ServedBlocks
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find, members
from mpiqopt.topologies.mixing import from_edges
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.serial import SerialTransport

ALGORITHMS = members("algorithm")
CODED = [name for name, cls in ALGORITHMS.items() if cls.default_compressor is not None]
SERVED = [name for name in CODED if ALGORITHMS[name].server]
GOSSIPED = [name for name in CODED if not ALGORITHMS[name].server]
VARIANTS = [name for name in CODED if issubclass(ALGORITHMS[name], ProxGT)]
D = 11
COMPRESSORS = {
    "identity": {},
    "float16": {},
    "qsgd": {"levels": 7, "block_size": 4},
    "zoom-in": {"bits": 4, "initial_step": 0.05},
    "natural": {},
    "eden": {"block_size": 8},
    "flattened-one-bit": {"block_size": 8},
    "top-k": {"fraction": 0.3},
    "scaled-sign": {"block_size": 4},
    "random-k": {"fraction": 0.3},
    "low-rank": {"rank": 1},
    "sign": {},
}
# E C(x) = x; of the others terngrad, drive, one-bit and uniform would be too.
UNBIASED = {"identity", "qsgd", "natural", "eden", "flattened-one-bit", "random-k"}
SETTINGS = {
    "proxgt-sa": {"batch_size": 5},
    "proxgt-sr-o": {"batch_size": 3, "large_batch_size": 11, "epoch_length": 7},
    "proxgt-sr-e": {"batch_size": 4, "epoch_length": 5},
}
DATA = {"name": "synthetic", "samples": 107, "features": D, "task": "classification", "split": "dirichlet"}
RING, CYCLE = GRAPHS["ring-8"]
ITERATIONS = 25


def takes(method: str, compressor: str) -> bool:
    """Which compressors a method is defined for."""
    only = {"fo-sgd": {"flattened-one-bit"}, "sign-sgd": {"sign"}, "qsgd-sgd": UNBIASED}
    if method in only:
        return compressor in only[method]
    if method not in CODED:
        return compressor == "identity"
    return compressor != "sign"


def pairs(methods) -> pytest.MarkDecorator:
    """Each of the methods with each compressor that it takes."""
    cases = [(m, c) for m in methods for c in COMPRESSORS if takes(m, c)]
    return pytest.mark.parametrize(("name", "compressor"), cases)


def example(name: str, compressor: str, topology=RING, block_size: int | None = None, dtype="float64", **settings):
    """Logistic regression with unequal shares, h = l1 where the method takes it, a step of 0.05."""
    regularizer = {"name": "l1", "weight": 0.02} if ALGORITHMS[name].proximal else None
    algorithm = {"name": name, "step_size": 0.05, **SETTINGS.get(name, {}), **settings}
    table = {"name": compressor, **COMPRESSORS[compressor]}
    if block_size is not None:
        table["block_size"] = block_size
    problem = {"name": "logistic", "l2": 0.05}
    return assembled(topology, problem, algorithm, regularizer, DATA, table, seed=4, start="normal", dtype=dtype)


# Against the reference


@pairs(CODED)
def test_iterates_are_those_of_the_definition(name, compressor):
    """With automatic gossip steps, memory rates and gossip rounds."""
    assert_follows(example(name, compressor), [metropolis(CYCLE)], ITERATIONS)


@pairs(VARIANTS[:1])
@pytest.mark.parametrize("accelerated", [False, True], ids=["plain", "chebyshev"])
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_coded_gossip_rounds(name, compressor, rounds, accelerated):
    """Chebyshev also where the automatic choice shuns it: errors are multiplied, but by the same in both programs."""
    experiment = example(name, compressor, gossip_rounds=rounds, chebyshev=accelerated, gossip_step=0.4)
    assert_follows(experiment, [metropolis(CYCLE)], 8)


@pairs(SERVED)
def test_both_ways(name, compressor):
    """Whichever of two_way is not the default, with minibatches and a step that shrinks."""
    settings = {"two_way": name != "sign-sgd", "batch_size": 5, "schedule": "inverse", "decay": 0.2}
    experiment = example(name, compressor, **settings)
    assert_follows(experiment, [metropolis(CYCLE)], ITERATIONS)


STOCHASTIC = [name for name, cls in ALGORITHMS.items() if "schedule" in cls.__dataclass_fields__]


@pytest.mark.parametrize("schedule", ["inverse", "inverse-sqrt"])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_minibatches_and_schedules(name, schedule):
    """a/(1 + t/5) and a/sqrt(1 + t/5); LEAD divides by the step of the same iteration."""
    experiment = example(
        name, ALGORITHMS[name].default_compressor or "identity", batch_size=5, schedule=schedule, decay=0.2
    )
    assert_follows(experiment, [metropolis(CYCLE)], ITERATIONS)


@pytest.mark.parametrize("compressor", ["qsgd", "top-k"])
@pytest.mark.parametrize("name", ["lead", "prox-lead", "choco-sgd", "choco-gossip"])
def test_given_gossip_steps_and_memory_rates(name, compressor):
    """Numbers that no automatic choice would give."""
    settings = {"gossip_step": 0.3} | ({"memory_rate": 0.2} if "lead" in name else {})
    assert_follows(example(name, compressor, **settings), [metropolis(CYCLE)], ITERATIONS)


@pytest.mark.parametrize("block_size", [0, 1, 4, D, 20])
@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["ef-sgd", "qsgd-sgd"])
def test_sharing_blocks_out_changes_nothing(name, nodes, block_size):
    """More nodes than blocks, more blocks than nodes, one value a block: always what one server would do.

    The reference knows no parts; two ways, so that errors and messages of the server are shared out too.
    """
    experiment = example(name, "qsgd", {"name": "ring", "nodes": nodes}, block_size, two_way=True)
    assert_follows(experiment, [np.eye(nodes)], 6)


# delta of (damped) messages, and the factor of the damping: 1/(1 + omega), or 1 where nothing is damped.
DELTAS = {
    "identity": (1, 1),
    "qsgd": (49 / 53, 49 / 53),  # omega = 4/7^2 for blocks of 4
    "natural": (8 / 9, 8 / 9),
    "eden": (1 - 0.11748, 1 - 0.11748),  # the distortion of two bits
    "flattened-one-bit": (1 / 5.0827, 1 / 5.0827),  # omega = 3 + 8 exp(-2)
    "top-k": (4 / 11, 1),
    "scaled-sign": (1 / 4, 1),
    "zoom-in": (1 / 2, 1),  # has none: an absolute error
}


@pytest.mark.parametrize("compressor", DELTAS)
def test_automatic_gossip_steps_and_memory_rates(compressor):
    """gamma = delta, delta^2 for LEAD, whose alpha is the damping; to 2 %, for bounds that allow for rounding.

    CHOCO takes more where errors even out: m = 2/3 and n/(n - 1) = 8/7 on the ring.
    """
    delta, factor = DELTAS[compressor]
    bold = {"top-k": 1 / (1 + (11 / 4 - 1) / 2 * 8 / 7), "scaled-sign": 1 / (1 + 2 * 8 / 7)}
    for name in GOSSIPED:
        algorithm = example(name, compressor).algorithm
        expected = delta**2 if "lead" in name else delta
        if "choco" in name:
            expected = bold.get(compressor, delta)
        assert algorithm.gossip_step == pytest.approx(expected, rel=0.02)
        if "lead" in name:
            assert algorithm.memory_rate == pytest.approx(factor, rel=0.02)


SKEWED = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "heavy tails": lambda rng, n, d: rng.standard_cauchy((n, d)),
    "one coordinate": lambda rng, n, d: np.eye(1, d) * rng.standard_normal((n, 1)),
    "geometric": lambda rng, n, d: rng.standard_normal((n, d)) * 0.5 ** np.arange(d),
}
AVERAGED = {
    "pair": {"name": "ring", "nodes": 2},
    "complete": {"name": "complete", "nodes": 8},
    "star": {"name": "star", "nodes": 16},
    "fdla": {"name": "ring", "nodes": 9, "weights": "fdla"},
}


@pytest.mark.parametrize("compressor", [{"name": "top-k", "fraction": 0.1}, {"name": "scaled-sign"}], ids=str)
@pytest.mark.parametrize("vectors", SKEWED)
@pytest.mark.parametrize("graph", AVERAGED)
def test_the_automatic_gossip_step_averages_vectors_of_all_kinds(tmp_path, graph, vectors, compressor):
    """Steps beyond delta: errors fall to 1e-6 of the start's squared, which takes the slowest case 900 rounds."""
    topology = AVERAGED[graph]
    rows = SKEWED[vectors](np.random.default_rng(3), topology["nodes"], 40)
    np.savez(tmp_path / "rows.npz", X=rows - rows.mean(axis=0), y=np.arange(len(rows)))
    data = {"name": "npz", "path": str(tmp_path / "rows.npz"), "split": "contiguous"}
    experiment = assembled(topology, {"name": "mean"}, {"name": "choco-gossip"}, None, data, compressor)
    start, state = None, None
    for state in islice(states(experiment), 1200):
        start = np.sum(state.x**2) if start is None else start
    assert np.sum(state.x**2) < 1e-6 * start


# Who takes what


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_methods_refuse_compressors_that_they_are_not_defined_for(name, compressor):
    """Signs alone in gossip, biased messages where unbiased ones are wanted, any coding in methods that know none."""
    if takes(name, compressor):
        example(name, compressor)
    else:
        with pytest.raises(UsageError, match=rf"compressor\.name = '{compressor}'"):
            example(name, compressor)


@pytest.mark.parametrize("nodes", [5, 8])
@pytest.mark.parametrize("name", GOSSIPED)
def test_difference_coding_refuses_topologies_that_vary(name, nodes):
    """What was heard is kept as (W - I) X^, summed over the rounds: with another W in every round it means nothing."""
    settings = {"chebyshev": False} if name in VARIANTS else {}
    with pytest.raises(UsageError, match=r"needs one (symmetric )?mixing matrix"):
        example(name, "qsgd", {"name": "one-peer-exponential", "nodes": nodes}, **settings)


def test_sign_sgd_wants_a_step():
    """The gradient's size, which the smoothness bounds, is not in a sign."""
    problem, data = {"name": "logistic"}, {"name": "synthetic", "task": "classification"}
    with pytest.raises(UsageError, match=r"algorithm\.step_size: missing"):
        assembled(RING, problem, {"name": "sign-sgd"}, data=data)


# Difference coding


DIFFERENCES = [c for c in COMPRESSORS if c != "sign"]


def own_codec(experiment) -> Codec:
    """A decoder that has seen nothing of the run."""
    rows, config = experiment.start, experiment.config
    return Codec(config.compressor, rows.shape[1], rows.dtype, config.run.seed, len(rows))


def bytes_sent(experiment) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """From now on, what is sent: round, numbers of the senders, messages."""
    codec, sent = experiment.network.codec(experiment.start), []
    encode = codec.encode

    def listen(rows, nodes, round, *blocks):
        messages = encode(rows, nodes, round, *blocks)
        sent.append((round, nodes.copy(), messages.copy()))
        return messages

    codec.encode = listen
    return sent


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
    topology = Topology(graph, (from_edges(n, np.array(edges.edges), "metropolis"),))
    network = Network(topology, Placement(n), SerialTransport(), compressor=find("compressor", "identity")())
    P, _ = network.gossip.repeat_coded(np.eye(n), network.gossip.memory(np.eye(n)), rounds, True, step)
    np.testing.assert_allclose(
        P, accelerated_gossip((1 - step) * np.eye(n) + step * W, rounds, around_zero), rtol=0, atol=1e-12
    )
    assert np.linalg.eigvalsh(P)[0] > -1 / 3 - 1e-12
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=0, atol=1e-13)
    np.testing.assert_allclose(P, P.T, rtol=0, atol=1e-13)


# Error feedback


def rows_from_parts(parts: np.ndarray, starts: list[int]) -> np.ndarray:
    """A vector (d,) from what each node serves of it."""
    return np.concatenate([row[: b - a] for row, a, b in zip(parts, starts[:-1], starts[1:], strict=True)])


def served_from(nodes: int, blocks: list[int]) -> list[int]:
    """The first coordinate of each node, and d: node i serves blocks ceil(i B/n) .. ceil((i+1) B/n) - 1."""
    cuts = np.concatenate([[0], np.cumsum(blocks)])
    return [int(cuts[-(-i * len(blocks) // nodes)]) for i in range(nodes + 1)]


def blocks_of(size: int) -> list[int]:
    """Widths of the blocks of D coordinates."""
    size = min(size or D, D)
    return [min(size, D - start) for start in range(0, D, size)]


@pytest.mark.parametrize("two_way", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("compressor", [c for c in COMPRESSORS if c not in ("identity", "sign")])
def test_error_feedback_telescopes(compressor, two_way):
    """Sum of what was sent + the error = sum of what was wanted, at every node and at the server.

    Nothing is lost for good: the gradients a g_i of all iterations are in the messages or in the error, and the means
    of the messages are in x or in the server's error (h = 0). Rounding: 1e-16 in each of 25 sums of order 1.
    """
    algorithm = {"name": "ef-sgd", "step_size": 0.05, "two_way": two_way}
    table = {"name": compressor, **COMPRESSORS[compressor]}
    experiment = assembled(RING, {"name": "logistic"}, algorithm, None, DATA, table, seed=4, start="normal")
    sent, grad = bytes_sent(experiment), Objective(experiment).grad
    trajectory = list(islice(states(experiment), ITERATIONS + 1))
    factor, decode = damping(experiment.config.compressor, D), own_codec(experiment).decode
    messages = sum(factor * decode(m, nodes, round) for round, nodes, m in sent if len(nodes) == 8)
    wanted = sum(0.05 * grad(state.x) for state in trajectory[:-1])
    end = trajectory[-1]
    assert np.abs(end.error).max() > 1e-6
    np.testing.assert_allclose(messages + end.error, wanted, rtol=0, atol=1e-13)
    width = experiment.config.compressor.block_size
    left = rows_from_parts(end.server_error, served_from(8, blocks_of(width)))
    assert (np.abs(left).max() > 1e-7) == two_way
    np.testing.assert_allclose(experiment.start[0] - end.x[0] + left, messages.mean(axis=0), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["fo-sgd", "qsgd-sgd", "sign-sgd", "ef-sgd", "sgd"])
def test_all_nodes_of_a_server_have_the_same_iterate(name):
    """To the bit: nobody ever sends x itself."""
    experiment = example(name, ALGORITHMS[name].default_compressor or "identity", batch_size=5)
    x = after(experiment, ITERATIONS).x
    np.testing.assert_array_equal(x, np.tile(x[0], (8, 1)))


@pytest.mark.parametrize("nodes", [2, 4])
def test_a_tie_of_votes_is_a_vote_for_plus(nodes):
    """Half of the nodes say +1, half -1: x moves down by the step in that coordinate, as for sign(0) = +1."""
    experiment = example("sign-sgd", "sign", {"name": "ring", "nodes": nodes})
    votes = np.ones((nodes, D))
    votes[::2] = -1.0
    parts, _ = experiment.network.server.collect(votes)
    np.testing.assert_array_equal(experiment.network.server.spread(parts, D, True), np.ones(D))
    votes[1] = -1.0
    parts, _ = experiment.network.server.collect(votes)
    np.testing.assert_array_equal(experiment.network.server.spread(parts, D, True), -np.ones(D))


# The server


@pytest.mark.parametrize("block_size", [0, 1, 3, 4, D, 20])
@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 8, 13])
def test_parts_join_to_the_whole_vector(nodes, block_size):
    """Whatever the number of blocks, of nodes and of ranks: parts are the documented blocks of the documented nodes."""
    experiment = example("ef-sgd", "qsgd", {"name": "ring", "nodes": nodes}, block_size)
    network, vector = experiment.network, np.arange(1.0, D + 1)
    network.server.collect(np.tile(vector, (nodes, 1)))
    parts = network.server.parts(vector)
    starts = served_from(nodes, blocks_of(block_size))
    np.testing.assert_array_equal(rows_from_parts(parts, starts), vector)
    np.testing.assert_array_equal(parts.sum(), vector.sum())  # filled up with zeros
    np.testing.assert_array_equal(network.server.spread(parts, D, False), vector)
    for ranks in range(1, nodes + 1):
        codec = network.codec(vector[None])
        shared = [ServedBlocks(codec, Placement(nodes, ranks, r), None).parts(vector) for r in range(ranks)]
        np.testing.assert_array_equal(np.concatenate(shared), parts)


@pytest.mark.parametrize("compressor", [c for c in COMPRESSORS if c != "sign"])
@pytest.mark.parametrize("nodes", [1, 3, 4])
def test_collect_and_spread_are_the_mean_of_what_was_decoded(nodes, compressor):
    """Also the echo, which error feedback subtracts: what the server understood, not what the node meant."""
    experiment = example("ef-sgd", compressor, {"name": "ring", "nodes": nodes}, 4)
    network, rows = experiment.network, np.random.default_rng(2).standard_normal((nodes, D))
    parts, echo = network.server.collect(rows, echo=True)
    codec, numbers = own_codec(experiment), np.arange(nodes)
    decoded = codec.decode(codec.encode(rows, numbers, 0), numbers, 0)
    np.testing.assert_array_equal(echo, decoded)
    whole = network.server.spread(parts, D, False)
    np.testing.assert_allclose(whole, decoded.mean(axis=0), rtol=0, atol=1e-14)
    back = network.server.spread(parts, D, True)
    server = np.array([nodes])
    np.testing.assert_array_equal(back, codec.decode(codec.encode(whole[None], server, 0), server, 0)[0])


# Bytes


def message_size(compressor: str, itemsize: int) -> int:
    """Bytes of one message of D = 11 values, from the formats in the docstrings of the compressors."""

    def up(bits: int) -> int:
        return -(-bits // 8)

    return {
        "identity": D * itemsize,
        "float16": 4 + 2 * D,
        "qsgd": 2 * (4 + up(4 * 4)) + 4 + up(4 * 3),  # 15 levels: 4 bits; blocks of 4, 4 and 3
        "zoom-in": 4 + up(4 * D),
        "natural": 4 + up(9 * D),
        "eden": 4 + up(2 * 8) + 4 + up(2 * 4),  # blocks of 8 and 3, the last filled up to 4
        "flattened-one-bit": 4 + up(8) + 4 + up(4),
        "top-k": 4 + 4 * 4 + up(4 * 4),  # ceil(0.3 * 11) = 4 values and indices of 4 bits
        "scaled-sign": 2 * (4 + up(4)) + 4 + up(3),
        "random-k": 4 + 4 * 4,
        "low-rank": 8 + 4 * (4 + 3),
        "sign": up(D),
    }[compressor]


@pytest.mark.parametrize(("dtype", "itemsize"), [("float64", 8), ("float32", 4)])
@pytest.mark.parametrize("topology", [RING, {"name": "star", "nodes": 5}, {"name": "ring", "nodes": 1}], ids=str)
@pairs(GOSSIPED)
def test_bytes_of_coded_gossip(name, compressor, topology, dtype, itemsize):
    """Links * bytes of a message * rounds; ring of 8: 16 links, star of 5: 8, one node: none."""
    experiment = example(name, compressor, topology, dtype=dtype)
    sent = bytes_sent(experiment)
    after(experiment, 3)
    links = {8: 16, 5: 8, 1: 0}[topology["nodes"]]
    rounds = 3 * experiment.algorithm.rounds()
    assert experiment.network.traffic.rounds == rounds
    assert experiment.network.traffic.bytes == rounds * links * message_size(compressor, itemsize)
    if sent:
        assert {messages.shape for _, _, messages in sent} == {(topology["nodes"], message_size(compressor, itemsize))}


@pytest.mark.parametrize("two_way", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize(("dtype", "itemsize"), [("float64", 8), ("float32", 4)])
@pytest.mark.parametrize("nodes", [1, 5])
@pairs(SERVED)
def test_bytes_of_the_server(name, compressor, nodes, dtype, itemsize, two_way):
    """n - 1 messages up and n - 1 down, the way down coded or not; the parts' blocks are counted once."""
    experiment = example(name, compressor, {"name": "ring", "nodes": nodes}, dtype=dtype, two_way=two_way)
    after(experiment, 3)
    up = message_size(compressor, itemsize)
    down = up if two_way else D * itemsize
    assert (experiment.network.traffic.rounds, experiment.network.traffic.bytes) == (3, 3 * (nodes - 1) * (up + down))


@pytest.mark.parametrize("name", GOSSIPED)
def test_identity_costs_what_no_compressor_costs(name):
    """The iterates and the bytes of the config with compressor "identity" are those of the config without the table."""
    settings = {"name": name, "step_size": 0.05, **SETTINGS.get(name, {})}
    runs = [
        assembled(RING, {"name": "logistic"}, settings, None, DATA, table, seed=4)
        for table in (None, {"name": "identity"})
    ]
    for first, second in zip(*(arrays(after(experiment, 5)) for experiment in runs), strict=True):
        np.testing.assert_array_equal(first, second)
    assert runs[0].network.traffic.bytes == runs[1].network.traffic.bytes == 5 * runs[0].algorithm.rounds() * 16 * D * 8


@pytest.mark.parametrize(("coded", "plain"), [("lead", "d2"), ("ef-sgd", "sgd"), ("qsgd-sgd", "sgd")])
def test_identity_gives_the_uncoded_method(coded, plain):
    """LEAD without compression is D2 (NIDS but for the order of the first step), error feedback without errors SGD.

    In iterates, to rounding, and in bytes.
    """
    runs = [
        assembled(
            RING, {"name": "logistic"}, {"name": name, "step_size": 0.05}, None, DATA, {"name": "identity"}, seed=4
        )
        for name in (coded, plain)
    ]
    first, second = (after(experiment, 30).x for experiment in runs)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-13)
    assert runs[0].network.traffic.bytes == runs[1].network.traffic.bytes > 0


# Random keys


@pytest.mark.parametrize("compressor", sorted(UNBIASED - {"identity"}))
def test_nodes_and_rounds_round_independently(compressor):
    """Equal vectors give different messages at different nodes and in different rounds, and the server has its own.

    Else errors would not average out over nodes. 300 values, so that none are equal by chance.
    """
    network = example("ef-sgd", compressor, {"name": "ring", "nodes": 4}, 0).network
    rows = np.tile(np.random.default_rng(3).standard_normal(300), (4, 1))
    codec, server = network.codec(rows), np.array([4])
    seen = []
    for round in (1, 2):
        seen += [message.tobytes() for message in codec.encode(rows, np.arange(4), round)]
        seen += [message.tobytes() for message in codec.encode(rows[:1], server, round)]
    assert len(set(seen)) == len(seen) == 10
