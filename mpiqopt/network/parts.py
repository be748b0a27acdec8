"""Parts of a message, of which a client may send some and others some more."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

# The coordinates of a part: slices, one after the other, or their numbers, int64 (k,).
Coordinates = Sequence[slice] | np.ndarray


class Parts:
    """A division of the coordinates of vectors (width,) into parts: each coordinate is in one of them.

    Parameters
    ----------
    width : of the vectors
    members : the coordinates of each part; some may be empty

    Attributes
    ----------
    sizes : int64 (parts,), how many coordinates each part has
    whole : True if there is one part, the vector as it is

    Raises
    ------
    ValueError : the sizes of the parts do not add up to the width

    >>> parts = Parts(5, [[slice(0, 2)], np.array([4, 2, 3])])
    >>> row = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> parts.take(row, 1).tolist(), parts.spread(np.array([10.0, 20.0]), row.dtype).tolist()
    ([5.0, 3.0, 4.0], [10.0, 10.0, 20.0, 20.0, 20.0])
    """

    def __init__(self, width: int, members: Sequence[Coordinates]):
        self.width, self._members = width, list(members)
        self.sizes = np.array([_count(each) for each in self._members], np.int64)
        if self.sizes.sum() != width:
            raise ValueError(f"parts of {self.sizes.sum()} coordinates, want {width}")
        self.whole = len(self._members) == 1

    @staticmethod
    def of_one(width: int) -> "Parts":
        """Return the division of vectors (width,) into one part."""
        return Parts(width, [[slice(0, width)]])

    def __len__(self) -> int:
        return len(self._members)

    def take(self, row: np.ndarray, part: int) -> np.ndarray:
        """Return a part (size,) of a vector (width,): the vector itself if there is one part."""
        if self.whole:
            return row
        members = self._members[part]
        if isinstance(members, np.ndarray):
            return row[members]
        return row[members[0]] if len(members) == 1 else np.concatenate([row[each] for each in members] or [row[:0]])

    def put(self, values: np.ndarray, row: np.ndarray, part: int) -> None:
        """Write a part (size,) to its place in vectors (..., width)."""
        members, at = self._members[part], 0
        if isinstance(members, np.ndarray):
            row[..., members] = values
            return
        for each in members:
            row[..., each] = values[..., at : at + each.stop - each.start]
            at += each.stop - each.start

    def spread(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray | float:
        """Return a vector (width,) that has at each coordinate the value of its part; a number if all are equal.

        values: float64 (parts,).
        """
        if (values == values[0]).all():
            return float(values[0])
        row = np.empty(self.width, dtype)
        for part, (value, size) in enumerate(zip(values.tolist(), self.sizes.tolist(), strict=True)):
            self.put(np.full(size, value, dtype), row, part)
        return row

    @cached_property
    def of_each(self) -> np.ndarray:
        """Return the part of each coordinate, int64 (width,)."""
        row = np.zeros(self.width, np.int64)
        for part, size in enumerate(self.sizes.tolist()):
            self.put(np.full(size, part), row, part)
        return row


def _count(members: Coordinates) -> int:
    return len(members) if isinstance(members, np.ndarray) else sum(each.stop - each.start for each in members)
