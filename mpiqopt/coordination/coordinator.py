"""From real vectors to integers and back: x -> floor(x/Delta) -> coordination -> Delta times what was agreed."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import numpy as np

from mpiqopt._coordination import WEIGHTED_ROOM, quantise
from mpiqopt.coordination.lockstep import Agreement
from mpiqopt.errors import NumericalError

Rounding = Literal["floor", "nearest"]
# |integer| of a node, less the centre, may be this divided by n, and by how much larger it may become on the way: sums
# over the network stay within int64, and ratios of push-sum within the precision of long double
ROOM = {"ftqc": 2.0**61, "integer-push-sum": WEIGHTED_ROOM, "tree": 2.0**62, "allreduce": 2.0**62}
# and so large may the integers themselves be
ABSOLUTE_ROOM = 2.0**61


class Coordination(Protocol):
    """What agrees on integers. ``bytes``: sent by the hosted nodes so far; ``mpi_bytes``: handed to MPI here.

    ``sent``: pieces and bytes of each hosted node; ``gain``: how much larger than their sum integers may become on the
    way; ``chosen``: how frames travel, and why so.
    """

    bytes: int
    mpi_bytes: int
    sent: tuple[np.ndarray, np.ndarray] | None
    gain: int
    chosen: str

    def agree(self, values: np.ndarray, call: int, effort: int) -> Agreement: ...

    def wait(self, news: Callable[[], bool], longest: Callable[[], float], width: int) -> None: ...

    def settle(self) -> None: ...

    def close(self) -> None: ...


class Coordinated(NamedTuple):
    """vector: float64 (d,), the same bits at every node; extra: int64, sums over nodes; effort: for the next call."""

    vector: np.ndarray
    extra: np.ndarray
    effort: int


class Coordinator:
    """Every node gets Delta floor((1/n) sum_i floor(x_i/Delta)), to the bit, whatever happens on the way.

    With rounding "nearest" it is Delta (floor(S/n) + ceil(S/n))/2, S = sum_i round(x_i/Delta). The error per coordinate
    is in (-2 Delta, 0], or at most Delta. Integers travel less what they were at ``previous``, a vector that all nodes
    know: the closer that is to the result, the fewer bits. coordination: what agrees on integers, a
    ``LockstepCoordination`` or another with ``agree``.
    """

    def __init__(self, name: str, coordination, nodes: int, first: int, rounding: Rounding = "floor"):
        self.name, self.coordination, self.rounding = name, coordination, rounding
        self._nodes, self._first = nodes, first
        self._room = ROOM[name] / coordination.gain / nodes
        self.calls = 0

    def coordinate(
        self, rows: np.ndarray, previous: np.ndarray, step: float, call: int, effort: int, extra: np.ndarray
    ) -> Coordinated:
        """rows: (hosted, d); previous: (d,), the same at all nodes; step: Delta; call: the number of calls before.

        extra: int64 (hosted, e), small integers whose sums over all nodes are wanted besides. Raises NumericalError if
        the integers do not fit into int64.
        """
        rows = np.ascontiguousarray(rows, np.float64)
        d, extras = rows.shape[1], extra.shape[1]
        centre = np.floor(previous.astype(np.float64, copy=False) / step)
        values = np.empty((len(rows), d + extras), np.int64)
        largest, farthest = quantise(rows, step, self.rounding == "nearest", centre, values)
        self._require_room(np.maximum(largest, np.abs(centre).max(initial=0)), farthest, rows, step, call)
        np.multiply(extra, self._nodes, out=values[:, d:])
        agreed = self.coordination.agree(values, call, effort)
        self.calls += 1
        low = agreed.low[:d] + centre
        if self.rounding == "nearest":
            low += 0.5 * (agreed.high[:d] - agreed.low[:d])
        return Coordinated(low * step, agreed.low[d:], agreed.effort)

    def _require_room(
        self, largest: np.ndarray, farthest: np.ndarray, rows: np.ndarray, step: float, call: int
    ) -> None:
        """Both the integers (hosted,) and what remains of them beside the centre have to fit."""
        excess = np.maximum(largest / ABSOLUTE_ROOM, farthest / self._room)
        for i in np.flatnonzero(~(excess <= 1))[:1]:
            size, most = float(np.abs(rows[i]).max()), 1.01 * excess.max()  # rounded up
            usable = f"a step of {most * step:.3g} can be used now, unless the method diverges"
            growing = "if values grow from round to round the method diverges: lower algorithm.step_size"
            raise NumericalError(
                f"{self.name}: round {call + 1}: node {self._first + i} has values of up to {size:.6g}, too large "
                f"for integers at quantization_step {step:.6g}; {usable if np.isfinite(most) else growing}"
            )
