"""Proximal gradient descent, plain or accelerated, on coordinated averages."""

from dataclasses import dataclass, replace
from math import sqrt
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np

from mpiqopt.algorithms.algorithm import DESCENT, Algorithm, BatchSize, Facts, PositiveInt
from mpiqopt.algorithms.coordinated import CoordinatedAlgorithm
from mpiqopt.algorithms.estimators import AUTOMATIC, RECURS, SIZES, WithEstimator
from mpiqopt.coordination.innovations import Innovations
from mpiqopt.errors import UsageError
from mpiqopt.field import Field, only, unless
from mpiqopt.network.network import Network
from mpiqopt.placement.shared_rows import shared_rows
from mpiqopt.problems.problem import Problem
from mpiqopt.problems.training import Descent
from mpiqopt.registry import register
from mpiqopt.streams import Streams
from mpiqopt.topologies.topology import Topology

# the estimators whose estimates go on from the last ones
RECURSIVE = ("sr-o", "sr-e")
# Momentum adds up the errors of averages of 1/(1 - beta) rounds; Delta is finer by that, and by this (measured).
FINER = 0.75


class Momentum(NamedTuple):
    """What acceleration remembers, the same at all nodes.

    ahead: the point of the next gradients, (hosted, d), shared rows; weight: t_k of FISTA.
    """

    ahead: np.ndarray
    weight: float


class Recursion(NamedTuple):
    """What recursive estimators remember; arrays (hosted, d).

    v: the last estimates, of each node; previous: the point that they are of, shared rows.
    """

    v: np.ndarray
    previous: np.ndarray


class State(NamedTuple):
    """x: the point of all nodes, (hosted, d) with equal rows; t: number of the round; known: what has been given of v.

    momentum, recursion: empty if not accelerated, and without a recursive estimator.
    """

    x: np.ndarray
    t: int
    known: Innovations
    momentum: Momentum | tuple[()] = ()
    recursion: Recursion | tuple[()] = ()


@register("algorithm", "coordinated-prox-gradient")
@dataclass(frozen=True, kw_only=True)
class CoordinatedProxGradient(WithEstimator, CoordinatedAlgorithm):
    """x+ = prox_{a h}(y - C), y = x + beta (x - x_prev), C the average of a g_i(y), the same at every node.

    All nodes have the same bits, and so the prox of any h, and momentum, at no further message. Not accelerated beta is
    0; inactive nodes count with their last gradient, and late ones bring that of the x where they began. Accelerated
    beta is that of FISTA, begun again when (y - x+)^T (x+ - x) > 0, but at most (1 - sqrt(a mu))/(1 + sqrt(a mu)) if F
    is known to be mu-strongly convex. g_i is the full gradient, or an estimate as in ProxGT.
    Source: Beck and Teboulle 2009 (FISTA), Nesterov 2004 (the bound), O'Donoghue and Candes 2015 (restarts), Xin, Das,
    Khan, Kar, arXiv 2110.01594 (estimates); on coordinated averages of innovations: ours.
    """

    exact = True
    followed = 0.4
    late_innovation = 1.0
    bears_quorum = True

    accelerated: Annotated[
        bool,
        Field(description="momentum; for synchronous execution with all nodes and full gradients"),
    ] = False
    strong_convexity: Annotated[
        Annotated[float, Field(ge=0)] | Literal["auto"],
        Field(
            description="mu of F, which bounds the momentum; 0: unknown; auto: l2 - nonconvex/2 of the problem if its "
            "loss is convex",
            needs=(only("accelerated", True),),
        ),
    ] = "auto"
    estimator: Annotated[
        Literal["gradient", "sa", "sr-o", "sr-e"],
        Field(
            description="g_i: gradient: of all samples; sa, sr-o, sr-e as in proxgt-sa, proxgt-sr-o, proxgt-sr-e: of a "
            "fresh batch, or recursive with restarts from a large batch or from all samples"
        ),
    ] = "gradient"
    batch_size: Annotated[
        BatchSize | Literal["auto"],
        Field(
            description="samples per node and round, drawn uniformly with replacement; auto: as in proxgt-sa, "
            "proxgt-sr-o, proxgt-sr-e",
            needs=(unless("estimator", "gradient"), RECURS),
        ),
    ] = "auto"
    large_batch_size: Annotated[
        BatchSize | Literal["auto"],
        Field(description="the same at restarts; auto: as in proxgt-sr-o", needs=(only("estimator", "sr-o"),)),
    ] = "auto"
    epoch_length: Annotated[
        PositiveInt | Literal["auto"],
        Field(
            description="rounds between restarts of the estimator; auto: as in proxgt-sr-o, proxgt-sr-e",
            needs=(only("estimator", RECURSIVE),),
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accelerated and self.estimator != "gradient":
            raise UsageError(
                f"algorithm.accelerated = true: momentum adds up the noise of estimator = {self.estimator!r}; want "
                "'gradient'"
            )
        if self.accelerated:
            self._require_everybody("accelerated = true")
        if self.recursive:
            self._require_everybody(f"estimator = {self.estimator!r}")

    def _require_everybody(self, why: str) -> None:
        """Raise UsageError, which begins with ``why``, unless every round has new gradients of all nodes."""
        for key, wanted in (("execution", "synchronous"), ("activation", "all"), ("quorum", 1)):
            if getattr(self, key) != wanted:
                raise UsageError(
                    f"algorithm.{why}: all nodes join every round; want {key} = {wanted!r}, got {getattr(self, key)!r}"
                )

    @property
    def recursive(self) -> bool:
        """True if estimates go on from the last ones."""
        return self.estimator in RECURSIVE

    @property
    def trains(self) -> bool:
        return not self.recursive

    def automatic_from_data(self) -> list[str]:
        unused = {*SIZES} - {*AUTOMATIC[self.estimator]}
        return [key for key in super().automatic_from_data() if key not in unused]

    def resolve(self, facts: Facts) -> Self:
        resolved = self.with_batches(facts)
        if self.accelerated and self.strong_convexity == "auto":
            resolved = replace(resolved, strong_convexity=facts.strong_convexity)
        return super(CoordinatedProxGradient, resolved).resolve(facts)

    def facts_for_check(self, given: Algorithm, topology: Topology, coded: bool) -> list[tuple[str, str]]:
        if not self.accelerated:
            return []
        automatic = getattr(given, "strong_convexity", None) == "auto"
        return [("strong_convexity", f"{self.strong_convexity:.6g}" + " (auto)" * automatic)]

    def largest_stable_step(self, facts: Facts) -> float:
        """Return 1 if accelerated, where no more is proved, else 2."""
        return 1.0 if self.accelerated else DESCENT

    def automatic_step(self, facts: Facts) -> float:
        """Return 1/L."""
        return 1 / self.smoothness(facts)

    def contraction(self, facts: Facts) -> float:
        """Return 0: all nodes have the same average."""
        return 0.0

    def descent(self, pull: float = 0.0) -> Descent:
        return Descent(self.step_size, 1, self.batch_size if self.estimator == "sa" and self.batch_size != "all" else 0)

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        known, shared = self.innovations(len(x), np.zeros(x.shape[1])), shared_rows(x[0], len(x))
        momentum = Momentum(shared, 1.0) if self.accelerated else ()
        return State(x, 0, known, momentum, Recursion(np.zeros_like(x), shared) if self.recursive else ())

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        y = state.momentum.ahead if state.momentum else state.x
        ways, ages, recursion = self._ways(y, state, problem, network, rng)
        known = self.innovate(ways, state.known, state.t, network, ages)
        part = self.step_share(known)
        x = problem.prox((y[0] - part * known.mean[0]).astype(y.dtype), part * self.step_size)
        momentum: Momentum | tuple[()] = ()
        share = 1.0
        if state.momentum:
            beta, weight = self._beta(state.momentum, state.x[0], x)
            momentum = Momentum(shared_rows(x + beta * (x - state.x[0]), len(y)), weight)
            share = FINER * (1 - beta)
        known = self.refine(known, state.x[0], x, share)
        return State(np.repeat(x[None], len(y), axis=0), state.t + 1, known, momentum, recursion)

    def _ways(
        self, y: np.ndarray, state: State, problem: Problem, network: Network, rng: Streams
    ) -> tuple[np.ndarray, np.ndarray | None, Recursion | tuple[()]]:
        """Return a g_i of every node, float64 (hosted, d), the last if it brings no new one, and how old they are.

        The third is what recursive estimators remember. y: the point of the gradients, (hosted, d) with equal rows.
        """
        if state.recursion:
            v, previous = state.recursion
            v = self.estimates.estimate(y, previous, v, state.t, problem, rng)
            return self.step_size * v.astype(np.float64), None, Recursion(v, shared_rows(y[0], len(y)))
        trained = self.trained(y, y, state._replace(x=y), 0.0, problem, network, rng)
        ways = trained.origins.astype(np.float64) - trained.points
        return np.where(trained.active[:, None], ways, state.known.hat), trained.ages, ()

    def _beta(self, momentum: Momentum, before: np.ndarray, now: np.ndarray) -> tuple[float, float]:
        """Return beta of the next round and its t_k, after a step from x to x+, both (d,).

        The sum of the test for a restart has the same bits everywhere, so that all nodes restart together.
        """
        ahead, x = momentum.ahead[0].astype(np.float64), now.astype(np.float64)
        if float(np.add.reduce((ahead - x) * (x - before))) > 0:
            return 0.0, 1.0
        root = sqrt(self.step_size * self.strong_convexity)
        weight = (1 + sqrt(1 + 4 * momentum.weight * momentum.weight)) / 2
        return min((momentum.weight - 1) / weight, max(0.0, (1 - root) / (1 + root))), weight
