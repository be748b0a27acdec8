"""Which coordinates of a row travel, and which a client keeps to itself."""

from collections.abc import Mapping

import numpy as np

from mpiqopt.errors import UsageError, clip_for_error_line


class Layers:
    """The coordinates of a row (d,), those of personal layers apart.

    Parameters
    ----------
    d : coordinates of a row
    names : the slice of each parameter, by its name, in ascending order
    personal : beginnings of names: these parameters do not travel

    Attributes
    ----------
    travelling : number of coordinates that travel

    Raises
    ------
    UsageError
        If a beginning fits no name, or nothing travels.

    >>> layers = Layers(4, {"body.weight": slice(0, 3), "head.weight": slice(3, 4)}, ("head",))
    >>> row = np.array([1.0, 2.0, 3.0, 4.0])
    >>> layers.travel(row).tolist(), layers.join(np.zeros(3), row).tolist()
    ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 4.0])
    """

    def __init__(self, d: int, names: Mapping[str, slice], personal: tuple[str, ...]):
        for beginning in personal:
            if not any(name.startswith(beginning) for name in names):
                known = clip_for_error_line(", ".join(names) or "a network (problem.name = 'torch')", 100)
                raise UsageError(f"algorithm.personal: no parameter begins with {beginning!r}; want {known}")
        self._travels = [part for name, part in names.items() if not name.startswith(personal)] if personal else []
        self._all = not personal
        self.travelling = d if self._all else sum(part.stop - part.start for part in self._travels)
        if not self.travelling:
            raise UsageError("algorithm.personal: all layers are personal, so nothing travels; want some that are not")

    def travelling_before(self, end: int) -> int:
        """Return how many of the coordinates 0 .. end - 1 travel."""
        if self._all:
            return end
        return sum(max(0, min(part.stop, end) - part.start) for part in self._travels)

    def travel(self, row: np.ndarray) -> np.ndarray:
        """Return the coordinates (p,) of a row (d,) that travel: the row itself if all do."""
        return row if self._all else np.concatenate([row[part] for part in self._travels])

    def join(self, travelled: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return a row (d,) with the coordinates (p,) that have travelled, and the others of ``row``."""
        out, at = row.copy(), 0
        for part in [slice(0, len(row))] if self._all else self._travels:
            size = part.stop - part.start
            out[part] = travelled[at : at + size]
            at += size
        return out
