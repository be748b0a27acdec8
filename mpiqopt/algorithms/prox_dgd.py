"""Proximal decentralised gradient descent."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts, kept_share
from mpiqopt.algorithms.stochastic import Minibatch
from mpiqopt.registry import register


class State(NamedTuple):
    """t: iterations done."""

    x: np.ndarray
    t: int


@register("algorithm", "prox-dgd")
@dataclass(frozen=True, kw_only=True)
class ProxDGD(Minibatch):
    """X+ = prox_{a h}(W X - a G(X)); biased like DGD. Zeng and Yin 2018."""

    def bears(self, facts: Facts) -> float:
        return kept_share(facts.topology)

    def automatic_step(self, facts: Facts) -> float:
        """Half of what it bears, at most 1/(4L) where W varies or is not symmetric: larger steps have a larger bias."""
        topology = facts.topology
        most = 0.25 if topology.varies or not topology.symmetric else 1.0
        return min(most, self.require_step(facts) / 2) / self.smoothness(facts)

    def init(self, x, problem, network, rng):
        return State(x, 0)

    def step(self, state, problem, network, rng):
        x = network.mix(state.x) - self.step_size * self.gradient(state.x, state.t, problem, rng)
        return State(problem.prox(x, self.step_size), state.t + 1)
