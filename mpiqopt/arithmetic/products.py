"""Products of matrices in a fixed order: BLAS sums in an order of its own on each processor and number of threads."""

from typing import Any

import numpy as np

# numbers of a piece that stays in the second-level cache between the product and the sum
PIECE = 1 << 15


def row_products(rows: Any, vectors: np.ndarray) -> np.ndarray:
    """Return ``rows @ vectors.T`` in float64, (m, k), the same bits everywhere.

    rows: (m, d), dense or a sparse SciPy array, of any type; vectors: (k, d), few: one pass over the rows for each.

    >>> row_products(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, -1.0]])).tolist()
    [[-1.0], [-1.0]]
    """
    if not isinstance(rows, np.ndarray):
        return _sparse(rows, vectors)
    out = np.empty((len(rows), len(vectors)))
    step = max(1, PIECE // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        piece = rows[start : start + step].astype(np.float64, copy=False)
        for k, vector in enumerate(vectors):
            np.add.reduce(piece * vector, axis=1, out=out[start : start + step, k])
    return out


def _sparse(rows: Any, vectors: np.ndarray) -> np.ndarray:
    """Return the products of sparse rows; ``bincount`` adds entries in the order in which they are stored."""
    rows = rows.tocsr()
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    products = (rows.data * vector[rows.indices].astype(np.float64) for vector in vectors)
    return np.stack([np.bincount(row, product, minlength=rows.shape[0]) for product in products], axis=1)


def row_squares(rows: Any) -> np.ndarray:
    """Return the squared norm of every row in float64, (m,), the same bits everywhere.

    rows: as in ``row_products``.
    """
    if not isinstance(rows, np.ndarray):
        rows = rows.tocsr()
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        return np.bincount(row, np.square(rows.data.astype(np.float64)), minlength=rows.shape[0])
    out = np.empty(len(rows))
    step = max(1, PIECE // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        piece = rows[start : start + step].astype(np.float64, copy=False)
        np.add.reduce(piece * piece, axis=1, out=out[start : start + step])
    return out
