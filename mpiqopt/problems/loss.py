"""What a loss in the config is: a frozen dataclass whose fields are the keys of ``[problem]``."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from mpiqopt.data.shares import Shares
from mpiqopt.data.source import few
from mpiqopt.errors import UsageError
from mpiqopt.field import Field


@dataclass(frozen=True, kw_only=True)
class Loss:
    """f_i(x) = (1/m_i) sum_j phi(a_j, b_j; x) + (l2/2) |x|^2 + nonconvex sum_k x_k^2 / (1 + x_k^2).

    A loss sets ``kernel`` to a loss that is compiled in ``mpiqopt._losses``, or defines ``node`` in NumPy.
    ``curvature`` is c with  Hessian of the mean of phi <= c/m A^T A + ``identity_curvature`` I, or None if there is no
    such bound.
    """

    name: ClassVar[str]  # that it is registered under
    kernel: ClassVar[str | None] = None
    curvature: ClassVar[float | None] = None
    identity_curvature: ClassVar[float] = 0.0

    l2: Annotated[float, Field(ge=0, description="weight of the smooth regulariser (l2/2) |x|^2")] = 0.0
    nonconvex: Annotated[
        float, Field(ge=0, description="weight of the smooth non-convex regulariser sum x_k^2 / (1 + x_k^2)")
    ] = 0.0

    @property
    def has_classes(self) -> bool:
        """True if targets are classes, of which the loss says which are found rightly."""
        return type(self).correct is not Loss.correct

    def outputs(self, shares: Shares) -> int:
        """The parameter has outputs * features coordinates."""
        return 1

    def targets(self, targets: np.ndarray, shares: Shares) -> np.ndarray:
        """The data's targets (float64) as the loss wants them. Raises UsageError if they do not fit.

        By default they are numbers to predict, which words are not.
        """
        if shares.words is not None:
            raise UsageError(
                f"{shares.where}: problem.name = {self.name!r} predicts numbers, but the targets are words "
                f"({few(shares.words)}): want logistic or softmax"
            )
        return targets

    def node(self, features: np.ndarray, targets: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean of phi over the rows given, and its gradient (d,), without the smooth regularisers."""
        raise NotImplementedError(f"{type(self).__name__} defines neither kernel nor node()")

    def correct(self, features, targets: np.ndarray, x: np.ndarray) -> int | None:
        """How many of the rows are classified rightly at x (outputs * d,); None for a loss without classes."""
        return None
