"""The l1 norm."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt.field import Field
from mpiqopt.registry import register
from mpiqopt.regularizers.regularizer import Regularizer, soft_threshold


@register("regularizer", "l1")
@dataclass(frozen=True, kw_only=True)
class L1(Regularizer):
    """h(x) = weight |x|_1."""

    weight: Annotated[float, Field(ge=0, description="weight of the norm")] = 0.01

    def __call__(self, x: np.ndarray) -> float:
        return self.weight * float(np.abs(x).sum())

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        return soft_threshold(x, step * self.weight)
