"""Centralised stochastic gradient descent."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.algorithms.algorithm import Facts, proximal_step
from mpiqopt.algorithms.compressed_sgd import State
from mpiqopt.algorithms.stochastic import StochasticAlgorithm
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


@register("algorithm", "sgd")
@dataclass(frozen=True, kw_only=True)
class SGD(StochasticAlgorithm):
    """x+ = prox_{a h}(x - a mean_i g_i), g_i minibatch gradients, nothing compressed.

    All nodes have the same x; the topology is not used. With ``batch_size = "all"`` it is centralised proximal
    gradient.
    """

    server = True
    common_point = True
    exact = True

    def smoothness(self, facts: Facts) -> float:
        """Return L of F plus the noise of batches, of which the server averages n."""
        return facts.mean_lipschitz + facts.noise(self.batch_size, 1 / facts.topology.nodes)

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        direction = network.server.mean(self.gradient(state.x, state.t, problem, rng))
        return State(proximal_step(state.x, direction, self.step_at(state.t), problem), state.t + 1)
