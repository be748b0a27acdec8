"""A compressor as a plugin, in NumPy: multiples of max|x|/127 as int8."""

from dataclasses import dataclass

import numpy as np

from mpiqopt._compressors import require_finite
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.registry import register


@register("compressor", "int8")
@dataclass(frozen=True, kw_only=True)
class Int8(Compressor):
    """x to the nearest multiple of max|x|/127. Message: max|x| as float64, then one byte a value."""

    def nbytes(self, d, dtype):
        return 8 + d

    def encode(self, x, messages, draw):
        require_finite(x)  # NotFinite names the row, and the run names the node and the iteration
        for row, message in zip(x, messages, strict=True):
            scale = float(np.abs(row).max())
            message[:8].view(np.float64)[:] = scale
            message[8:].view(np.int8)[:] = np.rint(row * (127 / scale)) if scale else 0

    def decode(self, messages, x, draw):
        for row, message in zip(x, messages, strict=True):
            row[:] = message[8:].view(np.int8) * (message[:8].copy().view(np.float64) / 127)

    def delta(self, d):
        """Every error is at most max|x|/254 <= |x|/254."""
        return max(0.0, 1 - d / 254**2) or None
