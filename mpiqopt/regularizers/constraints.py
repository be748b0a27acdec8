"""Constraints: h is 0 inside a set and infinite outside, and the prox is the projection."""

from dataclasses import dataclass
from math import inf
from typing import Annotated

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.registry import register
from mpiqopt.regularizers.regularizer import Regularizer

# added to make 0 of -0: which of the two a maximum is depends on the processor
ONE_ZERO = 0.0


@register("regularizer", "box")
@dataclass(frozen=True, kw_only=True)
class Box(Regularizer):
    """lower <= x_k <= upper. h is taken to be 0 up to a rounding of 1e-6 of the bounds (float32, and means of rows).

    Its prox is the projection min(max(x_k, lower), upper), whatever the step.
    """

    lower: Annotated[float, Field(description="smallest value of a coordinate")] = -1.0
    upper: Annotated[float, Field(description="largest value of a coordinate")] = 1.0

    def __post_init__(self) -> None:
        """Raise UsageError if ``lower`` is above ``upper``."""
        if not self.lower <= self.upper:
            raise UsageError(f"regularizer.lower = {self.lower}: want at most regularizer.upper = {self.upper}")

    def __call__(self, x: np.ndarray) -> float:
        slack = 1e-6 * max(abs(self.lower), abs(self.upper))
        return 0.0 if np.all(x >= self.lower - slack) and np.all(x <= self.upper + slack) else inf

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        return np.clip(x, x.dtype.type(self.lower), x.dtype.type(self.upper)) + ONE_ZERO


@register("regularizer", "nonnegative")
@dataclass(frozen=True, kw_only=True)
class Nonnegative(Regularizer):
    """x_k >= 0.

    h is 0 there (up to 1e-12) and infinite elsewhere; its prox is the projection max(x_k, 0).
    """

    def __call__(self, x: np.ndarray) -> float:
        return 0.0 if np.all(x >= -1e-12) else inf

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        return np.maximum(x, 0) + ONE_ZERO
