"""D2."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts
from mpiqopt.registry import register


class State(NamedTuple):
    x: np.ndarray
    previous: np.ndarray
    gradient: np.ndarray


@register("algorithm", "d2")
@dataclass(frozen=True, kw_only=True)
class D2(Algorithm):
    """X_{k+1} = (I + W)/2 [2 X_k - X_{k-1} - a (G_k - G_{k-1})],  X_1 = (I + W)/2 (X_0 - a G_0).

    Tang, Lian, Yan, Zhang, Liu 2018, with (I + W)/2 for W, so that no condition on W's smallest eigenvalue is left.
    """

    proximal = False
    fixed_symmetric = True

    def automatic_step(self, facts: Facts) -> float:
        """After the first step the same iteration as NIDS without h: converges below 2/L; half of it."""
        return 1 / facts.lipschitz

    def init(self, x, problem, network, rng):
        return State(x, x, np.zeros_like(x))

    def step(self, state, problem, network, rng):
        gradient = problem.grad(state.x)
        ahead = 2 * state.x - state.previous - self.step_size * (gradient - state.gradient)
        return State(0.5 * (ahead + network.mix(ahead)), state.x, gradient)
