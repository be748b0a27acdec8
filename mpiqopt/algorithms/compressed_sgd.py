"""The base class of centralised SGD with coded messages."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts, proximal_step
from mpiqopt.algorithms.stochastic import StochasticAlgorithm
from mpiqopt.field import Field
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams

TwoWay = Annotated[bool, Field(description="compress the way from the server to the nodes too")]


class State(NamedTuple):
    """x: iterate (hosted, d), equal rows; t: iterations done."""

    x: np.ndarray
    t: int


@dataclass(frozen=True, kw_only=True)
class CompressedSGD(StochasticAlgorithm):
    """x+ = prox_{a h}(x - a D(mean_i C(g_i))), C the compressor; D is C again if ``two_way``, or the identity.

    g_i is the gradient of a minibatch at node i. All nodes have the same x; the topology is not used.
    """

    server = True
    common_point = True

    two_way: TwoWay = False

    observes = True

    @property
    def coded_downlink(self) -> bool:
        return self.two_way

    def smoothness(self, facts: Facts) -> float:
        """Return L plus the noise of batches; two ways, whose steps are small, the curvature of F as observed."""
        curvature = facts.observed if self.two_way and facts.observed is not None else facts.lipschitz
        return curvature + facts.noise(self.batch_size, 1 / facts.topology.nodes)

    def automatic_step(self, facts: Facts) -> float:
        """Return 1/(L (1 + omega/n)) for errors independent between nodes; two ways divided by 1 + omega."""
        omega = facts.omega or 0.0
        return 1 / (self.smoothness(facts) * (1 + omega / facts.topology.nodes) * (1 + omega * self.two_way))

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        parts, _ = network.server.collect(self.gradient(state.x, state.t, problem, rng))
        direction = network.server.spread(parts, problem.d, self.two_way)
        return State(proximal_step(state.x, direction, self.step_at(state.t), problem), state.t + 1)
