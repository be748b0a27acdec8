"""Rotate, and round to a few levels: EDEN."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np

from mpiqopt._compressors import Levels
from mpiqopt.compressors.compressor import Compressor, Draw, compressor_scratch, rotated_length
from mpiqopt.field import Field
from mpiqopt.registry import register

# By bits, the positive centroids of the Lloyd-Max quantiser of N(0, 1), and its mean squared error D: the variance
# after scaling is D/(1 - D).
CENTROIDS = {
    1: (0.797884560803,),
    2: (0.452780034636, 1.510417608499),
    3: (0.245094178944, 0.756005281206, 1.343909278505, 2.151945704537),
    4: (
        0.128395029851,
        0.38804829949,
        0.656759118532,
        0.942340456487,
        1.256231197347,
        1.618046386022,
        2.069017226531,
        2.732589570995,
    ),
}
DISTORTION = {1: 0.36338022763, 2: 0.11748184783, 3: 0.03454776079, 4: 0.00950100801}


@dataclass(frozen=True, kw_only=True)
class RotatedLevels(Compressor):
    """Rotate and round to the best 2^bits levels; ``bits`` is a field of EDEN and fixed in DRIVE."""

    rotates = True
    usual = True

    bits: ClassVar[int]

    @cached_property
    def _kernel(self) -> Levels:
        """The levels: centroids of both signs."""
        positive = np.array(CENTROIDS[self.bits])
        return Levels(np.concatenate([-positive[::-1], positive]), self.bits)

    def nbytes(self, d: int, dtype: np.dtype) -> int:
        return self._kernel.nbytes(rotated_length(d))

    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        self._kernel.encode(x, messages, draw.own, compressor_scratch(rotated_length(x.shape[1]), x.dtype))

    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        self._kernel.decode(messages, x, draw.own, compressor_scratch(rotated_length(x.shape[1]), x.dtype))

    def omega(self, d: int) -> float | None:
        """Return D/(1 - D), D the distortion: the limit for long vectors, whose rotation is nearly normal."""
        return DISTORTION[self.bits] / (1 - DISTORTION[self.bits])


@register("compressor", "eden")
@dataclass(frozen=True, kw_only=True)
class Eden(RotatedLevels):
    """S U^T round(U x sqrt(D)/|x|): rounding to the best 2^bits levels for normal variables after a random rotation.

    U = D^(-1/2) H diag(+-1), D the power of two that is at least d, the signs each node's own and new in every round.
    S = |x|^2 / <U x, rounded>, so that the estimate is unbiased over uniformly random rotations. U is near enough to
    one, and omega the limit, for long vectors whose energy is spread over many coordinates; of vectors with few
    non-zero values the direction is biased (by half of |x| for two).
    Message of a block: S (4 bytes, the upper half of a float64, rounded up), then ``bits`` bits for D values.
    Vargaftik, Ben Basat, Portnoy, Mendelson, Ben-Itzhak, Mitzenmacher, "EDEN: communication-efficient and robust
    distributed mean estimation for federated learning", 2022.
    """

    bits: Annotated[int, Field(ge=1, le=4, description="bits of one value")] = 2  # type: ignore[misc]  # fixed in DRIVE
