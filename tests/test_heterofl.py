"""Clients that train networks of several widths: against a second implementation, and the coordinates of the narrow."""

import numpy as np
import pytest
from tools.dense.trajectories import assert_follows
from tools.experiments import after, assembled

from mpiqopt.errors import UsageError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

NODES, ROUNDS = 8, 15
DATA = {"name": "synthetic", "samples": 107, "features": 5, "task": "classification", "classes": 3}
MLP = {"name": "torch", "model": "mlp", "options": {"hidden": [6, 5], "activation": "tanh"}}
IMAGES = {"name": "digits", "split": "iid", "scale": "none"}
WEAK = [{"upload": 0.35}, {"upload": [0.45, 1.0]}, {}]
LATE = {"deadline": 3.5, "late": "apply", "local_steps": 2, "clients_per_round": 5}
SLOW = {"gradient_seconds": 1.0, "slowdown": [1.0, 1.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0], "delay": 0.25, "sleep": False}


def made(algorithm: dict, devices=None, problem=None, data=None, dtype="float64", **tables):
    """A run of a small network on samples that clients have unequal shares of."""
    algorithm = {"name": "heterofl", "step_size": 0.2, "batch_size": 4, **algorithm}
    data = {**DATA, "split": "dirichlet"} if data is None else data
    run = {"start": "auto", "seed": 4, "dtype": dtype}
    topology = {"name": "ring", "nodes": NODES}
    return assembled(topology, problem or MLP, algorithm, None, data, devices=devices, **tables, **run)


KEYS = {
    "samples": {"weighting": "samples", "server_step": 0.7, "clients_per_round": 5},
    "adamw": {"optimizer": "adamw", "momentum": 0.9, "weight_decay": 0.2, "step_size": 0.05, "drop_out": 0.3},
    "widths": {
        "widths": [1.0, 0.8, 0.5, 0.1],
        "masked_loss": False,
        "momentum": 0.8,
        "local_epochs": 2,
        "step_size": 0.05,
    },
}
CODED = {"plain": None, "top-k": {"name": "top-k", "fraction": 0.3}, "qsgd": {"name": "qsgd", "levels": 7}}


@pytest.mark.parametrize("compressor", CODED)
@pytest.mark.parametrize("case", KEYS)
def test_rounds_are_those_of_the_definition(case, compressor):
    """Averages over those who have a coordinate, hidden layers scaled, errors that wait: to 1e-10.

    Small steps where widths of a tenth make gradients a hundred times as large: others make rounding errors grow.
    """
    experiment = made(KEYS[case], WEAK, compressor=CODED[compressor])
    assert_follows(experiment, [np.eye(NODES)], ROUNDS, rtol=1e-10)


def test_late_updates_keep_their_width():
    """Work is the same for all in the reference, so nobody is late but by a factor of five."""
    experiment = made(LATE, WEAK, emulate=SLOW)
    chosen = experiment.algorithm.portions(experiment.problem, experiment.network, 4)
    chosen.work[:] = 1.0
    assert_follows(experiment, [np.eye(NODES)], ROUNDS, rtol=1e-10)
    outcomes = experiment.problem.clients.client_log.take()[1]["sampled"]
    assert set(outcomes.ravel().tolist()) == {0, 1, 3}


def test_devices_without_limits_do_federated_averaging_to_the_bit():
    plain, wide = made({"name": "fedavg"}), made({"masked_loss": False})
    np.testing.assert_array_equal(after(wide, 5).x, after(plain, 5).x)
    assert wide.network.traffic == plain.network.traffic


@pytest.mark.parametrize(
    ("model", "options"),
    [("cnn", {"channels": [4, 6], "dense": [10], "norm": "batch"}), ("resnet18", {"width": 4}), ("mobilenetv2", {})],
)
def test_a_narrow_network_computes_what_its_coordinates_of_the_wide_one_do(model, options):
    """With everything else of the wide network 0, its output is the same: of kernels, norms and flattened maps."""
    problem = {"name": "torch", "model": model, "options": options}
    experiment = made({"widths": [1.0, 0.5]}, problem=problem, data=IMAGES)
    narrow = experiment.problem.narrow(0.5, masked=False)
    kind = experiment.problem.loss._kind(experiment.shares, "float64")
    wide, values = kind.of_this_thread(), np.random.default_rng(0).random(len(narrow.coordinates))
    trained = narrow.trainable(experiment.problem._evaluator)._net
    row = np.zeros(experiment.problem.d)
    for name, part in wide.names.items():
        row[part] = float(name.endswith("running_var"))
    row[narrow.coordinates] = values
    images = torch.from_numpy(np.random.default_rng(1).random((3, 1, 8, 8)))
    for net, numbers in ((wide, row), (trained, values)):
        net.load(numbers)
        net.train(False)
        for layer in net.model.modules():
            layer._forward_hooks.clear()
    np.testing.assert_allclose(trained.model(images).detach(), wide.model(images).detach(), rtol=1e-9)


@pytest.mark.parametrize(
    ("keys", "problem", "said"),
    [
        ({"widths": [0.5, 0.25]}, MLP, r"algorithm\.widths"),
        ({"widths": [1.0, 1.0]}, MLP, r"algorithm\.widths"),
        ({}, {"name": "softmax"}, "'softmax' has no blocks"),
        ({}, {"name": "torch", "model": "softmax"}, "no narrower network"),
        ({"keep_optimizer": True}, MLP, "keep_optimizer"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(keys, problem, said):
    with pytest.raises(UsageError, match=said) as caught:
        made(keys, problem=problem)
    assert len(str(caught.value)) <= 200


def test_networks_that_narrower_ones_are_no_part_of_are_refused():
    """MobileNetV2 of a quarter has as many channels after a block as before, and so no projection there."""
    with pytest.raises(UsageError, match=r"width 0\.25: .* lacks 'block1\.shortcut"):
        made({}, problem={"name": "torch", "model": "mobilenetv2"}, data=IMAGES)


def test_devices_that_cannot_train_the_narrowest_are_refused():
    with pytest.raises(UsageError, match=r"devices\[1\].upload = 0.05: too little for anything to train"):
        made({}, [{}, {"upload": 0.05}])
