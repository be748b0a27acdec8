"""Gradient tracking."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import SHARE, Facts, tracked
from mpiqopt.algorithms.stochastic import Minibatch
from mpiqopt.registry import register

# a L, however slow the gossip
LEAST = 1 / 3


class State(NamedTuple):
    """y: the tracker; gradient: G at x, of batch t; t: iterations done."""

    x: np.ndarray
    y: np.ndarray
    gradient: np.ndarray
    t: int


@register("algorithm", "gradient-tracking")
@dataclass(frozen=True, kw_only=True)
class GradientTracking(Minibatch):
    """X+ = W (X - a Y),  Y+ = W (Y + G+ - G),  Y_0 = G_0; mean(Y) = mean(G) always.

    The adapt-then-combine form of DIGing. Over matrices in turn both exchanges of an iteration use the same W.
    Di Lorenzo and Scutari 2016; Nedic, Olshevsky, Shi 2017.
    """

    proximal = False
    exact = True
    mixed_variables = 2

    def bears(self, facts: Facts) -> float | None:
        from mpiqopt.algorithms import stability

        return stability.largest_step(stability.spectrum(facts.topology), stability.tracking)

    def automatic_step(self, facts: Facts) -> float:
        """``tracked``, at least 1/(3L), unless that is more than it bears."""
        topology = facts.topology
        most = tracked(topology.contraction, LEAST) if topology.knows("contraction") else LEAST
        return min(most, SHARE * self.require_step(facts)) / self.smoothness(facts)

    def init(self, x, problem, network, rng):
        gradient = self.gradient(x, 0, problem, rng)
        return State(x, gradient, gradient, 0)

    def step(self, state, problem, network, rng):
        x = network.mix(state.x - self.step_size * state.y)
        gradient = self.gradient(x, state.t + 1, problem, rng)
        y = network.mix(state.y + (gradient - state.gradient))
        return State(x, y, gradient, state.t + 1)
