"""Coded innovations: the books of averages balance in every round, methods end at the optimum, messages stay short."""

from fractions import Fraction
from functools import cache
from itertools import islice, product
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.coordinated import (
    COORDINATORS,
    DTYPES,
    GRAPHS,
    L1,
    NONE,
    RING,
    assert_known,
    coordinations,
    coordinators,
    example,
    known,
)
from tools.dense.objectives import Objective
from tools.experiments import after, assembled, states

from mpiqopt import registry
from mpiqopt.cli import main
from mpiqopt.coordination.innovations import Innovations

INNOVATIONS = {"code": "innovations"}
HALF = {"activation": "bernoulli", "activation_probability": 0.5}
METHODS = ["ftqc-dgd", "ftqc-admm"]
LINKED = {
    "ring": {"name": "ring", "nodes": 6},
    "directed-ring": {"name": "directed-ring", "nodes": 5},
    "random-digraph": {"name": "random-digraph", "nodes": 7, "seed": 2},
}
methods = pytest.mark.parametrize("name", METHODS)


def innovative(name: str, coordinator: str = "tree", **settings) -> dict:
    """The table of a method."""
    return {"name": name, **INNOVATIONS, "coordinator": coordinator, **settings}


def assert_books(known: Innovations, coordinator: str) -> None:
    """The mean of all hat_i is C: exactly, as fractions. Push-sum divides by Z, and its C by n: to 1e-15 of the largest."""
    for column, common in zip(known.hat.T.tolist(), known.mean[0].tolist(), strict=True):
        apart = sum(map(Fraction, column)) - len(column) * Fraction(common)
        assert abs(apart) <= (1e-15 * max(map(abs, column)) * len(column) if coordinator == "integer-push-sum" else 0)


@pytest.mark.parametrize("activation", [{}, HALF], ids=["all", "half"])
@pytest.mark.parametrize("graph", LINKED)
@methods
@coordinations
@coordinators
def test_the_books_balance_after_every_round(coordinator, coordination, name, graph, activation):
    """mean(hat) = C, whoever was absent, while Delta falls by many powers of two."""
    algorithm = innovative(name, coordinator, coordination=coordination, step_size="auto", **activation)
    rounds = list(islice(states(example(LINKED[graph], algorithm)), 30))
    for state in rounds:
        assert_books(state.grid, coordinator)
        assert np.all(state.grid.mean == state.grid.mean[0])
    assert rounds[-1].grid.delta <= rounds[0].grid.delta / 8
    assert np.ptp(rounds[-1].grid.hat, axis=0).min() > 10 * rounds[-1].grid.delta  # nodes differ


@methods
@coordinators
def test_the_books_balance_in_asynchronous_execution(coordinator, name):
    """After each of 40 rounds, which take those that have finished."""
    algorithm = innovative(name, coordinator, execution="asynchronous", step_size="auto")
    experiment = example(RING, algorithm)
    for state in islice(states(experiment), 40):
        assert_books(state.grid, coordinator)
        assert np.all(state.x == state.x[0])
    experiment.problem.training.pause()
    experiment.network.drain()
    experiment.close()
    assert state.t == 39


# Every bit, from the dense reference: the tree's root is node 0, and allreduce leaves the rest there, too

VARIANTS = [
    {"local_steps": local_steps, "batch_size": batch_size, "activation": activation}
    for local_steps, batch_size, activation in product((1, 3), (0, 4), ("all", "bernoulli"))
]
ADMM = {"penalty": 0.5, "relaxation": 0.7}  # to multiply by 1/penalty gives the bits of a division


@cache
def expected(name: str, nodes: int, variant: int, zoom: float | str, dtype: str) -> list[np.ndarray]:
    regularizer = L1 if name == "ftqc-admm" else NONE
    return known(nodes, bitwise(name, "tree", variant, zoom), regularizer, dtype=dtype)


def bitwise(name: str, coordinator: str, variant: int, zoom: float | str) -> dict:
    settings = ADMM if name == "ftqc-admm" else {}
    return innovative(name, coordinator, zoom=zoom, **settings, **VARIANTS[variant])


@pytest.mark.parametrize("zoom", [1.0, 0.9, "auto"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("coordinator", ["tree", "allreduce"])
@pytest.mark.parametrize("variant", range(len(VARIANTS)), ids=lambda i: "-".join(map(str, VARIANTS[i].values())))
@methods
def test_every_bit_is_known(name, variant, coordinator, dtype, zoom):
    """Variables and Delta, with local steps, minibatches, absent nodes, in both precisions, with every way to zoom."""
    regularizer = L1 if name == "ftqc-admm" else NONE
    algorithm = bitwise(name, coordinator, variant, zoom)
    assert_known(expected(name, 5, variant, zoom, dtype), "directed-ring-5", algorithm, regularizer, dtype=dtype)


@coordinations
@pytest.mark.parametrize("graph", ["single", "path-2", "star-5", "ring+star-5", "torus-16", "random-digraph-16"])
@methods
def test_the_tree_gives_the_same_bits_on_every_graph(name, graph, coordination):
    topology = GRAPHS[graph]
    nodes = (topology[0] if isinstance(topology, list) else topology)["nodes"]
    regularizer = L1 if name == "ftqc-admm" else NONE
    algorithm = {**bitwise(name, "tree", -1, "auto"), "coordination": coordination}
    assert_known(expected(name, nodes, len(VARIANTS) - 1, "auto", "float64"), graph, algorithm, regularizer)


# Where they end

REGRESSION = {"name": "synthetic", "samples": 203, "features": 6}
CLASSES = {**REGRESSION, "task": "classification", "split": "dirichlet", "alpha": 1.0}
LOSSES = {"least-squares": REGRESSION, "logistic": CLASSES}
losses = pytest.mark.parametrize("loss", LOSSES)


def strongly_convex(algorithm: dict, loss: str, topology=RING, **run):
    """l2 = 0.3 and L at most 2.5, and a contraction by 0.88 at least in each round with all nodes."""
    return assembled(topology, {"name": loss, "l2": 0.3}, algorithm, NONE, LOSSES[loss], seed=3, **run)


def distance(experiment, rounds: int) -> float:
    """Of the common point from the minimiser, which is certified to 1e-12, after so many rounds."""
    state = after(experiment, rounds)
    assert np.all(state.x == state.x[0])
    return float(np.linalg.norm(state.x[0] - Objective(experiment).minimiser()))


@pytest.mark.parametrize(("probability", "rounds"), [(None, 400), (0.5, 600), (0.2, 1500)])
@losses
@methods
@coordinators
def test_they_end_at_the_optimum(coordinator, name, loss, probability, rounds):
    """To 1e-12, whether all nodes train in a round or a fifth of them. Delta_min = 1e-13 is left in integers of 6."""
    absent = {} if probability is None else {**HALF, "activation_probability": probability}
    assert distance(strongly_convex(innovative(name, coordinator, **absent), loss), rounds) < 2e-12


@losses
def test_points_stop_at_an_error_when_nodes_are_absent(loss):
    """Gradient descent by the paper's rule, beside which the test above is: more than 1e-3 away, on average."""
    algorithm = {"name": "ftqc-dgd", "code": "points", "coordinator": "tree", **HALF}
    experiment = strongly_convex(algorithm, loss)
    optimum = Objective(experiment).minimiser()
    late = islice(states(experiment), 300, 600)
    assert np.mean([np.linalg.norm(state.x[0] - optimum) for state in late]) > 5e-3


@methods
def test_a_fixed_delta_is_no_error(name):
    """What a call leaves over is part of the next: integers of Delta = 2^-7 average out... up to about Delta."""
    algorithm = innovative(name, zoom=1.0, quantization_step=2.0**-7)
    experiment = strongly_convex(algorithm, "logistic")
    assert distance(experiment, 300) < 2.0**-7 * 6 / 0.3


@pytest.mark.parametrize("step_size", [1e-3, 1e-5])
def test_steps_below_delta_are_taken_all_the_same(step_size):
    """All ways are below Delta_0/2 and round to 0: nothing moves until Delta has become as fine as they are."""
    algorithm = innovative("ftqc-dgd", step_size=step_size)
    experiment = strongly_convex(algorithm, "logistic")
    f, x = Objective(experiment), experiment.start
    assert np.abs(step_size * f.grad(x)).max() < 2.0**-8
    exact = x[0]
    for _ in range(100):
        exact = exact - step_size * f.grad(np.tile(exact, (8, 1))).mean(axis=0)
    moved = np.linalg.norm(exact - x[0])
    late = 20 * step_size * np.linalg.norm(f.grad(x).mean(axis=0))  # log2(2^-7/1e-5) rounds until Delta is that fine
    assert np.linalg.norm(after(experiment, 100).x[0] - exact) < late < 0.5 * moved


@methods
@pytest.mark.parametrize("coordinator", ["ftqc", "tree"])
def test_float32_ends_at_its_own_precision(coordinator, name):
    """x stops moving, with |x| < 1 to some 2^-24; Delta stays near what x can tell, and integers small."""
    experiment = strongly_convex(innovative(name, coordinator), "logistic", dtype="float32")
    calls = recorded_integers(experiment)
    state = after(experiment, 300)
    assert state.x.dtype == np.float32
    assert np.linalg.norm(state.x[0] - Objective(experiment).minimiser()) < 1e-6
    assert state.grid.delta > 1e-10
    assert np.abs(calls[-100:]).mean() < 20


# What travels


def recorded_integers(experiment) -> list[np.ndarray]:
    """The integers of the nodes of each call from now on, int64 (n, d)."""
    algorithm, calls = experiment.algorithm, []
    coordinator = algorithm._coordinator(experiment.network)
    settle = coordinator.coordination.settle

    def listening(values, *others):
        calls.append(values.copy())
        return settle(values, *others)

    coordinator.coordination.settle = listening
    return calls


def problem_a(**algorithm):
    """Logistic regression on 1000 synthetic samples, at 10 nodes of a random graph."""
    data = {"name": "synthetic", "samples": 1000, "features": 10, "task": "classification"}
    algorithm = {"name": "ftqc-dgd", **algorithm}
    topology = {"name": "erdos-renyi", "nodes": 10}
    return assembled(topology, {"name": "logistic", "l2": 0.05}, algorithm, None, data)


def problem_d(**algorithm):
    """Softmax regression on digits, at 10 nodes that have a digit each: d = 640."""
    data = {"name": "digits", "split": "by-label", "scale": "unit-rows"}
    algorithm = {"name": "ftqc-dgd", **algorithm}
    topology = {"name": "erdos-renyi", "nodes": 10}
    return assembled(topology, {"name": "softmax", "l2": 0.05}, algorithm, None, data)
