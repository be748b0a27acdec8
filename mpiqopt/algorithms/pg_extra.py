"""PG-EXTRA: exact decentralised proximal gradient descent."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.stochastic import Minibatch
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x: iterates (hosted, d); dual: half the sum of (I - W) X_k so far (hosted, d); t: iterations done."""

    x: np.ndarray
    dual: np.ndarray
    t: int


@register("algorithm", "pg-extra")
@dataclass(frozen=True, kw_only=True)
class PGExtra(Minibatch):
    """Z_1 = W X_0 - a G_0,  Z_{k+1} = Z_k + W X_k - (I + W)/2 X_{k-1} - a (G_k - G_{k-1}),  X = prox_{a h}(Z).

    Computed in the equal primal-dual form, in which rounding does not add up:
    S_0 = 0, X_{k+1} = prox_{a h}(W X_k - a G_k - S_k), S_{k+1} = S_k + (I - W)/2 X_k. It needs one symmetric W.
    Source: Shi, Ling, Wu, Yin, "A proximal gradient algorithm for decentralized composite optimization", 2015.
    """

    exact = True
    fixed_symmetric = True

    def largest_stable_step(self, facts: Facts) -> float:
        """Return 1 + lambda_min with h (Theorem 1 of the paper); (5 + 3 lambda_min)/4 without (Li and Yan 2021)."""
        lowest = facts.topology.smallest_eigenvalue
        return 1 + lowest if facts.regularized else (5 + 3 * lowest) / 4

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, np.zeros_like(x), 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        apart = network.gossip.disagreement(state.x)
        gradient = self.gradient(state.x, state.t, problem, rng)
        z = state.x - (apart + self.step_size * gradient + state.dual)
        return State(problem.prox(z, self.step_size), state.dual + 0.5 * apart, state.t + 1)
