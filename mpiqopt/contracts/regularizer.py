"""Promises of a regulariser: a prox that minimises, row by row.

>>> from mpiqopt.regularizers.l1 import L1
>>> prox_minimises(L1(weight=0.1)) is None  # holds
True
"""

import numpy as np

from mpiqopt.contracts.contract import promise, promise_equal
from mpiqopt.regularizers.regularizer import Regularizer

STEP = 0.35
# of values of h and distances, relative
ROUNDING = {"float64": 1e-12, "float32": 1e-6}


def _rows(dtype: str) -> np.ndarray:
    """Return five normal rows of eight coordinates."""
    return (2 * np.random.default_rng(7).standard_normal((5, 8))).astype(dtype)


def value_is_a_number(h: Regularizer) -> None:
    """Check that h(x) is a float, or infinity, for x of shape (d,)."""
    for dtype in ROUNDING:
        value = h(_rows(dtype)[0])
        promise(isinstance(value, (float, np.floating)), f"h(x) is {value!r:.60}, want a float ({dtype})")
        promise(not np.isnan(value), f"h(x) is NaN ({dtype})")


def prox_keeps_type_and_argument(h: Regularizer) -> None:
    """Check that the prox has the type and shape of its argument, which it leaves alone.

    Methods go on with x after its prox was taken.
    """
    for dtype in ROUNDING:
        x = _rows(dtype)
        before = x.copy()
        z = h.prox(x, STEP)
        promise_equal(x, before, f"x ({dtype}) after prox")
        promise(
            isinstance(z, np.ndarray) and (z.dtype, z.shape) == (x.dtype, x.shape),
            f"prox of {x.dtype} {x.shape} is {getattr(z, 'dtype', type(z).__name__)} {np.shape(z)}",
        )


def prox_treats_rows_one_by_one(h: Regularizer) -> None:
    """Check that the prox of several rows is that of each: a row is a node's iterate."""
    for dtype in ROUNDING:
        x = _rows(dtype)
        promise_equal(h.prox(x, STEP), np.array([h.prox(row, STEP) for row in x]), f"rows of prox ({dtype})")


def prox_minimises(h: Regularizer) -> None:
    """Check that z = prox(x) has the smallest h(z) + |z - x|^2/(2 step), which is strongly convex.

    No other point is better by more than rounding, and points at distance r are worse by r^2/(2 step). Points at three
    distances are tried in random directions, half of the coordinates of each moved.
    """
    rng = np.random.default_rng(8)
    for dtype, rounding in ROUNDING.items():
        x = _rows(dtype)
        for row, point in zip(x.astype(float), h.prox(x, STEP).astype(float), strict=True):
            for scale in (1e-3, 0.1, 2.0):
                moves = scale * rng.standard_normal((20, len(row))) * (rng.random((20, len(row))) < 0.5)
                _require_least(h, row, point, moves, rounding, dtype)


def _require_least(
    h: Regularizer, row: np.ndarray, point: np.ndarray, moves: np.ndarray, rounding: float, dtype: str
) -> None:
    """Raise Broken unless the value at ``point`` is the least, by r^2/(2 step) at distance r."""
    value = h(point) + np.sum((point - row) ** 2) / (2 * STEP)
    promise(np.isfinite(value), f"h(prox(x)) is {h(point)!r}, want a finite number ({dtype})")
    for move in moves:
        other = h(point + move) + np.sum((point + move - row) ** 2) / (2 * STEP)
        gap = np.sum(move**2) / (2 * STEP)
        r, least = float(np.sqrt(np.sum(move**2))), value + gap
        promise(
            other >= least - rounding * (1 + value + gap),
            f"the value at distance {r:.3g} of prox(x) is {other:.9g}, want at least {least:.9g} ({dtype})",
        )


CHECKS = (value_is_a_number, prox_keeps_type_and_argument, prox_treats_rows_one_by_one, prox_minimises)
