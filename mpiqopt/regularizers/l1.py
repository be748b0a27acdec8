"""The l1 norm.

>>> h = L1(weight=0.5)
>>> h(np.array([3.0, -0.25, 0.0]))
1.625
>>> h.prox(np.array([[3.0, -0.25, 0.0], [-1.0, 1.0, 0.75]]), step=1.0).tolist()
[[2.5, 0.0, 0.0], [-0.5, 0.5, 0.25]]
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt.field import Field
from mpiqopt.registry import register
from mpiqopt.regularizers.regularizer import Regularizer, soft_threshold


@register("regularizer", "l1")
@dataclass(frozen=True, kw_only=True)
class L1(Regularizer):
    """h(x) = weight |x|_1.

    Its prox is the soft threshold sign(x_k) max(|x_k| - step weight, 0): coordinates of little use become exactly 0.
    """

    weight: Annotated[float, Field(ge=0, description="weight of the norm")] = 0.01

    def __call__(self, x: np.ndarray) -> float:
        return self.weight * float(np.abs(x).sum())

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        return soft_threshold(x, step * self.weight)
