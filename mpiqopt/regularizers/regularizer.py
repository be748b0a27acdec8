"""The base class of regularisers: a frozen dataclass whose fields are the keys of ``[regularizer]``."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Regularizer(ABC):
    """A convex h: R^d -> R + {infinity} with an exact prox.

        prox_{step h}(x) = argmin_z  h(z) + |z - x|^2 / (2 step)

    A subclass defines ``__call__`` and ``prox``; `mpiqopt test` checks that the one minimises the other.
    A plug-in puts `@register("regularizer", NAME)` above:

    >>> @dataclass(frozen=True, kw_only=True)
    ... class HalfSquare(Regularizer):
    ...     def __call__(self, x): return 0.5 * float(x @ x)
    ...     def prox(self, x, step): return x / (1 + step)
    >>> HalfSquare().prox(np.array([3.0, -1.0]), step=1.0).tolist()
    [1.5, -0.5]
    """

    name: ClassVar[str]  # that it is registered under

    @abstractmethod
    def __call__(self, x: np.ndarray) -> float:
        """Return h(x), a float or infinity, for x of shape (d,)."""

    @abstractmethod
    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        """Return argmin_z h(z) + |z - x|^2 / (2 step) for every row of x.

        x: (..., d), float64 or float32. step: larger than 0. The result has the shape and dtype of x; it is a new
        array, or x itself if nothing changes.
        """


def soft_threshold(x: np.ndarray, threshold: float) -> np.ndarray:
    """Return sign(x) max(|x| - threshold, 0), entry by entry, in the dtype of x: the prox of threshold |x|_1."""
    bound = x.dtype.type(threshold)
    return x - np.clip(x, -bound, bound) if bound else x
