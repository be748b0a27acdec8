"""Methods with coded messages: every iterate against tools/dense, and who takes which.

Eleven coordinates, so that blocks of four or eight leave a shorter last one.
"""

from itertools import islice

import numpy as np
import pytest
from tools.coded import (
    CODED,
    COMPRESSORS,
    CYCLE,
    GOSSIPED,
    ITERATIONS,
    RING,
    SERVED,
    VARIANTS,
    D,
    example,
    pairs,
    takes,
)
from tools.dense.networks import metropolis
from tools.dense.trajectories import assert_follows
from tools.experiments import assembled, states
from tools.methods import GENERAL

from mpiqopt.errors import UsageError

# Against the reference


@pytest.mark.representatives(1)
@pairs(CODED)
def test_iterates_are_those_of_the_definition(name, compressor):
    """With automatic gossip steps, memory rates and gossip rounds."""
    assert_follows(example(name, compressor), [metropolis(CYCLE)], ITERATIONS)


@pytest.mark.representatives(1)
@pairs(VARIANTS[:1])
@pytest.mark.parametrize("accelerated", [False, True], ids=["plain", "chebyshev"])
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_coded_gossip_rounds(name, compressor, rounds, accelerated):
    """Chebyshev also where the automatic choice shuns it: errors are multiplied, but by the same in both programs."""
    experiment = example(name, compressor, gossip_rounds=rounds, chebyshev=accelerated, gossip_step=0.4)
    assert_follows(experiment, [metropolis(CYCLE)], 8)


@pytest.mark.representatives(1)
@pairs(SERVED)
def test_both_ways(name, compressor):
    """Whichever of two_way is not the default, with minibatches and a step that shrinks."""
    settings = {"two_way": name != "sign-sgd", "batch_size": 5, "schedule": "inverse", "decay": 0.2}
    experiment = example(name, compressor, **settings)
    assert_follows(experiment, [metropolis(CYCLE)], ITERATIONS)


STOCHASTIC = [name for name, cls in GENERAL.items() if "schedule" in cls.__dataclass_fields__]


@pytest.mark.parametrize("schedule", ["inverse", "inverse-sqrt"])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_minibatches_and_schedules(name, schedule):
    """a/(1 + t/5) and a/sqrt(1 + t/5); LEAD divides by the step of the same iteration."""
    experiment = example(
        name, GENERAL[name].default_compressor or "identity", batch_size=5, schedule=schedule, decay=0.2
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


@pytest.mark.representatives(1)
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


@pytest.mark.representatives(1)
@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("name", GENERAL)
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
