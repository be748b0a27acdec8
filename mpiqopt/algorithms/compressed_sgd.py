"""Centralised SGD with coded messages: what its variants share."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts, descend
from mpiqopt.algorithms.stochastic import StochasticAlgorithm
from mpiqopt.field import Field

TwoWay = Annotated[bool, Field(description="compress the way from the server to the nodes too")]


class State(NamedTuple):
    """t: iterations done."""

    x: np.ndarray
    t: int


@dataclass(frozen=True, kw_only=True)
class CompressedSGD(StochasticAlgorithm):
    """x+ = prox_{a h}(x - a D(mean_i C(g_i))), C the compressor; D is C again if ``two_way``, or the identity."""

    server = True
    common_point = True

    two_way: TwoWay = False

    observes = True

    def smoothness(self, facts: Facts) -> float:
        """L; two ways, whose steps are small, the curvature of F as observed."""
        curvature = facts.observed if self.two_way and facts.observed is not None else facts.lipschitz
        return curvature + facts.noise(self.batch_size, 1 / facts.topology.nodes)

    def automatic_step(self, facts: Facts) -> float:
        """1/(L (1 + omega/n)) for errors that are independent between nodes; the way back multiplies by 1 + omega."""
        omega = facts.omega or 0.0
        return 1 / (self.smoothness(facts) * (1 + omega / facts.topology.nodes) * (1 + omega * self.two_way))

    def init(self, x, problem, network, rng):
        return State(x, 0)

    def step(self, state, problem, network, rng):
        parts, _ = network.server.collect(self.gradient(state.x, state.t, problem, rng))
        direction = network.server.spread(parts, problem.d, self.two_way)
        return State(descend(state.x, direction, self.step_at(state.t), problem), state.t + 1)
