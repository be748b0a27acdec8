"""Logistic regression on two classes."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.arithmetic.products import row_products
from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.problems.loss import Loss
from mpiqopt.registry import register


@register("problem", "logistic")
@dataclass(frozen=True, kw_only=True)
class Logistic(Loss):
    """(1/m) sum_j log(1 + exp(-b_j a_j.x)), b in {-1, +1}; the larger of the data's two labels is +1."""

    kernel = "logistic"
    curvature = 0.25

    def targets(self, targets: np.ndarray, shares: Shares) -> np.ndarray:
        if shares.labels is None or len(shares.labels) != 2:
            raise UsageError(f"{shares.where}: problem.name = 'logistic' wants two labels, got {_some(shares)}")
        return np.where(targets == shares.labels[1], 1.0, -1.0)

    def correct(self, features, targets: np.ndarray, x: np.ndarray) -> int:
        return int(np.count_nonzero((row_products(features, x[None])[:, 0] > 0) == (targets > 0)))


def _some(shares: Shares) -> str:
    if shares.labels is None:
        return "more than 1000 distinct values"
    shown = shares.words or [f"{label:g}" for label in shares.labels]
    return f"{len(shown)}: {', '.join(shown[:5])}{', ...' if len(shown) > 5 else ''}"
