"""Where trajectories of FTQC-DGD and FTQC-ADMM end: the optimum, and how far theory lets them stay from it."""

import math
from itertools import islice

import numpy as np
import pytest
from tools.coordinated import GRAPHS, NONE, POINTS, RING, ROUNDINGS, coordinations, coordinators
from tools.dense.objectives import Objective
from tools.experiments import after, assembled, states

REGRESSION = {"name": "synthetic", "samples": 203, "features": 6}
CLASSES = {**REGRESSION, "task": "classification", "split": "dirichlet", "alpha": 1.0}
LOSSES = {"least-squares": REGRESSION, "logistic": CLASSES}
STRONG = {"name": "l1", "weight": 0.05}
METHODS = [("ftqc-dgd", NONE), ("ftqc-admm", NONE), ("ftqc-admm", STRONG)]
methods = pytest.mark.parametrize(("name", "regularizer"), METHODS, ids=["dgd", "admm", "admm-l1"])
losses = pytest.mark.parametrize("loss", LOSSES)


def strongly_convex(algorithm: dict, loss: str, regularizer=NONE, **data):
    """l2 = 0.3 and L at most 2.5, the automatic step unless one is given."""
    return assembled(RING, {"name": loss, "l2": 0.3}, algorithm, regularizer, {**LOSSES[loss], **data}, seed=3)


# The same averages as of the other coordinators (above), sooner; to the bit where they are points.
QUICK = {"coordinator": "allreduce"}
# About 1/L of the losses: rho L = N_e
PENALTY = {"least-squares": 0.4, "logistic": 1.0}


def classical(name: str, loss: str, local_steps: int = 1) -> dict:
    """ADMM with eta = 1/2 and rho = N_e/L, whatever the defaults are; or descent."""
    settings = {"penalty": local_steps * PENALTY[loss], "relaxation": 0.5} if name == "ftqc-admm" else {}
    return {"name": name, "local_steps": local_steps, **settings}


def distance(state, point: np.ndarray) -> float:
    return np.linalg.norm(state.x[0] - point)


@pytest.mark.representatives(1)
@pytest.mark.parametrize(
    ("zoom", "relaxation", "coordinator"), [(0.9, 1.0, "ftqc"), ("auto", 0.5, "allreduce")], ids=["0.9", "auto"]
)
@pytest.mark.parametrize("local_steps", [1, 2, 5, 10])
@pytest.mark.parametrize("regularizer", [NONE, STRONG], ids=lambda table: table["name"])
@losses
def test_admm_reaches_its_fixed_point(loss, regularizer, local_steps, zoom, relaxation, coordinator):
    """x_i = y = x*, z_i = x* - rho grad f_i(x*), to 1e-10, whatever N_e. It begins more than 0.1 away.

    0.9^350 Delta_0 is 1e-18, under the least Delta of 1e-13, of which a few are left of the error; without any Delta it
    takes up to 200 rounds (N_e = 10, where rho is ten times 1/L). The minimiser is certified to 1e-11, and x* - rho
    grad f_i(x*) therefore to (1 + rho L) 1e-11 = (1 + N_e) 1e-11.
    """
    algorithm = {**classical("ftqc-admm", loss, local_steps), "zoom": zoom, "relaxation": relaxation}
    algorithm["coordinator"] = coordinator
    experiment = strongly_convex(algorithm, loss, regularizer)
    f = Objective(experiment)
    optimum = f.minimiser()
    assert np.linalg.norm(experiment.start[0] - optimum) > 0.1
    state = after(experiment, 350)
    assert np.abs(state.x - optimum).max() < 1e-10
    assert np.abs(state.local - optimum).max() < 1e-10
    dual = optimum - experiment.algorithm.penalty * f.grad(np.tile(optimum, (8, 1)))
    assert np.ptp(dual, axis=0).max() > 0.05  # they differ from node to node
    assert np.abs(state.z - dual).max() < 2e-10


@pytest.mark.representatives(1)
@pytest.mark.parametrize("local_steps", [1, 5])
@pytest.mark.parametrize("regularizer", [NONE, STRONG], ids=lambda table: table["name"])
@losses
def test_admm_reaches_the_optimum_as_it_comes(loss, regularizer, local_steps):
    """With every default but N_e, in 2000 rounds, and stays there."""
    experiment = strongly_convex({"name": "ftqc-admm", "local_steps": local_steps, **QUICK}, loss, regularizer)
    optimum = Objective(experiment).minimiser()
    for state in islice(states(experiment), 2000, 2003):
        assert np.abs(state.x - optimum).max() < 1e-10


@pytest.mark.representatives(1)
@pytest.mark.parametrize(
    ("code", "rounding"),
    [(POINTS, "floor"), (POINTS, "nearest"), ({}, "floor")],
    ids=["floor", "nearest", "innovations"],
)
@pytest.mark.parametrize("zoom", [0.9, "auto"])
@losses
def test_descent_with_zooming_reaches_the_optimum(loss, zoom, code, rounding):
    """1 - mu/L is at most 1 - 0.3/2.5 = 0.88 < 0.9, and 350 rounds of either leave less than 1e-15."""
    experiment = strongly_convex({"name": "ftqc-dgd", "zoom": zoom, "rounding": rounding, **code}, loss)
    assert np.abs(after(experiment, 350).x - Objective(experiment).minimiser()).max() < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ROUNDINGS)
@methods
@losses
def test_without_zooming_the_error_is_proportional_to_delta(loss, name, regularizer, rounding):
    """After 200 rounds, over five decades of Delta.

    Descent contracts by 1 - a mu, and an average is wrong by at most 2 Delta (nearest: Delta) in each of d = 6
    coordinates: the error is at most 2 sqrt(6) Delta/(a mu), with a = 1/L; the same is asked of ADMM with N_e = 1,
    whose a is half of that. Floor is biased, by about Delta in all rounds, so that the error is the same multiple of
    Delta to a factor of 2; that of nearest comes from where the optimum lies between two points of the grid.
    """
    errors = []
    for step in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        algorithm = {"zoom": 1.0, "quantization_step": step, "rounding": rounding, **classical(name, loss), **QUICK}
        algorithm |= POINTS
        experiment = strongly_convex(algorithm, loss, regularizer)
        optimum = Objective(experiment).minimiser()
        errors.append(np.mean([distance(state, optimum) for state in islice(states(experiment), 200, 250)]))
        bound = (2 if rounding == "floor" else 1) * math.sqrt(6) * step / (experiment.algorithm.step_size * 0.3)
        assert errors[-1] < bound
    if rounding == "floor":
        ratios = np.array(errors[:-1]) / errors[1:]
        assert 5 < ratios.min() <= ratios.max() < 20


def test_descent_with_several_local_steps_has_a_bias_of_its_own():
    """Each node goes on towards its own optimum: Delta has no say in it. ADMM has none (above)."""
    errors = []
    for step in (1e-4, 1e-8):
        algorithm = {"name": "ftqc-dgd", "local_steps": 5, "zoom": 1.0, "quantization_step": step, **QUICK}
        experiment = strongly_convex(algorithm, "logistic")
        errors.append(distance(after(experiment, 200), Objective(experiment).minimiser()))
    assert min(errors) > 0.01
    assert errors[0] == pytest.approx(errors[1], rel=0.05)


def noise_floor(algorithm: dict, loss: str, regularizer: dict) -> float:
    """Mean squared distance over 1200 rounds, on shares of 200 samples each; with a Delta that has no say in it."""
    algorithm = {"zoom": 1.0, "quantization_step": 1e-6, **QUICK, **algorithm}
    experiment = strongly_convex(algorithm, loss, regularizer, samples=1600, split="iid")
    optimum = Objective(experiment).minimiser()
    return np.mean([distance(state, optimum) ** 2 for state in islice(states(experiment), 300, 1500)])


@pytest.mark.slow
@methods
@losses
def test_noise_floor_of_minibatches(loss, name, regularizer):
    """In the mean square about a sigma^2/b: a quarter for four times the batch, and for a quarter of the step.

    To 35 %: 1200 rounds hold some 1200 a mu/2 = 9 independent points at the smaller step of 0.05, with 6 coordinates,
    so that averages have errors near sqrt(2/54) = 19 %; the larger step of 0.2 is not yet small.
    """
    how = classical(name, loss)
    base, batch, step = (
        noise_floor({**how, "batch_size": b, "step_size": a}, loss, regularizer)
        for b, a in ((8, 0.2), (32, 0.2), (8, 0.05))
    )
    assert base / batch == pytest.approx(4, rel=0.35)
    assert base / step == pytest.approx(4, rel=0.35)


@pytest.mark.representatives(1)
@pytest.mark.parametrize("zoom", [0.9, "auto"])
@pytest.mark.parametrize("local_steps", [1, 5])
@pytest.mark.parametrize("regularizer", [NONE, STRONG], ids=lambda table: table["name"])
@losses
def test_admm_bears_absent_nodes(loss, regularizer, local_steps, zoom):
    """Half of the nodes in each round, drawn at random: to 1e-8 in at most twice the rounds that it takes with all.

    Delta goes down as 0.9^(joined/n), in 400 rounds to 0.01 * 0.9^200 = 7e-12.
    """
    algorithm = {**classical("ftqc-admm", loss, local_steps), "activation": "bernoulli", "zoom": zoom}
    experiment = strongly_convex(algorithm, loss, regularizer)
    assert np.abs(after(experiment, 400).x - Objective(experiment).minimiser()).max() < 1e-8


@losses
def test_descent_does_not_bear_absent_nodes(loss):
    """Half of the nodes in each round: a floor in which Delta has no say, at 1e-4 as at 1e-8; 0.005 and more.

    That is the paper's average of points. Of innovations inactive nodes give their last (tests/test_innovations.py).
    """
    floors = []
    for step in (1e-4, 1e-8):
        algorithm = {"name": "ftqc-dgd", "activation": "bernoulli", "zoom": 1.0, "quantization_step": step, **QUICK}
        algorithm |= POINTS
        experiment = strongly_convex(algorithm, loss)
        optimum = Objective(experiment).minimiser()
        floors.append(np.mean([distance(state, optimum) for state in islice(states(experiment), 100, 600)]))
    assert min(floors) > 0.005
    assert floors[0] == pytest.approx(floors[1], rel=0.1)


@coordinations
@coordinators
def test_one_node_is_gradient_descent_on_the_grid(coordinator, coordination):
    """To 3 Delta L/mu of the optimum, and no byte is sent."""
    algorithm = {"name": "ftqc-dgd", "zoom": 1.0, "quantization_step": 1e-6}
    algorithm |= {"coordinator": coordinator, "coordination": coordination, **POINTS}
    experiment = assembled(GRAPHS["single"], {"name": "logistic", "l2": 0.3}, algorithm, None, CLASSES, seed=3)
    x = after(experiment, 200).x
    bound = 3e-6 / (experiment.algorithm.step_size * 0.3)
    assert np.abs(x - Objective(experiment).minimiser()).max() < bound
    np.testing.assert_array_equal(x, np.rint(x / 1e-6) * 1e-6)
    assert experiment.network.counters()["bytes"] == 0
