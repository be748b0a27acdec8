"""The elastic net."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt.field import Field, unless
from mpiqopt.registry import register
from mpiqopt.regularizers.regularizer import Regularizer, soft_threshold


@register("regularizer", "elastic-net")
@dataclass(frozen=True, kw_only=True)
class ElasticNet(Regularizer):
    """h(x) = weight (l1_ratio |x|_1 + (1 - l1_ratio)/2 |x|^2), as in scikit-learn.

    Its prox is the soft threshold by step weight l1_ratio, divided by 1 + step weight (1 - l1_ratio).
    """

    weight: Annotated[float, Field(ge=0, description="weight of the whole")] = 0.01
    l1_ratio: Annotated[float, Field(ge=0, le=1, description="share of the l1 norm", needs=(unless("weight", 0),))] = (
        0.5
    )

    def __call__(self, x: np.ndarray) -> float:
        squares = 0.5 * (1 - self.l1_ratio) * float(np.add.reduce(x * x))
        return self.weight * (self.l1_ratio * float(np.abs(x).sum()) + squares)

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        shrunk = soft_threshold(x, step * self.weight * self.l1_ratio)
        return shrunk / x.dtype.type(1 + step * self.weight * (1 - self.l1_ratio))
