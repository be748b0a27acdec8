"""EXTRA."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, mixing_margin
from mpiqopt.registry import register


class State(NamedTuple):
    """``half_mixed``: (I + W)/2 times the previous x."""

    x: np.ndarray
    half_mixed: np.ndarray
    gradient: np.ndarray


@register("algorithm", "extra")
@dataclass(frozen=True, kw_only=True)
class Extra(Algorithm):
    """X_1 = W X_0 - a G_0,  X_{k+2} = (I + W) X_{k+1} - (I + W)/2 X_k - a (G_{k+1} - G_k).

    Shi, Ling, Wu, Yin 2015, with W~ = (I + W)/2. The first step is the general one with X_{-1} = X_0 (equal at all
    nodes, so mixing does not change it) and G_{-1} = 0.
    """

    proximal = False
    fixed_symmetric = True

    def automatic_step(self, facts: Facts) -> float:
        """Converges below 2 mixing_margin / L (Theorem 3.3); half of it."""
        return mixing_margin(facts.topology) / facts.lipschitz

    def init(self, x, problem, network, rng):
        return State(x, x, np.zeros_like(x))

    def step(self, state, problem, network, rng):
        mixed, gradient = network.mix(state.x), problem.grad(state.x)
        x = state.x + mixed - state.half_mixed - self.step_size * (gradient - state.gradient)
        return State(x, 0.5 * (state.x + mixed), gradient)
