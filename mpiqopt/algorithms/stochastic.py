"""The base classes of stochastic gradient methods: minibatches and step sizes that shrink."""

from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Literal

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, BatchSize, Facts
from mpiqopt.field import Field, unless
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Minibatch(Algorithm):
    """A method of gradients over all samples or over fresh minibatches, whose state counts iterations in ``t``."""

    keys_from_data = ("step_size", "batch_size")

    batch_size: BatchSize = "all"

    def smoothness(self, facts: Facts) -> float:
        """Return L(b) of batches of ``batch_size``; L with full data."""
        return facts.smoothness(self.batch_size)

    def gradient(self, x: np.ndarray, t: int, problem: Problem, rng: Streams) -> np.ndarray:
        """Return the gradients of the f_i at their rows (hosted, d): of all samples, or of a fresh minibatch.

        t: iteration, which together with the seed decides the samples drawn. Counts the samples evaluated.
        """
        return problem.grad(x) if self.batch_size == "all" else problem.grad(x, rng.batch(t, self.batch_size))


@dataclass(frozen=True, kw_only=True)
class Scheduled(Algorithm):
    """A method whose steps may shrink: a, a/(1 + decay t) or a/sqrt(1 + decay t).

    >>> from mpiqopt.algorithms.sgd import SGD
    >>> method = SGD(step_size=0.5, schedule="inverse", decay=1.0)
    >>> [method.step_at(t) for t in (0, 1, 4)]
    [0.5, 0.25, 0.1]
    """

    schedule: Annotated[
        Literal["constant", "inverse", "inverse-sqrt"],
        Field(description="step size of iteration t: a, a/(1 + decay t) or a/sqrt(1 + decay t), a = step_size"),
    ] = "constant"
    decay: Annotated[
        float,
        Field(gt=0, description="decay of the schedule, per iteration", needs=(unless("schedule", "constant"),)),
    ] = 0.01

    def step_at(self, t: int) -> float:
        """Return the step size of iteration t = 0, 1, ..."""
        if self.schedule == "constant":
            return self.step_size
        shrink = 1 + self.decay * t
        return self.step_size / (shrink if self.schedule == "inverse" else sqrt(shrink))


@dataclass(frozen=True, kw_only=True)
class StochasticAlgorithm(Minibatch, Scheduled):
    """A method of minibatches whose steps may shrink."""
