"""Dithered signs."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np

from mpiqopt._compressors import Signs
from mpiqopt.compressors.compressor import KernelCompressor, scratch
from mpiqopt.field import Field
from mpiqopt.registry import register

Dither = Annotated[float, Field(ge=1e-250)]


@register("compressor", "one-bit")
@dataclass(frozen=True, kw_only=True)
class OneBit(KernelCompressor):
    """dither sign(x + tau), tau uniform on [-dither, dither], sign(0) = +1: the expectation is x clipped to +-dither.

    |C(x) - x|^2 = d dither^2 - |x|^2 in the mean without clipping: for a sparse x d - 1 times |x|^2, which is what
    flattening is for. Message: the dither (4 bytes, the upper half of a float64, rounded up; not for a fixed one), then
    one bit a value.
    """

    random = True

    dither: Annotated[
        Dither | Literal["adaptive"],
        Field(description="half the width of the dither's range; adaptive: max|x|, which clips nothing"),
    ] = "adaptive"

    @cached_property
    def kernel(self) -> Signs:
        return Signs("largest") if self.dither == "adaptive" else Signs("constant", self.dither)

    def decode_mean(self, messages, x, draw):
        self.kernel.decode_mean(messages, x, scratch(x.shape[1], np.dtype(np.int32)))

    def omega(self, d):
        return d - 1.0 if self.dither == "adaptive" else None

    def resolution(self, d):
        return None if self.dither == "adaptive" else self.dither**2

    def reach(self):
        return None if self.dither == "adaptive" else self.dither
