"""Centralised stochastic gradient descent."""

from dataclasses import dataclass

from mpiqopt.algorithms.algorithm import Facts, descend
from mpiqopt.algorithms.compressed_sgd import State
from mpiqopt.algorithms.stochastic import StochasticAlgorithm
from mpiqopt.registry import register


@register("algorithm", "sgd")
@dataclass(frozen=True, kw_only=True)
class SGD(StochasticAlgorithm):
    """x+ = prox_{a h}(x - a mean_i g_i), g_i minibatch gradients, nothing compressed."""

    server = True
    common_point = True
    exact = True

    def smoothness(self, facts: Facts) -> float:
        """Of F; the server averages n batches."""
        return facts.mean_lipschitz + facts.noise(self.batch_size, 1 / facts.topology.nodes)

    def init(self, x, problem, network, rng):
        return State(x, 0)

    def step(self, state, problem, network, rng):
        direction = network.server.mean(self.gradient(state.x, state.t, problem, rng))
        return State(descend(state.x, direction, self.step_at(state.t), problem), state.t + 1)
