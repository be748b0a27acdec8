"""What a regulariser promises: a prox that minimises, row by row."""

import numpy as np

from mpiqopt.contracts.contract import require, require_equal
from mpiqopt.regularizers.regularizer import Regularizer

STEP = 0.35
# of values of h and distances, relative
ROUNDING = {"float64": 1e-12, "float32": 1e-6}


def _rows(dtype: str) -> np.ndarray:
    return (2 * np.random.default_rng(7).standard_normal((5, 8))).astype(dtype)


def value_is_a_number(h: Regularizer) -> None:
    """Hold h(x) to a float, or infinity, for x of shape (d,)."""
    for dtype in ROUNDING:
        value = h(_rows(dtype)[0])
        require(isinstance(value, (float, np.floating)), f"h(x) is {value!r:.60}, want a float ({dtype})")
        require(not np.isnan(value), f"h(x) is NaN ({dtype})")


def prox_keeps_type_and_argument(h: Regularizer) -> None:
    """Hold the prox to a result like its argument, which it leaves alone."""
    for dtype in ROUNDING:
        x = _rows(dtype)
        before = x.copy()
        z = h.prox(x, STEP)
        require_equal(x, before, f"x ({dtype}) after prox")
        require(
            isinstance(z, np.ndarray) and (z.dtype, z.shape) == (x.dtype, x.shape),
            f"prox of {x.dtype} {x.shape} is {getattr(z, 'dtype', type(z).__name__)} {np.shape(z)}",
        )


def prox_treats_rows_one_by_one(h: Regularizer) -> None:
    """Hold the prox of several rows to that of each."""
    for dtype in ROUNDING:
        x = _rows(dtype)
        require_equal(h.prox(x, STEP), np.array([h.prox(row, STEP) for row in x]), f"rows of prox ({dtype})")


def prox_minimises(h: Regularizer) -> None:
    """Hold z = prox(x) to the smallest h(z) + |z - x|^2/(2 step), which is strongly convex.

    No other point is better by more than rounding, and points at distance r are worse by r^2/(2 step).
    """
    rng = np.random.default_rng(8)
    for dtype, rounding in ROUNDING.items():
        x = _rows(dtype)
        for row, point in zip(x.astype(float), h.prox(x, STEP).astype(float), strict=True):
            value = h(point) + np.sum((point - row) ** 2) / (2 * STEP)
            require(np.isfinite(value), f"h(prox(x)) is {h(point)!r}, want a finite number ({dtype})")
            for scale in (1e-3, 0.1, 2.0):
                moves = scale * rng.standard_normal((20, len(row))) * (rng.random((20, len(row))) < 0.5)
                for move in moves:
                    other = h(point + move) + np.sum((point + move - row) ** 2) / (2 * STEP)
                    gap = np.sum(move**2) / (2 * STEP)
                    allowed = rounding * (1 + value + gap)
                    r, least = float(np.sqrt(np.sum(move**2))), value + gap
                    require(
                        other >= least - allowed,
                        f"the value at distance {r:.3g} of prox(x) is {other:.9g}, want at least {least:.9g} ({dtype})",
                    )


CHECKS = (value_is_a_number, prox_keeps_type_and_argument, prox_treats_rows_one_by_one, prox_minimises)
