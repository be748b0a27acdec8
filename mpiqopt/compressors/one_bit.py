"""Send dithered signs."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np

from mpiqopt._compressors import Signs
from mpiqopt.compressors.compressor import Draw, KernelCompressor, compressor_scratch
from mpiqopt.field import Field
from mpiqopt.registry import register

Dither = Annotated[float, Field(ge=1e-250)]


@register("compressor", "one-bit")
@dataclass(frozen=True, kw_only=True)
class OneBit(KernelCompressor):
    """dither sign(x + tau), tau uniform on [-dither, dither], sign(0) = +1: the expectation is x clipped to +-dither.

    |C(x) - x|^2 = d dither^2 - |x|^2 in the mean without clipping: for a sparse x d - 1 times |x|^2, which is what
    flattening is for. Message: the dither (4 bytes, the upper half of a float64, rounded up; not for a fixed one), then
    one bit a value. Dither: Roberts, "Picture coding using pseudo-random noise", 1962.
    """

    random = True

    dither: Annotated[
        Dither | Literal["adaptive"],
        Field(description="half the width of the dither's range; adaptive: max|x|, which clips nothing"),
    ] = "adaptive"

    @cached_property
    def kernel(self) -> Signs:
        """The signs, of which the adaptive dither is the amplitude."""
        return Signs("largest") if self.dither == "adaptive" else Signs("constant", self.dither)

    def decode_mean(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        """Sum the bits as integers where the dither is fixed, else the decoded vectors."""
        self.kernel.decode_mean(messages, x, compressor_scratch(x.shape[1], np.dtype(np.int32)))

    def omega(self, d: int) -> float | None:
        """Return d - 1 for the adaptive dither, reached by a vector with one value; a fixed one clips."""
        return d - 1.0 if self.dither == "adaptive" else None

    def resolution(self, d: int) -> float | None:
        """Return dither^2: the variance of a value, dither^2 - x_j^2, at its largest."""
        return None if self.dither == "adaptive" else self.dither**2

    def reach(self) -> float | None:
        """Return the fixed dither, beyond which values are clipped."""
        return None if self.dither == "adaptive" else self.dither
