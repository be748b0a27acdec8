"""Gradient descent whose average is taken by finite-time quantised coordination."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.coordinated import CoordinatedAlgorithm, GridStep
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x: the point of all nodes, (hosted, d) with equal rows; t: number of the round; grid: of the next one."""

    x: np.ndarray
    t: int
    grid: GridStep


@register("algorithm", "ftqc-dgd")
@dataclass(frozen=True, kw_only=True)
class FTQCDGD(CoordinatedAlgorithm):
    """u_i = x - a g_i(x) at active nodes, u_i = x at the others; x+ = FTQC(u_i, Delta), the same at every node.

    With a full gradient, one local step and everybody active it is gradient descent, x+ = Delta floor(mean of
    floor(u_i/Delta)) to the bit; the error is a few Delta, which zooming takes away. With inactive nodes there is an
    error that Delta does not control. Source: Bastianello, Rikos, Johansson, arXiv 2408.17156; inactive nodes, several
    local steps (x replaced by what they lead to) and late nodes (which add their change to the present x) are ours.
    """

    proximal = False
    exact = True

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, 0, self.grid())

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        x = state.x
        trained = self.trained(x, x, state, 0.0, problem, network, rng)
        late = np.any(trained.origins != x, axis=1, keepdims=True)
        u = np.where(late, x + (trained.points - trained.origins), trained.points)
        average, grid = self.average(u, x, state.grid, state.t, trained.active, network)
        return State(average, state.t + 1, grid)
