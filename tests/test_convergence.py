"""Every method reaches the optimum that a solver in the tests certifies, or the bias that its theory gives it."""

from itertools import islice

import numpy as np
import pytest
from dense import Objective, after, assembled, metropolis, states
from networkx import cycle_graph

from mpiqopt.assembly import assemble
from mpiqopt.config import parse
from mpiqopt.registry import members
from mpiqopt.transport.serial import SerialTransport

ALGORITHMS = members("algorithm")
FULL = {
    "proxgt-sa": {"batch_size": "all"},
    "proxgt-sr-o": {"batch_size": "all", "large_batch_size": "all", "epoch_length": 3},
    "proxgt-sr-e": {"batch_size": "all", "epoch_length": 3},
}
# X+ = W X - a G and its proximal form do not stop at the optimum.
BIASED = ["dgd", "prox-dgd"]
EXACT = [name for name in ALGORITHMS if name not in BIASED]
REGRESSION = {"name": "synthetic", "samples": 203, "features": 6}
CLASSES = {**REGRESSION, "task": "classification", "split": "dirichlet", "alpha": 1.0}
DATA = {"least-squares": REGRESSION, "logistic": CLASSES}
RING = {"name": "ring", "nodes": 8}
STAR = {"name": "star", "nodes": 5}
TORUS = {"name": "torus", "nodes": 16}
L1 = {"name": "l1", "weight": 0.05}
NONE = {"name": "zero"}


def example(algorithm: dict, loss: str, regularizer=NONE, topology=RING, data=(), **run):
    """A strongly convex problem (l2 = 0.3, L at most 3) with the method's automatic step, unless one is given."""
    problem = {"name": loss, "l2": 0.3}
    return assembled(topology, problem, algorithm, regularizer, {**DATA[loss], **dict(data)}, seed=3, **run)


def distance(x: np.ndarray, point: np.ndarray) -> float:
    """The largest |x_i - point| over the nodes."""
    return np.linalg.norm(x - point, axis=1).max()


def problems(names) -> pytest.MarkDecorator:
    """Each of the methods on both losses, proximal ones with and without l1."""
    cases = [
        pytest.param({"name": name, **FULL.get(name, {})}, loss, h, id=f"{name}-{loss}-{h['name']}")
        for name in names
        for loss in DATA
        for h in ((NONE, L1) if ALGORITHMS[name].proximal else (NONE,))
    ]
    return pytest.mark.parametrize(("algorithm", "loss", "regularizer"), cases)


@pytest.mark.parametrize("topology", [RING, STAR], ids=lambda table: table["name"])
@problems(EXACT)
def test_every_node_reaches_the_optimum(algorithm, loss, regularizer, topology):
    """The slowest rate is about 1 - a mu = 1 - 0.3/(4L) < 0.98: 1500 iterations leave 1e-13 of the start."""
    experiment = example(algorithm, loss, regularizer, topology)
    optimum = Objective(experiment).minimiser()
    assert distance(experiment.start, optimum) > 0.1
    assert distance(after(experiment, 1500).x, optimum) < 1e-8


def float32_error(algorithm: dict, loss: str, regularizer: dict, topology: dict, iterations: int) -> float:
    experiment = example(algorithm, loss, regularizer, topology, dtype="float32")
    x = after(experiment, iterations).x
    assert x.dtype == np.float32
    return distance(x.astype(np.float64), Objective(experiment).minimiser())


@problems(EXACT)
def test_float32_reaches_the_optimum(algorithm, loss, regularizer):
    """Roundings of 6e-8 |x| in 600 iterations add up to 4e-5 if all have one sign, times 1/mu = 3."""
    assert float32_error(algorithm, loss, regularizer, RING, 600) < 1.2e-4


@pytest.mark.parametrize("topology", [RING, TORUS], ids=lambda table: table["name"])
@problems(EXACT)
def test_float32_stays_at_the_optimum(algorithm, loss, regularizer, topology):
    """After 5000 iterations still to 80 units of rounding (6e-8): errors must not add up.

    They do where a method sums what mixing leaves over, and where weights rounded to float32 do not sum to 1.
    """
    assert float32_error(algorithm, loss, regularizer, topology, 5000) < 5e-6


def dgd_fixed_point(experiment) -> np.ndarray:
    """The minimiser of sum_i f_i(x_i) + (1/2a) <X, (I - W) X> for quadratic f_i, from its gradient = 0."""
    f, a = Objective(experiment), experiment.algorithm.step_size
    n, d = experiment.start.shape
    system = np.kron(np.eye(n) - metropolis(cycle_graph(n)), np.eye(d))
    for i, A in enumerate(f.A):
        system[i * d : (i + 1) * d, i * d : (i + 1) * d] += a * (A.T @ A / len(A) + f.settings.l2 * np.eye(d))
    c = np.concatenate([A.T @ b / len(b) for A, b in zip(f.A, f.b, strict=True)])
    return np.linalg.solve(system, a * c).reshape(n, d)


@pytest.mark.parametrize("name", BIASED)
def test_dgd_reaches_its_own_fixed_point(name):
    """Not the optimum but the minimiser of the penalised problem (Yuan, Ling, Yin 2016); both methods if h = 0."""
    experiment = example({"name": name}, "least-squares")
    x = after(experiment, 1500).x
    assert np.linalg.norm(x - dgd_fixed_point(experiment), axis=1).max() < 1e-8
    assert distance(x, Objective(experiment).minimiser()) > 1e-3


@pytest.mark.parametrize("loss", DATA)
def test_prox_dgd_reaches_its_fixed_point_equation(loss):
    """X = prox_{a h}(W X - a G(X)), with both sides in double precision."""
    experiment = example({"name": "prox-dgd"}, loss, L1)
    f, a = Objective(experiment), experiment.algorithm.step_size
    x = after(experiment, 1500).x
    np.testing.assert_allclose(x, f.prox(metropolis(cycle_graph(8)) @ x - a * f.grad(x), a), rtol=0, atol=1e-14)
    assert distance(x, f.minimiser()) > 1e-3


@problems(BIASED)
def test_bias_of_dgd_is_proportional_to_the_step(algorithm, loss, regularizer):
    """Distance = c a + O(a^2): halving a halves it, to 10 % at 0.01, where the second term is 5 % of the first."""

    def bias(step: float) -> float:
        experiment = example({**algorithm, "step_size": step}, loss, regularizer)
        return np.linalg.norm(after(experiment, 6000).x - Objective(experiment).minimiser())

    assert bias(0.01) / bias(0.005) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("regularizer", [NONE, L1], ids=lambda table: table["name"])
@pytest.mark.parametrize("loss", DATA)
def test_small_batches_with_variance_reduction_reach_the_optimum(loss, regularizer):
    """ProxGT-SR-E as the theory sets it (b = sqrt(m/n), q = sqrt(nm)): no noise is left at the optimum."""
    experiment = example({"name": "proxgt-sr-e"}, loss, regularizer)
    assert experiment.algorithm.batch_size < experiment.problem.sizes.mean() / 5
    assert distance(after(experiment, 1500).x, Objective(experiment).minimiser()) < 1e-8


@pytest.mark.parametrize("regularizer", [NONE, L1], ids=lambda table: table["name"])
@pytest.mark.parametrize("loss", DATA)
def test_noise_floor_of_minibatches_is_inverse_to_their_size(loss, regularizer):
    """ProxGT-SA stays at a mean squared distance a sigma^2/b: four times the batch, a quarter of it.

    To 25 %: 4000 iterations hold some 4000 a mu/2 > 250 independent points of at least 3 coordinates (under l1),
    so each average has a relative error near sqrt(2/750) = 5 %. Every node has more samples than a batch.
    """

    def floor(batch: int) -> float:
        data = {"samples": 1600, "split": "iid"}
        experiment = example({"name": "proxgt-sa", "batch_size": batch}, loss, regularizer, data=data)
        optimum = Objective(experiment).minimiser()
        return np.mean([np.sum((state.x - optimum) ** 2) for state in islice(states(experiment), 500, 4500)])

    floors = [floor(batch) for batch in (2, 8, 32)]
    assert floors[0] / floors[1] == pytest.approx(4, rel=0.25)
    assert floors[1] / floors[2] == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("algorithm", ["nids", "pg-extra", "centralized-prox-gradient"])
def test_scikit_learns_optimum_is_reached(algorithm, tmp_path):
    """Ridge and elastic net on the wine data by scikit-learn's own solvers.

    Eight equal shares, 22 samples each, make F scikit-learn's objective.
    """
    from sklearn.datasets import load_wine
    from sklearn.linear_model import ElasticNet, Ridge

    features, targets = (part[:176] for part in load_wine(return_X_y=True))
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.savez(tmp_path / "wine.npz", X=features, y=targets)
    ridge = Ridge(alpha=0.1 * 176, fit_intercept=False, tol=1e-14)
    net = ElasticNet(alpha=0.02, l1_ratio=0.25, fit_intercept=False, tol=1e-14, max_iter=10**6)
    for solver, l2, h in ((ridge, 0.1, 'name = "zero"'), (net, 0.015, 'name = "l1", weight = 0.005')):
        text = f"""
            data = {{name = "npz", path = "{tmp_path}/wine.npz"}}
            problem = {{name = "least-squares", l2 = {l2}}}
            regularizer = {{{h}}}
            topology = {{name = "ring", nodes = 8}}
            algorithm = {{name = "{algorithm}"}}
            """
        experiment = assemble(parse(text, "test.toml"), SerialTransport())
        parts = experiment.problem, experiment.network, experiment.streams
        state = experiment.algorithm.init(experiment.start, *parts)
        for _ in range(6000):
            state = experiment.algorithm.step(state, *parts)
        assert np.abs(state.x - solver.fit(features, targets).coef_).max() < 1e-8
