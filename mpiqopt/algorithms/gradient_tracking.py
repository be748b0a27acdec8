"""Gradient tracking, and what methods that track gradients have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import SHARE, Facts, tracking_step
from mpiqopt.algorithms.local_steps import WithLocalSteps
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


@dataclass(frozen=True, kw_only=True)
class TracksGradients(WithLocalSteps):
    """A method whose nodes step along a tracker of the mean gradient, with or without gossip."""

    proximal = False
    exact = True

    def smoothness(self, facts: Facts) -> float:
        """Return k L(b): for local steps r/k takes the place of r (ours).

        The circle criterion with W = I in between is far too cautious: 0.013 for k = 2 on a ring of 32, where unequal
        quadratic f_i, drawn at random, bear 1.2. On twelve graphs, k from 2 to 20, none of those diverged at 0.95 r/k,
        some at 1.2 r/k. Batches of local steps do not average out: their Y - G contains the noise of one.
        """
        return self.local_steps * super().smoothness(facts)

    def automatic_step(self, facts: Facts) -> float:
        """Return ``tracking_step`` over L, at least 1/(3L), unless that is more than a stable step."""
        topology = facts.topology
        known = topology.doubly_stochastic and topology.knows("contraction")
        most = tracking_step(topology.contraction, LEAST) if known else LEAST
        return min(most, SHARE * self.require_step(facts)) / self.smoothness(facts)


@register("algorithm", "gradient-tracking")
@dataclass(frozen=True, kw_only=True)
class GradientTracking(TracksGradients):
    """X+ = W (X - a Y),  Y+ = W (Y + G+ - G),  Y_0 = G_0; mean(Y) = mean(G) always.

    Y tracks the mean gradient, so that every node reaches the optimum with a constant step. The adapt-then-combine form
    of DIGing; two gossip rounds an iteration. Any doubly stochastic W; over matrices in turn both use the same W. No h.
    With k = ``local_steps`` the k - 1 steps before have W = I. The limit is the optimum all the same: I is doubly
    stochastic, so mean(Y) = mean(G) after every step. Meanwhile Y - G stays as it is, like the corrections of K-GT
    (Liu, Lin, Koloskova, Stich 2023); K-GT makes the next ones of the mean of a round's gradients, this of the newest
    (ours).
    Source: Di Lorenzo and Scutari, "NEXT: In-network nonconvex optimization", 2016; Nedic, Olshevsky, Shi, "Achieving
    geometric convergence for distributed optimization over time-varying graphs", 2017.
    """

    mixed_variables = 2

    def largest_stable_step(self, facts: Facts) -> float | None:
        """Return the r of the circle criterion for this recursion over the topology (``stability``)."""
        from mpiqopt.algorithms import stability

        return stability.largest_stable_linear_step(
            stability.stability_spectrum(facts.topology), stability.tracking_recursion
        )

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        gradient = self.gradient(x, 0, problem, rng)
        return State(x, gradient, gradient, 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        for j in range(1, self.local_steps):
            state = self._track(state, j, lambda rows: rows, problem, rng)
        return self._track(state, self.local_steps, network.mix, problem, rng)._replace(t=state.t + 1)

    def _track(
        self, state: State, j: int, mix: Callable[[np.ndarray], np.ndarray], problem: Problem, rng: Streams
    ) -> State:
        """Return the state after step j = 1 ... k of an iteration but for t. mix: multiplies rows by W, or by I."""
        x = mix(state.x - self.step_size * state.y)
        gradient = self.local_gradient(x, state.t, j, problem, rng)
        return State(x, mix(state.y + (gradient - state.gradient)), gradient, state.t)
