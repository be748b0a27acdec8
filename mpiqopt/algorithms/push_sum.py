"""Stochastic gradient push on digraphs, in common rounds or at everybody's own pace."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import DESCENT, Facts
from mpiqopt.algorithms.own_pace import AtOwnPace, after_round, ratios, start_of_mass
from mpiqopt.algorithms.stochastic import StochasticAlgorithm
from mpiqopt.arithmetic.rounding import round_significant
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.problems.training import Descent, Trained
from mpiqopt.registry import register
from mpiqopt.streams import Streams
from mpiqopt.topologies.topology import Topology

if TYPE_CHECKING:
    from mpiqopt.coordination.mailboxes import AsynchronousPush

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
class PushSum(AtOwnPace, StochasticAlgorithm):
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
        return State(x, start_of_mass(x), 0)

    def round(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        mass, x = state.mass.copy(), state.x
        for j in range(self.local_steps):
            mass[:, :-1] -= self.step_at(state.t) * self.local_gradient(x, state.t, j, problem, rng)
            x = ratios(mass, x)
        return after_round(state, network.gossip.push(mass))

    def training(self, t: int) -> Descent:
        return Descent(self.step_at(t), self.local_steps, self.batch)

    def act(self, node: int, state: State, trained: Trained, push: "AsynchronousPush") -> None:
        row = state.mass[node]
        row[:-1] += row[-1] * (trained.points[node] - trained.origins[node])
        push.share(node, row)


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
