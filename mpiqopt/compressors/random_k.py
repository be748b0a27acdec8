"""Send coordinates chosen at random."""

from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Annotated

import numpy as np

from mpiqopt._compressors import Kernel
from mpiqopt.compressors.compressor import Compressor, Draw
from mpiqopt.field import Field
from mpiqopt.registry import register

Fraction = Annotated[float, Field(gt=0, le=1, description="share of the values that is sent: k = ceil(fraction d)")]


def kept_count(fraction: float, d: int) -> int:
    """Return k = ceil(fraction d)."""
    return ceil(fraction * d * (1 - 1e-12))  # 0.07 of 100 are 7, in spite of rounding


@cache
def sparse_kernel(name: str, fraction: float, d: int) -> Kernel:
    """Return the kernel that sends this share of d values."""
    return Kernel(name, kept_count(fraction, d))


@register("compressor", "random-k")
@dataclass(frozen=True, kw_only=True)
class RandomK(Compressor):
    """k = ceil(fraction d) values chosen without replacement, times d/k; unbiased.

    C(x)_j = (d/k) x_j for the chosen j, else 0. Message: the smallest power of two above max|x| (4 bytes), k float32
    relative to it. The choice follows from the message's key, which receivers know: indices are not sent. Stich,
    Cordonnier, Jaggi, "Sparsified SGD with memory", 2018, there without the factor d/k.
    """

    fraction: Fraction = 0.01

    def nbytes(self, d: int, dtype: np.dtype) -> int:
        return sparse_kernel("random_k", self.fraction, d).nbytes(d)

    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        sparse_kernel("random_k", self.fraction, x.shape[1]).encode(x, messages, draw.own)

    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        sparse_kernel("random_k", self.fraction, x.shape[1]).decode(messages, x, keys=draw.own)

    def omega(self, d: int) -> float | None:
        """Return d/k - 1, which is exact for every x."""
        return d / kept_count(self.fraction, d) - 1
