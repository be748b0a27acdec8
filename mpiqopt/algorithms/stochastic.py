"""What stochastic gradient methods share: minibatches and step sizes that shrink."""

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
        return facts.smoothness(self.batch_size)

    def gradient(self, x: np.ndarray, t: int, problem: Problem, rng: Streams) -> np.ndarray:
        """Gradients of the f_i at their rows, of a fresh minibatch or of all samples."""
        return problem.grad(x) if self.batch_size == "all" else problem.grad(x, rng.batch(t, self.batch_size))


@dataclass(frozen=True, kw_only=True)
class Scheduled(Algorithm):
    """A method whose steps may shrink."""

    schedule: Annotated[
        Literal["constant", "inverse", "inverse-sqrt"],
        Field(description="step size of iteration t: a, a/(1 + decay t) or a/sqrt(1 + decay t), a = step_size"),
    ] = "constant"
    decay: Annotated[
        float,
        Field(gt=0, description="decay of the schedule, per iteration", needs=(unless("schedule", "constant"),)),
    ] = 0.01

    def step_at(self, t: int) -> float:
        """The step size of iteration t = 0, 1, ..."""
        if self.schedule == "constant":
            return self.step_size
        shrink = 1 + self.decay * t
        return self.step_size / (shrink if self.schedule == "inverse" else sqrt(shrink))


@dataclass(frozen=True, kw_only=True)
class StochasticAlgorithm(Minibatch, Scheduled):
    """Both."""
