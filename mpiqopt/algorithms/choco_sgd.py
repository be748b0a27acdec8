"""CHOCO-SGD: decentralised SGD with coded messages."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.coded import CodedGossip
from mpiqopt.algorithms.stochastic import StochasticAlgorithm
from mpiqopt.network.gossip import Memory
from mpiqopt.registry import register


class State(NamedTuple):
    """t: iterations done."""

    x: np.ndarray
    memory: Memory
    t: int


@register("algorithm", "choco-sgd")
@dataclass(frozen=True, kw_only=True)
class ChocoSGD(CodedGossip, StochasticAlgorithm):
    """Y = X - a G,  X^+ = X^ + C(Y - X^),  X+ = Y + gamma (W - I) X^+.

    Biased like DGD unless the f_i have a common minimiser or the step size shrinks. Koloskova, Stich, Jaggi,
    "Decentralized stochastic optimization and gossip algorithms with compressed communication", 2019, Algorithm 2.
    """

    proximal = False

    def automatic_step(self, facts: Facts) -> float:
        """Half of 1/L(b): larger steps have a larger bias."""
        return 1 / (2 * self.smoothness(facts))

    def init(self, x, problem, network, rng):
        return State(x, network.gossip.memory(x), 0)

    def step(self, state, problem, network, rng):
        y = state.x - self.step_at(state.t) * self.gradient(state.x, state.t, problem, rng)
        memory = network.gossip.innovate(y, state.memory)
        return State(self.approach(y, memory), memory, state.t + 1)
