"""Rotate, and send dithered signs: the compressor of FO-SGD."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np

from mpiqopt._compressors import Signs
from mpiqopt.arithmetic.rounding import exact_exponential
from mpiqopt.compressors.compressor import Compressor, Draw, compressor_scratch, rotated_length
from mpiqopt.compressors.one_bit import Dither
from mpiqopt.field import Field, only
from mpiqopt.registry import register


@register("compressor", "flattened-one-bit")
@dataclass(frozen=True, kw_only=True)
class FlattenedOneBit(Compressor):
    """U^T dither sign(U x + tau), U = D^(-1/2) H diag(+-1), D the power of two that is at least d, tau uniform.

    H: Hadamard; the random signs are shared by all nodes and change from round to round; tau in [-dither, dither] is
    each node's own. The expectation is U^T clip(U x). Without clipping E|C(x) - x|^2 = D dither^2 - |x|^2, with the
    adaptive dither (c^2 - 1) |x|^2 for every d, where the unflattened bit has d - 1 on sparse vectors.
    Message of a block: the dither (4 bytes, the upper half of a float64, rounded up; not for a fixed one), D bits.
    After Stollenwerk and Jacques, "Flattened one-bit stochastic gradient descent", arXiv 2405.11095 (the operator is
    ours from its abstract; its constants were not seen).
    """

    rotates = True

    block_size: Annotated[
        int,
        Field(ge=0, description="values that are flattened together; a power of two wastes no bits; 0: all of them"),
    ] = 4096
    dither: Annotated[
        Dither | Literal["adaptive"],
        Field(description="half the width of the dither's range; adaptive: clip |x|/sqrt(D) for each block"),
    ] = "adaptive"
    clip: Annotated[
        float,
        Field(
            gt=1,
            description="c of the dither; the relative bias is at most 2 exp(-c^2/4)",
            needs=(only("dither", "adaptive"),),
        ),
    ] = 2.0

    @cached_property
    def _kernel(self) -> Signs:
        """The signs, of which the dither is the amplitude: clip |x|/sqrt(D), or fixed."""
        if self.dither == "adaptive":
            return Signs("root-mean-square", self.clip)
        return Signs("constant", self.dither)

    def nbytes(self, d: int, dtype: np.dtype) -> int:
        return self._kernel.nbytes(rotated_length(d))

    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        self._kernel.encode(x, messages, draw.own, draw.shared, compressor_scratch(rotated_length(x.shape[1]), x.dtype))

    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        self._kernel.decode(messages, x, draw.shared, compressor_scratch(rotated_length(x.shape[1]), x.dtype))

    def decode_mean(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        """Sum the bits and rotate back once: all messages of a round have the same U."""
        size = rotated_length(x.shape[1])
        self._kernel.decode_mean(
            messages, x, compressor_scratch(size, np.dtype(np.int32)), draw.shared, compressor_scratch(size, x.dtype)
        )

    def omega(self, d: int) -> float | None:
        """Return c^2 - 1, and what clipping adds: at most 8 exp(-c^2/2) for subgaussian coordinates of U x (ours)."""
        square = self.clip * self.clip
        return square - 1 + 8 * exact_exponential(-square / 2) if self.dither == "adaptive" else None

    def bias(self, d: int) -> float:
        """Return 2 exp(-c^2/4), what clipping the subgaussian coordinates of U x changes in the mean (ours)."""
        return 2 * exact_exponential(-self.clip * self.clip / 4) if self.dither == "adaptive" else 0.0

    def resolution(self, d: int) -> float | None:
        """Return dither^2 D/d of a fixed dither: D values have at most dither^2 each."""
        return None if self.dither == "adaptive" else self.dither**2 * rotated_length(d) / d

    def reach(self) -> float | None:
        """Return the fixed dither: |x| up to there clips nothing, however x is rotated."""
        return None if self.dither == "adaptive" else self.dither
