"""Centralised proximal gradient descent, the reference that decentralised methods are compared with."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, proximal_step
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x: iterate (hosted, d), equal rows."""

    x: np.ndarray


@register("algorithm", "centralized-prox-gradient")
@dataclass(frozen=True, kw_only=True)
class CentralizedProxGradient(Algorithm):
    """x+ = prox_{a h}(x - a mean_i grad f_i(x)) at every node, the mean by an exact all-reduce (node 0 serves).

    The topology is not used. Without h this is gradient descent on F; it converges linearly if F is strongly convex.
    """

    server = True
    common_point = True
    exact = True

    def smoothness(self, facts: Facts) -> float:
        """Return the smoothness constant of F, which is at most that of a node."""
        return facts.mean_lipschitz

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        return State(proximal_step(state.x, network.server.mean(problem.grad(state.x)), self.step_size, problem))
