"""ProxGT: proximal gradient tracking with stochastic gradient estimators and accelerated gossip.

Source: Xin, Das, Khan, Kar, "A stochastic proximal gradient framework for decentralized non-convex composite
optimization" (arXiv 2110.01594), Algorithms 1 to 4. Its three estimators are the three methods registered here.
"""

from dataclasses import dataclass, replace
from math import sqrt
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import numpy as np

from mpiqopt.algorithms.algorithm import SHARE, Algorithm, BatchSize, Facts, PositiveInt, tracking_step
from mpiqopt.algorithms.coded import GAMMA, Gamma, compressor_delta, gossip_step_fact
from mpiqopt.algorithms.estimators import RECURS, WithEstimator
from mpiqopt.algorithms.stochastic import Scheduled
from mpiqopt.arithmetic.rounding import round_significant
from mpiqopt.errors import UsageError
from mpiqopt.field import Field, unless
from mpiqopt.network.gossip import Memory
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams
from mpiqopt.topologies.topology import GOSSIP_TARGET, Topology

# a L where no proof covers h
UNPROVED = 0.25
# |P_K(W) - J| that an automatic K reaches with coded messages, whose damping slows gossip
CODED_TARGET = 0.25
# least delta of a compressor for gossip over an asymmetric W: on directed rings of 8 to 32 nodes 0.35 converged, 0.25
# did not
TURNING_DELTA = 0.375


class State(NamedTuple):
    """The state of all variants; arrays are (hosted, d).

    x, y, v: iterates, trackers and gradient estimates of the last iteration; previous: the x before it; t: iterations
    done. y_memory, z_memory: of coded gossip, what is remembered of the trackers and of the iterates; else empty.
    """

    x: np.ndarray
    y: np.ndarray
    v: np.ndarray
    previous: np.ndarray
    t: int
    y_memory: Memory | tuple[()] = ()
    z_memory: Memory | tuple[()] = ()


@dataclass(frozen=True, kw_only=True)
class ProxGT(WithEstimator, Scheduled):
    """v_t = estimator at x_t;  y_{t+1} = P_K (y_t + v_t - v_{t-1});  x_{t+1} = P_K prox_{a h}(x_t - a y_{t+1}).

    P_K: K rounds of gossip, plain W^K or Chebyshev. y_0 = v_{-1} = 0, so that mean(y_{t+1}) = mean(v_t) exactly.
    v_t is that of ``estimators``; a subclass says which, and has the keys of its batches.
    """

    default_compressor = "identity"
    exact = True

    gossip_rounds: Annotated[
        PositiveInt | Literal["auto"],
        Field(
            description="K, rounds of each of the two gossips; auto: the smallest K with |P_K(W) - J| <= 3/4, "
            "or 1/4 if messages are coded"
        ),
    ] = "auto"
    chebyshev: Annotated[
        bool | Literal["auto"],
        Field(
            description="Chebyshev-accelerated gossip, which needs one symmetric W; auto: there, unless messages are "
            "coded too coarsely for it"
        ),
    ] = "auto"
    gossip_step: Annotated[
        Gamma, Field(description=GAMMA, needs=(unless("compressor.name", "identity", "messages are not coded"),))
    ] = "auto"
    mixed_variables = 2
    most: ClassVar[float] = 1.0  # a L, where more is borne

    def largest_stable_step(self, facts: Facts) -> float | None:
        """Return the r of tracking with P_K; with h more than 1/4 only where that is proved."""
        from mpiqopt.algorithms import stability

        step = self.gossip_step if facts.coded else 1.0
        matrices = stability.stability_spectrum_of_gossip(facts.topology, self.gossip_rounds, self.chebyshev, step)
        linear = stability.largest_stable_linear_step(matrices, stability.tracking_recursion)
        if linear is None or not facts.regularized:
            return linear
        return min(linear, max(UNPROVED, stability.largest_stable_proximal_step(matrices)))

    def automatic_step(self, facts: Facts) -> float:
        """Return ``tracking_step`` over L, or nearly the largest stable step with P_K if that is less.

        Noisy estimators take at most ``most``/L, coded messages at most 1/(4L) (ours).
        """
        topology, most = facts.topology, UNPROVED
        if not facts.coded and topology.knows("contraction"):
            most = min(self.most, tracking_step(topology.reached(self.gossip_rounds, self.chebyshev), UNPROVED))
        return min(most, SHARE * self.require_step(facts)) / self.smoothness(facts)

    def contraction(self, facts: Facts) -> float:
        """Return |P_K - J|, to six digits."""
        return round_significant(facts.topology.reached(self.gossip_rounds, self.chebyshev), 6)

    def resolve(self, facts: Facts) -> Self:
        """Return the method with numbers for 'auto': batches, the gossip, then the step, which depends on both."""
        resolved = self.with_batches(facts)
        if self.gossip_step == "auto":
            resolved = replace(resolved, gossip_step=self._automatic_gossip_step(facts))
        if self.chebyshev == "auto":
            resolved = replace(resolved, chebyshev=self._allows_chebyshev(facts))
        if self.gossip_rounds == "auto":
            rounds = facts.topology.rounds_needed(resolved.chebyshev, CODED_TARGET if facts.coded else GOSSIP_TARGET)
            resolved = replace(resolved, gossip_rounds=rounds)
        return super(ProxGT, resolved).resolve(facts)

    def _automatic_gossip_step(self, facts: Facts) -> float:
        """Return the compressor's delta. Raises UsageError for a coarse one over an asymmetric W (measured; ours)."""
        delta = compressor_delta(facts)
        if facts.coded and not facts.topology.symmetric and delta < TURNING_DELTA:
            raise UsageError(
                f"algorithm.gossip_step = 'auto': over topology {facts.topology.name!r}, whose W is not symmetric, "
                f"none is known that bears a compressor as coarse as this (delta = {delta:.2g}, want "
                f"{TURNING_DELTA}): use a finer one, an undirected topology, or give algorithm.gossip_step"
            )
        return delta

    def _allows_chebyshev(self, facts: Facts) -> bool:
        """Return True for one symmetric W, if messages are coded only with K > 1 and K sqrt(1 - delta) <= 1.

        delta is the compressor's. The recursion multiplies the errors of coded messages; without the bound it diverged
        on rings with K = 4 for delta = 1/3 and with K = 13 for delta = 0.9, with it never (benchmarks/README.md; ours).
        """
        topology = facts.topology
        if topology.varies or not topology.symmetric or facts.delta is None:
            return False
        rounds = self.gossip_rounds
        if rounds == "auto":
            rounds = topology.rounds_needed(True, CODED_TARGET if facts.coded else GOSSIP_TARGET)
        return not facts.coded or (rounds > 1 and rounds * sqrt(1 - facts.delta) <= 1)

    def require(self, topology: Topology, regularizer: str) -> None:
        super().require(topology, regularizer)
        if self.chebyshev is True and (topology.varies or not topology.symmetric):
            raise UsageError(
                f"algorithm.chebyshev = true: needs one symmetric mixing matrix, but topology {topology.name!r} "
                f"{'varies in time' if topology.varies else 'is not symmetric'}; set chebyshev = false"
            )

    def facts_for_check(self, given: Algorithm, topology: Topology, coded: bool) -> list[tuple[str, str]]:
        about = ["auto"] * (getattr(given, "gossip_rounds", None) == "auto")
        if topology.knows("contraction"):
            about.insert(0, f"|P_K(W) - J| = {topology.reached(self.gossip_rounds, self.chebyshev):.3g}")
        facts = [("gossip_rounds K", f"{self.gossip_rounds}" + f" ({', '.join(about)})" * bool(about))]
        return [*facts, gossip_step_fact(self.gossip_step, getattr(given, "gossip_step", None))] if coded else facts

    @property
    def uses_interval(self) -> bool:
        return bool(self.chebyshev)

    def rounds_per_variable(self) -> int:
        return self.gossip_rounds

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        zero = np.zeros_like(x)
        memory = network.gossip.memory(x) if network.coded else ()
        return State(x, zero, zero, x, 0, memory, memory)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        v = self.estimates.estimate(state.x, state.previous, state.v, state.t, problem, rng)
        y, y_memory = self.gossip(network, state.y + (v - state.v), state.y_memory)
        step = self.step_at(state.t)
        z = problem.prox(state.x - step * y, step)
        x, z_memory = self.gossip(network, z, state.z_memory)
        return State(x, y, v, state.x, state.t + 1, y_memory, z_memory)

    def gossip(
        self, network: Network, rows: np.ndarray, memory: Memory | tuple[()]
    ) -> tuple[np.ndarray, Memory | tuple[()]]:
        """Return P_K of the rows (hosted, d), and the memory of the messages if they are coded."""
        if not memory:
            return network.gossip.repeat(rows, self.gossip_rounds, self.chebyshev), ()
        return network.gossip.repeat_coded(rows, memory, self.gossip_rounds, self.chebyshev, self.gossip_step)


@register("algorithm", "proxgt-sa")
@dataclass(frozen=True, kw_only=True)
class ProxGTSA(ProxGT):
    """ProxGT with stochastic approximation: v_t is the mean gradient over a fresh minibatch.

        v_t = (1/b) sum_s g(x_t, s);   y_{t+1} = P_K (y_t + v_t - v_{t-1});   x_{t+1} = P_K prox_{a h}(x_t - a y_{t+1})

    b is ``batch_size``. P_K is K = ``gossip_rounds`` rounds of gossip, plain W^K or Chebyshev. Any doubly stochastic W,
    also several in turn. Source: Xin, Das, Khan, Kar, arXiv 2110.01594 (ProxGT-SA).
    """

    estimator = "sa"

    batch_size: Annotated[
        BatchSize | Literal["auto"],
        Field(
            description="samples per node and iteration, drawn uniformly with replacement; auto: V/(n eps^2), V the "
            "variance of a sample's gradient at the start, eps^2 = run.tolerance"
        ),
    ] = "auto"
    most = 0.25  # what noise is left grows with the step


@register("algorithm", "proxgt-sr-o")
@dataclass(frozen=True, kw_only=True)
class ProxGTSRO(ProxGT):
    """ProxGT with a recursive estimator for online data: every ``epoch_length`` iterations a fresh large minibatch.

    Then v_t is its mean gradient, in between v_t = v_{t-1} + (1/b) sum_s [g(x_t, s) - g(x_{t-1}, s)] with b =
    ``batch_size``; y and x as for proxgt-sa. Source: Xin, Das, Khan, Kar, arXiv 2110.01594 (ProxGT-SR-O).
    """

    estimator = "sr-o"

    batch_size: Annotated[
        BatchSize | Literal["auto"],
        Field(description="as for proxgt-sa; auto: sqrt(V)/(n eps)", needs=(RECURS,)),
    ] = "auto"
    large_batch_size: Annotated[
        BatchSize | Literal["auto"], Field(description="the same at restarts; auto: V/(n eps^2), eps^2 = run.tolerance")
    ] = "auto"
    epoch_length: Annotated[
        PositiveInt | Literal["auto"],
        Field(description="iterations between restarts of the estimator; auto: sqrt(V)/eps"),
    ] = "auto"


@register("algorithm", "proxgt-sr-e")
@dataclass(frozen=True, kw_only=True)
class ProxGTSRE(ProxGT):
    """ProxGT with a recursive estimator for finite data: every ``epoch_length`` iterations the full local gradient.

    In between v_t = v_{t-1} + (1/b) sum_s [g(x_t, s) - g(x_{t-1}, s)] with b = ``batch_size``; y and x as for
    proxgt-sa.
    Source: Xin, Das, Khan, Kar, arXiv 2110.01594 (ProxGT-SR-E).
    """

    estimator = "sr-e"

    batch_size: Annotated[
        BatchSize | Literal["auto"],
        Field(description="as for proxgt-sa; auto: max(sqrt(m/n), 1) for m samples a node", needs=(RECURS,)),
    ] = "auto"
    epoch_length: Annotated[
        PositiveInt | Literal["auto"],
        Field(description="iterations between restarts of the estimator; auto: sqrt(n m)"),
    ] = "auto"
