"""Softmax (multinomial logistic) regression."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiqopt.arithmetic.products import row_products
from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.problems.loss import Loss
from mpiqopt.registry import register


@register("problem", "softmax")
@dataclass(frozen=True, kw_only=True)
class Softmax(Loss):
    """(1/m) sum_j (log sum_c exp(a_j.x_c) - a_j.x_{b_j}); x is (classes, d), flattened row by row.

    The distinct labels of the data, sorted, are the classes 0, 1, ... A sample counts as classified rightly if its
    class has the largest a_j.x_c (the first of equal ones). The Hessian of log-sum-exp is at most 1/2 (Boehning 1992).
    """

    kernel = "softmax"
    curvature = 0.5
    convex = True

    def outputs(self, shares: Shares) -> int:
        """Return the number of classes. Raises UsageError unless there are 2 to 1000 labels."""
        return number_of_classes(shares, self.name)

    def targets(self, targets: np.ndarray, shares: Shares) -> np.ndarray:
        """Return the class of each sample, 0, 1, ..., as float64 for the kernel."""
        return class_numbers(targets, shares)

    def predict(self, features: Any, x: np.ndarray) -> np.ndarray:
        """Return the class of the largest a_j.x_c."""
        return np.argmax(row_products(features, x.reshape(-1, features.shape[1])), axis=1)


def number_of_classes(shares: Shares, name: str) -> int:
    """Return how many labels there are. Raises UsageError, naming the problem, unless there are 2 to 1000."""
    if shares.labels is None or len(shares.labels) < 2:
        found = "more than 1000" if shares.labels is None else len(shares.labels)
        raise UsageError(f"{shares.where}: problem.name = {name!r} wants 2 to 1000 distinct labels, got {found}")
    return len(shares.labels)


def class_numbers(targets: np.ndarray, shares: Shares) -> np.ndarray:
    """Return the position of each target among the sorted labels, float64 (samples,)."""
    assert shares.labels is not None  # ``number_of_classes`` has seen to it
    return np.searchsorted(shares.labels, targets).astype(np.float64)
