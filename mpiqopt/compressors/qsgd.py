"""QSGD."""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Annotated

from mpiqopt._compressors import UniformGrid
from mpiqopt.compressors.compressor import KernelCompressor
from mpiqopt.field import Field
from mpiqopt.registry import register


@register("compressor", "qsgd")
@dataclass(frozen=True, kw_only=True)
class QSGD(KernelCompressor):
    """Stochastic rounding to ``levels`` levels on each side of zero, the norm being the last; unbiased.

    Message of a block: |x| (4 bytes, the upper half of a float64, rounded up), then ceil(log2(2 levels + 1)) bits a
    value, code ``levels`` for zero. Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD", 2017 (there with Elias coding too;
    blocks are its buckets).
    """

    random = True

    block_size: Annotated[
        int, Field(ge=0, description="values that share a norm, each block a message of its own; 0: all of them")
    ] = 512
    levels: Annotated[int, Field(ge=1, le=32767, description="levels s on each side of zero; 127: 8 bits a value")] = (
        127
    )

    @cached_property
    def kernel(self) -> UniformGrid:
        return UniformGrid((2 * self.levels).bit_length(), "norm", self.levels, self.levels, self.levels)

    def omega(self, d):
        """Lemma 3.1 of the paper."""
        return min(d / self.levels**2, sqrt(d) / self.levels)
