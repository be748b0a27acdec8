"""Evaluation of a loss on the samples of nodes: by compiled kernels, or of a loss that is written in NumPy."""

from typing import Protocol, runtime_checkable

import numpy as np

from mpiqopt._losses import LinearModel
from mpiqopt.data.shares import Shares
from mpiqopt.problems.loss import Loss


class Evaluator(Protocol):
    """What writes values and gradients of f_i at the hosted nodes into arrays that it is given."""

    def evaluate(
        self,
        x: np.ndarray,
        gradient: np.ndarray | None = None,
        value: np.ndarray | None = None,
        index: np.ndarray | None = None,
        counts: np.ndarray | None = None,
    ) -> None:
        """Write the mean over all samples of each node, or over a minibatch, where an array is given for it.

        Parameters
        ----------
        x: points (hosted, d), or (1, d) for one point of all nodes.
        gradient: (hosted, d) to be written, in the dtype of x. value: float64 (hosted,) to be written.
        index, counts: a ``Batch``: positions (hosted, width) within each node's samples, and how many of them count.
        """


@runtime_checkable
class ClassifyingEvaluator(Evaluator, Protocol):
    """An evaluator that classifies samples itself, as networks do: several predictions a sample, such as characters."""

    predictions: int  # for each sample

    def hits(self, x: np.ndarray) -> np.ndarray:
        """Return how many predictions are right for each sample at x (d,), int64 (samples,)."""


def loss_evaluator(loss: Loss, shares: Shares, targets: np.ndarray, outputs: int) -> Evaluator:
    """Return what evaluates ``loss`` on the samples of ``shares``.

    Parameters
    ----------
    shares: samples of the hosted nodes. targets: (samples,) as ``loss.targets`` returns them, in the run's dtype.
    outputs: of ``loss.outputs``.
    """
    own = loss.make_evaluator(shares, targets)
    if own is not None:
        return own
    if loss.kernel:
        return compiled_evaluator(loss.kernel, shares, targets, outputs, loss.l2, loss.nonconvex)
    return NodeByNode(loss, shares, targets)


def compiled_evaluator(
    kernel: str, shares: Shares, targets: np.ndarray, outputs: int, l2: float = 0.0, nonconvex: float = 0.0
) -> LinearModel:
    """Return the compiled evaluator on the samples of ``shares``, dense or sparse.

    Parameters
    ----------
    kernel: "squared", "logistic" or "softmax".
    targets: (samples,) in the dtype of x. outputs: classes of softmax, else 1.
    l2, nonconvex: weights of the smooth regularisers, 0 for the loss alone.
    """
    features = shares.features
    sparse = {}
    if not isinstance(features, np.ndarray):
        sparse = {
            "columns": features.indices.astype(np.int32, copy=False),
            "starts": features.indptr.astype(np.int64, copy=False),
        }
    return LinearModel(
        kernel,
        features.data if sparse else features,
        targets,
        shares.offsets.astype(np.int64),
        features=features.shape[1],
        outputs=outputs,
        l2=l2,
        nonconvex=nonconvex,
        **sparse,
    )


class NodeByNode:
    """Evaluates a loss that is written in NumPy, one node after the other; arguments as of ``Evaluator``."""

    def __init__(self, loss: Loss, shares: Shares, targets: np.ndarray) -> None:
        self.loss, self.features, self.targets, self.offsets = loss, shares.features, targets, shares.offsets

    def evaluate(
        self,
        x: np.ndarray,
        gradient: np.ndarray | None = None,
        value: np.ndarray | None = None,
        index: np.ndarray | None = None,
        counts: np.ndarray | None = None,
    ) -> None:
        loss = self.loss
        for i, (start, stop) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            rows = slice(start, stop) if index is None or counts is None else start + index[i, : int(counts[i])]
            point = x[i if len(x) > 1 else 0]
            f, g = loss.node(self.features[rows], self.targets[rows], point)
            squares = point * point
            if value is not None:
                value[i] = f + 0.5 * loss.l2 * squares.sum() + loss.nonconvex * (squares / (1 + squares)).sum()
            if gradient is not None:
                gradient[i] = g + loss.l2 * point + 2 * loss.nonconvex * point / np.square(1 + squares)
