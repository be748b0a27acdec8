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

    def outputs(self, shares: Shares) -> int:
        """Return the number of classes. Raises UsageError unless there are 2 to 1000 labels."""
        if shares.labels is None or len(shares.labels) < 2:
            found = "more than 1000" if shares.labels is None else len(shares.labels)
            raise UsageError(f"{shares.where}: problem.name = 'softmax' wants 2 to 1000 distinct labels, got {found}")
        return len(shares.labels)

    def targets(self, targets: np.ndarray, shares: Shares) -> np.ndarray:
        """Return the class of each sample, 0, 1, ..., as float64 for the kernel."""
        assert shares.labels is not None  # ``outputs`` has seen to it
        return np.searchsorted(shares.labels, targets).astype(np.float64)

    def correct(self, features: Any, targets: np.ndarray, x: np.ndarray) -> int:
        scores = row_products(features, x.reshape(-1, features.shape[1]))
        return int(np.count_nonzero(np.argmax(scores, axis=1) == targets)) if len(targets) else 0
