"""Stochastic gradient push on digraphs, in common rounds or at everybody's own pace."""

import time
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import DESCENT, Facts
from mpiqopt.algorithms.local_steps import WithLocalSteps
from mpiqopt.algorithms.stochastic import StochasticAlgorithm
from mpiqopt.arithmetic.rounding import round_significant
from mpiqopt.field import Field, only
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.problems.training import Descent
from mpiqopt.registry import register
from mpiqopt.streams import Streams
from mpiqopt.topologies.topology import Topology

# numbers worked on at most to find the smallest weight
WEIGHT_WORK = 3_000_000


class State(NamedTuple):
    """The state of push-sum.

    x: the ratios u_i/w_i, (hosted, d); mass: float64 (hosted, d + 1), u_i and in the last column w_i, whose sums over
    all nodes (and, in asynchronous execution, all frames on the way) stay; t: number of the iteration.
    """

    x: np.ndarray
    mass: np.ndarray
    t: int


@register("algorithm", "push-sum")
@dataclass(frozen=True, kw_only=True)
class PushSum(WithLocalSteps, StochasticAlgorithm):
    """u_i -= a g_i(x_i); (u, w)+ = W (u, w) with columns of W that sum to 1; x_i = u_i / w_i. Also called SGP.

    A node takes ``local_steps`` steps u_i -= a g_i(u_i/w_i) before each gossip.
    In asynchronous execution each node trains in its own time, adds what has come meanwhile, steps by
    u_i -= a w_i g_i(x_i), or by the sum of several such, and hands equal parts of (u, w) to its out-neighbours and
    itself when the last have arrived; an iteration is ``interval`` seconds. With a constant step it stops at a bias.
    Source: Assran, Loizou, Ballas, Rabbat, ICML 2019, algorithm 1. The factor w_i is ours: without it a node whose
    weight is low for the moment takes a step of a/w_i, and quick nodes count more than slow ones; with it the weight
    that a node lacks makes up for that.
    """

    proximal = False
    directed = True
    extra_values = 1  # the weight

    execution: Annotated[
        Literal["synchronous", "asynchronous"],
        Field(description="synchronous: rounds common to all nodes; asynchronous: every node at its own pace"),
    ] = "synchronous"
    interval: Annotated[
        float,
        Field(gt=0, description="s of an iteration", needs=(only("execution", "asynchronous"),)),
    ] = 0.02

    @property
    def in_background(self) -> bool:
        return self.execution == "asynchronous"

    @property
    def trains(self) -> bool:
        return self.in_background

    @property
    def variable_traffic(self) -> bool:
        return self.in_background

    @property
    def tolerates_loss(self) -> bool:
        return self.execution == "asynchronous"

    def largest_stable_step(self, facts: Facts) -> float:
        """2 min w_i: a node's step is a/w_i, and W averages in the norm that its limit weighs (ours)."""
        return DESCENT if self.in_background else DESCENT * lowest_weight(facts.topology)

    def automatic_step(self, facts: Facts) -> float:
        """At most 1/(8L), the bias grows with it (undirected: (1 + lambda_min)/(4L)); half of what it bears (ours).

        For local steps L is that of ``smoothness_of_drift``.
        """
        topology = facts.topology
        undirected = topology.symmetric and not topology.varies
        most = (1 + topology.smallest_eigenvalue) / 4 if undirected else 0.125
        return min(most, self.require_step(facts) / 2) / self.smoothness_of_drift(facts)

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, np.hstack([x.astype(np.float64), np.ones((len(x), 1))]), 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        if self.in_background:
            return self._interval(state, problem, network)
        mass, x = state.mass.copy(), state.x
        for j in range(self.local_steps):
            mass[:, :-1] -= self.step_at(state.t) * self.local_gradient(x, state.t, j, problem, rng)
            x = _ratio(mass, x.dtype)
        return _ratios(state, network.gossip.push(mass))

    def _interval(self, state: State, problem: Problem, network: Network) -> State:
        """Let the hosted nodes train and hand on mass for one interval; returns the state after it."""
        training, push = problem.background_trainer(), network.coordination.asynchronous_push(state.mass.shape[1])
        how = Descent(self.step_at(state.t), self.local_steps, 0 if self.batch_size == "all" else self.batch_size)
        mass, x, end = state.mass.copy(), state.x, time.perf_counter() + self.interval
        while True:
            training.start(x, x, x, how, state.t)
            push.until(lambda: training.news() or time.perf_counter() >= end)
            push.pull(mass)
            if time.perf_counter() >= end:
                return _ratios(state, mass)
            x = x.copy()
            trained = training.collect(x, state.t + 1)
            for node in np.flatnonzero(trained.active):
                mass[node, :-1] += mass[node, -1] * (trained.points[node] - trained.origins[node])
                push.share(node, mass[node])
                x[node] = mass[node, :-1] / mass[node, -1]

    def drained(self, state: State, network: Network) -> State:
        """Return the state with the mass that was on its way added, so that a checkpoint loses none."""
        if not self.in_background:
            return state
        mass = state.mass.copy()
        network.coordination.asynchronous_push(mass.shape[1]).pull(mass)
        return _ratios(state, mass)._replace(t=state.t)


def lowest_weight(topology: Topology) -> float:
    """Return the smallest weight w_i that a node ever has in w+ = W w, starting from 1 each.

    >>> from mpiqopt.registry import find_member
    >>> lowest_weight(Topology("ring", tuple(find_member("topology", "ring")(nodes=5).cycle())))  # doubly stochastic
    1.0
    """
    if topology.doubly_stochastic:
        return 1.0
    weights: np.ndarray = np.ones(topology.nodes)
    lowest = 1.0
    rows = [mixing.rows() for mixing in topology.cycle]
    for _ in range(max(1, WEIGHT_WORK // sum(map(len, rows)))):
        before = weights
        for mixing, row in zip(topology.cycle, rows, strict=True):
            weights = np.bincount(row, mixing.weights * weights[mixing.columns], minlength=topology.nodes)
            lowest = min(lowest, float(weights.min()))
        if np.abs(weights - before).max() <= 1e-9:
            break
    return round_significant(lowest, 6)


def _ratio(mass: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return u_i/w_i, (hosted, d)."""
    return (mass[:, :-1] / mass[:, -1:]).astype(dtype)


def _ratios(state: State, mass: np.ndarray) -> State:
    """Return the state after an iteration that led to ``mass``."""
    return State(_ratio(mass, state.x.dtype), mass, state.t + 1)
