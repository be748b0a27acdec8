"""No regulariser."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.registry import register
from mpiqopt.regularizers.regularizer import Regularizer


@register("regularizer", "zero")
@dataclass(frozen=True, kw_only=True)
class Zero(Regularizer):
    """h = 0.

    The prox is the identity, and methods without a proximal step can be used.
    """

    def __call__(self, x: np.ndarray) -> float:
        return 0.0

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        """Return x itself."""
        return x
