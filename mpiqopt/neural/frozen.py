"""Frozen layers that gradients pass: what they keep for that are masks of one byte a number, never their inputs.

Each is a function of autograd of its own, which has no gradient of weights. The numbers of a layer that works on 8 bits
are no part of autograd's graph; a tensor of the same shape and no memory, the carrier, stands for them there.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from mpiqopt.neural.int8 import Grid, Int8Convolution, Int8Linear, Shape


class Value(NamedTuple):
    """A value of the network in a form that layers take.

    Attributes
    ----------
    tensor : the numbers, or the carrier of the quantised ones
    q, grid : the quantised numbers, uint8, and what they stand for; None if ``tensor`` has the numbers
    """

    tensor: torch.Tensor
    q: torch.Tensor | None = None
    grid: Grid | None = None


class Folded(NamedTuple):
    """A convolution or linear layer and the norm behind it as one: weight, bias, and how a convolution runs."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    shape: Shape | None


def folded(core: nn.Module, norm: nn.Module | None) -> Folded:
    """Return a layer with the norm behind it, which uses its running statistics.

    w' = w gamma/sqrt(variance + epsilon),  b' = (b - mean) gamma/sqrt(variance + epsilon) + beta
    """
    weight, bias = core.weight.detach(), None if core.bias is None else core.bias.detach()
    if norm is not None:
        scale = norm_scale(norm)
        weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
        bias = (-norm.running_mean if bias is None else bias - norm.running_mean) * scale
        if norm.affine:
            bias = bias + norm.bias.detach()
    return Folded(weight, bias, convolution_shape(core))


def norm_scale(norm: nn.Module) -> torch.Tensor:
    """Return what a norm that uses its running statistics multiplies each channel by."""
    scale = (norm.running_var + norm.eps).rsqrt()
    return scale * norm.weight.detach() if norm.affine else scale


def scale_and_shift(norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a norm that uses its running statistics multiplies each channel by, and adds to it."""
    scale = norm_scale(norm)
    shift = -norm.running_mean * scale
    return scale, shift + norm.bias.detach() if norm.affine else shift


def convolution_shape(core: nn.Module) -> Shape | None:
    """Return how a convolution runs; None for linear layers and what our functions do not do."""
    if not isinstance(core, nn.Conv2d) or core.padding_mode != "zeros":
        return None
    padding = core.padding
    if padding == "valid":
        padding = (0, 0)
    elif padding == "same":
        totals = [d * (k - 1) for d, k in zip(core.dilation, core.kernel_size, strict=True)]
        if any(total % 2 for total in totals):
            return None
        padding = [total // 2 for total in totals]
    return Shape(list(core.stride), list(padding), list(core.dilation), core.groups)


def can_fold(module: nn.Module | None) -> bool:
    """Return True for the layers that ``folded`` takes."""
    return isinstance(module, nn.Linear) or (module is not None and convolution_shape(module) is not None)


def positive(values: torch.Tensor) -> torch.Tensor:
    """Return where numbers that are not negative are over 0, bool."""
    return values.bool()


def masked(gradient: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return a gradient where a mask, bool or uint8, is not 0, and 0 elsewhere.

    PyTorch turns numbers of 8 bits into floating ones several times faster than truth values.
    """
    ones = mask.view(torch.uint8) if mask.dtype == torch.bool else mask.clamp(max=1)
    return ones.to(gradient.dtype).mul_(gradient)


class PullBack:
    """The input gradient of a folded layer.

    Parameters
    ----------
    layer : the folded layer
    number : type of the gradients that pass it
    """

    def __init__(self, layer: Folded, number: torch.dtype) -> None:
        self._shape = layer.shape
        # bfloat16 is 20 times slower there than float32: PyTorch 2.13 on a processor that multiplies bfloat16
        slow = layer.shape is not None and layer.shape.groups > 1 and max(layer.shape.stride) > 1
        self._weight = layer.weight.to(layer.weight.dtype if slow else number)

    def __call__(self, gradient: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """Return the gradient with regard to the input of a ``size``."""
        gradient = gradient.to(self._weight.dtype)
        if self._shape is None:
            return gradient @ self._weight
        stride, padding, dilation, groups = self._shape
        # it takes nothing of the input but size and layout; memory that nobody writes to is never there
        layout = torch.empty(size, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)
        back = torch.ops.aten.convolution_backward.default
        args = gradient, layout, self._weight, None, stride, padding, dilation, False, [0, 0], groups
        return back(*args, [True, False, False])[0]


class _FloatLayer(torch.autograd.Function):
    """A folded layer: (input, added or None, layer) to the output."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, added: torch.Tensor | None, layer: "FrozenLayer") -> torch.Tensor:
        y = layer.float_output(x, added)
        if layer.rectifies:
            ctx.save_for_backward(positive(y))
        ctx.layer, ctx.size = layer, x.shape
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.layer.pull_back(ctx, gradient)


class _Int8Layer(torch.autograd.Function):
    """A folded layer of 8-bit numbers: (carrier, added or None, q, added q, layer) to the carrier or numbers, and q."""

    @staticmethod
    def forward(
        ctx: Any,
        carrier: torch.Tensor,
        added: torch.Tensor | None,
        x: Value,
        other: Value | None,
        layer: "FrozenLayer",
        made: list[torch.Tensor],
    ) -> torch.Tensor:
        y = layer.int8_output(x, other)
        ctx.layer, ctx.size = layer, carrier.shape
        if layer.rectifies:
            ctx.save_for_backward(positive(y) if layer.out is None else y)
        if layer.out is None:
            return y
        made.append(y)
        return make_carrier(y, carrier.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*ctx.layer.pull_back(ctx, gradient), None, None, None)


def make_carrier(q: torch.Tensor, number: torch.dtype) -> torch.Tensor:
    """Return what stands for quantised numbers in autograd's graph: a zero of the same shape."""
    return torch.zeros((), dtype=number, device=q.device).expand(q.shape)


class _Quantise(torch.autograd.Function):
    """Numbers to the carrier of their quantised ones: gradients pass as if nothing was rounded."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, number: torch.dtype) -> torch.Tensor:
        ctx.number = x.dtype
        return make_carrier(x, number)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.to(ctx.number), None


def quantise(x: torch.Tensor, grid: Grid, number: torch.dtype) -> Value:
    """Return numbers as quantised ones, whose gradients are of type ``number``."""
    carrier = _Quantise.apply(x, number) if _learns(x) else make_carrier(x, number)
    return Value(carrier, grid.quantise(x.detach()), grid)


class _Dequantise(torch.autograd.Function):
    """The carrier of quantised numbers to the numbers."""

    @staticmethod
    def forward(ctx: Any, carrier: torch.Tensor, value: Value) -> torch.Tensor:
        ctx.number = carrier.dtype
        return numbers(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.to(ctx.number), None


def dequantise(value: Value) -> Value:
    """Return a value as floating numbers."""
    if value.q is None:
        return value
    return Value(_Dequantise.apply(value.tensor, value) if _learns(value.tensor) else numbers(value))


def numbers(value: Value) -> torch.Tensor:
    """Return the float32 numbers of a quantised value, without gradients."""
    assert value.q is not None
    assert value.grid is not None
    return value.grid.numbers(value.q)


def _learns(*values: torch.Tensor | None) -> bool:
    """Return True if gradients will pass one of some values: functions of autograd take as long as small layers."""
    return torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in values)


class FrozenLayer:
    """A convolution or linear layer that is not trained, with what is joined to it.

    Parameters
    ----------
    layer : with its norm
    rectifies : True if ReLU comes last
    number : type of the gradients that pass it; None if none does

    Attributes
    ----------
    int8 : the same on numbers of 8 bits, None if it works on floating ones
    out : what its quantised output stands for; None if it is to be made of floating numbers
    """

    def __init__(self, layer: Folded, rectifies: bool, number: torch.dtype | None) -> None:
        self.folded, self.rectifies = layer, rectifies
        self._channels, self._kernel = len(layer.weight), layer.weight.shape[2:]
        self._back = None if number is None else PullBack(layer, number)
        self.int8: Int8Convolution | Int8Linear | None = None
        self.out: Grid | None = None

    def quantise(self, grid: Grid, bits: int, out: Grid | None) -> None:
        """Work on 8-bit numbers from now on, and forget the floating weights."""
        weight, bias, shape = self.folded
        self.int8 = (
            Int8Linear(weight, bias, grid, bits) if shape is None else Int8Convolution(weight, bias, shape, grid, bits)
        )
        self.out = out
        self.folded = Folded(weight.new_empty(0), None, shape)

    def __call__(self, x: Value, added: Value | None) -> Value:
        """Return the output for an input, and what is added to it."""
        alone = isinstance(self.int8, Int8Linear)
        if added is not None and (alone or added.tensor.shape != self._output_size(x.tensor.shape)):
            return self._add_after(x, added)
        other = None if added is None else added.tensor
        learns = _learns(x.tensor, other)
        if self.int8 is None:
            return Value(_FloatLayer.apply(x.tensor, other, self) if learns else self.float_output(x.tensor, other))
        if not learns:
            y = self.int8_output(x, added)
            return Value(y) if self.out is None else Value(make_carrier(y, x.tensor.dtype), y, self.out)
        made: list[torch.Tensor] = []
        tensor = _Int8Layer.apply(x.tensor, other, x, added, self, made)
        return Value(tensor, made[0], self.out) if made else Value(tensor)

    def float_output(self, x: torch.Tensor, added: torch.Tensor | None) -> torch.Tensor:
        """Return the output of floating numbers, without gradients."""
        weight, bias, shape = self.folded
        y = functional.linear(x, weight, bias) if shape is None else functional.conv2d(x, weight, bias, *shape)
        if added is not None:
            y += added
        return y.relu_() if self.rectifies else y

    def int8_output(self, x: Value, added: Value | None) -> torch.Tensor:
        """Return the output of 8-bit numbers, uint8 on the grid ``out`` or float32, without gradients."""
        assert self.int8 is not None
        assert x.q is not None
        if isinstance(self.int8, Int8Linear):
            return self.int8(x.q, self.out, self.rectifies)
        extra = () if added is None else (added.tensor if added.q is None else added.q, added.grid)
        return self.int8(x.q, self.out, self.rectifies, *extra)

    def _output_size(self, size: torch.Size) -> tuple[int, ...]:
        """Return the size of the output for an input of a ``size``."""
        if self.folded.shape is None:
            return (*size[:-1], self._channels)
        stride, padding, dilation, _ = self.folded.shape
        sides = zip(size[2:], self._kernel, stride, padding, dilation, strict=True)
        return (size[0], self._channels, *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides))

    def _add_after(self, x: Value, added: Value) -> Value:
        """Return the output for an input and what is added to it, which may have another shape: floating numbers."""
        alone = copy(self)
        alone.rectifies, alone.out = False, None
        y = alone(x, None).tensor + dequantise(added).tensor
        return Value(Rectify.apply(y) if self.rectifies else y)

    def pull_back(self, ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input and added value."""
        assert self._back is not None
        if self.rectifies:
            gradient = masked(gradient, *ctx.saved_tensors)
        wants_input, wants_added = ctx.needs_input_grad[:2]
        return self._back(gradient, ctx.size) if wants_input else None, gradient if wants_added else None, None


class Rectify(torch.autograd.Function):
    """ReLU that keeps where its output is over 0."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = x.relu()
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(positive(y))
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return masked(gradient, *ctx.saved_tensors)


class MaxPool(torch.autograd.Function):
    """Max-pooling that keeps where the largest numbers were, not the input."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, module: nn.MaxPool2d) -> torch.Tensor:
        keys = module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode
        y, where = functional.max_pool2d(x, *keys, return_indices=True)
        ctx.keys, ctx.size = [_pair(key) for key in keys[:4]] + [module.ceil_mode], x.shape
        ctx.save_for_backward(where)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (where,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        layout = torch.empty(ctx.size, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)
        back = torch.ops.aten.max_pool2d_with_indices_backward.default
        return back(gradient, layout, *ctx.keys, where), None


def _pair(key: int | Sequence[int]) -> list[int]:
    return [key, key] if isinstance(key, int) else list(key)
