"""Coordinates chosen at random."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

import numpy as np

from mpiqopt._compressors import decode_chosen, encode_chosen
from mpiqopt.compressors.compressor import Compressor, room
from mpiqopt.field import Field
from mpiqopt.registry import register

Fraction = Annotated[float, Field(gt=0, le=1, description="share of the values that is sent: k = ceil(fraction d)")]


def kept(fraction: float, d: int) -> int:
    """k = ceil(fraction d)."""
    return ceil(fraction * d * (1 - 1e-12))  # 0.07 of 100 are 7, in spite of rounding


@register("compressor", "random-k")
@dataclass(frozen=True, kw_only=True)
class RandomK(Compressor):
    """k = ceil(fraction d) values chosen without replacement, times d/k; unbiased.

    Message: the smallest power of two above max|x| (4 bytes), k float32 relative to it. The choice follows from the
    message's key, which receivers know: indices are not sent.
    """

    fraction: Fraction = 0.01

    def nbytes(self, d, dtype):
        return 4 + 4 * kept(self.fraction, d)

    def encode(self, x, messages, draw):
        encode_chosen(x, messages, draw.own, self._index(x))

    def decode(self, messages, x, draw):
        decode_chosen(messages, x, draw.own, self._index(x))

    def _index(self, x: np.ndarray) -> np.ndarray:
        return room(kept(self.fraction, x.shape[1]), np.dtype(np.uint32))

    def omega(self, d):
        return d / kept(self.fraction, d) - 1
