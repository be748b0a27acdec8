"""Round to levels relative to the norm, by chance: QSGD.

>>> import numpy as np
>>> from mpiqopt.compressors.compressor import Draw
>>> qsgd, keys = QSGD(levels=2), np.array([7], np.uint64)
>>> x, draw = np.array([[3.0, 0.0, -4.0]]), Draw(0, keys, keys)
>>> messages = np.empty((1, qsgd.nbytes(3, x.dtype)), np.uint8)
>>> qsgd.encode(x, messages, draw)
>>> qsgd.decode(messages, x, draw)
>>> x.tolist()  # multiples of |x|/2
[[2.5, 0.0, -5.0]]
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Annotated

from mpiqopt._compressors import UniformGrid
from mpiqopt.compressors.compressor import KernelCompressor
from mpiqopt.compressors.entropy_coded import EntropyCoded
from mpiqopt.field import Field
from mpiqopt.registry import register


@register("compressor", "qsgd")
@dataclass(frozen=True, kw_only=True)
class QSGD(KernelCompressor, EntropyCoded):
    """Stochastic rounding to ``levels`` levels on each side of zero, the norm being the last; unbiased.

    C(x)_j = (|x|/s) floor(s x_j/|x| + u_j), u_j uniform on [0, 1), s the number of levels. Message of a block: |x| (4
    bytes, the upper half of a float64, rounded up), then ceil(log2(2 levels + 1)) bits a value, code ``levels`` for
    zero. Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD: communication-efficient SGD via gradient quantization and
    encoding", 2017, Section 3.1 (there with Elias coding, here ``coder``; blocks are its buckets).
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

    def layout(self) -> tuple[int, int, bool]:
        return (2 * self.levels).bit_length(), self.levels, True

    def omega(self, d: int) -> float | None:
        """Return min(d/s^2, sqrt(d)/s), Lemma 3.1 of the paper."""
        return min(d / self.levels**2, sqrt(d) / self.levels)
