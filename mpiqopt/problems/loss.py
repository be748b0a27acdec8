"""The base class of losses: a frozen dataclass whose fields are the keys of ``[problem]``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from mpiqopt.data.labels import list_few_labels
from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.field import Field

if TYPE_CHECKING:
    from mpiqopt.neural.block_count import BlockCount
    from mpiqopt.neural.partial import Block
    from mpiqopt.problems.client_training import Trainable
    from mpiqopt.problems.evaluators import Evaluator
    from mpiqopt.problems.narrow import Narrow


@dataclass(frozen=True, kw_only=True)
class Loss:
    """f_i(x) = (1/m_i) sum_j phi(a_j, b_j; x) + (l2/2) |x|^2 + nonconvex sum_k x_k^2 / (1 + x_k^2).

    a_j are the rows of a node's features, b_j their targets. A loss sets ``kernel`` to a loss that is compiled in
    ``mpiqopt._losses``, or defines ``node`` in NumPy. ``curvature`` is c with

        Hessian of the mean of phi <= c/m A^T A + identity_curvature I,

    or None if there is no such bound; automatic step sizes need one. ``convex`` says that phi is convex in x. x has
    ``coordinates`` coordinates: by default one for each feature and output. A plug-in puts
    `@register("problem", NAME)` above:

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Quartic(Loss):
    ...     def node(self, features, targets, x):
    ...         r = features @ x - targets
    ...         return float((r**4).mean() / 4), features.T @ r**3 / len(r)
    >>> value, gradient = Quartic().node(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([1.0, 1.0]), np.zeros(2))
    >>> value, gradient.tolist()
    (0.25, [-0.5, -1.5])
    """

    name: ClassVar[str]  # that it is registered under
    kernel: ClassVar[str | None] = None
    curvature: ClassVar[float | None] = None
    identity_curvature: ClassVar[float] = 0.0
    convex: ClassVar[bool] = False
    default_dtype: ClassVar[str] = "float64"  # what ``run.dtype = "auto"`` means

    l2: Annotated[float, Field(ge=0, description="weight of the smooth regulariser (l2/2) |x|^2")] = 0.0
    nonconvex: Annotated[
        float, Field(ge=0, description="weight of the smooth non-convex regulariser sum x_k^2 / (1 + x_k^2)")
    ] = 0.0

    @property
    def has_classes(self) -> bool:
        """Return True if targets are classes, so that accuracy is recorded: the loss defines ``predict``."""
        return type(self).predict is not Loss.predict

    def prepare(self, device: str, local_rank: int, folder: str) -> None:
        """Do what a process has to do before it evaluates: choose among the devices of its host.

        device: ``run.device``; local_rank: number of the rank on its host; folder: of the config, where modules of the
        user's are. Raises UsageError if something is missing.
        """

    def outputs(self, shares: Shares) -> int:
        """Return how many numbers the model predicts for a sample."""
        return 1

    def coordinates(self, shares: Shares) -> int:
        """Return d, the coordinates of x: by default outputs * features."""
        return self.outputs(shares) * int(shares.features.shape[1])

    @property
    def draws_start(self) -> bool:
        """Return True if ``run.start = "auto"`` means the point that ``start`` draws, not zero."""
        return type(self).start is not Loss.start

    def start(self, shares: Shares, seed: int) -> np.ndarray:
        """Return the start (d,) that ``run.start = "auto"`` means, drawn from ``seed``. By default it is zero."""
        return np.zeros(self.coordinates(shares))

    def make_evaluator(self, shares: Shares, targets: np.ndarray) -> "Evaluator | None":
        """Return what evaluates the loss on samples, None for ``kernel`` or ``node``.

        shares: of the hosted nodes, or held-out samples; targets: (samples,), in the dtype of x.
        """
        return None

    def targets(self, targets: np.ndarray, shares: Shares) -> np.ndarray:
        """Return the data's targets as ``node`` wants them: float64 (samples,), such as -1 and +1 for two labels.

        targets: float64 (samples,); of words the index of each. By default they are numbers to predict: UsageError for
        words.
        """
        if shares.words is not None:
            raise UsageError(
                f"{shares.where}: problem.name = {self.name!r} predicts numbers, but the targets are words "
                f"({list_few_labels(shares.words)}): want logistic or softmax"
            )
        return targets

    def model_facts(self, shares: Shares) -> dict[str, Any]:
        """Return what a result file says of a network, so that it can be made again; nothing of other models."""
        return {}

    def parameter_slices(self, shares: Shares) -> Mapping[str, slice]:
        """Return which coordinates of x each parameter of a network has, by its name. By default x has no parts."""
        return {}

    def block_counts(self, shares: Shares) -> "list[BlockCount]":
        """Return what each block of a network computes and keeps; none of other models."""
        return []

    def row_blocks(self, shares: Shares) -> "list[Block]":
        """Return the blocks of a network, from input to output, with their coordinates of x; none of other models."""
        return []

    def narrow(self, shares: Shares, width: float, dtype: str, masked: bool) -> "Narrow | None":
        """Return the network that is narrower by a factor, and part of this one; None of other models.

        dtype: of what trains it; masked: True if a client's loss knows the classes of its samples alone. Raises
        UsageError for networks without narrower ones.
        """
        return None

    def facts_for_check(self, shares: Shares) -> list[tuple[str, str]]:
        """Return what ``mpiqopt check`` prints of the model, as (name, text). By default nothing."""
        return []

    def make_trainable(self, evaluator: "Evaluator") -> "Trainable | None":
        """Return what clients train of an evaluator that ``make_evaluator`` has made; None: arrays of NumPy."""
        return None

    def node(self, features: Any, targets: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean of phi over some rows of one node, and its gradient, without l2 and nonconvex.

        Parameters
        ----------
        features: (rows, d), a NumPy array or SciPy's CSR array.
        targets: (rows,), as ``targets`` returned them.
        x: the parameter (coordinates,).

        Returns
        -------
        value: a float. gradient: (coordinates,) in the dtype of x.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither kernel nor node()")

    def predict(self, features: Any, x: np.ndarray) -> np.ndarray:
        """Return the targets (rows,) that the model predicts at x (coordinates,), coded as ``targets`` codes them.

        features: (rows, d) as of ``node``. For losses whose targets are classes.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no predict(): its targets are no classes")
