"""PG-EXTRA."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, mixing_margin
from mpiqopt.registry import register


class State(NamedTuple):
    """``half_mixed``: (I + W)/2 times the previous x."""

    x: np.ndarray
    z: np.ndarray
    half_mixed: np.ndarray
    gradient: np.ndarray


@register("algorithm", "pg-extra")
@dataclass(frozen=True, kw_only=True)
class PGExtra(Algorithm):
    """Z_1 = W X_0 - a G_0,  Z_{k+1} = Z_k + W X_k - (I + W)/2 X_{k-1} - a (G_k - G_{k-1}),  X = prox_{a h}(Z).

    Shi, Ling, Wu, Yin, "A proximal gradient algorithm for decentralized composite optimization", 2015. The first step
    is the general one with Z_0 = X_{-1} = X_0 and G_{-1} = 0.
    """

    fixed_symmetric = True

    def automatic_step(self, facts: Facts) -> float:
        """Converges below 2 mixing_margin / L; half of it."""
        return mixing_margin(facts.topology) / facts.lipschitz

    def init(self, x, problem, network, rng):
        return State(x, x, x, np.zeros_like(x))

    def step(self, state, problem, network, rng):
        mixed, gradient = network.mix(state.x), problem.grad(state.x)
        z = state.z + mixed - state.half_mixed - self.step_size * (gradient - state.gradient)
        return State(problem.prox(z, self.step_size), z, 0.5 * (state.x + mixed), gradient)
