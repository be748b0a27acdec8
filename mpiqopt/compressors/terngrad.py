"""TernGrad."""

from dataclasses import dataclass
from math import sqrt

from mpiqopt._compressors import Grid
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.registry import register

_KERNEL = Grid(2, "largest", 1, 1, 1)


@register("compressor", "terngrad")
@dataclass(frozen=True, kw_only=True)
class TernGrad(Compressor):
    """-max|x|, 0 or max|x|, stochastic and unbiased.

    Message: max|x| (4 bytes, the upper half of a float64, rounded up), then 2 bits a value: 0, 1, 2 for -, 0, +.
    Wen, Xu, Yan, Wu, Wang, Chen, Li, "TernGrad", 2017 (without its gradient clipping).
    """

    def nbytes(self, d, dtype):
        return _KERNEL.nbytes(d)

    def encode(self, x, messages, draw):
        _KERNEL.encode(x, messages, draw.own)

    def decode(self, messages, x, draw):
        _KERNEL.decode(messages, x)

    def omega(self, d):
        """max over x of max|x| |x|_1 / |x|^2 - 1."""
        return (sqrt(d) - 1) / 2
