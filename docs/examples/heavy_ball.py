"""A method in one file: decentralised gradient descent with momentum."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, kept_share
from mpiqopt.field import Field
from mpiqopt.registry import register


class State(NamedTuple):
    x: np.ndarray
    previous: np.ndarray


@register("algorithm", "heavy-ball-dgd")
@dataclass(frozen=True, kw_only=True)
class HeavyBallDGD(Algorithm):
    """X+ = W X - a G(X) + momentum (X - X_previous) (Polyak 1964, mixed as in DGD)."""

    proximal = False  # refuses regularizers other than "zero"

    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the last step that is kept")] = 0.5

    def automatic_step(self, facts: Facts) -> float:
        return kept_share(facts.topology) / (2 * facts.lipschitz)  # half of what DGD bears

    def init(self, x, problem, network, rng):
        return State(x, x)

    def step(self, state, problem, network, rng):
        descent = network.mix(state.x) - self.step_size * problem.grad(state.x)
        return State(descent + self.momentum * (state.x - state.previous), state.x)
