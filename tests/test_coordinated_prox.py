"""Proximal and accelerated gradient methods on coordinated averages: their bits, where they end, and how soon."""

from dataclasses import asdict
from itertools import islice, product

import numpy as np
import pytest
from tools.coordinated import (
    DIRECTED_RING,
    GRAPHS,
    L1,
    NONE,
    RING,
    ROUNDS,
    Same,
    coordinations,
    coordinators,
    example,
)
from tools.dense.innovations import coordinated_prox_gradient_variables
from tools.dense.objectives import Objective
from tools.experiments import after, assembled, states
from tools.refusals import refused

from mpiqopt.cli import main

NAME = "coordinated-prox-gradient"
TREE = {"coordinator": "tree"}
ACCELERATED = {"accelerated": True}
FISTA = {**ACCELERATED, "strong_convexity": 0.0}
SR_E = {"estimator": "sr-e", "batch_size": 3, "epoch_length": 4}
SR_O = {**SR_E, "estimator": "sr-o", "large_batch_size": 7}
VARIANTS = {
    "plain": {},
    "zoom": {"zoom": 0.8, "min_quantization_step": 1e-4},
    "absent": {"activation": "bernoulli"},
    "accelerated": ACCELERATED,
    "mu": {**ACCELERATED, "strong_convexity": 0.2},
    "fista": FISTA,
    "sa": {"estimator": "sa", "batch_size": 4},
    "sa-absent": {"estimator": "sa", "batch_size": 4, "activation": "bernoulli"},
    "sr-e": SR_E,
    "sr-o": SR_O,
}
BOX = {"name": "box", "lower": -0.1, "upper": 0.2}


def method(**settings) -> dict:
    return {"name": NAME, **settings}


# To the bit


def reference(experiment) -> list[np.ndarray]:
    """X and Delta of the first rounds."""
    settings = asdict(experiment.algorithm)
    trajectory = coordinated_prox_gradient_variables(
        experiment.start, Same(experiment), settings.pop("step_size"), **settings
    )
    return [np.array(column) for column in zip(*islice(trajectory, ROUNDS), strict=True)]


@pytest.mark.representatives(1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("regularizer", [NONE, L1, BOX], ids=lambda table: table["name"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_rounds_are_known(variant, regularizer, dtype):
    """x and Delta have the bits of the reference, by tree and all-reduce, in lock-step and by mailboxes.

    Of these the remainder stays at node 0. On a graph of one node, a digraph and a torus of 16.
    """
    for graph in ("single", "directed-ring-5", "torus-16"):
        for coordinator, coordination in (("tree", "lock-step"), ("tree", "mailboxes"), ("allreduce", "lock-step")):
            algorithm = method(coordinator=coordinator, coordination=coordination, **VARIANTS[variant])
            experiment = example(GRAPHS[graph], algorithm, regularizer, dtype=dtype)
            x, delta = reference(experiment)
            run = list(islice(states(experiment), 1, ROUNDS + 1))
            assert len(np.unique(x[:, 0], axis=0)) > ROUNDS / 4
            np.testing.assert_array_equal([state.known.delta for state in run], delta)
            np.testing.assert_array_equal([state.x for state in run], x)
            assert run[-1].x.dtype == dtype


@coordinations
@coordinators
def test_all_nodes_have_the_same_bits_and_nothing_is_lost(coordinator, coordination):
    """After every round: equal x, and mean(hat) = C to the bit, of random routes, too."""
    for algorithm, graph in product((ACCELERATED, FISTA, SR_E), ("directed-ring-5", "torus-16")):
        settings = method(coordinator=coordinator, coordination=coordination, **algorithm)
        experiment = example(GRAPHS[graph], settings, L1)
        for state in islice(states(experiment), 1, 40):
            assert np.all(state.x == state.x[0])
            known = state.known
            if coordinator == "integer-push-sum":  # its remainders are rounded
                np.testing.assert_allclose(known.hat.mean(axis=0), known.mean[0], rtol=0, atol=1e-15)
            else:
                # integers below 2^53
                whole, n = (known.hat / 2.0**-60).sum(axis=0), len(known.hat)
                np.testing.assert_array_equal(whole, n * known.mean[0] / 2.0**-60)


# To the optimum

REGRESSION = {"name": "synthetic", "samples": 203, "features": 6}
CLASSES = {**REGRESSION, "task": "classification", "split": "dirichlet", "alpha": 1.0}
LOSSES = {"least-squares": REGRESSION, "logistic": CLASSES}
REGULARIZERS = [
    NONE,
    {"name": "l1", "weight": 0.05},
    BOX,
    {"name": "group-l1", "weight": 0.1, "group_size": 2},
    {"name": "elastic-net", "weight": 0.1, "l1_ratio": 0.5},
]
losses = pytest.mark.parametrize("loss", LOSSES)


def strongly_convex(algorithm: dict, loss: str, regularizer=NONE, topology=RING, l2: float = 0.3, **run):
    """L at most 2.5, the automatic step unless one is given."""
    return assembled(topology, {"name": loss, "l2": l2}, method(**algorithm), regularizer, LOSSES[loss], seed=3, **run)


def distance(state, point: np.ndarray) -> float:
    return float(np.abs(state.x - point).max())


@pytest.mark.parametrize("variant", [{}, ACCELERATED, FISTA], ids=["plain", "accelerated", "fista"])
@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda table: table["name"])
@losses
def test_every_regulariser_is_exact(loss, regularizer, variant):
    """To 1e-12 of a minimiser that is certified to half of that, on a digraph.

    C is off by less than Delta, in the end 1.1e-13, and x by that over a mu = 0.3/2.5: 1e-12 in the worst case.
    1 - a mu = 0.88, and 0.88^250 < 1e-13.
    """
    experiment = strongly_convex({**TREE, **variant}, loss, regularizer, {"name": "directed-ring", "nodes": 8})
    optimum = Objective(experiment).minimiser(within=5e-13)
    assert distance(after(experiment, 0), optimum) > 0.05
    assert distance(after(experiment, 250), optimum) < 1e-12


@pytest.mark.representatives(1)
@pytest.mark.parametrize("graph", [RING, DIRECTED_RING], ids=lambda table: table["name"])
@coordinations
@coordinators
def test_every_coordinator_is_exact(coordinator, coordination, graph):
    """With l1, plain and accelerated; bounds as above."""
    for variant in ({}, ACCELERATED):
        algorithm = {"coordinator": coordinator, "coordination": coordination, **variant}
        experiment = strongly_convex(algorithm, "logistic", REGULARIZERS[1], graph)
        optimum = Objective(experiment).minimiser(within=5e-13)
        assert distance(after(experiment, 250), optimum) < 1e-12


@losses
def test_absent_nodes_change_nothing_of_the_limit(loss):
    """Half of the nodes in each round, the others with the gradient of their last one."""
    algorithm = {**TREE, "activation": "bernoulli"}
    experiment = strongly_convex(algorithm, loss, REGULARIZERS[1])
    optimum = Objective(experiment).minimiser(within=5e-13)
    assert distance(after(experiment, 500), optimum) < 1e-12


@pytest.mark.parametrize("coordinator", ["ftqc", "tree"])
@losses
def test_late_nodes_change_nothing_of_the_limit(loss, coordinator):
    """Nobody waits for a training: each brings a gradient of where it began, and all have equal bits."""
    algorithm = {"coordinator": coordinator, "execution": "asynchronous"}
    experiment = strongly_convex(algorithm, loss, REGULARIZERS[1])
    optimum = Objective(experiment).minimiser()
    state = after(experiment, 1500)
    experiment.problem.training.pause()
    experiment.network.drain()
    experiment.close()
    assert np.all(state.x == state.x[0])
    assert distance(state, optimum) < 1e-10


@pytest.mark.parametrize("step", [1.0, 64.0])
@pytest.mark.parametrize("name", [NAME, "ftqc-dgd"])
def test_a_coarse_first_grid_gets_finer(name, step):
    """All that is new is rounded to 0, and nothing moves; a Delta that waited for a change would stay for ever."""
    algorithm = {"name": name, "quantization_step": step, **TREE}
    experiment = assembled(RING, {"name": "logistic", "l2": 0.3}, algorithm, NONE, CLASSES, seed=3)
    optimum = Objective(experiment).minimiser(within=5e-13)
    assert distance(after(experiment, 1), optimum) == distance(after(experiment, 0), optimum) > 0.1
    assert distance(after(experiment, 250), optimum) < 1e-12


def rounds_to(experiment, reached, most: int = 4000) -> int:
    """Rounds until ``reached`` of a state is True."""
    return next(t for t, state in enumerate(islice(states(experiment), most)) if reached(state))


@pytest.mark.parametrize("regularizer", [NONE, {"name": "l1", "weight": 0.01}], ids=lambda table: table["name"])
@pytest.mark.parametrize("variant", [ACCELERATED, FISTA], ids=["known", "unknown"])
def test_acceleration_saves_rounds(variant, regularizer):
    """On correlated features with L/mu = 95, to 1e-7: at most a fifth of the rounds, and of the bytes.

    Theory says sqrt(95) = 9.7 times fewer, up to factors near 1 on both sides; half of that is asked.
    """
    spent = {}
    for name, how in (("plain", {}), ("accelerated", variant)):
        tables = {"name": "least-squares", "l2": 0.05}, method(**TREE, **how), regularizer
        experiment = assembled(RING, *tables, {"name": "diabetes", "scale": "standard"})
        optimum = Objective(experiment).minimiser()
        rounds = rounds_to(experiment, lambda state, at=optimum: distance(state, at) < 1e-7)
        spent[name] = np.array([rounds, experiment.network.counters()["bytes"]])
    assert np.all(5 * spent["accelerated"] < spent["plain"]), spent


@losses
def test_acceleration_does_no_harm_where_curvature_is_larger_than_known(loss):
    """l2 = 0.001 is far below mu: momentum for it alone took twice the rounds of none; restarts keep it below."""
    rounds = {}
    for name, how in (("plain", {}), ("accelerated", ACCELERATED)):
        experiment = strongly_convex({**TREE, **how}, loss, l2=0.001)
        optimum = Objective(experiment).minimiser(within=1e-9)
        rounds[name] = rounds_to(experiment, lambda state, at=optimum: distance(state, at) < 1e-8)
    assert rounds["accelerated"] < rounds["plain"]


def test_acceleration_without_strong_convexity():
    """l1, more features than samples and no l2: FISTA with restarts needs at most half the rounds to a gap of 1e-8.

    ``auto`` then knows no mu. In every round before its first restart the gap is below 2 L |x_0 - x*|^2/(k + 1)^2
    (Beck and Teboulle, Theorem 4.4), the errors of Delta aside.
    """
    data = {"name": "synthetic", "samples": 60, "features": 90}

    def made(**how):
        algorithm = method(**TREE, **how)
        return assembled(RING, {"name": "least-squares"}, algorithm, {"name": "l1", "weight": 0.1}, data, seed=3)

    best = after(made(**ACCELERATED), 1500)
    experiment = made(**ACCELERATED)
    assert experiment.algorithm.strong_convexity == 0
    optimum, L = experiment.evaluate(best.x).objective, 1 / experiment.algorithm.step_size
    square = float(np.sum(best.x[0] ** 2))
    restarted = False
    for k, state in enumerate(islice(states(experiment), 1, 400), 1):
        restarted = restarted or state.momentum.weight == 1
        if not restarted:
            assert experiment.evaluate(state.x).objective - optimum < 2 * L * square / (k + 1) ** 2
    assert restarted
    plain, accelerated = (
        rounds_to(run, lambda state, run=run: run.evaluate(state.x).objective - optimum < 1e-8)
        for run in (made(), made(**ACCELERATED))
    )
    assert accelerated < plain / 2


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        (ACCELERATED, ["strong_convexity", "0.2", "(auto)"]),
        ({**ACCELERATED, "strong_convexity": 0.1}, ["strong_convexity", "0.1", "#"]),
        ({}, None),
    ],
)
def test_check_says_which_strong_convexity_is_used(algorithm, said, config, capsys):
    path = config(algorithm={"name": NAME, **algorithm}, problem={"name": "logistic", "l2": 0.2})
    assert main(["check", path]) == 0
    words = capsys.readouterr().out.split("# what follows from it")[1].split()
    at = words.index("strong_convexity") if "strong_convexity" in words else None
    assert said == (None if at is None else words[at : at + 3])


def test_strong_convexity_is_what_the_problem_says():
    """l2 - nonconvex/2 where that is positive; a number is kept; not accelerated it stays as it is."""
    for problem, mu in (({"l2": 0.3}, 0.3), ({"l2": 0.3, "nonconvex": 0.2}, 0.2), ({"nonconvex": 0.2}, 0.0)):
        for algorithm, expected in ((ACCELERATED, mu), ({**ACCELERATED, "strong_convexity": 0.7}, 0.7), ({}, "auto")):
            tables = {"name": "logistic", **problem}, method(**TREE, **algorithm), NONE, CLASSES
            assert assembled(RING, *tables).algorithm.strong_convexity == pytest.approx(expected)


# Estimators


def test_recursion_restarts_from_full_gradients_and_goes_on_by_differences():
    """SR-E: v_t = grad f_i(x_t) in rounds 0, q, 2q, ..., else v_{t-1} + a batch's difference from x_{t-1} to x_t."""
    experiment = strongly_convex({**TREE, **SR_E}, "logistic", REGULARIZERS[1])
    objective, at, v = Objective(experiment), experiment.start, None
    previous = at
    for t, state in enumerate(islice(states(experiment), 1, 14)):
        full = objective.grad(at)
        if t % 4:
            expected = v + objective.grad(at, t, 3) - objective.grad(previous, t, 3)
            assert np.abs(state.recursion.v - full).max() > 1e-6
        else:
            expected = full
        np.testing.assert_allclose(state.recursion.v, expected, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(state.recursion.previous, at)
        previous, at, v = at, state.x, state.recursion.v


@pytest.mark.parametrize("estimator", ["sa", "sr-e", "sr-o"])
def test_estimates_of_all_samples_are_gradients(estimator):
    """Batches larger than every share: to the optimum as with the gradient, and as far away in each round.

    Not to the bit: a g is computed as it is, and with the gradient as x - (x - a g).
    """
    sizes = {"batch_size": 500, "large_batch_size": "all", "epoch_length": 5}
    unused = {"sa": ("large_batch_size", "epoch_length"), "sr-e": ("large_batch_size",), "sr-o": ()}[estimator]
    algorithm = {"estimator": estimator, **{key: size for key, size in sizes.items() if key not in unused}}
    one, other = (strongly_convex({**TREE, **how}, "logistic", REGULARIZERS[1]) for how in ({}, algorithm))
    assert one.algorithm.step_size == other.algorithm.step_size
    optimum = Objective(one).minimiser(within=5e-13)
    for own, theirs in zip(islice(states(one), 20), islice(states(other), 20), strict=True):
        # differences of gradients' last bits may decide how something is rounded
        np.testing.assert_allclose(own.x, theirs.x, rtol=0, atol=4 * own.known.delta)
    assert distance(after(other, 250), optimum) < 1e-12


def test_recursion_on_all_samples_reaches_the_optimum():
    """SR-E as the theory sets it: no noise is left at the optimum."""
    experiment = strongly_convex({**TREE, "estimator": "sr-e"}, "logistic", REGULARIZERS[1])
    optimum = Objective(experiment).minimiser()
    assert distance(after(experiment, 1500), optimum) < 1e-10


@pytest.mark.parametrize("estimator", ["sa", "sr-o", "sr-e"])
def test_automatic_batches_are_those_of_proxgt(estimator):
    """b, B and q; the step is 1/L of what exact averages leave of the noise, p = |P_K - J| = 0 in docs/automatic.md."""
    tables, run = (NONE, CLASSES), {"seed": 3, "tolerance": 1e-4}
    problem = {"name": "logistic", "l2": 0.1}
    experiment = assembled(RING, problem, method(**TREE, estimator=estimator), *tables, **run)
    own, facts = experiment.algorithm, experiment.constants
    theirs = assembled(RING, problem, {"name": f"proxgt-{estimator}"}, *tables, **run).algorithm
    b, B, q = (getattr(own, key) for key in ("batch_size", "large_batch_size", "epoch_length"))
    assert (b, B, q) == tuple(
        getattr(theirs, key, "auto") for key in ("batch_size", "large_batch_size", "epoch_length")
    )
    L, exact, n = facts.lipschitz, int(experiment.problem.sizes.max()), 8
    fresh = {"sa": b, "sr-o": B}.get(estimator, "all")
    smooth = L if fresh == "all" or fresh >= exact else L + (facts.largest - L) / (n * fresh)
    if estimator != "sa" and b < exact:
        smooth = max(smooth, (L + np.sqrt(L**2 + 4 * facts.mean_squared**2 * q / (n * b))) / 2)
    assert own.step_size == pytest.approx(1 / smooth, rel=1e-9)


def test_samples_of_an_epoch():
    """m + 3 * 2 b with q = 4, as of proxgt-sr-e; B + 3 * 2 b; 4 b."""
    for settings, cost in (
        (SR_E, lambda m: m + 18),
        (SR_O, lambda m: np.minimum(m, 7) + 3 * 2 * np.minimum(m, 3)),
        ({"estimator": "sa", "batch_size": 3}, lambda m: 4 * np.minimum(m, 3)),
    ):
        experiment = assembled(
            RING,
            {"name": "logistic", "l2": 0.1},
            method(**TREE, **settings, step_size=0.1),
            NONE,
            {**CLASSES, "split": "iid"},
        )
        after(experiment, 12)
        np.testing.assert_array_equal(experiment.problem.evaluations, 3 * cost(experiment.problem.sizes))


# What is refused


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {**ACCELERATED, "execution": "asynchronous"},
            "algorithm.accelerated = true: all nodes join every round; want execution = 'synchronous', got "
            "'asynchronous'",
        ),
        (
            {**ACCELERATED, "activation": "bernoulli"},
            "algorithm.accelerated = true: all nodes join every round; want activation = 'all', got 'bernoulli'",
        ),
        (
            {**ACCELERATED, **SR_E},
            "algorithm.accelerated = true: momentum adds up the noise of estimator = 'sr-e'; want 'gradient'",
        ),
        (
            {**SR_E, "activation": "bernoulli"},
            "algorithm.estimator = 'sr-e': all nodes join every round; want activation = 'all', got 'bernoulli'",
        ),
        ({**SR_O, "execution": "asynchronous"}, "algorithm.estimator = 'sr-o': all nodes join every round"),
        ({"estimator": "sr"}, "algorithm.estimator = 'sr': want "),
        ({"estimator": "sa"}, "algorithm.batch_size = 'auto': is made of run.tolerance = eps^2"),
        ({"accelerated": 1}, "algorithm.accelerated = 1: want "),
        ({**ACCELERATED, "strong_convexity": -0.1}, "algorithm.strong_convexity = -0.1: want "),
        ({"local_steps": 2}, "algorithm.local_steps: unknown key"),
        ({"code": "points"}, "algorithm.code: unknown key"),
        ({"rounding": "nearest"}, "algorithm.rounding: unknown key"),
    ],
)
def test_wrong_input(settings, said, config, capsys, tmp_path):
    path = config(data={**CLASSES, "samples": 64}, algorithm=method(**settings))
    assert said in refused(capsys, tmp_path, "run", path)
