"""Centralised proximal gradient, the yardstick."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, descend
from mpiqopt.registry import register


class State(NamedTuple):
    x: np.ndarray


@register("algorithm", "centralized-prox-gradient")
@dataclass(frozen=True, kw_only=True)
class CentralizedProxGradient(Algorithm):
    """x+ = prox_{a h}(x - a mean_i grad f_i(x)) at every node, the mean by an exact all-reduce (node 0 serves).

    The topology is not used. Without h this is gradient descent on F.
    """

    server = True
    common_point = True
    exact = True

    def smoothness(self, facts: Facts) -> float:
        """Of F."""
        return facts.mean_lipschitz

    def init(self, x, problem, network, rng):
        return State(x)

    def step(self, state, problem, network, rng):
        return State(descend(state.x, network.server.mean(problem.grad(state.x)), self.step_size, problem))
