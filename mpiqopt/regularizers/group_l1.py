"""The group lasso."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt.field import Field, unless
from mpiqopt.registry import register
from mpiqopt.regularizers.regularizer import Regularizer


@register("regularizer", "group-l1")
@dataclass(frozen=True, kw_only=True)
class GroupL1(Regularizer):
    """h(x) = weight sum_g |x_g|_2 over consecutive groups of ``group_size`` coordinates (the last may be shorter).

    Its prox is max(1 - step weight / |x_g|_2, 0) x_g: a group stays or becomes 0 as a whole.
    """

    weight: Annotated[float, Field(ge=0, description="weight of the norm")] = 0.01
    group_size: Annotated[int, Field(ge=1, description="coordinates in a group", needs=(unless("weight", 0),))] = 2

    def __call__(self, x: np.ndarray) -> float:
        return self.weight * float(self._norms(x).sum())

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        norms = self._norms(x)
        kept = np.maximum(1 - step * self.weight / np.where(norms > 0, norms, 1), 0).astype(x.dtype)
        return x * np.repeat(kept, self.group_size, axis=-1)[..., : x.shape[-1]]

    def _norms(self, x: np.ndarray) -> np.ndarray:
        """Return |x_g|_2 of every group: (..., groups) for x (..., d)."""
        return np.sqrt(np.add.reduceat(x * x, np.arange(0, x.shape[-1], self.group_size), axis=-1))
