"""Optimisers of the server, whose gradient is the mean of what clients moved: x - mean_i y_i."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

OuterName = Literal["sgd", "momentum", "nesterov", "adam", "yogi", "adagrad"]
# vectors (d,) that each keeps
SLOTS = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "yogi": 2, "adagrad": 2}
Memory = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class OuterOptimizer:
    """A step of the server along a pseudo-gradient g (d,), with step size a.

    =========  ==========================================================================================
    sgd        x+ = x - a g; with a = 1 exactly x - g: federated averaging
    momentum   v+ = b v + g, x+ = x - a v+
    nesterov   v+ = b v + g, x+ = x - a (g + b v+)
    adam       m+ = b m + (1 - b) g, x+ = x - a m+/(sqrt(v+) + tau), v+ = c v + (1 - c) g^2
    yogi       the same with v+ = v - (1 - c) g^2 sign(v - g^2)
    adagrad    the same with v+ = v + g^2
    =========  ==========================================================================================

    m and the v of momentum start at 0, the v of the adaptive ones at tau^2; nothing is corrected for bias. All is done
    coordinate by coordinate in the dtype of x, so that every rank gets the same bits.

    Sources: momentum and nesterov as in PyTorch's SGD, with which Douillard et al. 2023 ("DiLoCo: Distributed
    low-communication training of language models") take a = 0.7, b = 0.9; the adaptive ones are Algorithm 2 of Reddi et
    al. 2021, "Adaptive federated optimization", whose Delta is -g (there adagrad is used with b = 0).

    Parameters
    ----------
    name : of the optimiser.
    step : a.
    momentum : b, or beta1 of the adaptive ones.
    beta2 : c, of adam and yogi.
    tau : adaptivity of the adaptive ones: below it coordinates count as small.

    Examples
    --------
    >>> nesterov = OuterOptimizer("nesterov", step=0.5, momentum=0.5)
    >>> x, g = np.array([1.0]), np.array([2.0])
    >>> x, memory = nesterov.apply(x, g, nesterov.start(x))
    >>> x.tolist(), memory[0].tolist()
    ([-0.5], [2.0])
    """

    name: OuterName = "sgd"
    step: float = 1.0
    momentum: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    @property
    def slots(self) -> int:
        """Return how many vectors (d,) are kept from step to step."""
        return SLOTS[self.name]

    def start(self, x: np.ndarray) -> Memory:
        """Return the ``slots`` vectors of the start, (d,) in the dtype of x."""
        return (np.zeros_like(x), np.full_like(x, self.tau**2))[: self.slots]

    def apply(self, x: np.ndarray, pseudo_gradient: np.ndarray, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Return x+ and the memory for the next step, as new arrays.

        Parameters
        ----------
        x, pseudo_gradient : vectors (d,), both float64 or both float32.
        memory : ``slots`` vectors (d,), of ``start`` or the step before.
        """
        if self.slots == 0:
            return x - self.step * pseudo_gradient, memory
        if self.slots == 1:
            return self._with_momentum(x, pseudo_gradient, memory[0])
        return self._adapted(x, pseudo_gradient, *memory)

    def _with_momentum(self, x: np.ndarray, g: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, Memory]:
        velocity = self.momentum * velocity + g
        direction = g + self.momentum * velocity if self.name == "nesterov" else velocity
        return x - self.step * direction, (velocity,)

    def _adapted(self, x: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Memory]:
        m = self.momentum * m + (1 - self.momentum) * g
        v = self._second_moment(v, g * g)
        return x - self.step * m / (np.sqrt(v) + self.tau), (m, v)

    def _second_moment(self, v: np.ndarray, square: np.ndarray) -> np.ndarray:
        """Return v+ from v and g^2, never negative."""
        if self.name == "adagrad":
            return v + square
        if self.name == "yogi":
            return v - (1 - self.beta2) * square * np.sign(v - square)
        return self.beta2 * v + (1 - self.beta2) * square
