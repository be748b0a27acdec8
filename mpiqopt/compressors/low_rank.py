"""Send a matrix of low rank: one step of subspace iteration."""

from dataclasses import dataclass
from math import ceil, frexp, isqrt
from typing import Annotated

import numpy as np

from mpiqopt._compressors import require_finite
from mpiqopt.arithmetic.products import row_products
from mpiqopt.compressors.compressor import Compressor, Draw
from mpiqopt.field import Field
from mpiqopt.registry import register
from mpiqopt.streams import standard_normal

# Vectors without a larger value are sent as zero.
TINY = 2.0**-900


@register("compressor", "low-rank")
@dataclass(frozen=True, kw_only=True)
class LowRank(Compressor):
    """P P^T M, M the vector as a nearly square matrix (a, b), P an orthonormal basis of the columns of M Omega.

    Omega: b x rank normal variables from the round's shared key; a = ceil(sqrt(d)), b = ceil(d/a), M filled up with 0.
    Message: a power of two above max|x| (float64), P (a, rank), then Q = M^T P (b, rank) relative to it, as float32,
    row by row. After Vogels, Karimireddy, Jaggi, "PowerSGD", 2019, Algorithm 1; its warm start would be state.
    """

    rank: Annotated[int, Field(ge=1, description="rank r; the smaller side of the matrix at most")] = 2

    def _shape(self, d: int) -> tuple[int, int, int]:
        """Return a, b and the rank that there can be."""
        a = isqrt(d - 1) + 1
        b = ceil(d / a)
        return a, b, min(self.rank, a, b)

    def nbytes(self, d: int, dtype: np.dtype) -> int:
        a, b, rank = self._shape(d)
        return 8 + 4 * rank * (a + b)

    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        require_finite(x)
        for row, message, shared in zip(x, messages, draw.shared.tolist(), strict=True):
            a, b, rank = self._shape(len(row))
            message[:] = 0
            largest = float(np.abs(row).max())
            if largest < TINY:
                continue
            unit = 2.0 ** frexp(largest)[1]
            filled = np.zeros(a * b)
            filled[: len(row)] = row / unit
            matrix = filled.reshape(a, b)
            sketch = standard_normal(np.random.Generator(np.random.Philox(key=shared)), (b, rank))
            basis = orthonormal_basis(row_products(matrix, sketch.T)).astype(np.float32)
            image = row_products(matrix.T, basis.T.astype(np.float64)).astype(np.float32)
            message[:8].view(np.float64)[:] = unit
            message[8:].view(np.float32)[:] = np.concatenate([basis.ravel(), image.ravel()])

    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        for row, message in zip(x, messages, strict=True):
            a, b, rank = self._shape(len(row))
            unit = message[:8].copy().view(np.float64)[0]
            factors = message[8:].copy().view(np.float32).astype(np.float64).reshape(a + b, rank)
            # products of columns, added in order: the same bits at every receiver, whatever its BLAS
            matrix = np.asarray(sum(np.outer(factors[:a, k], factors[a:, k]) for k in range(rank)))
            row[:] = unit * matrix.ravel()[: len(row)]

    def delta(self, d: int) -> float | None:
        """Return r/min(a, b), the least share of |M|^2 in the column space of M Omega in the mean (ours).

        For r = 1 exact for M with equal singular values; but for the rounding of P and Q to float32.
        """
        a, b, rank = self._shape(d)
        return rank / min(a, b) - 2.0**-20


def orthonormal_basis(columns: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the columns; those that depend on earlier ones become zero.

    Gram-Schmidt, twice for accuracy; not LAPACK, whose last bits differ between machines.
    """
    basis = np.zeros_like(columns)
    for k in range(columns.shape[1]):
        rest = columns[:, k].copy()
        size = np.sqrt(np.add.reduce(rest * rest))
        for _ in range(2):
            for j in range(k):
                rest -= np.add.reduce(basis[:, j] * rest) * basis[:, j]
        left = np.sqrt(np.add.reduce(rest * rest))
        if left > 1e-12 * size:
            basis[:, k] = rest / left
    return basis
