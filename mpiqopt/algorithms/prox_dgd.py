"""Proximal decentralised gradient descent."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts, kept_share
from mpiqopt.algorithms.local_steps import WithLocalSteps
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x: iterates (hosted, d); t: iterations done."""

    x: np.ndarray
    t: int


@register("algorithm", "prox-dgd")
@dataclass(frozen=True, kw_only=True)
class ProxDGD(WithLocalSteps):
    """X+ = prox_{a h}(W X - a G(X)); biased like DGD. Zeng and Yin 2018.

    The iterates stay at a distance from the optimum that is proportional to the step. Any doubly stochastic W, also
    several in turn. With k = ``local_steps`` the k - 1 before are X <- prox_{a h}(X - a G(X)): averaged maps, too, for
    the same steps, but the distance is proportional to k a.
    Source: Zeng and Yin, "On nonconvex decentralized gradient descent", 2018; local steps: ours.
    """

    def largest_stable_step(self, facts: Facts) -> float:
        """Return the r for which W X - a G(X) is an averaged map (``kept_share``)."""
        return kept_share(facts.topology)

    def automatic_step(self, facts: Facts) -> float:
        """Return half of the largest stable step, at most 1/(4L) where W varies or is not symmetric.

        Larger steps have a larger bias. For local steps L is that of ``smoothness_of_drift``.
        """
        topology = facts.topology
        most = 0.25 if topology.varies or not topology.symmetric else 1.0
        return min(most, self.require_step(facts) / 2) / self.smoothness_of_drift(facts)

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        alone = self.local_steps - 1
        x = self.descend(state.x, alone, state.t, self.step_size, problem, rng)
        x = network.mix(x) - self.step_size * self.local_gradient(x, state.t, alone, problem, rng)
        return State(problem.prox(x, self.step_size), state.t + 1)
