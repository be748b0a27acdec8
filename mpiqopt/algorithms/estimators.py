"""Stochastic estimates of the nodes' gradients: batches and epochs, and the smoothness that bounds steps with them.

Source: Xin, Das, Khan, Kar, "A stochastic proximal gradient framework for decentralized non-convex composite
optimization" (arXiv 2110.01594), Algorithms 2 to 4.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import ClassVar, NamedTuple, Self

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts
from mpiqopt.errors import UsageError
from mpiqopt.field import only
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams

# bound of sqrt(V)/eps: batches and epochs are whole numbers however small the tolerance
MOST_RATIO = 1e15
RECURS = only("recurs", True, "every iteration restarts the estimator")
# what automatic batches and epochs are made of
SIZES = ("batch_size", "large_batch_size", "epoch_length")


class Estimator(NamedTuple):
    """Estimates v_t of the local gradients at x_t, t = 0, 1, ...

        t mod q = 0:  v_t = (1/B) sum_s g(x_t, s),  s a fresh batch
        else:         v_t = v_{t-1} + (1/b) sum_s [g(x_t, s) - g(x_{t-1}, s)],  the same samples at both points

    The recursion is that of SARAH and SPIDER.

    Attributes
    ----------
    restart : B, draws per node at restarts, or "all" samples
    batch : b, the same in between
    epoch : q, iterations from restart to restart
    """

    restart: int | str = "all"
    batch: int | str = "all"
    epoch: int = 1

    def estimate(
        self, x: np.ndarray, previous: np.ndarray, v: np.ndarray, t: int, problem: Problem, rng: Streams
    ) -> np.ndarray:
        """Return v_t, an array (hosted, d) in the dtype of x.

        x, previous: x_t and x_{t-1} (hosted, d); v: v_{t-1} (hosted, d); rng: minibatches, those of iteration t.
        """
        if t % self.epoch == 0:
            return problem.grad(x, None if self.restart == "all" else rng.batch(t, self.restart))
        batch = None if self.batch == "all" else rng.batch(t, self.batch)
        return v + (problem.grad(x, batch) - problem.grad(previous, batch))

    def exact(self, facts: Facts) -> bool:
        """Return True if all samples of every node are in every batch."""
        return facts.exact(self.restart) and facts.exact(self.batch)

    def smoothness(self, facts: Facts, contraction: float) -> float:
        """Return the L that bounds steps, of restarts and of what is between them.

        contraction: p, what a gossip leaves of differences between nodes; 0 if averages are exact. Averaging leaves 1/n
        of the variance of fresh batches, and 2 p^4 at a node (ours).
        """
        p = contraction
        restarts = facts.smoothness(self.restart, min(1.0, 1 / facts.topology.nodes + 2 * p * p * p * p))
        return max(self._recursive_smoothness(facts, p * p), restarts)

    def _recursive_smoothness(self, facts: Facts, square: float) -> float:
        """Return L between restarts: (L + sqrt(L^2 + 4 Lambda^2 c/b))/2.

        Over an epoch a descent lemma sums up to a L + a^2 Lambda^2 c/b <= 1, Lambda^2 the mean of the L_ij^2 (Fang et
        al. 2018, "SPIDER"), c = q/n. The noise that moves a node away from the others adds 4 p^4 min(q, 1/(1 - p^2)) to
        c (ours). square: p^2.
        """
        if facts.exact(self.batch):
            return facts.lipschitz
        alone = 4 * square * square * min(self.epoch, 1 / max(1 - square, 1e-12))
        noise = 4 * (facts.mean_squared * facts.mean_squared) * (self.epoch / facts.topology.nodes + alone) / self.batch
        return (facts.lipschitz + sqrt(facts.lipschitz * facts.lipschitz + noise)) / 2


def noise_ratio(facts: Facts, key: str) -> float:
    """Return sqrt(V)/eps. Raises UsageError, which names ``key``, without ``run.tolerance`` = eps^2."""
    if facts.tolerance is None:
        raise UsageError(
            f"algorithm.{key} = 'auto': is made of run.tolerance = eps^2 and the variance of gradients: give "
            f"run.tolerance, or a number for {key}"
        )
    return min(sqrt(facts.variance / facts.tolerance), MOST_RATIO)


def samples_for(facts: Facts, key: str) -> int | str:
    """Return V/(n eps^2) samples of each node: the mean of their gradients has a variance of eps^2.

    "all" if no node has more. key: the config key that is to be filled, for the error line.
    """
    ratio = noise_ratio(facts, key)
    size = max(1, ceil(ratio * ratio / facts.topology.nodes))
    return "all" if size >= facts.most_samples else size


# By name of the estimator, in the order in which they are made; of the orders of the paper's Corollaries.
AUTOMATIC: dict[str, dict[str, Callable[[Facts], int | str]]] = {
    "gradient": {},
    "sa": {"batch_size": lambda facts: samples_for(facts, "batch_size")},
    "sr-o": {
        "large_batch_size": lambda facts: samples_for(facts, "large_batch_size"),
        "batch_size": lambda facts: max(1, ceil(noise_ratio(facts, "batch_size") / facts.topology.nodes)),
        "epoch_length": lambda facts: max(1, ceil(noise_ratio(facts, "epoch_length"))),
    },
    "sr-e": {
        "batch_size": lambda facts: max(1, ceil(sqrt(facts.samples / facts.topology.nodes))),
        "epoch_length": lambda facts: max(1, ceil(sqrt(facts.samples * facts.topology.nodes))),
    },
}


@dataclass(frozen=True, kw_only=True)
class WithEstimator(Algorithm):
    """A method of estimated gradients; a subclass has the keys of SIZES that its ``estimator`` uses."""

    keys_from_data: ClassVar[tuple[str, ...]] = ("step_size", *SIZES)

    @property
    @abstractmethod
    def estimator(self) -> str:
        """The name of the estimator: a key of ``AUTOMATIC``."""

    @property
    def estimates(self) -> Estimator:
        """How v_t is made, after ``resolve``."""
        batch, large_batch, epoch = (getattr(self, key, "all") for key in SIZES)
        if self.estimator in ("gradient", "sa"):
            return Estimator(batch if self.estimator == "sa" else "all")
        return Estimator(large_batch if self.estimator == "sr-o" else "all", batch, epoch)

    @property
    def recurs(self) -> bool:
        """True if batches between restarts are used, for estimates or for the step."""
        return getattr(self, "epoch_length", None) != 1 or self.step_size == "auto"

    def with_batches(self, facts: Facts) -> Self:
        """Return the method with numbers for the batches and epochs at 'auto'. Raises UsageError as ``noise_ratio``."""
        resolved = self
        for key, number in AUTOMATIC[self.estimator].items():
            if getattr(self, key) == "auto":
                resolved = replace(resolved, **{key: number(facts)})
        return resolved

    @abstractmethod
    def contraction(self, facts: Facts) -> float:
        """Return what an average leaves of differences between nodes, 0 if all nodes have the same then."""

    def smoothness(self, facts: Facts) -> float:
        estimates = self.estimates
        return estimates.smoothness(facts, 0.0 if estimates.exact(facts) else self.contraction(facts))
