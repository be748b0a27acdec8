"""What a transport is: the interfaces between the network and MPI, written once.

``serial.SerialTransport`` and ``neighbours.MPITransport`` are its two kinds.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

if TYPE_CHECKING:  # errors are told without the kernels: these may be what is wrong
    from mpiqopt.placement.placement import ExchangePlan


class Channel(Protocol):
    """One exchange plan for rows of one width and type, ready to be carried out again and again."""

    def exchange(self, rows: np.ndarray) -> np.ndarray:
        """Send the hosted rows (hosted, width) that others need; return the ghost rows, reused by the next call."""

    def free(self) -> None:
        """Give back what MPI holds."""


class FrameSource(Protocol):
    """The nodes of a process, seen by what carries their frames: one box of frames for each process with neighbours.

    Box 0 is for frames between nodes of this process; box b for ``ranks[b - 1]``.
    """

    def take(self, b: int) -> np.ndarray:
        """Return the frames in box b, uint8 (bytes,), and empty it; they are valid until the next ``take`` of b."""

    def filled(self, b: int) -> int:
        """Return how many bytes are in box b (or another number that is 0 for an empty one)."""

    def receive(self, frames: np.ndarray) -> None:
        """Accept frames that came from another process, uint8 (bytes,)."""


class SteppingNodes(FrameSource, Protocol):
    """Nodes that act in steps."""

    def deliver(self) -> None:
        """Accept the frames between nodes of this process."""


class FrameExchange(Protocol):
    """Frames in steps: what is sent in a step arrives before the next. bytes: handed to MPI so far."""

    @property
    def bytes(self) -> int:
        """Return how many bytes were handed to MPI on this rank."""

    def exchange(self, nodes: SteppingNodes) -> None:
        """Let all frames of a step arrive, collective between neighbours."""

    def close(self) -> None:
        """Give back what MPI holds, collective."""


class FrameQueue(Protocol):
    """Frames that are sent when there is something to say, and read when they have come.

    mail_transport: how they travel, and why so, a few words.
    """

    mail_transport: str

    @property
    def bytes(self) -> int:
        """Return how many bytes were handed to MPI on this rank."""

    @property
    def quiet(self) -> bool:
        """True if all that was sent has left this process."""

    def pass_on(self, nodes: FrameSource) -> bool:
        """Send what can be sent and receive what has come. True if there was anything."""

    def has_taken(self, nodes: FrameSource) -> bool:
        """True if nothing that the nodes want to send is left here."""

    def totals(self) -> tuple[Callable[[], bool], np.ndarray]:
        """Begin to count messages over all ranks, collective.

        Returns a function that says when the count is there, and the numbers of messages sent and received, int64 (2,).
        """

    def close(self) -> None:
        """Give back what MPI holds, collective, when nothing is on its way."""


class Transport(Protocol):
    """How arrays travel between the ranks of a run.

    rank, size: of this process, and how many there are; name: of this rank, for messages; library: name and version of
    the MPI library; crowded: True if waiting takes a processor from another rank; processors: how many this rank has
    for its threads; local_rank: number of this rank among those of its host. All methods but ``abort`` are collective.
    """

    rank: int
    size: int
    name: str
    library: str

    @property
    def crowded(self) -> bool: ...

    @property
    def processors(self) -> int: ...

    @property
    def local_rank(self) -> int: ...

    def channel(self, exchange: "ExchangePlan", tag: int, width: int, dtype: DTypeLike) -> Channel:
        """Prepare an exchange for rows of ``width`` values; tag: its number, the same on all ranks."""

    def gather(self, rows: np.ndarray, counts: list[int]) -> np.ndarray | None:
        """Return the rows of all ranks in rank order on rank 0, None elsewhere; counts: rows of each rank."""

    def scatter(self, rows: np.ndarray | None, counts: list[int], out: np.ndarray) -> None:
        """Write each rank's rows of rank 0's ``rows`` to ``out``: the reverse of ``gather``."""

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """Overwrite ``array`` by rank 0's, and return it."""

    def alltoall(self, outgoing: np.ndarray, sent: list[int], received: list[int]) -> np.ndarray:
        """Send every rank its piece, uint8 in the order of ranks; sent, received: sizes of the pieces in bytes."""

    def concatenate(self, own: np.ndarray, counts: list[int]) -> np.ndarray:
        """Return the vectors (count,) of all ranks, one after the other, on every rank; counts: of all ranks."""

    def maximum(self, values: np.ndarray) -> np.ndarray:
        """Return the elementwise maximum over ranks."""

    def total(self, values: np.ndarray) -> np.ndarray:
        """Return the elementwise sum over ranks, of numbers whose sum needs no rounding."""

    def first_error(self, message: str | None) -> str | None:
        """Return the message of the lowest rank that has one, on every rank."""

    def share(self, value: Any) -> Any:
        """Return rank 0's value (any small object) on every rank; for the set-up."""

    def deal(self, parts: list | None) -> Any:
        """Return each rank's own element of rank 0's list (None elsewhere); for the set-up."""

    def frame_exchange(self, ranks: tuple[int, ...]) -> FrameExchange:
        """Prepare exchanges of frames in steps with the neighbouring ranks."""

    def frame_queue(self, ranks: tuple[int, ...], mail_transport: str) -> FrameQueue:
        """Prepare frames to and from the neighbouring ranks at any time.

        mail_transport: "auto" | "window" | "two-sided", as in ``mailboxes.choose_mailboxes``.
        """

    def close(self) -> None:
        """Leave MPI in order."""

    def abort(self, status: int = 1) -> None:
        """End the job on all ranks now, with this exit status."""
