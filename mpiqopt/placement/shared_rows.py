"""Rows of all hosted nodes that are one row of memory: for vectors that all nodes know, as those of a server's method.

Their step from row to row is 0 bytes and nobody may write to them, which is what ``np.broadcast_to`` makes; so hundreds
of nodes take the memory of one. Any arithmetic on them makes (hosted, d) arrays of their own again, in Fortran's order
where NumPy keeps that of its operand (``empty_like``, ``astype``): methods compute with the row, ``rows[0]``.
"""

import numpy as np


def shared_rows(vector: np.ndarray, hosted: int) -> np.ndarray:
    """Return a vector (d,) as read-only rows (hosted, d), all of them the same memory.

    >>> rows = shared_rows(np.array([1.0, 2.0]), hosted=3)
    >>> rows.tolist(), is_shared(rows), is_shared(rows.copy())
    ([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]], True, False)
    """
    return np.broadcast_to(vector, (hosted, *vector.shape))


def is_shared(rows: np.ndarray) -> bool:
    """Return True if an array (hosted, ...) is one row for all nodes: a step of 0 bytes, and read-only.

    That of a single row is of no use to NumPy, but kept: ``np.broadcast_to`` makes it 0, arrays with memory of their
    own the size of a row. ``x[None]`` makes it 0, too, but may be written to. So one hosted node is told as many are.
    """
    return rows.ndim > 0 and rows.strides[0] == 0 and not rows.flags.writeable


def distinct_rows(rows: np.ndarray) -> np.ndarray:
    """Return the rows that differ in memory: (1, ...) of shared rows, else all of them, (hosted, ...)."""
    return rows[:1] if is_shared(rows) else rows
