"""The ``Trainable`` of losses that NumPy or compiled kernels evaluate."""

from typing import TYPE_CHECKING

import numpy as np

from mpiqopt.neural.partial import Partial
from mpiqopt.problems.evaluators import Evaluator

if TYPE_CHECKING:
    from mpiqopt.problems.problem import Problem


class VectorModel:
    """Points are arrays of NumPy: ``client_training.Trainable``. Accuracy is not counted: NaN."""

    def __init__(self, problem: "Problem") -> None:
        self._problem = problem
        self._evaluators: dict[int, Evaluator] = {}
        self._point, self._gradient = (np.zeros((1, problem.d), problem.dtype) for _ in range(2))
        self.point, self.gradient = self._point[0], self._gradient[0]
        self.weights = problem.d
        self._value, self._losses = np.empty(1), list[tuple[float, int]]()

    def load(self, start: np.ndarray) -> np.ndarray:
        """Set the point: ``Trainable.load``."""
        self.point[:] = start
        return start

    def differentiate(self, client: int, chosen: np.ndarray | None, key: tuple[int, int, int]) -> None:
        """Leave the gradient in ``gradient``: ``Trainable.differentiate``; nothing is drawn."""
        if client not in self._evaluators:
            self._evaluators[client] = self._problem.node_evaluator(client)
        batch = {} if chosen is None else {"index": chosen[None], "counts": np.array([len(chosen)])}
        self._evaluators[client].evaluate(self._point, self._gradient, self._value, **batch)
        self._losses.append(
            (float(self._value[0]), int(self._problem.sizes[client]) if chosen is None else len(chosen))
        )

    def counted(self) -> tuple[float, float]:
        """Return the mean loss over all samples since the last call, and NaN."""
        losses, self._losses = self._losses, []
        samples = sum(count for _, count in losses)
        return sum(loss * count for loss, count in losses) / samples if samples else np.nan, np.nan

    def vector(self, row: np.ndarray) -> np.ndarray:
        """Return the row itself."""
        return row

    def begin_window(self, partial: Partial) -> slice:
        """Raise TypeError: there are no blocks."""
        raise TypeError("windows of blocks are trained of networks (problem.name = 'torch') alone")

    def end_window(self) -> np.ndarray:
        """Raise TypeError: there are no blocks."""
        raise TypeError("no window is trained")

    def store(self, vector: np.ndarray, out: np.ndarray) -> None:
        """Copy a vector into a row, unless it is that row."""
        if vector is not out:
            out[:] = vector
