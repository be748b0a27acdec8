"""D2: decentralised training over decentralised data."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.stochastic import Minibatch
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x, previous: iterates X_k and X_{k-1} (hosted, d); gradient: G_{k-1}; t: iterations done."""

    x: np.ndarray
    previous: np.ndarray
    gradient: np.ndarray
    t: int


@register("algorithm", "d2")
@dataclass(frozen=True, kw_only=True)
class D2(Minibatch):
    """X_{k+1} = (I + W)/2 [2 X_k - X_{k-1} - a (G_k - G_{k-1})],  X_1 = (I + W)/2 (X_0 - a G_0).

    With (I + W)/2 for W, so that no condition on W's smallest eigenvalue is left: after the first step the same
    iteration as NIDS without h, which converges below 2/L. It needs one symmetric W and no h.
    Source: Tang, Lian, Yan, Zhang, Liu, "D2: Decentralized training over decentralized data", ICML 2018.
    """

    proximal = False
    exact = True
    fixed_symmetric = True

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, x, np.zeros_like(x), 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        gradient = self.gradient(state.x, state.t, problem, rng)
        ahead = 2 * state.x - state.previous - self.step_size * (gradient - state.gradient)
        return State(0.5 * (ahead + network.mix(ahead)), state.x, gradient, state.t + 1)
