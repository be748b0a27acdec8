"""Send signs and exponents: natural compression."""

from dataclasses import dataclass

from mpiqopt._compressors import Floats
from mpiqopt.compressors.compressor import KernelCompressor
from mpiqopt.registry import register


@register("compressor", "natural")
@dataclass(frozen=True, kw_only=True)
class Natural(KernelCompressor):
    """Rounding to a neighbouring power of two at random, unbiased; values below 2^-254 of the largest become zero.

    C(x)_j = sign(x_j) 2^e with probability 2 - |x_j|/2^e, else sign(x_j) 2^(e+1), 2^e <= |x_j| < 2^(e+1).
    Message: the smallest power of two above max|x| (4 bytes), then 9 bits a value: 8 of the exponent relative to it
    (255: equal to it, 0: the value is zero), and the sign.
    Horvath, Ho, Horvath, Sahu, Canini, Richtarik, "Natural compression for distributed deep learning", 2019.
    """

    kernel = Floats("power-of-two")
    random = True

    def omega(self, d: int) -> float | None:
        """Return 1/8 (the paper's), reached where values lie at 4/3 of a power of two."""
        return 1 / 8
