"""Send shorter floating-point numbers, relative to a common power of two."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from mpiqopt._compressors import Floats
from mpiqopt.compressors.compressor import KernelCompressor


@dataclass(frozen=True, kw_only=True)
class ShortFloats(KernelCompressor):
    """Round x/p to a format of fewer bits, p the smallest power of two above max|x|; the common part of its members.

    Message: p as the upper half of a float64 (4 bytes), then the numbers. So numbers of any magnitude fit: nothing
    overflows, and only what is far below the largest value underflows.
    """

    unit_roundoff: ClassVar[float]
    underflow: ClassVar[float]  # half the smallest difference, relative to the largest value

    @cached_property
    def kernel(self) -> Floats:
        """The format that has the compressor's name."""
        return Floats(self.name)

    def delta(self, d: int) -> float | None:
        """Return 1 - unit_roundoff^2 - d underflow^2.

        Each value is sent to within unit_roundoff of itself, or underflow of the largest.
        """
        return 1 - self.unit_roundoff**2 - d * self.underflow**2
