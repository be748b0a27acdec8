"""Measure iterates: objective, stationarity, consensus and the like, the same bits for any number of ranks."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.network.node_mean import NodeMean
from mpiqopt.placement.placement import Placement
from mpiqopt.problems.held_out import HeldOut
from mpiqopt.problems.problem import Problem
from mpiqopt.transport.transport import Transport


@dataclass(frozen=True)
class Metrics:
    """The values of one record; None where the problem has no such metric. xbar is the mean iterate.

    Attributes
    ----------
    objective : F(xbar) + h(xbar)
    stationarity : |s(xbar)|^2, s the gradient mapping
    consensus : (1/n) sum_i |x_i - xbar|^2
    nonzeros : non-zero coordinates of prox(xbar - step grad F(xbar))
    samples : gradients of single samples so far, mean over nodes
    test_loss : mean loss of the held-out samples at xbar
    accuracy : share of them that is classified rightly, 0 to 1
    criterion : (1/n) sum_i |s(x_i)|^2 + L^2 consensus
    error : squared distance of xbar to the planted solution
    """

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
        """True if the iterate is finite; h, and with it the objective, may be infinite outside a constraint."""
        return bool(np.isfinite(self.stationarity) and np.isfinite(self.consensus) and not np.isnan(self.objective))


class Evaluator(NamedTuple):
    """Measures the iterates of all nodes; every call is collective.

        s(x) = (x - prox_{step h}(x - step grad F(x)))/step,  the gradient mapping

    Attributes
    ----------
    problem, place, transport, mean : the problem on the hosted nodes, and the mean over all nodes
    mapping_step : the step of the gradient mapping
    lipschitz : L for the per-node criterion; None if that is not wanted
    solution : (d,), the planted solution of synthetic data; None if there is none
    """

    problem: Problem
    place: Placement
    transport: Transport
    mean: NodeMean
    mapping_step: float
    lipschitz: float | None = None
    solution: np.ndarray | None = None

    def __call__(self, x: np.ndarray) -> Metrics:
        """Return the metrics at the hosted nodes' iterates x (hosted, d)."""
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
            test_loss=None if held_out is None else tested[0] * self.place.nodes / held_out.total,
            accuracy=self._accuracy(held_out, mean) if held_out is not None and self.problem.has_accuracy else None,
            criterion=None if self.lipschitz is None else self._criterion(x, consensus, self.lipschitz),
            error=error,
        )

    def _mapping(self, x: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the prox-gradient point from x (d,), and the squared norm of the gradient mapping."""
        point = self.problem.prox(x - self.mapping_step * gradient, self.mapping_step)
        mapping = (x - point) / self.mapping_step
        return point, float(np.add.reduce(mapping * mapping))

    def _accuracy(self, held_out: HeldOut, x: np.ndarray) -> float:
        """Return the share of held-out samples that is classified rightly at x (d,)."""
        (correct,) = self.transport.total(np.array([held_out.correct(x)]))
        return float(correct / (held_out.total * held_out.predictions))

    def _criterion(self, x: np.ndarray, consensus: float, lipschitz: float) -> float:
        """Return (1/n) sum_i |s(x_i)|^2 + L^2 consensus, at the price of a global gradient for each node."""
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
        return total / place.nodes + lipschitz * lipschitz * consensus
