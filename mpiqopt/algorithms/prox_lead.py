"""Prox-LEAD: linear convergence with compressed messages and a prox."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.coded import CodedGossipAlgorithm, compressor_delta
from mpiqopt.algorithms.stochastic import StochasticAlgorithm
from mpiqopt.field import Field
from mpiqopt.network.gossip import Memory
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x: iterates (hosted, d); dual: D (hosted, d); memory: H and (W - I) H; t: iterations done."""

    x: np.ndarray
    dual: np.ndarray
    memory: Memory
    t: int


@register("algorithm", "prox-lead")
@dataclass(frozen=True, kw_only=True)
class ProxLEAD(CodedGossipAlgorithm, StochasticAlgorithm):
    """Z = X - a (G + D),  Z^ = H + C(Z - H),  X+ = prox_{a h}(Z - gamma/2 (I - W) Z^).

    D+ = D + gamma/(2a) (I - W) Z^,  H+ = (1 - alpha) H + alpha Z^;  D_0 = H_0 = 0. gamma is ``gossip_step`` and alpha
    ``memory_rate``. With full gradients and an unbiased C linear convergence to the exact optimum. Without compression,
    with gamma = 1 and h = 0 it is D2. It needs one symmetric W.
    Source: Li, Liu, Tang, Yan, Yuan, "Decentralized composite optimization with compression", 2021, Algorithm 1.
    """

    exact = True

    memory_rate: Annotated[
        Annotated[float, Field(gt=0, le=1)] | Literal["auto"],
        Field(description="alpha, how fast H follows Z; auto: 1/(1 + omega)"),
    ] = "auto"

    def automatic_gossip_step(self, facts: Facts) -> float:
        """Return delta^2 of the compressor.

        The paper's bound is of order 1/omega and 1/(omega kappa); ours was tried on rings with all compressors, and is
        what the noisiest of them still converge with.
        """
        delta = compressor_delta(facts)
        return delta * delta

    def resolve(self, facts: Facts) -> Self:
        resolved = super().resolve(facts)
        if self.memory_rate == "auto":
            resolved = replace(resolved, memory_rate=facts.damping)
        return resolved

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, np.zeros_like(x), network.gossip.memory(x), 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        a, gamma, alpha = self.step_at(state.t), self.gossip_step, self.memory_rate
        gradient = self.gradient(state.x, state.t, problem, rng)
        z = state.x - a * (gradient + state.dual)
        own, heard = network.gossip.mix_coded((z - state.memory.sent).astype(z.dtype, copy=False))
        apart = (-0.5 * gamma * (state.memory.heard + heard)).astype(z.dtype, copy=False)
        memory = Memory(state.memory.sent + alpha * own, state.memory.heard + alpha * heard)
        return State(problem.prox(z - apart, a), state.dual + apart / a, memory, state.t + 1)
