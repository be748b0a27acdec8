"""Convolutions and linear layers of 8-bit numbers, by private operators of PyTorch: all that knows them is here.

    q = round(x/step) + zero,  0 <= q <= 255

Fewer bits are simulated: the same operators, on numbers with fewer levels.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch.nn import functional

# of tensors with negative numbers
MIDDLE = 128
# a convolution of 16 channels that is right to so much, relative to its largest number, is computed as it should be
TOLERANCE = 0.03


class Grid(NamedTuple):
    """The numbers that a quantised tensor can have: step (q - zero), low <= q <= high."""

    step: float
    zero: int
    low: int
    high: int

    def quantise(self, values: torch.Tensor) -> torch.Tensor:
        """Return the nearest q of float32 numbers, uint8 of the same shape and layout."""
        with warnings.catch_warnings():  # quantised types are deprecated, what else is as quick is not there
            warnings.simplefilter("ignore")
            q = torch.quantize_per_tensor(values, self.step, self.zero, torch.quint8).int_repr()
        return self.clip(q)

    def clip(self, q: torch.Tensor) -> torch.Tensor:
        """Clip q to the levels, in place; operators clip to those of 8 bits."""
        return q if (self.low, self.high) in ((0, 255), (1, 255)) else q.clamp_(self.low, self.high)

    def numbers(self, q: torch.Tensor) -> torch.Tensor:
        """Return the float32 numbers that q stands for."""
        return q.float().sub_(self.zero).mul_(self.step)


def make_grid(largest: float, signed: bool, bits: int = 8) -> Grid:
    """Return the grid of a tensor whose largest magnitude is known: 2^bits levels from 0, or 2^bits - 1 around it.

    >>> make_grid(255.0, signed=False)
    Grid(step=1.0, zero=0, low=0, high=255)
    """
    top = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    step = (largest or 1.0) / top  # a tensor that is zero everywhere has any grid
    return Grid(step, MIDDLE, MIDDLE - top, MIDDLE + top) if signed else Grid(step, 0, 0, top)


class Shape(NamedTuple):
    """How a convolution runs over its input: as of ``torch.nn.functional.conv2d``."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int


class Int8Convolution:
    """A convolution of 8-bit weights and inputs, with a bias, another value added and ReLU.

    Weights have a step for each output channel.

    Parameters
    ----------
    weight : (out, in, h, w) float32. bias : (out,) float32 or None
    shape : of the convolution
    grid : of its input
    bits : of the weights
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        shape: Shape,
        grid: Grid,
        bits: int = 8,
    ) -> None:
        self._shape, self._grid = tuple(shape), grid
        whole, self._steps = _whole_weights(weight, bits)
        self._weight = torch.ops.onednn.qconv_prepack(whole, self._steps, grid.step, grid.zero, *shape)
        self._zeros = torch.zeros(len(whole), dtype=torch.int64)
        self._bias = None if bias is None else bias.clone()

    def __call__(
        self,
        q: torch.Tensor,
        out: Grid | None,
        rectifies: bool,
        added: torch.Tensor | None = None,
        added_grid: Grid | None = None,
    ) -> torch.Tensor:
        """Return the output, uint8 on the grid ``out``, or float32 without one.

        q : uint8, the input. added : what is added to the output, uint8 on ``added_grid``, or float32 if the output is.
        """
        grid, result = self._grid, out or Grid(1.0, 0, 0, 255)
        number = torch.float32 if out is None else torch.uint8
        before = (q, grid.step, grid.zero, self._weight, self._steps, self._zeros)
        after = (self._bias, *self._shape, result.step, result.zero, number)
        if added is None:
            y = torch.ops.onednn.qconv2d_pointwise.default(*before, *after, "relu" if rectifies else "none", [], "")
        else:
            step, zero = (1.0, 0) if added_grid is None else added_grid[:2]
            unary = "relu" if rectifies else "none"
            # the operator writes into what it adds
            y = torch.ops.onednn.qconv2d_pointwise.binary(
                *before, added.clone(), *after, step, zero, "sum", 1.0, unary, [], ""
            )
        return y if out is None else out.clip(y)


class Int8Linear:
    """A linear layer of 8-bit weights and inputs, with a bias and ReLU.

    Weights have a step for each output.

    Parameters
    ----------
    weight : (out, in) float32. bias : (out,) float32 or None
    grid : of its input
    bits : of the weights
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, grid: Grid, bits: int = 8) -> None:
        self._grid = grid
        whole, self._steps = _whole_weights(weight, bits)
        self._weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self._zeros = torch.zeros(len(whole), dtype=torch.int64)
        self._bias = None if bias is None else bias.clone()

    def __call__(self, q: torch.Tensor, out: Grid | None, rectifies: bool) -> torch.Tensor:
        """Return the output for q (..., in), uint8: (..., out) on the grid ``out``, or float32 without one."""
        grid, result = self._grid, out or Grid(1.0, 0, 0, 255)
        number = torch.float32 if out is None else torch.uint8
        before = (q.contiguous(), grid.step, grid.zero, self._weight, self._steps, self._zeros, self._bias)
        unary = "relu" if rectifies else "none"
        y = torch.ops.onednn.qlinear_pointwise.default(*before, result.step, result.zero, number, unary, [], "")
        return y if out is None else out.clip(y)


def _whole_weights(weight: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (out, ...) as whole numbers of so many bits, int8, and the step of each output."""
    rows = weight.flatten(1)
    steps = torch.maximum(rows.amax(1), -rows.amin(1)).div_(2 ** (bits - 1) - 1)
    steps[steps == 0] = 1.0
    return weight.div(steps.view(-1, *[1] * (weight.dim() - 1))).round_().to(torch.int8), steps


@lru_cache
def why_not() -> str:
    """Return "" if layers of 8-bit numbers work here, otherwise in a line why not. They are tried once."""
    try:
        error = max(_error(out, adds) for out in (False, True) for adds in (False, True))
        error = max(error, _linear_error())
    except Exception as failure:  # private operators: other names, other arguments, or a build without them
        return f"PyTorch {torch.__version__}: {type(failure).__name__} of torch.ops.onednn"
    return "" if error < TOLERANCE else f"PyTorch {torch.__version__}: wrong by {100 * error:.0f} %"


def _error(quantised: bool, adds: bool) -> float:
    """Return the largest error of a small convolution, relative to the largest number that it makes."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        return torch.rand(size, generator=generator).sub_(0.5)

    images, weight, bias, added = draw(2, 16, 5, 5), draw(16, 16, 3, 3), draw(16), draw(2, 16, 5, 5)
    images, added = (each.contiguous(memory_format=torch.channels_last) for each in (images, added))
    shape, signed = Shape([1, 1], [1, 1], [1, 1], 1), make_grid(0.5, signed=True)
    convolution = Int8Convolution(weight, bias, shape, signed)
    wanted = functional.conv2d(images, weight, bias, padding=1) + (added if adds else 0.0)
    wanted = wanted.relu_()
    out = make_grid(wanted.max().item(), signed=False) if quantised else None
    extra: Any = (signed.quantise(added), signed) if quantised else (added, None)
    y = convolution(signed.quantise(images), out, True, *(extra if adds else ()))
    found = y if out is None else out.numbers(y)
    return ((found - wanted).abs().max() / wanted.max()).item()


def _linear_error() -> float:
    """Return the largest error of a small linear layer, relative to the largest number that it makes."""
    generator = torch.Generator().manual_seed(0)
    values, weight = (torch.rand(size, generator=generator).sub_(0.5) for size in ((2, 3, 64), (16, 64)))
    signed, wanted = make_grid(0.5, signed=True), functional.linear(values, weight).relu_()
    out = make_grid(wanted.max().item(), signed=False)
    found = out.numbers(Int8Linear(weight, None, signed)(signed.quantise(values), out, True))
    return ((found - wanted).abs().max() / wanted.max()).item()


@lru_cache
def has_bfloat16() -> bool:
    """Return True if this processor multiplies bfloat16 numbers: then gradients pass frozen layers in these."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known and known())
