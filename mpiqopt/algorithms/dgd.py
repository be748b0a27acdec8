"""Decentralised gradient descent."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, mixing_margin
from mpiqopt.registry import register


class State(NamedTuple):
    x: np.ndarray


@register("algorithm", "dgd")
@dataclass(frozen=True, kw_only=True)
class DGD(Algorithm):
    """X+ = W X - a G(X).

    Converges to a neighbourhood of the optimum whose size is proportional to the step: the minimiser of
    sum_i f_i(x_i) + (1/2a) <X, (I - W) X>. Nedic and Ozdaglar 2009; Yuan, Ling, Yin 2016.
    """

    proximal = False

    def automatic_step(self, facts: Facts) -> float:
        """Stable below 2 mixing_margin / L; half of it."""
        return mixing_margin(facts.topology) / facts.lipschitz

    def init(self, x, problem, network, rng):
        return State(x)

    def step(self, state, problem, network, rng):
        return State(network.mix(state.x) - self.step_size * problem.grad(state.x))
