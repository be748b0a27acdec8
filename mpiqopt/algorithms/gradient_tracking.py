"""Gradient tracking."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts
from mpiqopt.registry import register


class State(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    gradient: np.ndarray


@register("algorithm", "gradient-tracking")
@dataclass(frozen=True, kw_only=True)
class GradientTracking(Algorithm):
    """X+ = W (X - a Y),  Y+ = W (Y + G+ - G),  Y_0 = G_0; mean(Y) = mean(G) always.

    The adapt-then-combine form of DIGing. Di Lorenzo and Scutari 2016; Nedic, Olshevsky, Shi 2017.
    """

    proximal = False

    def automatic_step(self, facts: Facts) -> float:
        """1/(3L): on random and adversarial quadratics over all our graphs the iteration was stable to 0.88/L."""
        return 1 / (3 * facts.lipschitz)

    def rounds(self) -> int:
        return 2

    def init(self, x, problem, network, rng):
        gradient = problem.grad(x)
        return State(x, gradient, gradient)

    def step(self, state, problem, network, rng):
        x = network.mix(state.x - self.step_size * state.y)
        gradient = problem.grad(x)
        y = network.mix(state.y + (gradient - state.gradient))
        return State(x, y, gradient)
