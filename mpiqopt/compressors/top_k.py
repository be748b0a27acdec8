"""Send the largest coordinates.

>>> import numpy as np
>>> from mpiqopt.compressors.compressor import Draw
>>> top, keys = TopK(fraction=0.5), np.zeros(1, np.uint64)
>>> x, draw = np.array([[1.0, -3.0, 0.5, 2.0]]), Draw(0, keys, keys)
>>> messages = np.empty((1, top.nbytes(4, x.dtype)), np.uint8)
>>> top.encode(x, messages, draw)
>>> top.decode(messages, x, draw)
>>> x.tolist()
[[0.0, -3.0, 0.0, 2.0]]
"""

from dataclasses import dataclass

import numpy as np

from mpiqopt.arithmetic.rounding import round_significant
from mpiqopt.compressors.compressor import Compressor, Draw
from mpiqopt.compressors.random_k import Fraction, kept_count, sparse_kernel
from mpiqopt.registry import register


@register("compressor", "top-k")
@dataclass(frozen=True, kw_only=True)
class TopK(Compressor):
    """The k = ceil(fraction d) values of largest magnitude, the rest zero; of equal ones the first.

    Message: the smallest power of two above max|x| (4 bytes), k float32 relative to it in ascending order of index, and
    their indices, ceil(log2 d) bits each. Stich, Cordonnier, Jaggi, "Sparsified SGD with memory", 2018.
    """

    fraction: Fraction = 0.01

    def nbytes(self, d: int, dtype: np.dtype) -> int:
        return sparse_kernel("top_k", self.fraction, d).nbytes(d)

    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        sparse_kernel("top_k", self.fraction, x.shape[1]).encode(x, messages)

    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        sparse_kernel("top_k", self.fraction, x.shape[1]).decode(messages, x)

    def delta(self, d: int) -> float:
        """Return k/d, but for the rounding of values to float32."""
        return kept_count(self.fraction, d) / d - 2.0**-48

    def gossip_omega(self, d: int) -> float | None:
        """Return half of what delta says: what is left out grows until it is sent."""
        return (1 / self.delta(d) - 1) / 2

    def usual_delta(self, d: int) -> float | None:
        """Return the share of |x|^2 that the largest of many normal numbers have (ours).

        f + 2 z p(z) for the share f of values that are sent, those with magnitude beyond z; p: the normal density.
        """
        share = kept_count(self.fraction, d) / d
        if share == 1:
            return 1.0
        from statistics import NormalDist  # where it is used: many ranks start at once

        normal = NormalDist()
        beyond = normal.inv_cdf(1 - share / 2)
        return round_significant(share + 2 * beyond * normal.pdf(beyond), 6)
