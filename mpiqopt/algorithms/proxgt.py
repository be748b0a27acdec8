"""ProxGT: proximal gradient tracking with stochastic gradient estimators and accelerated gossip.

Source: Xin, Das, Khan, Kar, "A stochastic proximal gradient framework for decentralized non-convex composite
optimization" (arXiv 2110.01594), Algorithms 1 to 4. Its three estimators are the three methods registered here.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Annotated, Literal, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, BatchSize, Facts, PositiveInt
from mpiqopt.algorithms.coded import GossipStep, compressor_delta
from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.network import Memory, Network
from mpiqopt.registry import register


class State(NamedTuple):
    """x, y (tracker) and v (estimator) of the last iteration; previous: the x before; t: iterations done.

    Of coded gossip, what is remembered of the trackers and of the iterates; else empty.
    """

    x: np.ndarray
    y: np.ndarray
    v: np.ndarray
    previous: np.ndarray
    t: int
    y_memory: Memory | tuple[()] = ()
    z_memory: Memory | tuple[()] = ()


@dataclass(frozen=True, kw_only=True)
class ProxGT(Algorithm):
    """v_t = estimator at x_t;  y_{t+1} = P_K (y_t + v_t - v_{t-1});  x_{t+1} = P_K prox_{a h}(x_t - a y_{t+1}).

    P_K: K rounds of gossip, plain W^K or Chebyshev. y_0 = v_{-1} = 0, so that mean(y_{t+1}) = mean(v_t) exactly.
    """

    default_compressor = "identity"

    gossip_rounds: Annotated[
        PositiveInt | Literal["auto"],
        Field(description="K, rounds of each of the two gossips; auto: the smallest K with |P_K(W) - J| <= 1/4"),
    ] = "auto"
    chebyshev: Annotated[
        bool | Literal["auto"],
        Field(
            description="Chebyshev-accelerated gossip, which needs one symmetric W; auto: there, unless messages are "
            "coded too coarsely for it"
        ),
    ] = "auto"
    gossip_step: GossipStep = "auto"

    def automatic_step(self, facts: Facts) -> float:
        """c/L with c = 1/4 (ours; the theory asks for a smaller constant)."""
        return 1 / (4 * facts.lipschitz)

    def resolve(self, facts: Facts):
        resolved = super().resolve(facts)
        if self.gossip_step == "auto":
            resolved = replace(resolved, gossip_step=compressor_delta(facts))
        if self.chebyshev == "auto":
            resolved = replace(resolved, chebyshev=self._bears_chebyshev(facts))
        if self.gossip_rounds == "auto":
            resolved = replace(resolved, gossip_rounds=facts.topology.rounds_needed(resolved.chebyshev))
        return resolved

    def _bears_chebyshev(self, facts: Facts) -> bool:
        """One symmetric W and K sqrt(1 - delta) <= 1 for the compressor's delta.

        The recursion multiplies the errors of coded messages; without the bound it blew up on rings with K = 4 for
        delta = 1/3 and with K = 13 for delta = 0.9, with it never (benchmarks/README.md; ours).
        """
        topology = facts.topology
        if topology.varies or not topology.symmetric or facts.delta is None:
            return False
        rounds = topology.rounds_needed(True) if self.gossip_rounds == "auto" else self.gossip_rounds
        return rounds * sqrt(1 - facts.delta) <= 1

    def require(self, topology, regularizer):
        super().require(topology, regularizer)
        if self.chebyshev is True and (topology.varies or not topology.symmetric):
            raise UsageError(
                f"algorithm.chebyshev = true: needs one symmetric mixing matrix, but topology {topology.name!r} "
                f"{'varies in time' if topology.varies else 'is not symmetric'}; set chebyshev = false"
            )

    def rounds(self) -> int:
        return 2 * self.gossip_rounds

    def init(self, x, problem, network, rng):
        zero = np.zeros_like(x)
        memory = network.memory(x) if network.coded else ()
        return State(x, zero, zero, x, 0, memory, memory)

    def step(self, state, problem, network, rng):
        v = self.estimate(state, problem, rng)
        y, y_memory = self.gossip(network, state.y + (v - state.v), state.y_memory)
        z = problem.prox(state.x - self.step_size * y, self.step_size)
        x, z_memory = self.gossip(network, z, state.z_memory)
        return State(x, y, v, state.x, state.t + 1, y_memory, z_memory)

    def gossip(self, network: Network, rows: np.ndarray, memory: Memory | tuple[()]):
        """P_K of the rows, and the memory of the messages if they are coded."""
        if not memory:
            return network.gossip(rows, self.gossip_rounds, self.chebyshev), ()
        return network.gossip_coded(rows, memory, self.gossip_rounds, self.chebyshev, self.gossip_step)

    @abstractmethod
    def estimate(self, state: State, problem, rng) -> np.ndarray:
        """v_t, the estimate of the local gradients at state.x, (hosted, d)."""


def sampled_gradient(state: State, problem, rng, size: int | str) -> np.ndarray:
    """Mean gradient at x_t over a fresh batch."""
    return problem.grad(state.x, None if size == "all" else rng.batch(state.t, size))


def recursive_gradient(state: State, problem, rng, size: int | str) -> np.ndarray:
    """v_{t-1} + mean over a batch of [g(x_t, s) - g(x_{t-1}, s)], the same samples at both points (SARAH, SPIDER)."""
    batch = None if size == "all" else rng.batch(state.t, size)
    return state.v + (problem.grad(state.x, batch) - problem.grad(state.previous, batch))


@register("algorithm", "proxgt-sa")
@dataclass(frozen=True, kw_only=True)
class ProxGTSA(ProxGT):
    """ProxGT with stochastic approximation: v_t is the mean gradient over a fresh minibatch."""

    batch_size: BatchSize

    def estimate(self, state, problem, rng):
        return sampled_gradient(state, problem, rng, self.batch_size)


@register("algorithm", "proxgt-sr-o")
@dataclass(frozen=True, kw_only=True)
class ProxGTSRO(ProxGT):
    """ProxGT with a recursive estimator for online data: every ``epoch_length`` iterations a fresh large minibatch."""

    batch_size: BatchSize
    large_batch_size: BatchSize
    epoch_length: Annotated[PositiveInt, Field(description="iterations between restarts of the estimator")]

    def estimate(self, state, problem, rng):
        if state.t % self.epoch_length == 0:
            return sampled_gradient(state, problem, rng, self.large_batch_size)
        return recursive_gradient(state, problem, rng, self.batch_size)


@register("algorithm", "proxgt-sr-e")
@dataclass(frozen=True, kw_only=True)
class ProxGTSRE(ProxGT):
    """ProxGT with a recursive estimator for finite data: every ``epoch_length`` iterations the full local gradient."""

    batch_size: Annotated[
        BatchSize | Literal["auto"],
        Field(description="as for proxgt-sa; auto: max(sqrt(m/n), 1) for m samples a node"),
    ] = "auto"
    epoch_length: Annotated[
        PositiveInt | Literal["auto"],
        Field(description="iterations between restarts of the estimator; auto: sqrt(n m)"),
    ] = "auto"

    def resolve(self, facts: Facts):
        """b ~ max(sqrt(m/n), 1) and q ~ sqrt(n m) as in the paper's Corollary for SR-E, rounded up."""
        resolved = super().resolve(facts)
        m, n = facts.samples, facts.topology.nodes
        if self.batch_size == "auto":
            resolved = replace(resolved, batch_size=max(1, ceil(sqrt(m / n))))
        if self.epoch_length == "auto":
            resolved = replace(resolved, epoch_length=max(1, ceil(sqrt(m * n))))
        return resolved

    def estimate(self, state, problem, rng):
        if state.t % self.epoch_length == 0:
            return sampled_gradient(state, problem, rng, "all")
        return recursive_gradient(state, problem, rng, self.batch_size)
