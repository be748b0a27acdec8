"""From real vectors to integers and back: x -> floor(x/Delta) -> coordination -> Delta times what was agreed."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import numpy as np

from mpiqopt._coordination import quantise
from mpiqopt.coordination.innovations import Innovations, power_of_two_above
from mpiqopt.coordination.lockstep import Agreement, Settlement
from mpiqopt.coordination.traffic import FrameTraffic
from mpiqopt.errors import NumericalError
from mpiqopt.placement.shared_rows import shared_rows

Rounding = Literal["floor", "nearest"]
# |integer| of a node before the centre is subtracted
ABSOLUTE_HEADROOM = 2.0**61


class Coordination(Protocol):
    """What delivers the messages of a coordinator: by MPI_Allreduce, in lock-step or by mailboxes.

    bytes: sent by the hosted nodes so far; mpi_bytes: handed to MPI here; sent: what each hosted node has done and sent
    in frames, None if there are none; mail_transport: how messages travel, and why so.
    """

    @property
    def bytes(self) -> int: ...

    @property
    def mpi_bytes(self) -> int: ...

    @property
    def sent(self) -> FrameTraffic | None: ...

    @property
    def mail_transport(self) -> str: ...

    def agree(self, values: np.ndarray, call: int, effort: int) -> Agreement: ...

    def settle(
        self, values: np.ndarray, hat: np.ndarray, step: float, call: int, effort: int, ages: np.ndarray
    ) -> Settlement: ...

    def give_back(self, hat: np.ndarray) -> None: ...

    def wait(self, news: Callable[[], bool], longest: Callable[[], float], width: int) -> None: ...

    def drain(self) -> None: ...

    def close(self) -> None: ...


class Coordinated(NamedTuple):
    """What all nodes have after a call.

    vector: float64 (d,), the same bits at every node; extra: int64 (e,), sums over nodes; effort: for the next call.
    """

    vector: np.ndarray
    extra: np.ndarray
    effort: int


class Coordinator:
    """Takes averages on a grid, the same at every node to the bit, whatever happens on the way:

        Delta floor((1/n) sum_i floor(x_i/Delta)), or with rounding "nearest", S = sum_i round(x_i/Delta),
        Delta (floor(S/n) + ceil(S/n))/2.

    The error of a coordinate is in (-2 Delta, 0], or at most Delta. Integers travel less floor(previous/Delta), of a
    vector that all nodes know: the closer that is to the result, the fewer bits.

    Parameters
    ----------
    name : of the coordinator, for messages
    coordination : Coordination
        What agrees on integers.
    headroom : float
        Largest |integer| of a node, less the centre (``LocalProtocol.headroom``).
    nodes, first : of the network, and the first hosted one

    Examples
    --------
    >>> from mpiqopt.coordination.allreduce import AllreduceCoordination
    >>> from mpiqopt.transport.serial import SerialTransport
    >>> reduce = AllreduceCoordination(2, 1, True, SerialTransport(), lambda *sizes: None)
    >>> average = Coordinator("allreduce", reduce, 2.0**61, nodes=2, first=0)
    >>> rows, none = np.array([[0.25, 1.0], [0.5, -1.0]]), np.zeros((2, 0), np.int64)
    >>> average.coordinate(rows, previous=np.zeros(2), step=0.1, call=0, effort=0, extra=none).vector.tolist()
    [0.30000000000000004, 0.0]
    """

    def __init__(
        self,
        name: str,
        coordination: Coordination,
        headroom: float,
        nodes: int,
        first: int,
        rounding: Rounding = "floor",
    ):
        self.name, self.coordination, self.headroom, self.rounding = name, coordination, headroom, rounding
        self._nodes, self._first = nodes, first
        self.calls = 0

    def coordinate(
        self, rows: np.ndarray, previous: np.ndarray, step: float, call: int, effort: int, extra: np.ndarray
    ) -> Coordinated:
        """Return the average of all nodes' rows on the grid; all hosts of nodes take part.

        Parameters
        ----------
        rows : float (hosted, d)
        previous : float (d,), the same at all nodes
        step : Delta > 0
        call : number of calls before, the same at all nodes
        effort : that of the last call, 0 in the first
        extra : int64 (hosted, e), small integers whose sums over all nodes are wanted, too

        Raises
        ------
        NumericalError
            If the integers do not fit into int64, with a step that would do.
        """
        rows = np.ascontiguousarray(rows, np.float64)
        d, extras = rows.shape[1], extra.shape[1]
        centre = np.floor(previous.astype(np.float64, copy=False) / step)
        values = np.empty((len(rows), d + extras), np.int64)
        largest, farthest = quantise(rows, step, self.rounding == "nearest", centre, values)
        excess = self._excess(np.maximum(largest, np.abs(centre).max(initial=0)), farthest)
        self._require_headroom(excess, rows, step, 1.01 * excess.max() * step, call)
        np.multiply(extra, self._nodes, out=values[:, d:])
        agreed = self.coordination.agree(values, call, effort)
        self.calls += 1
        low = agreed.low[:d] + centre
        if self.rounding == "nearest":
            low += 0.5 * (agreed.high[:d] - agreed.low[:d])
        return Coordinated(low * step, agreed.low[d:], agreed.effort)

    def innovate(self, rows: np.ndarray, known: Innovations, call: int, ages: np.ndarray) -> Innovations:
        """Return what nodes have given of their rows after a call; all hosts of nodes take part.

        rows: float (hosted, d); known: after the last call; call: number of calls before; ages: int64 (hosted,), how
        many calls ago the rows were new. Raises NumericalError like ``coordinate``.
        """
        new, delta = rows - known.hat, known.delta
        values = np.empty(new.shape, np.int64)
        excess = self._excess(*quantise(new, delta, True, np.zeros(new.shape[1]), values))
        usable = 1.01 * power_of_two_above(float(excess.max()) * delta)
        self._require_headroom(excess, rows, known.step, usable, call)
        hat = known.hat.copy()
        mean, effort, age = self.coordination.settle(values, hat, delta, call, known.effort, ages)
        self.calls += 1
        mean *= delta
        mean += known.mean[0]
        return Innovations(known.step, effort, hat, shared_rows(mean, len(rows)), age)

    def held_back(self, known: Innovations) -> Innovations:
        """Return the same, less what has come to nodes since the last call, when nothing is on its way (``drain``)."""
        hat = known.hat.copy()
        self.coordination.give_back(hat)
        return known._replace(hat=hat)

    def wait(self, news: Callable[[], bool], longest: Callable[[], float], width: int) -> None:
        """Return when the next call should begin, by ``news`` of a node here or because a neighbour has begun it.

        longest: how long (s) to wait for others when there are news; width: columns of the call, d + e.
        """
        self.coordination.wait(news, longest, width)

    def _excess(self, largest: np.ndarray, farthest: np.ndarray) -> np.ndarray:
        """Return how many times larger integers (hosted,), or what remains of them less the centre, are than fits."""
        return np.maximum(largest / ABSOLUTE_HEADROOM, farthest / self.headroom)

    def _require_headroom(self, excess: np.ndarray, rows: np.ndarray, step: float, usable: float, call: int) -> None:
        """Raise NumericalError unless the integers of all nodes fit; usable: a step with which they would."""
        for i in np.flatnonzero(~(excess <= 1))[:1]:
            size = float(np.abs(rows[i]).max())
            advice = f"a step of {usable:.3g} can be used now, unless the method diverges"
            growing = "if values grow from round to round the method diverges: lower algorithm.step_size"
            raise NumericalError(
                f"{self.name}: round {call + 1}: node {self._first + i} has values of up to {size:.6g}, too large "
                f"for integers at quantization_step {step:.6g}; {advice if np.isfinite(excess.max()) else growing}"
            )
