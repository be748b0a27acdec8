"""NoLoCo: local training, and an outer step with momentum for which a node talks to one partner."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts, Positive
from mpiqopt.algorithms.local_steps import WithLocalSteps
from mpiqopt.field import Field
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams

# a k L of automatic steps
MOST = 0.25


class State(NamedTuple):
    """x: the slow weights (hosted, d); velocity: the outer momentum (hosted, d); t: iterations done."""

    x: np.ndarray
    velocity: np.ndarray
    t: int


@register("algorithm", "noloco")
@dataclass(frozen=True, kw_only=True)
class NoLoCo(WithLocalSteps):
    """U = X after k steps U -= a G(U);  V+ = alpha V + beta W (U - X) - gamma (X - W X),  X+ = X + V+.

    alpha is ``outer_momentum``, beta ``outer_step_size``, gamma ``pull``, k ``local_steps``. With the topology
    "random-pairs" W averages each node with one partner, another one in every round, and there is no collective
    operation; any symmetric W will do, also several in turn (ours). Nodes send the one vector
    beta (U - X) + gamma X instead of two (ours: the same sum). Nodes that do not train agree if momentum is not too
    large for the pull: over random pairs of many nodes gamma < 1.5 for alpha = 0.5 but 0.38 for alpha = 0.9 (ours, from
    the second moments). With a constant step it stops at a bias; no h.
    Source: Kolehmainen, Blagoev, Donaghy, Ersoy, Nies, "NoLoCo: No-all-reduce low communication training method for
    large models", arXiv 2506.10911; inner steps here are those of gradient descent.
    """

    proximal = False

    outer_momentum: Annotated[float, Field(ge=0, lt=1, description="alpha, momentum of the outer step")] = 0.5
    outer_step_size: Annotated[Positive, Field(description="beta, step along what local training has moved")] = 0.7
    pull: Annotated[Positive, Field(description="gamma, how far nodes that gossip move to their mean")] = 0.7

    def largest_stable_step(self, facts: Facts) -> float | None:
        """Return 1 where every W is symmetric, else None: momentum turns the complex modes of others up (ours).

        Only for f_i alike: with q = 1 - (1 - a H)^k, from 0 to 1, the mean is heavy ball with step beta q.
        """
        return 1.0 if facts.topology.symmetric else None

    def smoothness(self, facts: Facts) -> float:
        """Return ``smoothness_of_drift``: the k steps of an iteration act as one."""
        return self.smoothness_of_drift(facts)

    def automatic_step(self, facts: Facts) -> float:
        """Return 1/(4 k L), less with batches (ours): larger steps have a larger bias."""
        return min(MOST, self.require_step(facts)) / self.smoothness(facts)

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, np.zeros_like(x), 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        trained = self.descend(state.x, self.local_steps, state.t, self.step_size, problem, rng)
        near = self.pull * state.x
        mixed = network.mix(self.outer_step_size * (trained - state.x) + near)
        velocity = self.outer_momentum * state.velocity + (mixed - near)
        return State(state.x + velocity, velocity, state.t + 1)
