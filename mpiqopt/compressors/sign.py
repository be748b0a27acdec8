"""Signs."""

from dataclasses import dataclass

import numpy as np

from mpiqopt._compressors import Signs
from mpiqopt.compressors.compressor import Compressor, room
from mpiqopt.registry import register

_KERNEL = Signs("constant", 1.0)


@register("compressor", "sign")
@dataclass(frozen=True, kw_only=True)
class Sign(Compressor):
    """sign(x) = +-1, with sign(0) = +1: a direction, not an approximation. For sign-sgd.

    Message: one bit a value, set for +1. Means are sums of integers, so that a majority is exact.
    """

    approximates = False

    def nbytes(self, d, dtype):
        return _KERNEL.nbytes(d)

    def encode(self, x, messages, draw):
        _KERNEL.encode(x, messages)

    def decode(self, messages, x, draw):
        _KERNEL.decode(messages, x)

    def decode_mean(self, messages, x, draw):
        _KERNEL.decode_mean(messages, x, room(x.shape[1], np.dtype(np.int32)))
