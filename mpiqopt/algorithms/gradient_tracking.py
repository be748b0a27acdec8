"""Gradient tracking."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import SHARE, Facts, tracking_step
from mpiqopt.algorithms.stochastic import Minibatch
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams

# a L, however slow the gossip
LEAST = 1 / 3


class State(NamedTuple):
    """x: iterates (hosted, d); y: the tracker (hosted, d); gradient: G at x, of batch t; t: iterations done."""

    x: np.ndarray
    y: np.ndarray
    gradient: np.ndarray
    t: int


@register("algorithm", "gradient-tracking")
@dataclass(frozen=True, kw_only=True)
class GradientTracking(Minibatch):
    """X+ = W (X - a Y),  Y+ = W (Y + G+ - G),  Y_0 = G_0; mean(Y) = mean(G) always.

    Y tracks the mean gradient, so that every node reaches the optimum with a constant step. The adapt-then-combine form
    of DIGing; two gossip rounds an iteration. Any doubly stochastic W; over matrices in turn both use the same W. No h.
    Source: Di Lorenzo and Scutari, "NEXT: In-network nonconvex optimization", 2016; Nedic, Olshevsky, Shi, "Achieving
    geometric convergence for distributed optimization over time-varying graphs", 2017.
    """

    proximal = False
    exact = True
    mixed_variables = 2

    def largest_stable_step(self, facts: Facts) -> float | None:
        """Return the r of the circle criterion for this recursion over the topology (``stability``)."""
        from mpiqopt.algorithms import stability

        return stability.largest_stable_linear_step(
            stability.stability_spectrum(facts.topology), stability.tracking_recursion
        )

    def automatic_step(self, facts: Facts) -> float:
        """Return ``tracking_step`` over L, at least 1/(3L), unless that is more than a stable step."""
        topology = facts.topology
        most = tracking_step(topology.contraction, LEAST) if topology.knows("contraction") else LEAST
        return min(most, SHARE * self.require_step(facts)) / self.smoothness(facts)

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        gradient = self.gradient(x, 0, problem, rng)
        return State(x, gradient, gradient, 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        x = network.mix(state.x - self.step_size * state.y)
        gradient = self.gradient(x, state.t + 1, problem, rng)
        y = network.mix(state.y + (gradient - state.gradient))
        return State(x, y, gradient, state.t + 1)
