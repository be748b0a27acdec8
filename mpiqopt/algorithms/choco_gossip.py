"""CHOCO-gossip: averaging with coded messages.

>>> from mpiqopt.contracts.algorithm import state_after, small_experiment
>>> made = small_experiment(ChocoGossip(gossip_step=1.0), "mean", l2=0.0)  # the identity: plain gossip
>>> start, later = state_after(made, 0).x, state_after(made, 60).x
>>> [bool(abs(x - start.mean(axis=0)).max() < 1e-3) for x in (start, later)]
[False, True]
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.coded import CodedGossipAlgorithm
from mpiqopt.network.gossip import Memory
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x: the rows that become equal (hosted, d); memory: X^ of the node and W X^ - X^ of its neighbours."""

    x: np.ndarray
    memory: Memory


@register("algorithm", "choco-gossip")
@dataclass(frozen=True, kw_only=True)
class ChocoGossip(CodedGossipAlgorithm):
    """X^+ = X^ + C(X - X^),  X+ = X + gamma (W - I) X^+: every row goes to the mean of all rows, at a linear rate.

    The rows to be averaged are x_0 - step_size grad f_i(x_0): with problem "mean" and step size 1 the nodes' means.
    X^ is what all nodes know of a node's row; gamma is ``gossip_step``. It needs one symmetric W and no h.
    Source: Koloskova, Stich, Jaggi, "Decentralized stochastic optimization and gossip algorithms with compressed
    communication", ICML 2019, Algorithm 1.
    """

    proximal = False

    def automatic_step(self, facts: Facts) -> float:
        """Return 1, so that with problem "mean" the rows are the means of the nodes."""
        return 1.0

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x - self.step_size * problem.grad(x), network.gossip.memory(x))

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        memory = network.gossip.innovate(state.x, state.memory)
        return State(self.approach(state.x, memory), memory)
