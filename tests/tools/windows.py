"""Networks with settled statistics, and gradients of windows of their blocks; PyTorch is needed."""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mpiqopt.neural.model import make_model
from mpiqopt.neural.network_blocks import named_blocks, row_blocks
from mpiqopt.neural.partial import Block, Frozen, Partial, Window
from mpiqopt.neural.rows import RowModule
from mpiqopt.neural.window import WindowNetwork

CPU = torch.device("cpu")


class Case(NamedTuple):
    """A network, its blocks, and a batch."""

    net: RowModule
    blocks: list[Block]
    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def unknown(self) -> np.ndarray:
        """No scale is known."""
        return np.zeros(self.blocks[-1].scales.stop, np.float32)

    @property
    def trained(self) -> list[Window]:
        """The first block, some in the middle, the last."""
        n = len(self.blocks)
        return [Window(0, 0), Window(n // 3, n // 2), Window(n - 1, n - 1)]

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy."""
        return functional.cross_entropy(outputs.flatten(0, -2), self.targets.flatten())

    def window(self, window: Window, frozen: Frozen, scales: np.ndarray | None = None) -> WindowNetwork:
        """Return the network with a window in training."""
        made = WindowNetwork(self.net, self.blocks, Partial(window, frozen, self.unknown if scales is None else scales))
        made.train(True)
        return made


class Step(NamedTuple):
    """The gradient row, the row after it, which has new statistics, the outputs, and the scales."""

    gradient: torch.Tensor
    row: torch.Tensor
    outputs: torch.Tensor
    scales: np.ndarray


def case(model: nn.Module, shape: tuple[int, ...], dtype=torch.float64, blocks="auto", batch=8, tokens=0) -> Case:
    """Return a network of float numbers in a ``shape``, or of ``tokens``, whose statistics are those of the batch."""
    drawn = np.random.default_rng(5)
    net = RowModule(model, dtype, CPU)
    if tokens:
        inputs = torch.from_numpy(drawn.integers(tokens, size=(batch, *shape)))
        targets = torch.from_numpy(drawn.integers(tokens, size=(batch, *shape)))
    else:
        inputs = torch.from_numpy(drawn.normal(size=(batch, *shape))).to(dtype)
        targets = torch.from_numpy(drawn.integers(10, size=batch))
    net.train(True)
    norms = [module for module in net.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0  # until the mode changes
    with torch.no_grad():
        net.forward(inputs)
    net.train(False)
    return Case(net, row_blocks(net, named_blocks(net.model, blocks)), inputs, targets)


def built_in(name: str, shape: tuple[int, ...], options: dict, dtype=torch.float64) -> Case:
    """Return the case of a built-in network of ten classes."""
    tokens = 10 if name == "transformer" else 0
    return case(make_model(name, shape, 10, options, seed=3), shape, dtype, tokens=tokens)


def step(case: Case, window: Window, frozen: Frozen, scales: np.ndarray | None = None) -> Step:
    """Return what a gradient of a window brings; the row is as before afterwards."""
    start, network = case.net.row.clone(), case.window(window, frozen, scales)
    case.net.gradient.zero_()
    outputs = network.forward(case.inputs)
    case.loss(outputs).backward()
    made = Step(case.net.gradient.clone(), case.net.row.clone(), outputs.detach(), network.observed())
    network.close()
    case.net.load(start)
    return made


def oracle(case: Case, window: Window) -> Step:
    """Return what autograd alone makes of it: frozen blocks in eval mode, gradients of everything."""
    start = case.net.row.clone()
    trained = [name for block in case.blocks[window.first : window.last + 1] for name in block.modules]
    case.net.train(True, tuple(map(case.net.model.get_submodule, trained)))
    case.net.gradient.zero_()
    outputs = case.net.model(case.inputs)
    case.loss(outputs).backward()
    made = Step(case.net.gradient.clone(), case.net.row.clone(), outputs.detach(), case.unknown)
    case.net.train(False)
    case.net.load(start)
    return made


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the cosine between two vectors."""
    return functional.cosine_similarity(a.double(), b.double(), dim=0).item()


class _WithUnusedLayer(nn.Module):
    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.output, self.unused = nn.Linear(features, outputs), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(x.flatten(1))


def with_unused_layer(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Return a network with a layer that nothing takes the values of, as ``problem.model`` would name it."""
    return _WithUnusedLayer(int(np.prod(shape)), outputs)
