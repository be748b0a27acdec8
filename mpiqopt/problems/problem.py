"""F + h on the hosted nodes: data, loss and regulariser together."""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from mpiqopt._losses import LinearModel
from mpiqopt.arithmetic.products import row_squares
from mpiqopt.data.shares import Shares, magnitude
from mpiqopt.errors import UsageError
from mpiqopt.problems.evaluators import Evaluator, compiled, evaluator
from mpiqopt.problems.held_out import HeldOut
from mpiqopt.problems.loss import Loss
from mpiqopt.problems.smoothness import curvatures
from mpiqopt.regularizers.regularizer import Regularizer
from mpiqopt.streams import Batch

# coordinates of the nodes whose curvatures are found at once: what is worked on stays in the cache
NUMBERS_TOGETHER = 1 << 16
# of a node, for the variance of a sample's gradient
VARIANCE_SAMPLES = 64


def _require_squares(shares: Shares, targets: np.ndarray, dtype: np.dtype) -> None:
    """Raise UsageError unless the squares of targets, and the norms of samples, are numbers of that type."""
    most = float(np.sqrt(np.finfo(dtype).max))
    for what, found, largest in (
        ("target", magnitude(targets), most),
        ("feature", magnitude(shares.features), most / shares.features.shape[1] ** 0.5),
    ):
        if not found <= largest:
            raise UsageError(
                f"{shares.where}: a {what} is {found:g} in magnitude, as scaled: its square is beyond {dtype}; want at "
                f"most {largest:.2g}"
            )


class Problem:
    """min_x (1/n) sum_i f_i(x) + h(x), seen from the process that hosts some of the nodes.

    Points are (hosted, d) arrays of ``dtype``. ``evaluations``: int64 (hosted,), gradients of single samples
    taken so far by ``grad`` at each node. ``held_out``: the samples that are held out; None if none are.
    """

    def __init__(self, loss: Loss, shares: Shares, regularizer: Regularizer, dtype=np.float64):
        self.loss, self.regularizer, self.dtype = loss, regularizer, np.dtype(dtype)
        self.outputs = loss.outputs(shares)
        self.features = shares.features.shape[1]
        self.d = self.outputs * self.features
        self.sizes = np.diff(shares.offsets)
        self.hosted = len(self.sizes)
        self.evaluations = np.zeros(self.hosted, np.int64)
        self._targets = loss.targets(shares.targets, shares).astype(self.dtype)
        _require_squares(shares, self._targets, self.dtype)
        self._shares = shares
        self.held_out = HeldOut(loss, shares, self.outputs, self.dtype) if shares.held_out else None
        self._evaluator = evaluator(loss, shares, self._targets, self.outputs)
        self.training: Any = None  # a ``training.Training``, for methods that train nodes one by one
        self.machines: Any = None  # ``emulation.Machines``, if nodes are to be slower than they are
        self._calls = 0

    def grad(self, x: np.ndarray, batch: Batch | None = None) -> np.ndarray:
        """Gradients of the f_i at their rows of x, (hosted, d): over all samples, or the mean over a batch."""
        out = np.empty_like(x)
        began = time.perf_counter()
        if batch is None:
            self._evaluator.evaluate(x, out)
            self.evaluations += self.sizes
        else:
            self._evaluator.evaluate(x, out, index=batch.index, counts=batch.counts)
            self.evaluations += batch.counts
        if self.machines is not None:
            self._calls += 1
            self.machines.delay(self._calls, began)
        return out

    def node_evaluator(self, node: int) -> Evaluator:
        """f_i of one hosted node, points (1, d), with room of its own: for threads. Does not count evaluations."""
        a, b = self._shares.offsets[node : node + 2]
        return evaluator(self.loss, self._part(node, node + 1), self._targets[a:b], self.outputs)

    def value_and_grad(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f_i (hosted,) float64 and gradients (hosted, d) at x: (hosted, d), or (1, d) for a common point.

        For metrics: not counted.
        """
        values, gradients = np.empty(self.hosted), np.empty((self.hosted, self.d), self.dtype)
        self._evaluator.evaluate(x, gradients, values)
        return values, gradients

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        """prox_{step h}, row by row."""
        return self.regularizer.prox(x, step)

    @property
    def coordinate_names(self) -> tuple[str, ...] | None:
        """What each coordinate of a point stands for: a feature, "label:feature" for several outputs; None without."""
        names, labels = self._shares.names, self._shares.labels
        if names is None or self.outputs == 1:
            return names
        known = self._shares.words
        if known is None:
            matching = labels is not None and len(labels) == self.outputs
            known = [f"{label:g}" for label in labels] if matching else map(str, range(self.outputs))
        return tuple(f"{label}:{name}" for label in known for name in names)

    @property
    def has_accuracy(self) -> bool:
        """Whether there are samples to classify, and a loss that does."""
        return self.held_out is not None and self.loss.has_classes

    def lipschitz(self) -> np.ndarray:
        """L_i of every hosted node, (hosted,) float64: curvature * lambda_max(A_i^T A_i)/m_i + l2 + 2 nonconvex.

        For losses that know a bound of their curvature.
        """
        together = max(1, NUMBERS_TOGETHER // self.features)
        parts = [self._curvatures(i, min(i + together, self.hosted)) for i in range(0, self.hosted, together)]
        return self.bound(np.concatenate(parts))

    def bound(self, squares):
        """The bound of the curvature that follows from the largest eigenvalue of A^T A/m."""
        return self.loss.curvature * squares + self._smooth()

    def squares(self, direction: np.ndarray) -> np.ndarray:
        """A_i^T A_i v/m_i for v (features,), of every hosted node, (hosted, features) float64."""
        rows = np.repeat(direction[None], self.hosted, axis=0)
        out = np.empty_like(rows)
        self._squares(0, self.hosted).evaluate(rows, out)
        return out

    def sample_constants(self) -> tuple[np.ndarray, np.ndarray]:
        """Of every hosted node the mean of the L_ij^2 and the largest L_ij, (hosted,) float64, L_ij of sample j.

        L_ij = curvature |a_ij|^2 + l2 + 2 nonconvex.
        """
        constants = self.loss.curvature * row_squares(self._shares.features) + self._smooth()
        starts = self._shares.offsets[:-1]
        return np.add.reduceat(np.square(constants), starts) / self.sizes, np.maximum.reduceat(constants, starts)

    def gradient_variance(self, x: np.ndarray) -> np.ndarray:
        """Variance of a sample's gradient at x (hosted, d), by node: of VARIANCE_SAMPLES samples, not counted."""
        full, out = np.empty_like(x), np.empty_like(x)
        self._evaluator.evaluate(x, full)
        total, ones = np.zeros(self.hosted), np.ones(self.hosted, np.int64)
        for k in range(VARIANCE_SAMPLES):
            self._evaluator.evaluate(x, out, index=(k * self.sizes // VARIANCE_SAMPLES)[:, None], counts=ones)
            total += np.add.reduce(np.square(out.astype(np.float64) - full), axis=1)
        return total / VARIANCE_SAMPLES

    def _smooth(self) -> float:
        """What does not depend on the data, of every L."""
        return self.loss.identity_curvature + self.loss.l2 + 2 * self.loss.nonconvex

    def _curvatures(self, first: int, last: int) -> np.ndarray:
        return curvatures(self._squares(first, last), last - first, self.features)

    def _squares(self, first: int, last: int) -> LinearModel:
        """Evaluates least squares with targets 0 on the samples of some nodes."""
        own = self._part(first, last)
        own = replace(own, features=own.features.astype(np.float64, copy=False))
        return compiled("squared", own, np.zeros(own.features.shape[0]), outputs=1)

    def _part(self, first: int, last: int) -> Shares:
        """The samples of the hosted nodes first .. last-1."""
        offsets = self._shares.offsets[first : last + 1]
        return replace(
            self._shares, features=self._shares.features[offsets[0] : offsets[-1]], offsets=offsets - offsets[0]
        )
