"""A mean of vectors of which each member sends some parts: every part is averaged over those that send it."""

import numpy as np

from mpiqopt.network.cohort_mean import CohortMean
from mpiqopt.network.parts import Parts


class PartedMean:
    """The means of the parts of vectors, made while rows come. See ``CohortServer.begin_parts``.

    Parameters
    ----------
    parts : of the vectors
    members : int64 (c,), node ids, ascending
    held : bool (c, parts), which parts each member sends
    means : of each part, over the members that send it; None for a part that nobody sends

    Attributes
    ----------
    nbytes : int64 (c,), of what each member sends
    """

    def __init__(self, parts: Parts, members: np.ndarray, held: np.ndarray, means: list[CohortMean | None]):
        self._parts, self._members, self._held, self._means = parts, members, held, means
        self.nbytes = held @ np.array([0 if mean is None else mean.nbytes for mean in means], np.int64)

    def add(self, node: int, row: np.ndarray) -> np.ndarray | None:
        """Hand over the row (width,) of a hosted member: return what the server decodes, (width,), or None.

        That is 0 where the member sends nothing, and nothing of the row is read there. Raises as ``CohortMean.add``.
        """
        if self._parts.whole and self._means[0] is not None:
            return self._means[0].add(node, row)
        heard = np.zeros_like(row)
        sends = self._held[np.searchsorted(self._members, node)]
        decoded = None
        for part, mean in enumerate(self._means):
            if mean is not None and sends[part]:
                decoded = mean.add(node, self._parts.take(row, part))
                if decoded is not None:
                    self._parts.put(decoded, heard, part)
        return None if decoded is None else heard

    def finish(self, dtype: np.dtype) -> np.ndarray:
        """Return the mean (width,), 0 where nobody sends anything, collective; (groups, width) of groups."""
        if self._parts.whole and self._means[0] is not None:
            return self._means[0].finish()
        out = np.zeros(self._parts.width, dtype)
        for part, mean in enumerate(self._means):
            if mean is not None:
                self._parts.put(mean.finish(), out, part)
        return out
