"""PG-EXTRA."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, mixing_margin
from mpiqopt.registry import register


class State(NamedTuple):
    """``dual``: half the sum of (I - W) X_k so far."""

    x: np.ndarray
    dual: np.ndarray


@register("algorithm", "pg-extra")
@dataclass(frozen=True, kw_only=True)
class PGExtra(Algorithm):
    """Z_1 = W X_0 - a G_0,  Z_{k+1} = Z_k + W X_k - (I + W)/2 X_{k-1} - a (G_k - G_{k-1}),  X = prox_{a h}(Z).

    Shi, Ling, Wu, Yin, "A proximal gradient algorithm for decentralized composite optimization", 2015. Computed in the
    equal primal-dual form, in which rounding does not add up:
    S_0 = 0, X_{k+1} = prox_{a h}(W X_k - a G_k - S_k), S_{k+1} = S_k + (I - W)/2 X_k.
    """

    fixed_symmetric = True

    def automatic_step(self, facts: Facts) -> float:
        """Converges below 2 mixing_margin / L (for EXTRA Theorem 3.3 of its paper); half of it."""
        return mixing_margin(facts.topology) / facts.lipschitz

    def init(self, x, problem, network, rng):
        return State(x, np.zeros_like(x))

    def step(self, state, problem, network, rng):
        apart = network.disagreement(state.x)
        z = state.x - (apart + self.step_size * problem.grad(state.x) + state.dual)
        return State(problem.prox(z, self.step_size), state.dual + 0.5 * apart)
