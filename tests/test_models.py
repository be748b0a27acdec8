"""The built-in networks have the sizes of their papers and start alike everywhere; users' modules; wrong options."""

import hashlib
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from mpiqopt.errors import LINE, UsageError  # noqa: E402
from mpiqopt.neural import model as networks  # noqa: E402
from mpiqopt.neural.layers import Chain  # noqa: E402
from mpiqopt.neural.model import describe, make_model, model_names  # noqa: E402

pytestmark = pytest.mark.torch

GREY, COLOURED, DIGIT = (1, 28, 28), (3, 32, 32), (1, 8, 8)
MCMAHAN = {"kernel": 5, "padding": "same", "pool": "each", "dense": [512]}
BEER = {"channels": [16, 32], "kernel": 5, "padding": "same", "pool": "each", "norm": "batch", "dense": []}
# Vocabulary 81, 80 tokens: embedding, positions, 2 layers of 12 w^2 + 13 w (GPT-2's layout), norm, output.
CHARACTERS = 81 * 128 + 80 * 128 + 2 * (12 * 128**2 + 13 * 128) + 2 * 128 + 81 * 128
# model, shape, outputs, options, parameters: published numbers, or sums over the layers
SIZES = [
    ("softmax", (64,), 10, {}, 640),
    ("softmax", GREY, 10, {"bias": True}, 7850),
    ("mlp", GREY, 10, {}, 199_210),  # McMahan et al. 2017
    ("mlp", (123,), 2, {"hidden": [64], "activation": "tanh"}, 124 * 64 + 65 * 2),  # DEEPSTORM's for a9a
    ("cnn", GREY, 10, MCMAHAN, 1_663_370),  # McMahan et al. 2017
    ("cnn", GREY, 10, BEER, 26 * 16 + 2 * 16 + (400 + 1) * 32 + 2 * 32 + (7 * 7 * 32 + 1) * 10),
    ("cnn", COLOURED, 10, {}, 28 * 32 + (9 * 32 + 1) * 64 + (14 * 14 * 64 + 1) * 128 + 1290),
    ("lenet", GREY, 10, {}, 61_706),
    ("lenet", (1, 32, 32), 10, {}, 61_706),
    ("lenet", COLOURED, 10, {}, 62_006),
    ("resnet18", COLOURED, 10, {}, 11_173_962),
    ("resnet18", COLOURED, 10, {"norm": "group"}, 11_173_962),
    ("mobilenetv2", COLOURED, 10, {}, 2_296_922),
    ("transformer", (80,), 81, {}, CHARACTERS),
]
# one small network of each kind, with all norms
SMALL = [
    ("softmax", (64,), {"initial": "uniform", "bias": True}),
    ("mlp", (64,), {"hidden": [16, 12], "activation": "gelu"}),
    ("cnn", DIGIT, {"channels": [4, 8], "dense": [16]}),
    ("cnn", DIGIT, BEER | {"channels": [4, 8]}),
    ("lenet", (1, 12, 13), {}),
    ("resnet18", DIGIT, {"width": 4}),
    ("resnet18", (2, 9, 12), {"width": 5, "norm": "group"}),
    ("mobilenetv2", DIGIT, {"width": 0.25}),
    ("mobilenetv2", DIGIT, {"width": 0.25, "norm": "group"}),
    ("transformer", (12,), {"width": 16, "heads": 2, "layers": 3}),
]
small = pytest.mark.parametrize(
    ("name", "shape", "options"), SMALL, ids=[f"{k}-{case[0]}" for k, case in enumerate(SMALL)]
)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for a processor of a busy machine take most of the time of networks as small as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def samples(name: str, shape: tuple[int, ...], count: int = 5) -> "torch.Tensor":
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 10, (count, *shape)) if name == "transformer" else rng.standard_normal((count, *shape))
    return torch.from_numpy(drawn.astype(np.float32))


def bits(model: nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


@pytest.mark.parametrize(("name", "shape", "outputs", "options", "parameters"), SIZES)
def test_sizes_are_those_of_the_papers(name, shape, outputs, options, parameters):
    model = make_model(name, shape, outputs, options, seed=0)
    assert sum(tensor.numel() for tensor in model.parameters()) == parameters
    assert sum(count for _, count in describe(model)) == parameters


def test_every_network_is_tested():
    assert {case[0] for case in SIZES} == {case[0] for case in SMALL} == set(model_names())


def mobilenet_parameters() -> int:
    """Sum the layers of table 2 by hand: 1 x 1, depthwise 3 x 3, 1 x 1, a norm of 2 numbers a channel after each."""
    total, narrow = 27 * 32 + 2 * 32, 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, wide, blocks, stride in stages:
        for k in range(blocks):
            inner = expansion * narrow
            total += narrow * inner + 2 * inner + 9 * inner + 2 * inner + inner * wide + 2 * wide
            if narrow != wide and (k or stride == 1):
                total += narrow * wide + 2 * wide
            narrow = wide
    return total + 320 * 1280 + 2 * 1280 + 1281 * 10


def test_mobilenet_has_the_layers_of_its_table():
    assert mobilenet_parameters() == 2_296_922


def test_blocks_are_the_units_that_cocofl_freezes():
    count = {name: len(networks.blocks(make_model(name, COLOURED, 10, {}, 0))) for name in ("resnet18", "mobilenetv2")}
    assert count == {"resnet18": 10, "mobilenetv2": 20}
    decoder = make_model("transformer", (8,), 10, {"layers": 3}, 0)
    assert networks.blocks(decoder) == [["embedding"], ["layer1"], ["layer2"], ["layer3"], ["output"]]
    assert [name for name, _ in describe(make_model("cnn", DIGIT, 10, {}, 0))] == ["conv1", "conv2", "dense1", "output"]


@small
def test_blocks_in_turn_are_the_network(name, shape, options):
    """And each parameter is in one block: what windows of layers rely on."""
    model = make_model(name, shape, 10, options, seed=3).eval()
    inputs = samples(name, shape)
    outputs = inputs
    for (block,) in networks.blocks(model):
        outputs = model.get_submodule(block)(outputs)
    assert torch.equal(outputs, model(inputs))
    assert outputs.shape == ((5, 12, 10) if name == "transformer" else (5, 10))
    names = [
        name for (block,) in networks.blocks(model) for name, _ in model.get_submodule(block).named_parameters(block)
    ]
    assert names == [name for name, _ in model.named_parameters()]


@small
def test_parameters_follow_from_the_seed_alone(name, shape, options):
    """What torch's generator did before does not matter, and it is left as it was."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = bits(make_model(name, shape, 10, options, seed=7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert bits(make_model(name, shape, 10, options, seed=7)) == first
    assert bits(make_model(name, shape, 10, options, seed=7 + 2**40)) != first


def test_parameters_are_the_same_bits_with_and_without_fused_multiply_add():
    """torch's own uniform numbers are not; its level of instructions is chosen when it is imported."""
    code = (
        "from mpiqopt.neural.model import make_model; import hashlib; digest = hashlib.sha256()\n"
        "for tensor in make_model('mlp', (64,), 10, {}, 5).parameters(): digest.update(tensor.detach().numpy())\n"
        "print(digest.hexdigest())"
    )
    digest = hashlib.sha256()
    for tensor in make_model("mlp", (64,), 10, {}, 5).parameters():
        digest.update(tensor.detach().numpy())
    run = subprocess.run(
        [sys.executable, "-c", code], env={"ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == digest.hexdigest()


def test_initial_parameters_have_the_distribution_that_is_promised():
    """U(-1/8, 1/8) for 64 inputs, of 12,800 numbers: the mean within 5 standard errors, (1/8)/sqrt(3 x 12800)."""
    weight = make_model("mlp", (64,), 10, {}, 0).get_submodule("hidden1")[1].weight.detach()
    assert weight.abs().max() <= 1 / 8
    assert weight.abs().max() > 0.124  # all are below with probability .992^12800, e^-103
    assert abs(weight.mean()) < 5 / 8 / np.sqrt(3 * 12800)
    decoder = make_model("transformer", (12,), 10, {"layers": 8}, 0)
    # uniform: the largest is sqrt(3) standard deviations; .02, and a quarter of it where 16 outputs are added up
    for tensor, deviation in (
        (decoder.get_submodule("layer1").attention[1].inward.weight, 0.02),
        (decoder.get_submodule("layer1").attention[1].outward.weight, 0.005),
        (decoder.get_submodule("layer8").feed_forward[3].weight, 0.005),
    ):
        assert float(tensor.detach().std()) == pytest.approx(deviation, rel=0.02)  # over 16,000 numbers: 5 errors
    assert not any(tensor.any() for name, tensor in decoder.named_parameters() if name.endswith("inward.bias"))


def gradients(model: nn.Module, inputs: "torch.Tensor") -> list["torch.Tensor"]:
    outputs = model(inputs)
    targets = torch.arange(len(inputs))[:, None].expand(-1, outputs[0, ..., 0].numel()) % 10
    loss = nn.functional.cross_entropy(outputs.reshape(-1, 10), targets.reshape(-1))
    return list(torch.autograd.grad(loss, list(model.parameters())))


@small
def test_gradients_are_finite_and_the_same_bits_twice(name, shape, options):
    inputs = samples(name, shape)
    one, other = (gradients(make_model(name, shape, 10, options, seed=0), inputs) for _ in range(2))
    assert all(map(torch.equal, one, other))
    assert all(torch.isfinite(gradient).all() for gradient in one)
    assert all(gradient.any() for gradient in one[-2:])  # of the output


def test_softmax_is_the_problem_of_that_name():
    """It starts at zero, W is stored row by row, and logits are W a."""
    model = make_model("softmax", (3,), 2, {}, seed=0)
    (weight,) = model.parameters()
    assert weight.shape == (2, 3)
    assert not weight.any()
    with torch.no_grad():
        weight.copy_(torch.tensor([[1.0, 2, 3], [4, 5, 6]]))
    assert model(torch.tensor([[1.0, 0, 2]])).tolist() == [[7.0, 16.0]]


def test_group_norm_has_no_buffers():
    """So all that a network is are its parameters; batch norm has running means."""
    for name in ("resnet18", "mobilenetv2", "cnn"):
        buffers = {norm: list(make_model(name, DIGIT, 10, {"norm": norm}, 0).buffers()) for norm in ("group", "batch")}
        assert not buffers["group"], name
        assert buffers["batch"], name


def test_attention_sees_no_later_token():
    """The logits at position t are the same bits whatever follows, and depend on what went before."""
    model = make_model("transformer", (12,), 10, {"width": 16}, seed=0)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 10, (3, 12)))
    outputs = model(tokens)
    for t in range(11):
        changed = tokens.clone()
        changed[:, t + 1 :] = (changed[:, t + 1 :] + 1) % 10
        later = model(changed)
        assert torch.equal(later[:, : t + 1], outputs[:, : t + 1])
        assert (later[:, t + 1 :] != outputs[:, t + 1 :]).any(dim=2).all()
    assert torch.equal(model(tokens.double()), outputs)
    assert model(tokens[:, :5]).shape == (3, 5, 10)


WRONG = [
    ("cnn", (64,), {}, r"problem.model = 'cnn': samples have shape \(64,\), .*: data.shape = \[1, 8, 8\] would do"),
    ("resnet18", (3072,), {}, r"data.shape = \[3, 32, 32\] would do"),
    ("mobilenetv2", (65,), {}, "from 8 x 8 up, which data.shape can say"),
    ("lenet", DIGIT, {}, r"samples have shape \(1, 8, 8\), want \(channels, height, width\) from 12 x 12 up$"),
    ("cnn", DIGIT, {"kernel": 5}, "too small for these options: take padding = 'same'"),
    ("transformer", DIGIT, {}, r"want \(T,\), tokens"),
    ("transformer", (8,), {"heads": 3}, "problem.options: width = 128: want a multiple of heads = 3"),
    ("mlpp", (64,), {}, r"problem.model = 'mlpp': unknown \(did you mean 'mlp'\?\); known: cnn, .*'module:function'"),
    ("mlp", (64,), {"hiden": [3]}, r"unknown option 'hiden' \(did you mean 'hidden'\?\); this model has hidden, act"),
    ("mlp", (64,), {"hidden": 3}, "problem.options: hidden = 3: want a list, each a whole number from 1 up"),
    ("mlp", (64,), {"hidden": [3, 0]}, r"hidden = \[3, 0\]: want"),
    ("mlp", (64,), {"hidden": [True]}, r"hidden = \[True\]: want"),
    ("mlp", (64,), {"hidden": [10**30]}, "problem.options = "),
    ("mlp", (64,), {"activation": "elu"}, "activation = 'elu': want 'relu' or 'tanh' or 'gelu'"),
    ("softmax", (64,), {"bias": 1}, "bias = 1: want true or false"),
    ("mobilenetv2", DIGIT, {"width": 0}, "problem.options: width = 0: want a number over 0"),
    ("mobilenetv2", DIGIT, {"width": "wide"}, "width = 'wide': want a number"),
    ("nowhere_to_be_found:build", DIGIT, {}, "importing nowhere_to_be_found: ModuleNotFoundError"),
    ("a b:c", DIGIT, {}, "want 'module:function'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape", "options", "line"), WRONG)
def test_errors_say_in_one_line_what_is_wanted(name, shape, options, line):
    with pytest.raises(UsageError, match=line) as error:
        make_model(name, shape, 10, options, seed=0)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= LINE


def test_what_no_machine_has_memory_for_is_refused_before_it_is_made():
    with pytest.raises(MemoryError, match=r"problem.model = 'mlp' of \d+ parameters take"):
        make_model("mlp", (64,), 10, {"hidden": [10**12]}, seed=0)


USERS = """
import torch
from torch import nn

class Scaled(nn.Module):
    def __init__(self, shape, outputs, *, depth: int, slope=0.1):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))
        self.layer = nn.Linear(shape[0], outputs)

def plain(shape, outputs, **anything):
    return nn.Sequential(nn.Linear(shape[0], 4), nn.ReLU(), nn.Linear(4, outputs))

def none(shape, outputs): return 3
def empty(shape, outputs): return nn.ReLU()
def fails(shape, outputs): return {}["key"]
def short(shape): return nn.ReLU()
number = 5
"""


@pytest.fixture
def users(tmp_path, monkeypatch):
    (tmp_path / "models_of_a_user.py").write_text(USERS)
    (tmp_path / "stops_at_import.py").write_text("raise SystemExit('no')")
    monkeypatch.delitem(sys.modules, "models_of_a_user", raising=False)
    path = sys.path[:]
    yield partial(make_model, shape=(6,), outputs=3, seed=4, folder=str(tmp_path))
    assert sys.path == path


def test_networks_of_users_are_found_beside_the_config(users):
    """Their parameters follow from the seed, too; blocks are the children that have parameters."""
    state = torch.get_rng_state()
    model = users("models_of_a_user:plain", options={"depth": 3})
    assert bits(users("models_of_a_user:plain", options={})) == bits(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert not isinstance(model, Chain)
    assert networks.blocks(model) == [["0"], ["2"]]
    assert describe(model) == [("0", 28), ("2", 15)]
    assert describe(users("models_of_a_user:Scaled", options={"depth": 1})) == [("all", 24)]


def test_norms_without_weights_are_of_the_block_before_them():
    """They have running statistics, which travel, and nothing to train; the first one is of the block behind it."""
    norm, linear = (lambda: torch.nn.BatchNorm1d(4, affine=False)), (lambda: torch.nn.Linear(4, 4))
    model = torch.nn.Sequential(norm(), torch.nn.ReLU(), linear(), norm(), linear(), norm(), norm())
    assert networks.blocks(model) == [["0", "2", "3"], ["4", "5", "6"]]
    assert networks.blocks(torch.nn.Sequential(norm())) == [[""]]


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("models_of_a_user:Scaled", {}, "problem.options: lacks depth"),
        ("models_of_a_user:Scaled", {"depth": 1.5}, "depth = 1.5: want a whole number"),
        ("models_of_a_user:Scaled", {"dept": 1}, r"'dept' \(did you mean 'depth'\?\); this model has depth, slope"),
        ("models_of_a_user:none", {"a": 1}, "this model has no options"),
        ("models_of_a_user:none", {}, "the function returned 3, want a torch.nn.Module"),
        ("models_of_a_user:empty", {}, "no parameters to train"),
        ("models_of_a_user:fails", {}, "KeyError: 'key'"),
        ("models_of_a_user:short", {}, r"want a function \(shape, outputs, \*\*options\)"),
        ("models_of_a_user:other", {}, "has no 'other'"),
        ("models_of_a_user:number", {}, "'number' is no function"),
        ("stops_at_import:build", {}, "importing stops_at_import: SystemExit: no"),
    ],
)
def test_errors_in_networks_of_users_are_one_line(users, name, options, line):
    with pytest.raises(UsageError, match=line) as error:
        users(name, options=options)
    assert "\n" not in str(error.value)
