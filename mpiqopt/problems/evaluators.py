"""What evaluates a loss on the samples of nodes: compiled kernels, or a loss that is written in NumPy."""

from typing import Protocol

import numpy as np

from mpiqopt._losses import LinearModel
from mpiqopt.data.shares import Shares
from mpiqopt.problems.loss import Loss


class Evaluator(Protocol):
    """Writes values (hosted,) and gradients (hosted, d) at x: (hosted, d), or (1, d) for a common point."""

    def evaluate(self, x, gradient=None, value=None, index=None, counts=None) -> None: ...


def evaluator(loss: Loss, shares: Shares, targets: np.ndarray, outputs: int) -> Evaluator:
    """Return what evaluates ``loss`` on the samples of ``shares``; targets: as the loss wants them."""
    if loss.kernel:
        return compiled(loss.kernel, shares, targets, outputs, loss.l2, loss.nonconvex)
    return NodeByNode(loss, shares, targets)


def compiled(
    kernel: str, shares: Shares, targets: np.ndarray, outputs: int, l2: float = 0.0, nonconvex: float = 0.0
) -> LinearModel:
    """The compiled evaluator on the samples of ``shares``, dense or sparse."""
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
    """Evaluates a loss that is written in NumPy, one node after the other."""

    def __init__(self, loss: Loss, shares: Shares, targets: np.ndarray):
        self.loss, self.features, self.targets, self.offsets = loss, shares.features, targets, shares.offsets

    def evaluate(self, x, gradient=None, value=None, index=None, counts=None) -> None:
        loss = self.loss
        for i, (start, stop) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            rows = slice(start, stop) if index is None else start + index[i, : counts[i]]
            point = x[i if len(x) > 1 else 0]
            f, g = loss.node(self.features[rows], self.targets[rows], point)
            squares = point * point
            if value is not None:
                value[i] = f + 0.5 * loss.l2 * squares.sum() + loss.nonconvex * (squares / (1 + squares)).sum()
            if gradient is not None:
                gradient[i] = g + loss.l2 * point + 2 * loss.nonconvex * point / np.square(1 + squares)
