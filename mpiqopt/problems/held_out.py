"""Loss and accuracy on held-out samples."""

from dataclasses import replace

import numpy as np

from mpiqopt.data.shares import Shares
from mpiqopt.problems.evaluators import ClassifyingEvaluator, loss_evaluator
from mpiqopt.problems.loss import Loss


class HeldOut:
    """The held-out samples that are counted at the hosted nodes.

    total: how many there are at all nodes; targets: of those here, as ``Loss.targets`` codes them; predictions: for
    each sample, 1 but for sequences. outputs, dtype: of the model and of the run.
    """

    def __init__(self, loss: Loss, shares: Shares, outputs: int, dtype: np.dtype) -> None:
        self.total = shares.held_out
        self._loss, self._features = loss, shares.test_features
        self.targets = loss.targets(shares.test_targets, shares)
        assert shares.test_offsets is not None  # samples are held out
        offsets = shares.test_offsets
        self._sizes = np.diff(offsets)
        self._filled = np.flatnonzero(self._sizes)  # few samples do not reach all nodes
        # values of a sample are those of the loss alone
        plain = replace(loss, l2=0.0, nonconvex=0.0)
        part = replace(
            shares,
            features=shares.test_features,
            offsets=np.concatenate([offsets[:1], offsets[1:][self._filled]]),
        )
        self._evaluator = loss_evaluator(plain, part, self.targets.astype(dtype), outputs)
        self.predictions = getattr(self._evaluator, "predictions", 1)

    def losses(self, x: np.ndarray) -> np.ndarray:
        """Return the sum of phi over each hosted node's samples at x (d,): float64 (hosted,)."""
        sums, means = np.zeros(len(self._sizes)), np.empty(len(self._filled))
        self._evaluator.evaluate(x[None], None, means)
        sums[self._filled] = means * self._sizes[self._filled]
        return sums

    def hits(self, x: np.ndarray) -> np.ndarray:
        """Return how many predictions are right for each sample of the hosted nodes at x (d,), int64 (samples,)."""
        if not len(self.targets):
            return np.zeros(0, np.int64)
        if isinstance(self._evaluator, ClassifyingEvaluator):
            return self._evaluator.hits(x)
        return (self._loss.predict(self._features, x) == self.targets).astype(np.int64)

    def correct(self, x: np.ndarray) -> int:
        """Return how many predictions are right at x (d,), of all samples of the hosted nodes."""
        return int(self.hits(x).sum())
