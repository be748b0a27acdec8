"""NIDS: network independent step sizes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.stochastic import Minibatch
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x, previous: X_k and X_{k-1} (hosted, d); z: Z_k before the prox; gradient: G_{k-1}; t: iterations done."""

    x: np.ndarray
    z: np.ndarray
    previous: np.ndarray
    gradient: np.ndarray
    t: int


@register("algorithm", "nids")
@dataclass(frozen=True, kw_only=True)
class NIDS(Minibatch):
    """Z_{k+1} = Z_k - X_k + (I + W)/2 [2 X_k - X_{k-1} - a (G_k - G_{k-1})],  X = prox_{a h}(Z).

    Z_1 = X_0 - a G_0. It converges below 2/L, whatever the network, and needs one symmetric W. The first step is the
    general one with X_{-1} = Z_0 = X_0 - a G_0 and G_{-1} = 0: what is mixed is then X_0.
    Source: Li, Shi, Yan, "A decentralized proximal-gradient method with network independent step-sizes and separated
    convergence rates", 2019.
    """

    exact = True
    fixed_symmetric = True

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        z = x - self.step_size * self.gradient(x, 0, problem, rng)
        return State(x, z, z, np.zeros_like(x), 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        gradient = self.gradient(state.x, state.t, problem, rng)
        ahead = 2 * state.x - state.previous - self.step_size * (gradient - state.gradient)
        z = state.z - state.x + 0.5 * (ahead + network.mix(ahead))
        return State(problem.prox(z, self.step_size), z, state.x, gradient, state.t + 1)
