"""What is recorded: objective, stationarity, consensus and the like, the same bits for any number of ranks."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.network.node_mean import NodeMean
from mpiqopt.placement.placement import Placement
from mpiqopt.problems.problem import Problem
from mpiqopt.transport.transport import Transport


@dataclass(frozen=True)
class Metrics:
    """One record's values; None where the problem has no such metric."""

    objective: float
    stationarity: float
    consensus: float
    nonzeros: int
    samples: float
    test_loss: float | None
    accuracy: float | None
    criterion: float | None
    error: float | None

    def is_finite(self) -> bool:
        """Whether the iterate is still in the domain of numbers (h may be infinite outside a constraint)."""
        return bool(np.isfinite(self.stationarity) and np.isfinite(self.consensus) and not np.isnan(self.objective))


class Evaluator(NamedTuple):
    """Metrics of the hosted rows; every call is collective.

    mapping_step: the step in the gradient mapping s(x) = (x - prox(x - step grad F(x)))/step. lipschitz: L for the
    per-node criterion, or None if it is not wanted. solution: (d,) the planted solution of synthetic data.
    """

    problem: Problem
    place: Placement
    transport: Transport
    mean: NodeMean
    mapping_step: float
    lipschitz: float | None = None
    solution: np.ndarray | None = None

    def __call__(self, x: np.ndarray) -> Metrics:
        mean = self.mean(x)
        deviation = x - mean
        values, gradients = self.problem.value_and_grad(mean[None])
        d, held_out = len(mean), self.problem.held_out
        columns = np.empty((len(x), d + 3 + (held_out is not None)))
        columns[:, :d], columns[:, d] = gradients, values
        np.add.reduce(np.square(deviation, out=deviation), axis=1, out=columns[:, d + 1])
        columns[:, d + 2] = self.problem.evaluations
        if held_out is not None:
            columns[:, d + 3] = held_out.losses(mean)
        averages = self.mean(columns)
        gradient, (smooth, consensus, samples, *tested) = averages[:d], averages[d:].tolist()
        point = mean.astype(np.float64)
        nearest, mapping = self._mapping(point, gradient)
        error = None if self.solution is None else float(np.add.reduce(np.square(point - self.solution)))
        return Metrics(
            objective=smooth + self.problem.regularizer(point),
            stationarity=mapping,
            consensus=consensus,
            nonzeros=int(np.count_nonzero(nearest)),
            samples=samples,
            test_loss=tested[0] * self.place.nodes / held_out.total if tested else None,
            accuracy=self._accuracy(mean) if self.problem.has_accuracy else None,
            criterion=None if self.lipschitz is None else self._criterion(x, consensus),
            error=error,
        )

    def _mapping(self, x: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, float]:
        """The prox-gradient point from x, and the squared norm of the gradient mapping."""
        point = self.problem.prox(x - self.mapping_step * gradient, self.mapping_step)
        mapping = (x - point) / self.mapping_step
        return point, float(np.add.reduce(mapping * mapping))

    def _accuracy(self, x: np.ndarray) -> float:
        held_out = self.problem.held_out
        (correct,) = self.transport.total(np.array([held_out.correct(x)]))
        return float(correct / held_out.total)

    def _criterion(self, x: np.ndarray, consensus: float) -> float:
        """(1/n) sum_i |s(x_i)|^2 + L^2 consensus: one global gradient for each node."""
        place, transport = self.place, self.transport
        total = 0.0
        for node in range(place.nodes):
            row = np.zeros(x.shape[1], np.float64)
            if place.first <= node < place.last:
                row[:] = x[node - place.first]
            # the sum of one row and zeros is that row, exactly
            row = transport.total(row)
            gradients = self.problem.value_and_grad(row.astype(x.dtype)[None])[1]
            total += self._mapping(row, self.mean(gradients.astype(np.float64)))[1]
        return total / place.nodes + self.lipschitz * self.lipschitz * consensus
