"""Proximal decentralised gradient descent."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, mixing_margin
from mpiqopt.registry import register


class State(NamedTuple):
    x: np.ndarray


@register("algorithm", "prox-dgd")
@dataclass(frozen=True, kw_only=True)
class ProxDGD(Algorithm):
    """X+ = prox_{a h}(W X - a G(X)); biased like DGD. Zeng and Yin 2018."""

    def automatic_step(self, facts: Facts) -> float:
        """Stable below 2 mixing_margin / L; half of it."""
        return mixing_margin(facts.topology) / facts.lipschitz

    def init(self, x, problem, network, rng):
        return State(x)

    def step(self, state, problem, network, rng):
        x = network.mix(state.x) - self.step_size * problem.grad(state.x)
        return State(problem.prox(x, self.step_size))
