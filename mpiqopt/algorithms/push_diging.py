"""Push-DIGing: gradient tracking on digraphs, in common rounds or at everybody's own pace."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts, PositiveInt
from mpiqopt.algorithms.gradient_tracking import LEAST, TracksGradients
from mpiqopt.algorithms.own_pace import AtOwnPace, after_round, ratios, start_of_mass
from mpiqopt.field import Field, only
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.problems.training import Descent, Trained
from mpiqopt.registry import register
from mpiqopt.streams import Streams

if TYPE_CHECKING:
    from mpiqopt.coordination.mailboxes import AsynchronousPush

# A training of one step as long as this tells the gradient (origin - point)/PROBE. A power of two, so that only the
# difference is rounded; so large that x/PROBE is lost in the rounding of the gradient; a float32 bears 1e29 times it.
PROBE = 2.0**30


class State(NamedTuple):
    """The state of Push-DIGing.

    x: the ratios u_i/w_i, (hosted, d); mass: float64 (hosted, 2d + 1), u_i, the tracker y_i and the weight w_i, whose
    sums over all nodes (and, in asynchronous execution, all frames on the way) are those of the last gradients and n;
    gradient: the last that each node has added to its tracker, (hosted, d); t: number of the iteration.
    """

    x: np.ndarray
    mass: np.ndarray
    gradient: np.ndarray
    t: int


@register("algorithm", "push-diging")
@dataclass(frozen=True, kw_only=True)
class PushDIGing(AtOwnPace, TracksGradients):
    """u+ = W (u - a y), w+ = W w, x_i = u_i/w_i, y+ = W y + g(x+) - g(x), columns of W sum to 1; y_0 = g(x_0).

    The sum of the y_i is that of the gradients always, so that every node reaches the optimum with a constant step, on
    any strongly connected digraph, also with digraphs in turn. One round an iteration, with 2d + 1 numbers a message.
    With k = ``local_steps`` the k - 1 steps before have W = I.
    In asynchronous execution a node whose gradient is ready adds what has come meanwhile, adds the change of its
    gradient to y_i, and, when the last parts that it sent have arrived, steps by u_i -= a min(1, w_i) y_i and hands
    equal parts of (u, y, w) to its out-neighbours and itself; an iteration is ``interval`` seconds. Where it stops all
    y_i are 0, whoever was how quick: it is the optimum.
    Source: Nedic, Olshevsky, Shi, "Achieving geometric convergence for distributed optimization over time-varying
    graphs", SIAM J. Optim. 27(4), 2017, algorithm 2; asynchronous tracking with sums that no loss can change: Tian,
    Sun, Scutari, "Achieving linear convergence in distributed asynchronous multiagent optimization", IEEE TAC 2020,
    and Spiridonoff, Olshevsky, Paschalidis, JMLR 2020. That shares are acknowledged and the factor min(1, w_i) are
    ours: a node that waits for slower ones has little weight, and without the factor steps of a/w_i along the change
    of its own gradient.
    """

    message_vectors = 2

    local_steps: Annotated[
        PositiveInt,
        Field(
            description="k, gradient steps of an iteration, each with a batch of its own: k - 1 of every node alone, "
            "then one with the gossip; automatic steps are divided by k",
            needs=(only("execution", "synchronous"),),
        ),
    ] = 1

    def largest_stable_step(self, facts: Facts) -> float | None:
        """Return the r of the circle criterion for this recursion over the topology (``stability``).

        In asynchronous execution that of common rounds with the factor min(1, w_i), but no more than LEAST, as late and
        unequally quick nodes bear less than some such r (ours; docs/automatic.md says what was measured).
        """
        from mpiqopt.algorithms import stability

        recursions = stability.push_tracking_recursions(facts.topology, damped=self.in_background)
        if recursions is None:
            return None
        bound = stability.largest_stable_step_of(recursions)
        return min(bound, LEAST) if self.in_background else bound

    def smoothness(self, facts: Facts) -> float:
        """Return k L(b) as for all methods that track gradients; without local steps in asynchronous execution."""
        return facts.smoothness(self.batch_size) if self.in_background else super().smoothness(facts)

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        gradient = self.gradient(x, 0, problem, rng)
        return State(x, start_of_mass(x, gradient), gradient, 0)

    def round(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        mass, gradient, d = state.mass.copy(), state.gradient, state.x.shape[1]
        for j in range(1, self.local_steps + 1):
            mass[:, :d] -= self.step_size * mass[:, d:-1]
            if j == self.local_steps:
                mass = network.gossip.push(mass)
            before, gradient = gradient, self.local_gradient(ratios(mass, state.x), state.t, j, problem, rng)
            mass[:, d:-1] += gradient.astype(np.float64) - before
        return after_round(state._replace(gradient=gradient), mass)

    def training(self, t: int) -> Descent:
        return Descent(PROBE, 1, self.batch)

    def act(self, node: int, state: State, trained: Trained, push: "AsynchronousPush") -> None:
        row, d, before = state.mass[node], state.x.shape[1], state.gradient[node]
        gradient = (trained.origins[node] - trained.points[node]) / before.dtype.type(PROBE)
        row[d:-1] += gradient.astype(np.float64) - before
        before[:] = gradient
        if push.free(node):
            row[:d] -= self.step_size * min(1.0, row[-1]) * row[d:-1]
            push.share(node, row)
