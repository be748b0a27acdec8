"""Coded messages to a server and back: error feedback, votes, and the parts of a server on several ranks."""

from itertools import islice

import numpy as np
import pytest
from tools.coded import COMPRESSORS, DATA, ITERATIONS, RING, D, bytes_sent, example, own_codec
from tools.dense.messages import damping
from tools.dense.objectives import Objective
from tools.experiments import after, assembled, states
from tools.methods import GENERAL

from mpiqopt.network.served_blocks import ServedBlocks
from mpiqopt.placement.placement import Placement

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
    experiment = example(name, GENERAL[name].default_compressor or "identity", batch_size=5)
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
