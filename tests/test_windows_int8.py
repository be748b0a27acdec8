"""Frozen blocks in 8 bits and fewer: how near they are to float, their levels and scales, and what happens without."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tools.windows import Case, built_in, case, cosine, step  # noqa: E402
from torch.nn import functional  # noqa: E402

from mpiqopt.cli import doctor  # noqa: E402
from mpiqopt.neural import int8  # noqa: E402
from mpiqopt.neural.graph import Graph  # noqa: E402
from mpiqopt.neural.model import make_model  # noqa: E402
from mpiqopt.neural.partial import Frozen, Window  # noqa: E402

pytestmark = pytest.mark.torch

FLOAT = Frozen("float", "float")
NETWORKS = {
    "resnet18": ("resnet18", (3, 12, 12), {"width": 8}),
    "mobilenetv2": ("mobilenetv2", (3, 12, 12), {"width": 0.25}),
    "cnn": ("cnn", (1, 12, 12), {"channels": [4, 8], "dense": [1500]}),
    "transformer": ("transformer", (9,), {"width": 96, "layers": 3}),
}
works = pytest.mark.skipif(bool(int8.why_not()), reason="no 8-bit convolutions here")


def settled(name: str, options: dict, steps: int) -> Case:
    """A network after ``steps`` steps and 20 short ones, on smooth patterns, one a class, with noise; a new batch."""
    drawn = torch.Generator().manual_seed(3)
    made = case(make_model(name, (3, 16, 16), 10, options, seed=3), (3, 16, 16), torch.float32)
    patterns = torch.randn(10, 3, 4, 4, generator=drawn)
    net = made.net
    for step_size in [0.1] * steps + [0.01] * 20:
        targets = torch.randint(10, (32,), generator=drawn)
        noise = torch.randn(32, 3, 4, 4, generator=drawn)
        inputs = functional.interpolate(patterns[targets] + noise, size=16, mode="bilinear")
        made = made._replace(inputs=inputs, targets=targets)
        net.train(True)
        net.gradient.zero_()
        made.loss(net.forward(inputs)).backward()
        net.row[: net.weights].add_(net.gradient[: net.weights], alpha=-step_size)
    net.train(False)
    return made


@works
@pytest.mark.parametrize(
    ("name", "options", "steps", "least"),
    [
        ("resnet18", {"width": 16}, 20, (0.93, 0.93, 0.96)),
        ("mobilenetv2", {"width": 0.35}, 40, (0.8, 0.8, 0.9)),
    ],
)
def test_gradients_point_where_those_of_float_do(name, options, steps, least):
    """The cosine at the first, middle and last third of the blocks, once statistics have settled."""
    made = settled(name, options, steps)
    blocks = len(made.blocks)
    cuts = [0, blocks // 3, 2 * blocks // 3, blocks]
    for first, end, bound in zip(cuts[:-1], cuts[1:], least, strict=True):
        window = Window(first, end - 1)
        part = slice(made.blocks[first].parameters.start, made.blocks[end - 1].parameters.stop)
        found, wanted = step(made, window, Frozen("int8", "int8")), step(made, window, FLOAT)
        assert not torch.equal(found.gradient[part], wanted.gradient[part])
        assert cosine(found.gradient[part], wanted.gradient[part]) > bound


@works
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_bits_again_and_with_the_same_scales(name):
    """Scales that a device has to find itself are those that it would be told."""
    made = built_in(*NETWORKS[name], dtype=torch.float32)
    last = len(made.blocks) - 1
    with torch.no_grad():
        network = made.window(Window(0, last), FLOAT)
        network.train(False)
        network.forward(made.inputs)
        scales = network.observed()
        network.close()
    assert (scales[made.blocks[0].scales] > 0).all()
    for window in made.trained:
        first, again, told = (step(made, window, Frozen(), known) for known in (None, None, scales))
        assert torch.equal(first.gradient, again.gradient)
        assert torch.equal(first.gradient, told.gradient)
        assert torch.equal(first.outputs, told.outputs)


@works
def test_large_linear_layers_before_the_window_work_on_8_bits():
    """Sums and GELU between them are of floating numbers; the direction is kept."""
    made = built_in(*NETWORKS["transformer"], dtype=torch.float32)
    assert [block.scales.stop - block.scales.start for block in made.blocks] == [0, 2, 2, 2, 0]
    window = Window(4, 4)
    found, wanted = step(made, window, Frozen()), step(made, window, FLOAT)
    assert not torch.equal(found.gradient, wanted.gradient)
    assert cosine(found.gradient, wanted.gradient) > 0.999
    behind = Window(0, 0)
    assert torch.equal(step(made, behind, Frozen()).gradient, step(made, behind, FLOAT).gradient)


@works
def test_scales_matter():
    """Scales that are ten times too small clip everything."""
    made = built_in(*NETWORKS["resnet18"], dtype=torch.float32)
    window = made.trained[-1]
    small = np.full_like(made.unknown, 0.01)
    assert not torch.equal(step(made, window, Frozen()).outputs, step(made, window, Frozen(), small).outputs)


def test_a_window_observes_the_largest_magnitude_of_what_it_makes():
    """Means over two batches, of the tensors of its own blocks alone."""
    made = built_in(*NETWORKS["resnet18"], dtype=torch.float32)
    blocks, graph = made.blocks, Graph(made.net.model, [block.modules for block in made.blocks])
    assert [graph.block[node] for node in graph.scaled] == [
        k for k, block in enumerate(blocks) for _ in range(block.scales.start, block.scales.stop)
    ]
    window, seen = Window(0, 3), []
    network = made.window(window, FLOAT)
    network.compute_as_it_is()
    block = made.net.model.get_submodule("block2")
    listening = block.register_forward_hook(lambda *given: seen.append(given[2].abs().max().item()))
    for factor in (1.0, 3.0):
        network.forward(factor * made.inputs)
    listening.remove()
    network.close()
    network = made.window(window, FLOAT)
    for factor in (1.0, 3.0):
        network.forward(factor * made.inputs)
    found = network.observed()
    network.close()
    assert found[blocks[2].scales][-1] == pytest.approx(np.mean(seen), rel=1e-6)
    assert (found[: blocks[3].scales.stop] > 0).all()
    assert not found[blocks[3].scales.stop :].any()


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_grids_have_as_many_levels_as_their_bits(bits, signed):
    grid = int8.make_grid(2.0, signed, bits)
    values = torch.linspace(-2.0 if signed else 0.0, 2.0, 100_001)
    q = grid.quantise(values.clone())
    assert len(q.unique()) == 2**bits - signed
    assert (grid.numbers(q) - values).abs().max() <= 0.5001 * grid.step
    beyond = grid.numbers(grid.quantise(torch.tensor([-9.0, 9.0])))
    assert beyond[1] == pytest.approx(2.0, rel=0.01)
    assert beyond[0] >= (-2.1 if signed else 0.0)


@works
@pytest.mark.parametrize("bits", [4, 6])
def test_fewer_bits_have_fewer_levels_and_larger_errors(bits):
    images = torch.rand(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    weight, grid, out = torch.randn(8, 8, 3, 3), int8.make_grid(1.0, False, bits), int8.make_grid(4.0, False, bits)
    shape = int8.Shape([1, 1], [1, 1], [1, 1], 1)
    q = int8.Int8Convolution(weight, None, shape, grid, bits)(grid.quantise(images), out, True)
    assert q.max() == 2**bits - 1
    made = built_in(*NETWORKS["cnn"], dtype=torch.float32)
    window, wanted = made.trained[-1], step(made, made.trained[-1], FLOAT).outputs
    errors = [(step(made, window, Frozen(bits=each)).outputs - wanted).abs().max() for each in (bits, 8)]
    assert errors[0] > errors[1]


@pytest.mark.parametrize("way", ["raise", "wrong"])
def test_without_operators_frozen_blocks_are_float(way, monkeypatch):
    """Whether they fail or compute something else; doctor says so."""

    def call(self, q, out, rectifies, added=None, added_grid=None):
        if way == "raise":
            raise RuntimeError("no such operator")
        return torch.zeros(len(q), 16, 5, 5, dtype=torch.float32 if out is None else torch.uint8)

    monkeypatch.setattr(int8.Int8Convolution, "__call__", call)
    int8.why_not.cache_clear()
    try:
        made = built_in(*NETWORKS["resnet18"], dtype=torch.float32)
        for window in made.trained:
            found, wanted = step(made, window, Frozen("int8", "int8")), step(made, window, FLOAT)
            assert torch.equal(found.gradient, wanted.gradient)
        assert "8-bit numbers do not work here" in doctor._frozen_blocks()
    finally:
        int8.why_not.cache_clear()


def test_double_precision_is_never_quantised():
    made = built_in(*NETWORKS["cnn"])
    for window in made.trained:
        assert torch.equal(step(made, window, Frozen("int8", "int8")).gradient, step(made, window, FLOAT).gradient)
