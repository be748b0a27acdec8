"""TernGrad."""

from dataclasses import dataclass
from math import sqrt

from mpiqopt._compressors import UniformGrid
from mpiqopt.compressors.compressor import KernelCompressor
from mpiqopt.registry import register


@register("compressor", "terngrad")
@dataclass(frozen=True, kw_only=True)
class TernGrad(KernelCompressor):
    """-max|x|, 0 or max|x|, stochastic and unbiased.

    Message: max|x| (4 bytes, the upper half of a float64, rounded up), then 2 bits a value: 0, 1, 2 for -, 0, +.
    Wen, Xu, Yan, Wu, Wang, Chen, Li, "TernGrad", 2017 (without its gradient clipping).
    """

    kernel = UniformGrid(2, "largest", 1, 1, 1)
    random = True

    def omega(self, d):
        """max over x of max|x| |x|_1 / |x|^2 - 1."""
        return (sqrt(d) - 1) / 2
