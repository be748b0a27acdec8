"""EXTRA."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, mixing_margin
from mpiqopt.registry import register


class State(NamedTuple):
    """``dual``: half the sum of (I - W) X_k so far."""

    x: np.ndarray
    dual: np.ndarray


@register("algorithm", "extra")
@dataclass(frozen=True, kw_only=True)
class Extra(Algorithm):
    """X_1 = W X_0 - a G_0,  X_{k+2} = (I + W) X_{k+1} - (I + W)/2 X_k - a (G_{k+1} - G_k).

    Shi, Ling, Wu, Yin 2015, with W~ = (I + W)/2. Computed in the equal primal-dual form, in which rounding does not
    add up: S_0 = 0, X_{k+1} = W X_k - a G_k - S_k, S_{k+1} = S_k + (I - W)/2 X_k.
    """

    proximal = False
    fixed_symmetric = True

    def automatic_step(self, facts: Facts) -> float:
        """Converges below 2 mixing_margin / L (Theorem 3.3); half of it."""
        return mixing_margin(facts.topology) / facts.lipschitz

    def init(self, x, problem, network, rng):
        return State(x, np.zeros_like(x))

    def step(self, state, problem, network, rng):
        apart = network.disagreement(state.x)
        x = state.x - (apart + self.step_size * problem.grad(state.x) + state.dual)
        return State(x, state.dual + 0.5 * apart)
