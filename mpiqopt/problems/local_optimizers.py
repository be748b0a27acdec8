"""Optimisers of local training, on arrays of NumPy and tensors alike: they change points in place."""

from typing import Any, NamedTuple

import numpy as np

from mpiqopt.arithmetic.rounding import exact_power

# (d,): an array of NumPy or a tensor of PyTorch
Vector = Any


def add_scaled(y: Vector, a: float, x: Vector) -> None:
    """Add a x to y in place."""
    if isinstance(y, np.ndarray):
        y += y.dtype.type(a) * x
    else:
        y.add_(x, alpha=a)


class LocalOptimizer(NamedTuple):
    """SGD with momentum, or AdamW: PyTorch's formulas.

        sgd:    v = momentum v + (g + decay w),   w -= step v   (Nesterov: step (g + decay w + momentum v))
        adamw:  w -= step decay w,  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
                w -= step m/(1 - b1^t) / (sqrt(v/(1 - b2^t)) + epsilon),   b1 = momentum, b2 = second_momentum

    >>> w = np.array([1.0, 2.0])
    >>> LocalOptimizer("sgd", step=0.5).move(w, np.array([1.0, 1.0]), [], 0)
    >>> w.tolist()
    [0.5, 1.5]
    """

    name: str
    step: float
    momentum: float = 0.0
    nesterov: bool = False
    decay: float = 0.0
    second_momentum: float = 0.999
    epsilon: float = 1e-8

    @property
    def slots(self) -> int:
        """Number of vectors (d,) that it keeps from step to step."""
        return 2 if self.name == "adamw" else int(self.momentum > 0)

    def begin(self, point: Vector) -> list[Vector]:
        """Return what it keeps, at the beginning: ``slots`` vectors of zeros like ``point``."""
        return [point * 0 for _ in range(self.slots)]

    def move(self, point: Vector, gradient: Vector, kept: list[Vector], t: int) -> None:
        """Move the point by one step; gradient and what is kept are changed, too. t: steps so far."""
        if self.name == "adamw":
            first, second = kept
            self._adamw(point, gradient, first, second, t + 1)
            return
        if self.decay:
            add_scaled(gradient, self.decay, point)
        if kept:
            (velocity,) = kept
            velocity *= self.momentum
            velocity += gradient
            if self.nesterov:
                add_scaled(gradient, self.momentum, velocity)
            else:
                gradient = velocity
        add_scaled(point, -self.step, gradient)

    def _adamw(self, point: Vector, gradient: Vector, first: Vector, second: Vector, t: int) -> None:
        if self.decay:
            point *= 1 - self.step * self.decay
        first *= self.momentum
        add_scaled(first, 1 - self.momentum, gradient)
        second *= self.second_momentum
        gradient *= gradient
        add_scaled(second, 1 - self.second_momentum, gradient)
        scale = (second / (1 - exact_power(self.second_momentum, t))) ** 0.5
        scale += self.epsilon
        add_scaled(point, -self.step / (1 - exact_power(self.momentum, t)), first / scale)
