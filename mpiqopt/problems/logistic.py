"""Logistic regression on two classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiqopt.arithmetic.products import row_products
from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.problems.loss import Loss
from mpiqopt.registry import register


@register("problem", "logistic")
@dataclass(frozen=True, kw_only=True)
class Logistic(Loss):
    """(1/m) sum_j log(1 + exp(-b_j a_j.x)), b in {-1, +1}; the larger of the data's two labels is +1.

    A sample counts as classified rightly if a_j.x has the sign of b_j. The second derivative of log(1 + e^-t) is at
    most 1/4, the curvature.
    """

    kernel = "logistic"
    curvature = 0.25
    convex = True

    def targets(self, targets: np.ndarray, shares: Shares) -> np.ndarray:
        """Return -1 for the smaller label and +1 for the larger. Raises UsageError unless there are two labels."""
        return label_signs(targets, shares, self.name)

    def predict(self, features: Any, x: np.ndarray) -> np.ndarray:
        """Return the sign of each a_j.x; 0 counts as -1."""
        return np.where(row_products(features, x[None])[:, 0] > 0, 1.0, -1.0)


def label_signs(targets: np.ndarray, shares: Shares, name: str) -> np.ndarray:
    """Return +1 for the larger label and -1 for the other, float64.

    name: of the problem. Raises UsageError, naming it, unless there are two labels.
    """
    if shares.labels is None or len(shares.labels) != 2:
        raise UsageError(f"{shares.where}: problem.name = {name!r} wants two labels, got {_some(shares)}")
    return np.where(targets == shares.labels[1], 1.0, -1.0)


def _some(shares: Shares) -> str:
    """Return the first labels, and how many there are, for an error line."""
    if shares.labels is None:
        return "more than 1000 distinct values"
    shown = shares.words or [f"{label:g}" for label in shares.labels]
    return f"{len(shown)}: {', '.join(shown[:5])}{', ...' if len(shown) > 5 else ''}"
