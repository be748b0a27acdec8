"""A narrower network that is part of a wide one, as methods see it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from mpiqopt.neural.block_count import BlockCount
    from mpiqopt.problems.client_training import Trainable
    from mpiqopt.problems.evaluators import Evaluator


class Narrow(NamedTuple):
    """A narrow network.

    Attributes
    ----------
    coordinates : of the wide network's row, int64 (d of the narrow one,)
    weights : how many of these, the first, are parameters; the others are running statistics
    counts : what each of its blocks computes and keeps
    trainable : returns what trains it on the samples of an evaluator of the wide one
    """

    coordinates: np.ndarray
    weights: int
    counts: "list[BlockCount]"
    trainable: "Callable[[Evaluator], Trainable]"
