"""Send values as they are."""

from dataclasses import dataclass

import numpy as np

from mpiqopt._compressors import require_finite
from mpiqopt.compressors.compressor import Compressor, Draw
from mpiqopt.registry import register


@register("compressor", "identity")
@dataclass(frozen=True, kw_only=True)
class Identity(Compressor):
    """The values as they are, float64 or float32.

    C(x) = x. Message: the bytes of x in memory, little-endian; there are no blocks and no scale.
    """

    in_blocks = False

    def nbytes(self, d: int, dtype: np.dtype) -> int:
        return d * dtype.itemsize

    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        require_finite(x)
        messages.view(x.dtype)[:] = x

    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        x[:] = messages.view(np.float32 if messages.shape[1] == 4 * x.shape[1] else np.float64)

    def omega(self, d: int) -> float | None:
        """Return 0: nothing is rounded."""
        return 0.0

    def delta(self, d: int) -> float | None:
        """Return 1: nothing is lost."""
        return 1.0
