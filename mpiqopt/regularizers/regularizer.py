"""What a regulariser in the config is: a frozen dataclass whose fields are the keys of ``[regularizer]``."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Regularizer(ABC):
    """A convex h: R^d -> R + {infinity} with an exact prox."""

    name: ClassVar[str]  # that it is registered under

    @abstractmethod
    def __call__(self, x: np.ndarray) -> float:
        """h(x) for x of shape (d,)."""

    @abstractmethod
    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        """argmin_z h(z) + |z - x|^2 / (2 step), for every row of x (..., d); a new array, or x itself if unchanged."""


def soft_threshold(x: np.ndarray, threshold: float) -> np.ndarray:
    """sign(x) max(|x| - threshold, 0), entry by entry, keeping the type of x."""
    bound = x.dtype.type(threshold)
    return x - np.clip(x, -bound, bound) if bound else x
