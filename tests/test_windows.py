"""A window of blocks is trained as autograd would, and nothing outside it has a gradient or changes."""

from collections.abc import Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tools.experiments import assembled  # noqa: E402
from tools.windows import Case, built_in, case, cosine, oracle, step  # noqa: E402
from torch import nn  # noqa: E402

from mpiqopt.errors import LINE, UsageError  # noqa: E402
from mpiqopt.neural import program  # noqa: E402
from mpiqopt.neural.frozen import FrozenLayer  # noqa: E402
from mpiqopt.neural.graph import trace, why_untraced  # noqa: E402
from mpiqopt.neural.model import make_model  # noqa: E402
from mpiqopt.neural.network_blocks import named_blocks, row_blocks  # noqa: E402
from mpiqopt.neural.partial import Frozen, Partial, Window  # noqa: E402
from mpiqopt.neural.rows import RowModule  # noqa: E402
from mpiqopt.problems.client_training import Work  # noqa: E402
from mpiqopt.problems.local_optimizers import LocalOptimizer  # noqa: E402

pytestmark = pytest.mark.torch

FLOAT = Frozen("float", "float")
NETWORKS = {
    "resnet18": ("resnet18", (3, 12, 12), {"width": 4}),
    "resnet18-group": ("resnet18", (3, 12, 12), {"width": 4, "norm": "group"}),
    "mobilenetv2": ("mobilenetv2", (3, 12, 12), {"width": 0.25}),
    "transformer": ("transformer", (9,), {"width": 16, "heads": 2}),
    "mlp": ("mlp", (1, 8, 8), {"hidden": [20, 20]}),
    "cnn": ("cnn", (1, 12, 12), {"channels": [4, 8]}),
    "cnn-batch": ("cnn", (1, 12, 12), {"channels": [4, 8], "norm": "batch", "padding": "same", "pool": "each"}),
    "lenet": ("lenet", (1, 28, 28), {}),
}


class Residual(nn.Module):
    """The usual residual block of other libraries: layers that change their input, sums in place, no children list."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding="same", bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.relu(self.norm(self.first(x))))
        y += x
        return self.relu(y)


class Network(nn.Module):
    """A user's network with a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, padding="same", padding_mode="circular")
        self.layer1, self.layer2 = Residual(4), Residual(4)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(4 * 16, 10))

    def forward(self, x: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        y = self.pool(self.layer2(torch.tanh(self.layer1(self.stem(x)))))
        return self.head(y.flatten(1)) * factor


class PreActivated(nn.Module):
    """Norms before convolutions, and sums in which one value is added to every pixel of the other, or to channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layer1 = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.layer2 = nn.ModuleDict(
            {"pixels": nn.Conv2d(8, 8, 1), "mean": nn.Conv2d(8, 8, 1), "one": nn.Conv2d(8, 1, 1)}
        )
        self.head = nn.Sequential(nn.BatchNorm1d(8, affine=False), nn.Linear(8, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer1(self.stem(x))
        mean = y.mean((2, 3), keepdim=True)
        y = torch.relu(self.layer2["pixels"](y) + mean)
        y = torch.relu(self.layer2["mean"](mean) + y) + self.layer2["one"](y)
        return self.head(y.mean((2, 3)))


class Undecided(Network):
    """A network whose Python code looks at values."""

    def forward(self, x: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        return super().forward(x if x.sum() > 1e9 else 2 * x, factor)


class Tied(Network):
    """A network of which two blocks share a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.layer2.first.weight = self.layer1.first.weight


def users(kind: type[nn.Module], dtype: torch.dtype = torch.float64) -> Case:
    """A user's network with blocks that the config names."""
    torch.manual_seed(1)
    return case(kind(), (3, 8, 8), dtype, blocks=["stem", "layer1", "layer2", "head"])


def assert_is_oracle(made: Case, windows: Sequence[Window] = ()) -> None:
    """Gradients, statistics and outputs of windows, by default at both ends and in the middle, are autograd's."""
    for window in windows or made.trained:
        found, wanted = step(made, window, FLOAT), oracle(made, window)
        trained = made.blocks[window.first : window.last + 1]
        inside = slice(trained[0].parameters.start, trained[-1].parameters.stop)
        largest = wanted.gradient[inside].abs().max()
        assert largest > 0
        assert (found.gradient[inside] - wanted.gradient[inside]).abs().max() < 1e-12 * largest
        assert (found.outputs - wanted.outputs).abs().max() < 1e-12 * wanted.outputs.abs().max()
        assert torch.allclose(found.row, wanted.row, rtol=1e-12)
        found.gradient[inside] = 0
        assert not found.gradient.any()
        outside = torch.ones(len(found.row), dtype=torch.bool)
        for part in (part for block in trained for part in block.parts):
            outside[part] = False
        assert torch.equal(found.row[outside], made.net.row[outside])


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_autograd(name):
    """In float64, to 1e-12 of the largest: folding and masks change only rounding."""
    made = built_in(*NETWORKS[name])
    assert trace(made.net.model, [block.modules for block in made.blocks]) is not None
    assert_is_oracle(made)


@pytest.mark.parametrize("kind", [Network, PreActivated, Undecided])
def test_networks_of_users_are_trained_alike(kind):
    """With sums in place and odd padding; with norms before convolutions; and one that cannot be traced."""
    made = users(kind)
    assert bool(why_untraced(made.net.model, [block.modules for block in made.blocks])) == (kind is Undecided)
    assert_is_oracle(made)


def test_blocks_that_share_a_parameter():
    """The gradient of a window has what the parameter does behind it."""
    made = users(Tied)
    assert "blocks 1 and 2 share" in why_untraced(made.net.model, [block.modules for block in made.blocks])
    assert_is_oracle(made, [Window(0, 1), Window(1, 1), Window(1, 2), Window(3, 3)])


def accumulators(outputs: torch.Tensor) -> set[int]:
    """Addresses of all tensors whose gradients autograd would accumulate."""
    found, waiting, seen = set(), [outputs.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(node.variable.data_ptr())
        waiting += [each for each, _ in node.next_functions]
    return found


@pytest.mark.parametrize("frozen", [FLOAT, Frozen()])
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2", "transformer"])
def test_no_gradient_of_frozen_weights_exists(name, frozen):
    """Autograd's graph accumulates gradients of the window's parameters, of all of these and of no other."""
    made = built_in(*NETWORKS[name], dtype=torch.float32)
    for window in made.trained:
        network = made.window(window, frozen)
        found = accumulators(network.forward(made.inputs))
        addresses = {
            parameter.data_ptr(): made.net.names[name].start
            for name, parameter in made.net.model.named_parameters()
            if network.parameters.start <= made.net.names[name].start < network.parameters.stop
        }
        assert found == set(addresses)
        network.close()
    assert all(parameter.requires_grad for parameter in made.net.model.parameters())


def kept_bytes(made: Case, frozen: Frozen, as_it_is: bool) -> int:
    """The bytes that autograd keeps for the gradient of the first block, weights aside."""
    network = made.window(Window(0, 0), frozen)
    if as_it_is:
        network.compute_as_it_is()
    weights = {parameter.data_ptr() for parameter in made.net.model.parameters()}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.forward(made.inputs)
    network.close()
    return sum(kept.values())


def test_values_of_other_shapes_are_added_to_convolutions_of_8_bits():
    """Gradients of the window point where those of float do, whatever is added on which side."""
    made = users(PreActivated, torch.float32)
    for window in made.trained:
        found, wanted = step(made, window, Frozen("int8", "int8")), step(made, window, FLOAT)
        assert torch.allclose(found.outputs, wanted.outputs, atol=0.2)
        assert cosine(found.gradient, wanted.gradient) > 0.9


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2", PreActivated])
def test_frozen_blocks_keep_a_byte_a_number(name):
    """Behind the first block, which is trained: less than a quarter of what freezing by requires_grad keeps."""
    made = built_in(*NETWORKS[name], dtype=torch.float32) if isinstance(name, str) else users(name, torch.float32)
    naive = kept_bytes(made, FLOAT, as_it_is=True)
    assert kept_bytes(made, FLOAT, as_it_is=False) < 0.3 * naive
    assert kept_bytes(made, Frozen(), as_it_is=False) < 0.3 * naive


# Blocks


def test_blocks_are_named_by_the_config():
    net = RowModule(make_model("cnn", (1, 12, 12), 10, {"norm": "batch"}, seed=0), torch.float32, torch.device("cpu"))
    names = [["conv1", "conv2"], "dense1", ["output"]]
    joined, single = row_blocks(net, named_blocks(net.model, names)), row_blocks(net, named_blocks(net.model))
    assert [block.name for block in joined] == ["conv1+conv2", "dense1", "output"]
    assert joined[0].parameters == slice(0, single[1].parameters.stop)
    assert joined[0].statistics == slice(net.weights, len(net.row))
    assert joined[0].scales == slice(0, single[1].scales.stop)
    assert joined[1].scales == single[2].scales == slice(2, 3)
    assert joined[1:] == [*single[2:]]
    covered = sorted((part.start, part.stop) for block in single for part in block.parts)
    assert [start for start, _ in covered] == [0, *[stop for _, stop in covered[:-1]]]
    assert covered[-1][1] == len(net.row)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["conv1", "conv3", "dense1", "output"], "no module 'conv3'"),
        (["conv1", "conv2", "output"], "'dense1.1.weight' is in no block"),
        (["conv2", "conv1", "dense1", "output"], "comes after the parameters of a later block"),
        (["conv1", "conv1", "conv2", "dense1", "output"], "'conv1' and 'conv1' share modules"),
        (["conv1", "conv1.0", "conv2", "dense1", "output"], "'conv1.0' and 'conv1' share modules"),
        (["conv1.0", "conv1", "conv2", "dense1", "output"], "'conv1' and 'conv1.0' share modules"),
        (["conv1", [], "conv2", "dense1", "output"], "block 1 has no modules"),
    ],
)
def test_wrong_blocks_are_refused_in_a_line(names, said):
    net = RowModule(make_model("cnn", (1, 12, 12), 10, {}, seed=0), torch.float32, torch.device("cpu"))
    with pytest.raises(UsageError, match=r"^problem\.blocks: ") as raised:
        row_blocks(net, named_blocks(net.model, names))
    assert said in str(raised.value)
    assert len(str(raised.value)) <= LINE


# Clients


def clients(nodes: int = 2, **problem):
    """Clients of digits with a small CNN."""
    data = {"name": "digits", "split": "iid"}
    options = {"channels": [4, 8], "norm": "batch", "padding": "same"}
    problem = {"name": "torch", "model": "cnn", "options": options, **problem}
    algorithm = {"name": "fedavg", "step_size": 0.1, "batch_size": 32}
    return assembled({"name": "star", "nodes": nodes}, problem, algorithm, None, data)


def test_a_block_that_the_loss_does_not_depend_on():
    """Its gradient is zero, and it stays as it is."""
    experiment = clients(model="tools.windows:with_unused_layer", options={})
    problem, start = experiment.problem, np.atleast_2d(experiment.start)[0].astype(np.float32)
    last = len(problem.blocks()) - 1
    partial, out = Partial(Window(last, last), FLOAT, np.zeros(problem.blocks()[-1].scales.stop, np.float32)), start + 1
    work = Work(LocalOptimizer("sgd", 0.1), batch=32)
    trained = problem.client_trainer(experiment.streams).train(0, start, work, 0, out, partial=partial)
    assert trained.steps > 0
    assert np.array_equal(out, start)


@pytest.mark.parametrize(
    "optimizer", [LocalOptimizer("sgd", 0.1, momentum=0.9, decay=0.1), LocalOptimizer("adamw", 0.01)]
)
@pytest.mark.parametrize("frozen", [FLOAT, Frozen()])
def test_a_client_changes_its_window_alone(optimizer, frozen):
    """To the last bit, with decay, pull and correction; and the same bits again, after another window in between."""
    experiment = clients()
    problem, trainer = experiment.problem, experiment.problem.client_trainer(experiment.streams)
    blocks, work = problem.blocks(), Work(optimizer, batch=32, pull=0.3)
    start = (
        experiment.start.astype(np.float32)[0] if experiment.start.ndim == 2 else experiment.start.astype(np.float32)
    )
    scales, results = np.zeros(blocks[-1].scales.stop, np.float32), []
    for window in (Window(1, 2), Window(0, 0), Window(3, 3), Window(1, 2)):
        out = np.full_like(start, np.nan)
        trained = trainer.train(0, start, work, 0, out, np.ones_like(start), partial=Partial(window, frozen, scales))
        inside = np.zeros(len(start), bool)
        for block in blocks[window.first : window.last + 1]:
            for part in block.parts:
                inside[part] = True
        assert np.array_equal(out[~inside], start[~inside])
        assert (out[inside] != start[inside]).mean() > 0.9
        assert trained.scales is not None
        made = [k for k, block in enumerate(blocks) if trained.scales[block.scales].any()]
        assert set(made) <= set(range(window.first, window.last + 1))
        results.append(out)
    assert np.array_equal(results[0], results[-1])
    whole = np.empty_like(start)
    assert trainer.train(0, start, work, 0, whole).scales is None
    assert (whole != start).mean() > 0.9


@pytest.mark.parametrize("nodes", [1, 2])
def test_clients_of_a_round_share_frozen_layers(nodes, monkeypatch):
    """Those that begin at one constant row: the same bits, made once. A single client keeps nothing between rounds."""
    made = []

    class Counted(FrozenLayer):
        def __init__(self, *given) -> None:
            made.append(None)
            super().__init__(*given)

    monkeypatch.setattr(program, "FrozenLayer", Counted)
    experiment = clients(nodes)
    trainer, work = experiment.problem.client_trainer(experiment.streams), Work(LocalOptimizer("sgd", 0.1), batch=32)
    blocks = experiment.problem.blocks()
    start = np.atleast_2d(experiment.start)[0].astype(np.float32)

    def train(client: int, row: np.ndarray, window: Window, scales: np.ndarray) -> tuple[list[bytes], np.ndarray, int]:
        out, before = np.zeros_like(row), len(made)
        found = trainer.train(client, row, work, 0, out, partial=Partial(window, Frozen(), scales)).scales
        return [out.tobytes(), found.tobytes()], found, len(made) - before

    _, scales, count = train(0, start, Window(0, len(blocks) - 1), np.zeros(blocks[-1].scales.stop, np.float32))
    assert count == 0
    alone = {window: train(nodes - 1, start, window, scales) for window in (Window(1, 1), Window(3, 3))}
    for _ in range(2):
        constant = start.copy()
        constant.flags.writeable = False
        first = [train(0, constant, window, scales)[2] for window in alone]
        assert first[0] == alone[Window(1, 1)][2] > 0
        for window, (bits, _, count) in alone.items():
            found, _, again = train(nodes - 1, constant, window, scales)
            assert found == bits
            assert again == (count if nodes == 1 else 0)


def test_losses_without_blocks_say_so():
    data = {"name": "synthetic", "samples": 20, "features": 3}
    experiment = assembled({"name": "ring", "nodes": 2}, {"name": "least-squares"}, {"name": "dgd"}, None, data)
    with pytest.raises(UsageError, match="has no blocks"):
        experiment.problem.blocks()
