"""Which nodes take part in a mean, how much each counts, and where each stands in the tree of its sum."""

import numpy as np


class Cohort:
    """The members of a weighted mean, or of the means of groups, the same on all ranks.

    The weights of a group are divided by the largest of them, so that equal ones are exactly 1.

    Parameters
    ----------
    members : int64 (c,), node ids, ascending
    weights : float64 (c,), at least 0, of any scale
    groups : int64 (nodes,), the group of each node of the network, 0, 1, ...; None for one group
    normalize : False for sums with the weights as they are
    dtype : of the vectors

    Attributes
    ----------
    weights, totals : dtype (c,) and (groups,), what rows are multiplied and sums divided by
    group, position, sizes : int64 (c,), (c,), (groups,): of each member its group and its number in it; how many it has
    senders : how many members send to another node: all but those that are the first node of their group

    Raises
    ------
    ValueError : members are not ascending, or weights not as many, finite and at least 0

    >>> groups = np.array([0, 0, 0, 1, 1, 1])
    >>> cohort = Cohort(np.array([1, 2, 5]), np.array([3.0, 6.0, 6.0]), groups, True, np.dtype(np.float64))
    >>> cohort.weights.tolist(), cohort.totals.tolist(), cohort.position.tolist(), cohort.senders
    ([0.5, 1.0, 1.0], [1.5, 1.0], [0, 1, 0], 3)
    """

    def __init__(
        self,
        members: np.ndarray,
        weights: np.ndarray,
        groups: np.ndarray | None,
        normalize: bool,
        dtype: np.dtype,
    ):
        _require_weights(members, weights)
        self.members, self.grouped = members, groups is not None
        if groups is None:
            self.group, first = np.zeros(len(members), np.int64), np.zeros(1, np.int64)
        else:
            self.group, first = groups[members], _first_nodes(groups)
        self.sizes = np.bincount(self.group, minlength=len(first))
        self.senders = int((members != first[self.group]).sum())
        # members in the order of groups, and in it where each group begins
        order, starts = np.argsort(self.group, kind="stable"), np.cumsum(self.sizes) - self.sizes
        self.position = np.empty(len(members), np.int64)
        self.position[order] = np.arange(len(members)) - np.repeat(starts, self.sizes)
        largest = np.zeros(len(first))
        np.maximum.at(largest, self.group, weights)
        scale = np.where((largest > 0) & normalize, largest, 1.0)
        self.weights = (weights / scale[self.group]).astype(dtype)
        total = np.bincount(self.group, self.weights, minlength=len(first))
        self.totals = np.where((total > 0) & normalize, total, 1.0).astype(dtype)

    def bounds(self, nodes: np.ndarray, group: int) -> np.ndarray:
        """Return how many members of a group come before each of the nodes, int64 (like nodes,)."""
        return np.searchsorted(self.members[self.group == group], nodes)

    def counts(self, nodes: np.ndarray) -> list[int]:
        """Return how many members there are from each of the nodes, ascending, to the next; (len(nodes) - 1,)."""
        return np.diff(np.searchsorted(self.members, nodes)).tolist()


def _require_weights(members: np.ndarray, weights: np.ndarray) -> None:
    if len(members) != len(weights) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights: want a finite number of at least 0 for each member")
    if (np.diff(members) <= 0).any():
        raise ValueError("members: want node ids in ascending order, each once")


def _first_nodes(groups: np.ndarray) -> np.ndarray:
    """Return the first node of each group, int64 (groups,); the number of nodes for a group without any."""
    first = np.full(int(groups.max()) + 1, len(groups))
    np.minimum.at(first, groups, np.arange(len(groups)))
    return first
