"""The mean of the data: what averaging algorithms compute."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.problems.loss import Loss
from mpiqopt.registry import register


@register("problem", "mean")
@dataclass(frozen=True, kw_only=True)
class Mean(Loss):
    """(1/2m) sum_j |x - a_j|^2, a_j the rows of the features; targets are not used. grad f_i(0) = -(mean of node i)."""

    curvature = 0.0
    identity_curvature = 1.0

    def targets(self, targets, shares):
        return np.zeros_like(targets)

    def node(self, features, targets, x):
        mean = np.asarray(features.mean(axis=0)).ravel()
        values = features if isinstance(features, np.ndarray) else features.data
        squares = np.add.reduce(x * x) + np.add.reduce(np.square(values), axis=None) / len(targets)
        return 0.5 * float(squares) - float(np.add.reduce(mean * x)), x - mean
