"""A problem in one file: Huber's loss, robust against outliers in the targets.

mpiqopt check docs/examples/huber.toml --plugin docs/examples/huber.py
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt.arithmetic.products import row_products
from mpiqopt.field import Field
from mpiqopt.problems.loss import Loss
from mpiqopt.registry import register


@register("problem", "huber")
@dataclass(frozen=True, kw_only=True)
class Huber(Loss):
    """Mean of r^2/2 where |r| <= threshold and threshold (|r| - threshold/2) elsewhere, r = a.x - b (Huber 1964)."""

    curvature = 1.0  # second derivative in r, at most; gives step_size = "auto"

    threshold: Annotated[float, Field(gt=0, description="residual from which the loss is linear")] = 1.0

    def node(self, features: np.ndarray, targets: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
        residual = row_products(features, x[None])[:, 0] - targets
        slope = np.clip(residual, -self.threshold, self.threshold)
        value = float(np.mean(slope * (residual - slope / 2)))
        return value, row_products(features.T, slope[None])[:, 0] / len(targets)
