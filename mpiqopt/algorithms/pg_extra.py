"""PG-EXTRA."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.stochastic import Minibatch
from mpiqopt.registry import register


class State(NamedTuple):
    """``dual``: half the sum of (I - W) X_k so far; t: iterations done."""

    x: np.ndarray
    dual: np.ndarray
    t: int


@register("algorithm", "pg-extra")
@dataclass(frozen=True, kw_only=True)
class PGExtra(Minibatch):
    """Z_1 = W X_0 - a G_0,  Z_{k+1} = Z_k + W X_k - (I + W)/2 X_{k-1} - a (G_k - G_{k-1}),  X = prox_{a h}(Z).

    Shi, Ling, Wu, Yin, "A proximal gradient algorithm for decentralized composite optimization", 2015. Computed in the
    equal primal-dual form, in which rounding does not add up:
    S_0 = 0, X_{k+1} = prox_{a h}(W X_k - a G_k - S_k), S_{k+1} = S_k + (I - W)/2 X_k.
    """

    exact = True
    fixed_symmetric = True

    def bears(self, facts: Facts) -> float:
        """1 + lambda_min with h (Theorem 1 of the paper); (5 + 3 lambda_min)/4 without (Li and Yan 2021)."""
        lowest = facts.topology.smallest_eigenvalue
        return 1 + lowest if facts.regularized else (5 + 3 * lowest) / 4

    def init(self, x, problem, network, rng):
        return State(x, np.zeros_like(x), 0)

    def step(self, state, problem, network, rng):
        apart = network.gossip.disagreement(state.x)
        gradient = self.gradient(state.x, state.t, problem, rng)
        z = state.x - (apart + self.step_size * gradient + state.dual)
        return State(problem.prox(z, self.step_size), state.dual + 0.5 * apart, state.t + 1)
