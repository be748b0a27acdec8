"""Accuracy by class of samples, client and class of devices, against what NumPy counts."""

import numpy as np
import pytest
from tools.experiments import after, assembled

from mpiqopt.placement.shared_rows import shared_rows

NODES = 6
DIGITS = {"name": "digits", "split": "dirichlet", "alpha": 0.3, "test_fraction": 0.2}
DEVICES = {"slowdown": [4.0, 1.0, 1.0, 2.0, 4.0, 1.0], "gradient_seconds": 1.0, "sleep": False}


def made(keys: dict | None = None, problem=None, data=DIGITS, **tables):
    """A run on handwritten digits, of which clients have few classes."""
    problem, keys = problem or {"name": "softmax"}, {"name": "fedavg", "step_size": 0.1, **(keys or {})}
    return assembled({"name": "ring", "nodes": NODES}, problem, keys, None, data, seed=2, **tables)


def class_accuracy(experiment, predicted: np.ndarray) -> np.ndarray:
    """Of each class, the part of its held-out samples that is predicted; NaN for one without any."""
    targets = experiment.shares.test_targets
    hits = [(predicted == label)[targets == label] for label in range(10)]
    return np.array([np.mean(each) if len(each) else np.nan for each in hits])


def softmax(experiment, x: np.ndarray) -> np.ndarray:
    """Which class each held-out sample is said to be in."""
    scores = experiment.shares.test_features @ x.reshape(10, -1).T
    return np.argmax(scores, axis=1)


def by_client(experiment, own: np.ndarray) -> np.ndarray:
    """Accuracy of each client: of classes (n, 10), weighted as its training samples are."""
    parts = np.split(experiment.shares.targets, experiment.shares.offsets[1:-1])
    counts = np.array([np.bincount(part.astype(int), minlength=10) for part in parts])
    weights = np.where(np.isnan(own), 0, counts)
    return np.nansum(weights * own, axis=1) / weights.sum(axis=1)


@pytest.mark.parametrize("iterations", [0, 15])
def test_accuracies_at_a_common_point(iterations):
    experiment = made(emulate=DEVICES)
    state = after(experiment, iterations)
    found = experiment.evaluate_clients(state.x)
    wanted = class_accuracy(experiment, softmax(experiment, state.x[0]))
    clients = by_client(experiment, np.tile(wanted, (NODES, 1)))
    np.testing.assert_array_equal(found["class_accuracy"], wanted)
    np.testing.assert_allclose(found["client_accuracy"], clients, rtol=1e-13)
    devices = [clients[[1, 2, 5]].mean(), clients[3], clients[[0, 4]].mean()]
    np.testing.assert_allclose(found["device_accuracy"], devices, rtol=1e-13)
    assert found["accuracy_spread"] == pytest.approx(clients.std(), rel=1e-12)
    assert np.ptp(clients) > 0.05  # they do differ
    total = np.bincount(experiment.shares.test_targets.astype(int), minlength=10) @ wanted
    measured = experiment.evaluate(state.x).accuracy
    assert measured == pytest.approx(total / len(experiment.shares.test_targets), rel=1e-13)


def test_accuracies_of_clients_own_points():
    """Whose rows are of different memory: every client's is that of its own."""
    experiment = made()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(NODES, experiment.problem.d))
    found = experiment.evaluate_clients(x)
    own = np.array([class_accuracy(experiment, softmax(experiment, row)) for row in x])
    np.testing.assert_allclose(found["class_accuracy"], own.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found["client_accuracy"], by_client(experiment, own), rtol=1e-13)
    same = experiment.evaluate_clients(shared_rows(x[3], NODES))
    np.testing.assert_array_equal(same["class_accuracy"], own[3])
    assert found["device_accuracy"].shape == (1,)


def test_classes_without_held_out_samples_are_left_out():
    """A client whose samples are of such classes alone has no accuracy, and no mean is spoilt by it."""
    experiment = made()
    measured = experiment.evaluate_clients
    totals, classes = measured.totals.copy(), measured.classes
    totals[3] = 0
    keep = classes != 3
    held_out = measured.held_out
    hits = held_out.hits
    held_out.hits = lambda x: np.where(keep, hits(x), 0)
    shares = np.eye(NODES, 10)
    found = measured._replace(totals=totals, shares=shares)(experiment.start)
    assert np.flatnonzero(np.isnan(found["class_accuracy"])).tolist() == [3]
    assert np.flatnonzero(np.isnan(found["client_accuracy"])).tolist() == [3]
    others = np.delete(found["client_accuracy"], 3)
    assert found["device_accuracy"][0] == pytest.approx(others.mean())
    assert found["accuracy_spread"] == pytest.approx(others.std())


@pytest.mark.parametrize("data", [{"name": "digits"}, {"name": "synthetic", "test_fraction": 0.2}], ids=str)
def test_nothing_is_measured_without_held_out_samples_of_classes(data):
    assert made(problem={"name": "least-squares"}, data=data).evaluate_clients is None


@pytest.mark.torch
def test_accuracy_of_personal_layers_is_that_of_each_clients_own_model():
    torch = pytest.importorskip("torch")
    problem = {"name": "torch", "model": "mlp", "options": {"hidden": [8]}, "threads": 1}
    whole = made({"batch_size": 16}, problem)
    names = list(whole.problem.loss.parameter_slices(whole.shares))
    last = names[-1].rpartition(".")[0]
    experiment = made({"batch_size": 16, "personal": [last]}, problem)
    state = after(experiment, 3)
    found = experiment.evaluate_clients(state.x)
    features = torch.from_numpy(np.asarray(experiment.shares.test_features, np.float32))
    own = []
    for row in state.x:
        w1, b1, w2, b2 = np.split(row.astype(float), np.cumsum([64 * 8, 8, 8 * 10]))
        hidden = np.maximum(features.numpy() @ w1.reshape(8, 64).T + b1, 0)
        own.append(class_accuracy(experiment, np.argmax(hidden @ w2.reshape(10, 8).T + b2, axis=1)))
    np.testing.assert_allclose(found["client_accuracy"], by_client(experiment, np.array(own)), rtol=1e-12)
    assert np.ptp(found["client_accuracy"]) > 0.05
