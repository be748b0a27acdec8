"""What the built-in networks share: a chain of blocks, how parameters are drawn, norms, checks of shapes."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

Draw = Callable[[nn.Module, np.random.Generator], None]
# of a group of GroupNorm: the best number of channels in table 3 of Wu and He, "Group normalization", 2018
GROUP = 16


class ShapeError(ValueError):
    """Samples whose shape a network cannot take; the message says what it wants, and what ``data.shape`` would do."""


def fill_uniform(parameter: torch.Tensor, stream: np.random.Generator, bound: float) -> None:
    """Fill a tensor with numbers from U(-bound, bound), the same bits on every processor.

    torch's own ``uniform_`` differs in the last bit between processors with and without fused multiply-add.
    """
    numbers = (2 * stream.random(tuple(parameter.shape)) - 1) * bound
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(numbers))


def draw_by_fan_in(model: nn.Module, stream: np.random.Generator) -> None:
    """Draw weights and biases of linear and convolutional layers from U(-1/sqrt(k), 1/sqrt(k)), k inputs an output.

    The distribution that torch has by default. Other layers (norms) keep what they have.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in layer.parameters(recurse=False):
                fill_uniform(parameter, stream, bound)


class Chain(nn.Sequential):
    """A network whose blocks are its children, run one after the other.

        output = block_B(... block_2(block_1(input)))

    Parameters
    ----------
    blocks : the blocks by name, in order from input to output.
    draw : draws the initial parameters, given the network and a NumPy generator.

    >>> chain = Chain({"hidden": nn.Linear(3, 2), "output": nn.Linear(2, 1)})
    >>> chain.blocks()
    [['hidden'], ['output']]
    """

    def __init__(self, blocks: dict[str, nn.Module], draw: Draw = draw_by_fan_in) -> None:
        super().__init__()
        for name, block in blocks.items():
            self.add_module(name, block)
        self._draw = draw

    def blocks(self) -> list[list[str]]:
        """Return the names of the modules of each block, for ``get_submodule``, from input to output."""
        return [[name] for name, _ in self.named_children()]

    def draw(self, stream: np.random.Generator) -> None:
        """Replace all parameters by initial ones, drawn from a stream in the order of layers."""
        self._draw(self, stream)


def make_norm(kind: str, channels: int) -> nn.Module:
    """Return a norm of images (batch, channels, h, w): "batch", "group" (16 channels a group if they divide), "none".

    Batch norm has buffers, its running means and variances; group norm has none, and the batch does not matter to it.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // math.gcd(GROUP, channels), channels) if kind == "group" else nn.Identity()


def require_image(shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    """Return (channels, height, width) if that is what a shape is, both sides at least ``least``.

    Raises ShapeError, which says what ``data.shape`` could be for that many features.
    """
    if len(shape) == 3 and min(shape[1:]) >= least:
        return shape[0], shape[1], shape[2]
    hint = "" if len(shape) == 3 else _shape_hint(math.prod(shape), least)
    raise ShapeError(f"want (channels, height, width) from {least} x {least} up{hint}")


def _shape_hint(features: int, least: int) -> str:
    """Return what ``data.shape`` could be for square images, grey or of three channels, that have so many features."""
    for channels in (1, 3):
        side = math.isqrt(features // channels)
        if channels * side * side == features and side >= least:
            return f": data.shape = [{channels}, {side}, {side}] would do"
    return ", which data.shape can say"


class MeanOfPixels(nn.Module):
    """The mean over height and width: (batch, channels, h, w) to (batch, channels)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the means."""
        return images.mean(dim=(2, 3))
