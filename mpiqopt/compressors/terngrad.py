"""Send signs and zeros by chance: TernGrad."""

from dataclasses import dataclass
from math import sqrt

from mpiqopt._compressors import UniformGrid
from mpiqopt.compressors.compressor import KernelCompressor
from mpiqopt.registry import register


@register("compressor", "terngrad")
@dataclass(frozen=True, kw_only=True)
class TernGrad(KernelCompressor):
    """-max|x|, 0 or max|x|, stochastic and unbiased.

    C(x)_j = max|x| sign(x_j) b_j, b_j = 1 with probability |x_j|/max|x|, else 0.
    Message: max|x| (4 bytes, the upper half of a float64, rounded up), then 2 bits a value: 0, 1, 2 for -, 0, +.
    Wen, Xu, Yan, Wu, Wang, Chen, Li, "TernGrad", 2017 (without its gradient clipping).
    """

    kernel = UniformGrid(2, "largest", 1, 1, 1)
    random = True

    def omega(self, d: int) -> float | None:
        """Return the maximum over x of max|x| |x|_1 / |x|^2 - 1 (ours).

        E|C(x)|^2 = max|x| |x|_1; the maximum is at one value of 1 and d - 1 of 1/(1 + sqrt(d)).
        """
        return (sqrt(d) - 1) / 2
