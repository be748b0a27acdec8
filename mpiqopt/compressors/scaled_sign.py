"""Send signs and one scale."""

from dataclasses import dataclass

from mpiqopt._compressors import Signs
from mpiqopt.compressors.compressor import KernelCompressor
from mpiqopt.registry import register


@register("compressor", "scaled-sign")
@dataclass(frozen=True, kw_only=True)
class ScaledSign(KernelCompressor):
    """sign(x) |x|_1 / d, with sign(0) = +1; biased: for error feedback or difference coding.

    Message: |x|_1/d (4 bytes, the upper half of a float64, rounded up), then one bit a value. |C(x) - x|^2 =
    (1 - |x|_1^2 / (d |x|^2)) |x|^2. Karimireddy, Rebjock, Stich, Jaggi, "Error feedback fixes SignSGD", 2019.
    """

    kernel = Signs("mean")

    def delta(self, d: int) -> float:
        """Return 1/d: |x|_1 >= |x|, with equality for one non-zero value; but for the rounding of the scale.

        That of the paper, |x|_1^2 / (d |x|^2), depends on x.
        """
        return 1 / d - 2.0**-40

    def gossip_omega(self, d: int) -> float | None:
        """Return 2, as if delta were 1/3: in gossip the worst vector, one of a single value, does not come twice."""
        return min(2.0, 1 / self.delta(d) - 1)

    def usual_delta(self, d: int) -> float | None:
        """Return (E|x|)^2 / E x^2 = 2/pi of normal numbers."""
        return 0.63661977236758
