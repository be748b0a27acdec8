"""CHOCO-SGD: decentralised SGD with coded messages."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.coded import CodedGossipAlgorithm
from mpiqopt.algorithms.local_steps import WithLocalSteps
from mpiqopt.algorithms.stochastic import StochasticAlgorithm
from mpiqopt.network.gossip import Memory
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x: iterates (hosted, d); memory: X^ and (W - I) X^, as the messages so far give them; t: iterations done."""

    x: np.ndarray
    memory: Memory
    t: int


@register("algorithm", "choco-sgd")
@dataclass(frozen=True, kw_only=True)
class ChocoSGD(WithLocalSteps, CodedGossipAlgorithm, StochasticAlgorithm):
    """Y = X - a G,  X^+ = X^ + C(Y - X^),  X+ = Y + gamma (W - I) X^+.

    X^ is what all nodes know of a node's row; gamma is ``gossip_step``. It needs one symmetric W and no h. Biased like
    DGD unless the f_i have a common minimiser or the step size shrinks. Y is the point after ``local_steps`` steps.
    Source: Koloskova, Stich, Jaggi, "Decentralized stochastic optimization and gossip algorithms with compressed
    communication", ICML 2019, Algorithm 2.
    """

    proximal = False

    def automatic_step(self, facts: Facts) -> float:
        """Return half of 1/L(b), for local steps of ``smoothness_of_drift``: larger steps have a larger bias."""
        return 1 / (2 * self.smoothness_of_drift(facts))

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, network.gossip.memory(x), 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        y = self.descend(state.x, self.local_steps, state.t, self.step_at(state.t), problem, rng)
        memory = network.gossip.innovate(y, state.memory)
        return State(self.approach(y, memory), memory, state.t + 1)
