"""Measure iterates: objective, stationarity, consensus and the like, the same bits for any number of ranks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.network.node_mean import NodeMean
from mpiqopt.placement.placement import Placement
from mpiqopt.placement.shared_rows import is_shared
from mpiqopt.problems.held_out import HeldOut
from mpiqopt.problems.problem import Problem
from mpiqopt.transport.transport import Transport

# Of nodes whose gradients and deviations are in memory at once.
PIECE_BYTES = 1 << 25


@dataclass(frozen=True)
class Metrics:
    """The values of one record; None where the problem has no such metric. xbar is the mean iterate.

    NaN are objective and stationarity where ``record.training`` asks for less than all.

    Attributes
    ----------
    objective : F(xbar) + h(xbar)
    stationarity : |s(xbar)|^2, s the gradient mapping
    consensus : (1/n) sum_i |x_i - xbar|^2
    nonzeros : non-zero coordinates of prox(xbar - step grad F(xbar)); of xbar where no gradient is measured
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

    def is_finite(self, training: str) -> bool:
        """Return True if the iterate is finite, as far as ``record.training`` says what was measured.

        h, and with it the objective, may be infinite outside a constraint.
        """
        known = [self.consensus] + [self.stationarity] * (training == "gradient")
        return bool(np.isfinite(known).all()) and (training == "none" or not np.isnan(self.objective))


class Evaluator(NamedTuple):
    """Measures the iterates of all nodes; every call is collective.

        s(x) = (x - prox_{step h}(x - step grad F(x)))/step,  the gradient mapping

    Attributes
    ----------
    problem, place, transport, mean : the problem on the hosted nodes, and the mean over all nodes
    mapping_step : the step of the gradient mapping
    lipschitz : L for the per-node criterion; None if that is not wanted
    solution : (d,), the planted solution of synthetic data; None if there is none
    training : ``record.training``, what is measured over the training samples
    """

    problem: Problem
    place: Placement
    transport: Transport
    mean: NodeMean
    mapping_step: float
    lipschitz: float | None = None
    solution: np.ndarray | None = None
    training: str = "gradient"

    def __call__(self, x: np.ndarray) -> Metrics:
        """Return the metrics at the hosted nodes' iterates x (hosted, d)."""
        mean, held_out = self.mean.of_iterates(x), self.problem.held_out
        averages = self.mean.of_pieces(self._pieces(x, mean))
        gradient, (smooth, consensus, samples, tested) = averages[:-4], averages[-4:].tolist()
        point = mean.astype(np.float64)
        nearest, mapping = self._mapping(point, gradient) if len(gradient) else (point, np.nan)
        error = None if self.solution is None else float(np.add.reduce(np.square(point - self.solution)))
        return Metrics(
            objective=smooth + self.problem.regularizer(point),
            stationarity=mapping,
            consensus=consensus,
            nonzeros=int(np.count_nonzero(nearest)),
            samples=samples,
            test_loss=None if held_out is None else tested * self.place.nodes / held_out.total,
            accuracy=self._accuracy(held_out, mean) if held_out is not None and self.problem.has_accuracy else None,
            criterion=None if self.lipschitz is None else self._criterion(x, mapping, consensus, self.lipschitz),
            error=error,
        )

    def _pieces(self, x: np.ndarray, mean: np.ndarray) -> Iterator[np.ndarray]:
        """Yield rows, float64 (k, width), of which averages over nodes are taken, of k nodes at a time.

        Their columns: the gradient, if it is measured; f_i; squared distance to the mean; samples; test loss.
        """
        held_out, problem = self.problem.held_out, self.problem
        tested = np.zeros(len(x)) if held_out is None else held_out.losses(mean)
        values = problem.values(mean[None]) if self.training == "value" else np.full(len(x), np.nan)
        together = max(1, PIECE_BYTES // (8 * (len(mean) + 4)))
        for first in range(0, len(x), together):
            some = slice(first, min(first + together, len(x)))
            rows = np.empty((some.stop - first, 4 + (len(mean) if self.training == "gradient" else 0)))
            if self.training == "gradient":
                rows[:, -4], rows[:, :-4] = problem.value_and_grad_of(first, some.stop, mean[None])
            else:
                rows[:, -4] = values[some]
            rows[:, -3], rows[:, -2] = _squared_distances(x[some], mean), problem.evaluations[some]
            rows[:, -1] = tested[some]
            yield rows

    def _mapping(self, x: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the prox-gradient point from x (d,), and the squared norm of the gradient mapping."""
        point = self.problem.prox(x - self.mapping_step * gradient, self.mapping_step)
        mapping = (x - point) / self.mapping_step
        return point, float(np.add.reduce(mapping * mapping))

    def _accuracy(self, held_out: HeldOut, x: np.ndarray) -> float:
        """Return the share of held-out samples that is classified rightly at x (d,)."""
        (correct,) = self.transport.total(np.array([held_out.correct(x)]))
        return float(correct / (held_out.total * held_out.predictions))

    def _criterion(self, x: np.ndarray, mapping: float, consensus: float, lipschitz: float) -> float:
        """Return (1/n) sum_i |s(x_i)|^2 + L^2 consensus, at the price of a global gradient for each node.

        mapping: |s(xbar)|^2, which is that of every node where all share one row.
        """
        if is_shared(x):
            return mapping
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


def _squared_distances(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return |x_i - mean|^2 of iterates x (k, d), float64 (k,)."""
    if is_shared(x):  # exactly 0, or NaN as it would be
        return np.full(len(x), 0.0 if np.isfinite(mean).all() else np.nan)
    deviation = x - mean
    return np.add.reduce(np.square(deviation, out=deviation), axis=1, dtype=np.float64)
