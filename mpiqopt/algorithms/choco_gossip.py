"""CHOCO-gossip: averaging with coded messages."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.coded import CodedGossip
from mpiqopt.network.gossip import Memory
from mpiqopt.registry import register


class State(NamedTuple):
    x: np.ndarray
    memory: Memory


@register("algorithm", "choco-gossip")
@dataclass(frozen=True, kw_only=True)
class ChocoGossip(CodedGossip):
    """X^+ = X^ + C(X - X^),  X+ = X + gamma (W - I) X^+: every row goes to the mean of all rows, at a linear rate.

    The rows to be averaged are x_0 - step_size grad f_i(x_0): with problem "mean" and step size 1 the nodes' means.
    Koloskova, Stich, Jaggi, "Decentralized stochastic optimization and gossip algorithms with compressed
    communication", 2019, Algorithm 1.
    """

    proximal = False

    def automatic_step(self, facts: Facts) -> float:
        """One gradient step, that of problem "mean"."""
        return 1.0

    def init(self, x, problem, network, rng):
        return State(x - self.step_size * problem.grad(x), network.gossip.memory(x))

    def step(self, state, problem, network, rng):
        memory = network.gossip.innovate(state.x, state.memory)
        return State(self.approach(state.x, memory), memory)
