"""Send signs alone."""

from dataclasses import dataclass

import numpy as np

from mpiqopt._compressors import Signs
from mpiqopt.compressors.compressor import Draw, KernelCompressor, compressor_scratch
from mpiqopt.registry import register


@register("compressor", "sign")
@dataclass(frozen=True, kw_only=True)
class Sign(KernelCompressor):
    """sign(x) = +-1, with sign(0) = +1: a direction, not an approximation. For sign-sgd.

    Message: one bit a value, set for +1. Means are sums of integers, so that a majority is exact. Bernstein, Wang,
    Azizzadenesheli, Anandkumar, "signSGD: compressed optimisation for non-convex problems", 2018.
    """

    kernel = Signs("constant", 1.0)

    approximates = False

    def decode_mean(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        """Count the set bits and write (2 count - n)/n."""
        self.kernel.decode_mean(messages, x, compressor_scratch(x.shape[1], np.dtype(np.int32)))
