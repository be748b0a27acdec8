"""Shorter floating-point numbers relative to a common power of two."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from mpiqopt._compressors import Floats
from mpiqopt.compressors.compressor import Compressor


@dataclass(frozen=True, kw_only=True)
class ShortFloats(Compressor):
    """Message: the smallest power of two above max|x| as the upper half of a float64 (4 bytes), then x relative to it.

    So numbers of any magnitude fit: nothing overflows, and only what is far below the largest value underflows.
    """

    unit_roundoff: ClassVar[float]
    underflow: ClassVar[float]  # half the smallest difference, relative to the largest value

    @cached_property
    def _kernel(self) -> Floats:
        return Floats(self.name)

    def nbytes(self, d, dtype):
        return self._kernel.nbytes(d)

    def encode(self, x, messages, draw):
        self._kernel.encode(x, messages)

    def decode(self, messages, x, draw):
        self._kernel.decode(messages, x)

    def delta(self, d):
        """Each value to within unit_roundoff of itself, or underflow of the largest."""
        return 1 - self.unit_roundoff**2 - d * self.underflow**2
