"""Loss and accuracy on held-out samples."""

from dataclasses import replace

import numpy as np

from mpiqopt.data.shares import Shares
from mpiqopt.problems.evaluators import loss_evaluator
from mpiqopt.problems.loss import Loss


class HeldOut:
    """The held-out samples that are counted at the hosted nodes.

    total: how many there are at all nodes. outputs, dtype: of the model and of the run.
    """

    def __init__(self, loss: Loss, shares: Shares, outputs: int, dtype: np.dtype) -> None:
        self.total = shares.held_out
        self._loss, self._features = loss, shares.test_features
        self._targets = loss.targets(shares.test_targets, shares)
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
        self._evaluator = loss_evaluator(plain, part, self._targets.astype(dtype), outputs)

    def losses(self, x: np.ndarray) -> np.ndarray:
        """Return the sum of phi over each hosted node's samples at x (d,): float64 (hosted,)."""
        sums, means = np.zeros(len(self._sizes)), np.empty(len(self._filled))
        self._evaluator.evaluate(x[None], None, means)
        sums[self._filled] = means * self._sizes[self._filled]
        return sums

    def correct(self, x: np.ndarray) -> int:
        """Return how many samples of the hosted nodes are classified rightly at x (d,)."""
        correct = self._loss.correct(self._features, self._targets, x)
        assert correct is not None  # the loss has classes: ``Problem.has_accuracy``
        return correct
