"""FTQC-DGD and FTQC-ADMM in synchronous execution, with averages that are points of a grid (code = "points").

Every bit of a trajectory is known from the oracle step floor(mean of floor(x_i/step)), "Coordination" in
docs/algorithms.md, and the recursions of its "Methods with coordinated averages" (tools/dense), whatever coordinates,
on any graph and any number of ranks.
"""

import math
from functools import cache
from itertools import islice, product

import numpy as np
import pytest
from tools.coordinated import (
    DTYPES,
    GRAPHS,
    L1,
    NONE,
    POINTS,
    ROUNDINGS,
    ROUNDS,
    ZOOMS,
    assert_known,
    coordinations,
    coordinators,
    example,
    graphs,
    known,
    oracle,
)
from tools.dense.objectives import Objective
from tools.experiments import after, assembled, states


def nodes_of(graph: str) -> int:
    topology = GRAPHS[graph]
    return (topology[0] if isinstance(topology, list) else topology)["nodes"]


@cache
def gradient_descent(nodes: int, rounding: str, zoom: float | str, dtype: str) -> list[np.ndarray]:
    """X and Delta with full gradients and everybody active."""
    return known(nodes, {"name": "ftqc-dgd", "rounding": rounding, "zoom": zoom}, dtype=dtype)


@pytest.mark.representatives(1)
@pytest.mark.parametrize("dtype", DTYPES)
@graphs
@coordinations
@coordinators
def test_gradient_descent_is_known_in_closed_form(coordinator, coordination, graph, dtype):
    """x+ = the oracle of x - a grad f_i(x), to the bit, for both roundings, without and with both kinds of zooming."""
    for rounding, zoom in product(ROUNDINGS, ZOOMS):
        algorithm = {"name": "ftqc-dgd", "rounding": rounding, "zoom": zoom}
        how = {"coordinator": coordinator, "coordination": coordination}
        expected = gradient_descent(nodes_of(graph), rounding, zoom, dtype)
        assert_known(expected, graph, {**algorithm, **how}, dtype=dtype)


def test_zooming():
    """Delta of the first rounds: what the keys say. The package's is the same (above)."""
    steps = {zoom: gradient_descent(5, "floor", zoom, "float64")[-1] for zoom in ZOOMS}
    assert np.all(steps[1.0] == 0.01)
    np.testing.assert_allclose(steps[0.97], 0.01 * 0.97 ** np.arange(1, ROUNDS + 1), rtol=1e-13)
    ratios = steps["auto"][1:] / steps["auto"][:-1]
    assert 0.5 <= ratios.min() < 0.95
    assert ratios.max() <= 2
    assert steps["auto"].max() <= 0.01
    least = {"name": "ftqc-dgd", "zoom": 0.5, "min_quantization_step": 0.002}
    expected = known(5, least)
    assert expected[-1].tolist() == [0.005, 0.0025] + [0.002] * (ROUNDS - 2)
    assert_known(expected, "star-5", least)


VARIANTS = [
    {"local_steps": local_steps, "batch_size": batch_size, "activation": activation}
    for local_steps, batch_size, activation in product((1, 3), (0, 4), ("all", "bernoulli"))
]
named = {"ids": lambda table: "-".join(map(str, table.values()))}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("zoom", ZOOMS)
@pytest.mark.parametrize("variant", VARIANTS, **named)
def test_descent_with_batches_and_absent_nodes(variant, zoom, dtype):
    """Several local steps, minibatches keyed by round and step, and nodes drawn by the seed; absent ones bring x."""
    algorithm = {"name": "ftqc-dgd", "zoom": zoom, **variant}
    assert_known(known(5, algorithm, dtype=dtype), "directed-ring-5", algorithm, dtype=dtype)


# A power of two: to divide by rho and to multiply by 1/rho gives the same bits.
ADMM = {"name": "ftqc-admm", "penalty": 0.5}


@pytest.mark.representatives(1)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("regularizer", [NONE, L1], ids=lambda table: table["name"])
@pytest.mark.parametrize("relaxation", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("variant", VARIANTS, **named)
def test_admm_is_known(variant, relaxation, regularizer, dtype):
    """y, x_i, z_i and Delta, to the bit."""
    for zoom in ZOOMS:
        algorithm = {**ADMM, "relaxation": relaxation, "zoom": zoom, **variant}
        expected = known(5, algorithm, regularizer, dtype=dtype)
        assert_known(expected, "directed-ring-5", algorithm, regularizer, dtype=dtype)


@pytest.mark.parametrize("regularizer", [{"name": "box", "lower": -0.1, "upper": 0.2}, {"name": "nonnegative"}])
def test_admm_with_constraints(regularizer):
    """Equal to the bit, too, as these proxes only compare."""
    expected = known(16, ADMM, regularizer)
    assert_known(expected, "torus-16", ADMM, regularizer)
    assert np.any(expected[0] == regularizer.get("lower", 0.0))


@cache
def rich_admm(nodes: int, rounding: str) -> tuple[dict, list[np.ndarray]]:
    algorithm = {**ADMM, "rounding": rounding, "local_steps": 3, "batch_size": 4, "activation": "bernoulli"}
    return algorithm, known(nodes, algorithm, L1)


@graphs
@coordinations
@coordinators
def test_admm_by_every_coordinator(coordinator, coordination, graph):
    """On every graph, with everything switched on."""
    for rounding in ROUNDINGS:
        algorithm, expected = rich_admm(nodes_of(graph), rounding)
        assert_known(expected, graph, {**algorithm, "coordinator": coordinator, "coordination": coordination}, L1)


@pytest.mark.parametrize("name", ["ftqc-dgd", "ftqc-admm"])
def test_batch_size_all_is_that_of_0(name):
    algorithm = {"name": name, "step_size": "auto"}
    one, other = (after(example(GRAPHS["star-5"], {**algorithm, "batch_size": b}), 10).x for b in ("all", 0))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("probability", [0.3, 0.9])
def test_as_many_nodes_train_as_said(probability):
    """Each of 16 nodes in 400 rounds: to 4 standard deviations, all in all and node by node.

    What is counted is what was done: joined rounds, local steps, samples of batches of at most 4; nobody is late.
    """
    algorithm = {"name": "ftqc-dgd", "activation": "bernoulli", "activation_probability": probability}
    algorithm |= {"local_steps": 2, "batch_size": 4, "coordinator": "allreduce"}
    experiment = example({"name": "ring", "nodes": 16}, algorithm)
    after(experiment, 400)
    counters, deviation = experiment.problem.training.counters, math.sqrt(probability * (1 - probability) / 400)
    shares = counters.joined / 400
    assert abs(shares.mean() - probability) < 4 * deviation / math.sqrt(16)
    assert np.abs(shares - probability).max() < 4 * deviation
    assert np.ptp(shares) > deviation  # they are drawn for each node
    np.testing.assert_array_equal(counters.local_steps, 2 * counters.joined)
    sizes = np.minimum(experiment.problem.sizes, 4)
    np.testing.assert_array_equal(experiment.problem.evaluations, counters.local_steps * sizes)
    assert not counters.staleness.any()
    assert not counters.stalest.any()


@pytest.mark.parametrize("name", ["ftqc-dgd", "ftqc-admm"])
def test_the_seed_draws_who_trains(name):
    """Another seed, other nodes: the problem, which has no randomness, is the same."""
    counts = []
    for seed in (1, 2, 2):
        algorithm = {"name": name, "activation": "bernoulli", "step_size": "auto"}
        data = {"name": "digits"}
        experiment = assembled(GRAPHS["star-5"], {"name": "mean"}, algorithm, None, data, seed=seed)
        after(experiment, 20)
        counts.append(experiment.problem.training.counters.joined.tolist())
    assert counts[0] != counts[1] == counts[2]


def test_nobody_active_changes_nothing():
    """Nor does Delta: with p = 0.1 for one node rounds pass until it trains. Under ADMM the z_i of its last training
    are averaged on the next, finer grid once more."""
    for name, changes in (("ftqc-dgd", 1), ("ftqc-admm", 2)):
        algorithm = {"name": name, "activation": "bernoulli", "activation_probability": 0.1, "step_size": "auto"}
        algorithm |= {"quantization_step": 2.0**-20, "zoom": 0.5, **POINTS}
        experiment = assembled(GRAPHS["single"], {"name": "mean"}, algorithm, None, {"name": "digits"}, seed=1)
        run = list(islice(states(experiment), 30))
        joined = int(experiment.problem.training.counters.joined.sum())
        assert 0 < joined < 10
        assert len({state.grid.step for state in run}) == 1 + joined
        assert run[-1].grid.step == 2.0 ** (-20 - joined)
        assert 1 + joined <= len({state.x.tobytes() for state in run}) <= 1 + changes * joined


@pytest.mark.parametrize("local_steps", [1, 5])
def test_automatic_values(local_steps):
    """rho = 3 N_e/L and a = 1/(L + 1/rho) for ADMM, a = 1/L for descent; L of logistic loss by NumPy."""
    for name in ("ftqc-dgd", "ftqc-admm"):
        experiment = example(GRAPHS["star-5"], {"name": name, "step_size": "auto", "local_steps": local_steps})
        L = max(np.linalg.norm(A, 2) ** 2 / len(A) for A in Objective(experiment).A) / 4 + 0.05
        rho = 3 * local_steps / L
        assert getattr(experiment.algorithm, "penalty", rho) == pytest.approx(rho, rel=1e-6)
        expected = 1 / L if name == "ftqc-dgd" else 1 / (L + 1 / rho)
        assert experiment.algorithm.step_size == pytest.approx(expected, rel=1e-6)


def test_automatic_penalty_with_a_given_step():
    experiment = example(GRAPHS["star-5"], {"name": "ftqc-admm", "step_size": 0.1, "penalty": "auto"})
    L = max(np.linalg.norm(A, 2) ** 2 / len(A) for A in Objective(experiment).A) / 4 + 0.05
    assert experiment.algorithm.penalty == pytest.approx(3 / L, rel=1e-6)
    assert experiment.algorithm.step_size == 0.1


@coordinations
@coordinators
def test_many_nodes_of_one_sample_and_one_coordinate(coordination, coordinator):
    """A number at each of 128 nodes: after one step with a = 1 everybody has the mean on the grid, and stays."""
    topology, data = {"name": "hypercube", "nodes": 128}, {"name": "synthetic", "samples": 128, "features": 1}
    algorithm = {"name": "ftqc-dgd", "step_size": 1.0, "zoom": 1.0, "quantization_step": 2.0**-10}
    algorithm |= {"coordinator": coordinator, "coordination": coordination, **POINTS}
    experiment = assembled(topology, {"name": "mean"}, algorithm, None, data)
    assert experiment.problem.d == 1
    run = list(islice(states(experiment), 1, 4))
    expected = oracle(experiment.shares.features, 2.0**-10)
    assert abs(expected) > 2**-10
    for state in run:
        np.testing.assert_array_equal(state.x, np.tile(expected, (128, 1)))
