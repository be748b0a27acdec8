"""The mean of the data: what averaging algorithms compute."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiqopt.data.shares import Shares
from mpiqopt.problems.loss import Loss
from mpiqopt.registry import register


@register("problem", "mean")
@dataclass(frozen=True, kw_only=True)
class Mean(Loss):
    """(1/2m) sum_j |x - a_j|^2, a_j the rows of the features; targets are not used. grad f_i(0) = -(mean of node i).

    The minimiser of F is the mean of the nodes' means; with sparse features, too.
    """

    curvature = 0.0
    convex = True
    identity_curvature = 1.0

    def targets(self, targets: np.ndarray, shares: Shares) -> np.ndarray:
        """Return zeros: targets are not used."""
        return np.zeros_like(targets)

    def node(self, features: Any, targets: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return (|x|^2 + mean of |a_j|^2)/2 - x.mean(a), which does not form x - a_j, and x - mean(a)."""
        mean = np.asarray(features.mean(axis=0)).ravel()
        values = features if isinstance(features, np.ndarray) else features.data
        squares = np.add.reduce(x * x) + np.add.reduce(np.square(values), axis=None) / len(targets)
        return 0.5 * float(squares) - float(np.add.reduce(mean * x)), x - mean
