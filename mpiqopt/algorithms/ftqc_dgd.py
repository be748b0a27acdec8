"""Gradient descent whose average is taken by finite-time quantised coordination."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.ftqc import FTQCAlgorithm, GridStep
from mpiqopt.coordination.innovations import Innovations
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.problems.training import Trained
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x: the point of all nodes, (hosted, d) with equal rows; t: number of the round; grid: of the next one."""

    x: np.ndarray
    t: int
    grid: GridStep | Innovations


@register("algorithm", "ftqc-dgd")
@dataclass(frozen=True, kw_only=True)
class FTQCDGD(FTQCAlgorithm):
    """x+ = x - C, C the average of a g_i(x), the same at every node; of inactive nodes that of their last gradient.

    With a full gradient, one local step and everybody active it is gradient descent up to a few Delta, which zooming
    takes away. Inactive nodes change nothing of the limit (an incremental gradient with memory). That is code =
    "innovations", which is ours. Points are the paper's: u_i = x - a g_i(x) at active nodes, u_i = x at the others,
    x+ = FTQC(u_i, Delta) = Delta floor(mean of floor(u_i/Delta)) to the bit; with inactive nodes there is an error that
    Delta does not control. Source: Bastianello, Rikos, Johansson, arXiv 2408.17156; inactive nodes, several local steps
    (a g_i(x) replaced by the way that they go) and late nodes (which bring the way that they have gone) are ours.
    """

    # where x moves slowly gradients change by much less than x does
    followed = 0.4
    late_innovation = 1.0
    bears_quorum = True

    proximal = False
    exact = True

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, 0, self.grid(len(x), np.zeros(x.shape[1])))

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        x = state.x
        trained = self.trained(x, x, state, 0.0, problem, network, rng)
        if isinstance(state.grid, Innovations):
            return self._descend(state, state.grid, trained, network)
        late = np.any(trained.origins != x, axis=1, keepdims=True)
        u = np.where(late, x + (trained.points - trained.origins), trained.points)
        average, grid = self.average(u, x, state.grid, state.t, trained.active, network)
        return State(average, state.t + 1, grid)

    def _descend(self, state: State, known: Innovations, trained: Trained, network: Network) -> State:
        """Go the average of all nodes' ways, each the last that the node has brought."""
        ways = trained.origins.astype(np.float64) - trained.points
        brought = np.where(trained.active[:, None], ways, known.hat)
        known = self.innovate(brought, known, state.t, network, trained.ages)
        x = (state.x[0] - self.step_share(known) * known.mean[0]).astype(state.x.dtype)
        known = self.refine(known, state.x[0], x)
        return State(np.repeat(x[None], len(state.x), axis=0), state.t + 1, known)
