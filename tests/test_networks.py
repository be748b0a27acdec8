"""Problems that are networks: values, gradients and hits against the compiled losses and finite differences; runs.

Bounds: the compiled losses and PyTorch sum in other orders, some tens of roundings apart.
"""

import os
from collections.abc import Callable
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tomli_w
from scipy.sparse import csr_array
from tools import run_many
from tools.commands import environment

from mpiqopt.data.augmentation import Augmentation, augment
from mpiqopt.data.shares import Shares
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import find_member
from mpiqopt.streams import Batch

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from mpiqopt.neural import samples  # noqa: E402 (imports torch)
from mpiqopt.neural.network import set_up_torch  # noqa: E402
from mpiqopt.neural.rows import MOMENTUM, RowModule  # noqa: E402

SIZES = np.array([5, 1, 9, 70])
INDEX, COUNTS = np.array([[4, 0, 0], [0, 9, 9], [8, 8, 1], [69, 3, 64]]), np.array([3, 1, 2, 3])
ROUNDING = {np.float64: 1e-13, np.float32: 1e-6}


@pytest.fixture(autouse=True)
def one_thread():
    """What a run does first."""
    set_up_torch(torch.device("cpu"), 1)


def shares(classes: int, d: int = 7, sparse: bool = False, dtype=np.float64, shape=None) -> Shares:
    """Samples of four nodes; 20 held-out samples at the last one."""
    rng = np.random.default_rng(0)
    m = int(SIZES.sum()) + 20
    features = (rng.standard_normal((m, d)) * (rng.random((m, d)) < (0.4 if sparse else 1.1))).astype(dtype)
    targets = np.arange(m) % classes
    kind = csr_array if sparse else np.asarray
    return Shares(
        where="test",
        features=kind(features[:-20]),
        targets=targets[:-20].astype(float),
        offsets=np.concatenate([[0], np.cumsum(SIZES)]),
        sizes=SIZES,
        labels=np.unique(targets).astype(float),
        test_features=kind(features[-20:]),
        test_targets=targets[-20:].astype(float),
        test_offsets=np.array([0, 0, 0, 0, 20]),
        held_out=20,
        classes=True,
        shape=shape,
    )


def problem(name: str, data: Shares, dtype=np.float64, **keys) -> Problem:
    return Problem(find_member("problem", name)(**keys), data, find_member("regularizer", "zero")(), dtype)


def points(f: Problem, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(2).standard_normal((4, f.d))).astype(f.dtype)


@pytest.mark.parametrize("loss", ["softmax", "logistic"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_linear_networks_are_the_compiled_losses(loss, sparse, dtype):
    """Values, gradients of all samples and of batches, held-out losses and hits."""
    data = shares(3 if loss == "softmax" else 2, sparse=sparse, dtype=dtype)
    keys = {"l2": 0.3, "nonconvex": 0.2}
    ours = problem(loss, data, dtype, **keys)
    kind = "cross-entropy" if loss == "softmax" else "logistic"
    network = problem("torch", data, dtype, model="softmax", loss=kind, **keys)
    assert network.d == ours.d
    x, close = points(ours), {"rtol": ROUNDING[dtype], "atol": ROUNDING[dtype]}
    for got, expected in zip(network.value_and_grad(x), ours.value_and_grad(x), strict=True):
        np.testing.assert_allclose(got, expected, **close)
    for got, expected in zip(network.value_and_grad(x[:1]), ours.value_and_grad(x[:1]), strict=True):
        np.testing.assert_allclose(got, expected, **close)
    np.testing.assert_allclose(network.grad(x), ours.grad(x), **close)
    batch = Batch(INDEX, COUNTS)
    np.testing.assert_allclose(network.grad(x, batch), ours.grad(x, batch), **close)
    assert np.array_equal(network.evaluations, ours.evaluations)
    np.testing.assert_allclose(network.held_out.losses(x[3]), ours.held_out.losses(x[3]), rtol=10 * ROUNDING[dtype])
    assert np.array_equal(network.held_out.hits(x[3]), ours.held_out.hits(x[3]))


def mlp(data: Shares, **keys) -> Problem:
    return problem("torch", data, model="mlp", options={"hidden": [4], "activation": "tanh"}, **keys)


def test_gradients_of_a_network_are_those_of_its_values():
    """Central differences, whose own error is about 1e-9; the start is drawn, and the same for all."""
    f = mlp(shares(3), l2=0.1, nonconvex=0.2)
    assert f.d == 4 * 8 + 3 * 5
    assert np.array_equal(f.start(1), f.start(1))
    assert not np.array_equal(f.start(1), f.start(2))
    x = points(f)
    _, gradients = f.value_and_grad(x)
    for k in range(f.d):
        step = np.zeros(f.d)
        step[k] = 1e-6
        ends = [f.value_and_grad(x + s)[0] for s in (step, -step)]
        np.testing.assert_allclose(gradients[:, k], (ends[0] - ends[1]) / 2e-6, atol=1e-7)


def test_many_samples_are_evaluated_piece_by_piece(monkeypatch):
    """Of nearly equal size: the same to rounding, no piece of one sample."""
    f = mlp(shares(3))
    x = points(f)
    whole = f.value_and_grad(x), f.held_out.losses(x[0]), f.held_out.hits(x[0])
    monkeypatch.setattr(samples, "PIECE", 7 * 23)  # 23 samples: 70 = 17 + 18 + 17 + 18
    assert [len(t) for _, t, _ in f._evaluator._pieces(3, None)] == [17, 18, 17, 18]
    pieces = f.value_and_grad(x), f.held_out.losses(x[0]), f.held_out.hits(x[0])
    for got, expected in zip((*pieces[0], *pieces[1:]), (*whole[0], *whole[1:]), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bits_do_not_depend_on_where_samples_lie_in_memory(dtype):
    """Nodes have other neighbours in memory on other numbers of ranks; BLAS rounds by alignment (9 features: odd)."""
    data = shares(3, d=9, dtype=dtype)
    keys = {"model": "mlp", "options": {"hidden": [10]}}
    f = problem("torch", data, dtype, **keys)
    x = points(f)
    own = slice(*data.offsets[3:5])
    alone = replace(data, features=data.features[own].copy(), targets=data.targets[own], offsets=np.array([0, 70]))
    g = problem("torch", alone, dtype, **keys)
    assert np.array_equal(f.grad(x)[3], g.grad(x[3:])[0])


NORMALIZED = """
from torch import nn

def small(shape, outputs):
    return nn.Sequential(nn.Linear(shape[0], 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, outputs))
"""


@pytest.fixture
def normalized(tmp_path, monkeypatch) -> Callable[..., Problem]:
    (tmp_path / "nets_of_test.py").write_text(NORMALIZED)
    monkeypatch.syspath_prepend(tmp_path)
    data = replace(shares(3), offsets=np.array([0, 5, 15, 85]), sizes=np.array([5, 10, 70]))
    return lambda: problem("torch", data, model="nets_of_test:small")


@pytest.mark.parametrize("piece", [1 << 17, 7 * 18])
def test_the_gradient_of_running_statistics_is_their_distance_to_those_of_the_batch(normalized, piece, monkeypatch):
    """r - s, s the mean over pieces; rows stay as they are, and values use r."""
    monkeypatch.setattr(samples, "PIECE", piece)
    f = normalized()
    x = points(f)[:3]
    x[:, f.d - 5 :] = np.abs(x[:, f.d - 5 :]) + 0.1  # variances
    before = x.copy()
    gradient = f.grad(x)
    assert np.array_equal(gradient, f.grad(x))
    assert np.array_equal(x, before)
    assert f.d == 8 * 5 + 10 + 6 * 3 + 10
    features, weight, bias = f._shares.features, x[2, :35].reshape(5, 7), x[2, 35:40]
    hidden = np.split(features[15:] @ weight.T + bias, [17, 35, 52] if piece < 70 * 7 else [])
    s = sum(len(part) / 70 * statistics(part) for part in hidden)
    np.testing.assert_allclose(gradient[2, f.d - 10 :], x[2, f.d - 10 :] - s, rtol=1e-11)
    values, at_values = f.value_and_grad(x)
    assert np.all(at_values[:, f.d - 10 :] == 0)
    moved = x.copy()
    moved[:, f.d - 10 :] += 1
    assert np.all(f.value_and_grad(moved)[0] != values)
    np.testing.assert_allclose(f.grad(moved)[:, : f.d - 10], gradient[:, : f.d - 10], rtol=1e-12)


def statistics(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows.mean(axis=0), rows.var(axis=0, ddof=1)])


def test_training_moves_running_statistics_as_pytorch_does(normalized):
    f = normalized()
    client, x = f.trainable(), f.start(0)
    client.load(x)
    client.differentiate(2, np.arange(8), (0, 2, 0))
    hidden = f._shares.features[15:23] @ x[:35].reshape(5, 7).T + x[35:40]
    got = client.point.numpy()[f.d - 10 :]
    np.testing.assert_allclose(got, (1 - MOMENTUM) * x[f.d - 10 :] + MOMENTUM * statistics(hidden), rtol=1e-11)


def test_one_sample_is_normalized_by_running_statistics(normalized):
    """A batch of one has no variance; its gradient is finite, and nothing is learnt of the data's."""
    f = normalized()
    client, x = f.trainable(), f.start(0)
    client.load(x)
    client.differentiate(1, np.array([0]), (0, 1, 0))
    assert np.isfinite(client.gradient.numpy()).all()
    assert client.gradient.abs().max() > 0
    assert np.array_equal(client.point.numpy(), x)


def test_clients_train_on_changed_images():
    """The gradient is that of the images as ``augment`` changes them for the seed, the node and the batch."""
    ways, pixels = ("flip", "shift"), 1
    data = replace(shares(3, d=12, shape=(1, 3, 4)), augmentation=Augmentation(ways, pixels))
    made = Problem(find_member("problem", "torch")(model="mlp"), data, find_member("regularizer", "zero")())
    client, x = made.trainable(), made.start(0)
    client.load(x)
    client.differentiate(3, np.array([4, 2, 9]), (7, 3, 5))
    found = client.gradient.numpy().copy()
    images = data.features[15:][[4, 2, 9]].reshape(3, 1, 3, 4)
    changed = augment(images, 7, 3, 5, ways=ways, pixels=pixels)
    assert not np.array_equal(changed, images)
    features = data.features.copy()
    features[[19, 17, 24]] = changed.reshape(3, 12)
    plain = Problem(made.loss, replace(data, features=features, augmentation=None), made.regularizer)
    rows = np.repeat(x[None], 4, axis=0)
    batch = Batch(np.array([[0, 0, 0]] * 3 + [[4, 2, 9]]), np.array([1, 1, 1, 3]))
    np.testing.assert_allclose(found, plain.grad(rows, batch)[3], rtol=1e-11, atol=1e-13)


def test_constants_of_a_network_are_no_coordinates():
    """Buffers that ``state_dict`` leaves out keep their values, in the row's type; nothing drops out."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LSTM(2, 2, num_layers=2, dropout=0.5))
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]), persistent=False)
    model.register_buffer("mean", torch.ones(3))
    weights = sum(p.numel() for p in model.parameters())
    net = RowModule(model, torch.float64, torch.device("cpu"))
    assert (net.weights, len(net.row)) == (weights, weights + 3)
    assert model.mask.dtype == model.mean.dtype == torch.float64
    assert model.mask.tolist() == [0.0, -torch.inf]
    net.train(True)
    inputs = torch.ones(4, 2, dtype=torch.float64)
    assert torch.equal(net.model(inputs)[0], net.model(inputs)[0])


def test_texts_predict_the_next_character():
    """Values, hits and the start of an untrained network: near log(vocabulary) a character."""
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, 5, (12, 7)).astype(np.float32)
    data = replace(
        shares(2),
        features=tokens,
        targets=np.zeros(12),
        offsets=np.array([0, 4, 12]),
        sizes=np.array([4, 8]),
        test_features=tokens[:3],
        test_targets=np.zeros(3),
        test_offsets=np.array([0, 1, 3]),
        held_out=3,
        shape=(7,),
        vocabulary="abcde",
    )
    options = {"width": 8, "heads": 2, "layers": 1}
    f = problem("torch", data, np.float32, model="transformer", options=options)
    x = f.start(0).astype(np.float32)
    values, _ = f.value_and_grad(x[None])
    assert values == pytest.approx(np.log(5), rel=0.02)  # logits of the small start are near 0
    net = f._evaluator.net
    net.load(x)
    with torch.no_grad():
        logits = net.model(torch.from_numpy(tokens[:3, :-1]).long())
    expected = (logits.argmax(-1).numpy() == tokens[:3, 1:]).sum(axis=1)
    assert f.held_out.predictions == 6
    assert f.held_out.hits(x).tolist() == expected.tolist()
    chosen = f.grad(np.stack([x, x]), Batch(np.array([[1, 1], [0, 7]]), np.array([2, 1])))
    single = f.grad(np.stack([x, x]), Batch(np.array([[1, 1], [0, 7]]), np.array([1, 1])))
    np.testing.assert_allclose(chosen, single, rtol=1e-4, atol=1e-6)


METHODS = {
    "dgd": {},
    "choco-sgd": {"batch_size": 4},
    "lead": {},
    "proxgt-sr-e": {"batch_size": 4, "epoch_length": 2, "gossip_rounds": 1, "chebyshev": False},
    "ftqc-dgd": {"local_steps": 2, "activation": "bernoulli"},
    "coordinated-prox-gradient": {"coordinator": "tree", "accelerated": True},
    "push-sum": {"batch_size": 4},
    "fedavg": {"batch_size": 4, "local_steps": 2},
}
CODED = {"choco-sgd": "qsgd", "lead": "qsgd"}
NETWORK = {"name": "torch", "model": "mlp", "options": {"hidden": [6], "activation": "tanh"}}


def tables(name: str, **keys) -> dict:
    """Two iterations of a method on a network whose samples are 123 numbers: rows of odd length."""
    topology = {"name": "directed-ring" if name == "push-sum" else "ring", "nodes": 4}
    made = {
        "run": {"iterations": 2},
        "data": {"name": "synthetic", "task": "classification", "samples": 90, "features": 13, "test_fraction": 0.2},
        "problem": NETWORK,
        "topology": topology,
        "algorithm": {"name": name, "step_size": 0.1, **keys},
        "record": {"every": 1},
    }
    return made | ({"compressor": {"name": CODED[name]}} if name in CODED else {})


@pytest.mark.mpi
def test_methods_take_networks_and_give_the_same_bits_on_two_ranks(tmp_path):
    paths = []
    for name, keys in METHODS.items():
        paths.append(str(tmp_path / f"{name}.toml"))
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps(tables(name, **keys)))
    for ranks in (0, 2):
        run_many.run_on(ranks, tmp_path / str(ranks), paths)
    for name in METHODS:
        with h5py.File(tmp_path / "0" / f"{name}.h5") as one, h5py.File(tmp_path / "2" / f"{name}.h5") as two:
            assert one["final/x"].dtype == np.float32
            assert np.array_equal(one["final/x"], two["final/x"]), name
            assert np.array_equal(one["test_loss"], two["test_loss"])
            assert np.array_equal(one["accuracy"], two["accuracy"])
            objective = one["objective"][:]
            assert np.isfinite(objective).all()
            assert objective[-1] != objective[0]


def test_nodes_train_networks_in_threads(mpiqopt, config):
    """One network a thread: a training in the background lowers the loss."""
    path = config(**tables("ftqc-dgd", execution="asynchronous", local_steps=3) | {"run": {"iterations": 30}})
    done = mpiqopt("run", path, "-o", "a.h5", "-q")
    assert done.returncode == 0, done.stderr
    with h5py.File(path.replace("small.toml", "a.h5")) as file:
        assert file["objective"][-1] < file["objective"][0] - 0.01


HIDDEN = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *others: None if name.partition(".")[0] == "torch" else found(name, *others)
"""


@pytest.mark.parametrize("command", ["run", "check"])
def test_without_pytorch_a_line_says_how_to_get_it(mpiqopt, config, tmp_path, command):
    (tmp_path / "sitecustomize.py").write_text(HIDDEN)
    where = os.pathsep.join(filter(None, [str(tmp_path), environment().get("PYTHONPATH")]))
    done = mpiqopt(command, config(**tables("dgd")), PYTHONPATH=where)
    assert done.returncode == 2
    assert (
        done.stderr.strip().splitlines()[-1].endswith("PyTorch is not installed: pip install 'mpiqopt[torch]' (README)")
    )
    assert "Traceback" not in done.stderr


OWN_COORDINATES = """
@register("problem", "two-layers")
@dataclass(frozen=True, kw_only=True)
class TwoLayers(Loss):
    def coordinates(self, shares):
        return 2 * shares.features.shape[1] + 2

    def start(self, shares, seed):
        return np.random.default_rng(seed).standard_normal(self.coordinates(shares)) / 2

    def targets(self, targets, shares):
        return np.where(targets > 0, 1.0, -1.0)

    def node(self, features, targets, x):
        w, v = x[:-2].reshape(2, -1), x[-2:]
        hidden = np.tanh(features @ w.T)
        r = hidden @ v - targets
        back = (r[:, None] * v) * (1 - hidden**2)
        return float((r * r).mean() / 2), np.concatenate([(back.T @ features).ravel(), r @ hidden]) / len(r)

    def predict(self, features, x):
        return np.where(np.tanh(features @ x[:-2].reshape(2, -1).T) @ x[-2:] > 0, 1.0, -1.0)
"""


def test_a_plugin_counts_its_own_coordinates(mpiqopt, config, plugin):
    """d is not outputs x features; it draws its start, and predicts."""
    path = config(**tables("gradient-tracking") | {"problem": {"name": "two-layers"}, "run": {"iterations": 200}})
    done = mpiqopt("run", path, "--plugin", plugin(OWN_COORDINATES), "-o", "a.h5", "-q")
    assert done.returncode == 0, done.stderr
    with h5py.File(path.replace("small.toml", "a.h5")) as file:
        assert file["final/x"].shape == (4, 2 * 13 + 2)
        assert file["objective"][-1] < 0.8 * file["objective"][0]
        assert 0.5 < file["accuracy"][-1] <= 1
