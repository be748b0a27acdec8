"""Several ranks in one process: threads that take turns, and what travels between them is counted."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mpiqopt.transport.serial import SerialTransport

# seconds that a rank waits for another one: they compute for milliseconds
PATIENCE = 60


class Meeting:
    """Where the threads of a job meet. moved: bytes that went from one rank to another."""

    def __init__(self, ranks: int):
        self.ranks, self.moved = ranks, 0
        self.turn = threading.Lock()  # scratch memory of compressors is the process's
        self._barrier, self._offers = threading.Barrier(ranks), [None] * ranks

    def swap(self, rank: int, offer: Any) -> list[Any]:
        """Return what all ranks offer; others may run until then."""
        self._offers[rank] = offer
        self.turn.release()
        self._barrier.wait(PATIENCE)
        offers = list(self._offers)
        self._barrier.wait(PATIENCE)
        self.turn.acquire()
        return offers

    def give_up(self) -> None:
        """Let ranks that wait fail: one has failed."""
        self._barrier.abort()


class ThreadTransport(SerialTransport):
    """The collectives that a server needs, between threads."""

    def __init__(self, rank: int, meeting: Meeting):
        self.rank, self.size, self.meeting = rank, meeting.ranks, meeting

    def alltoall(self, outgoing: np.ndarray, sent: list[int], received: list[int]) -> np.ndarray:
        pieces = np.split(outgoing, np.cumsum(sent)[:-1])
        self.meeting.moved += sum(piece.nbytes for rank, piece in enumerate(pieces) if rank != self.rank)
        arrived = [offer[self.rank].copy() for offer in self.meeting.swap(self.rank, pieces)]
        assert [len(piece) for piece in arrived] == received
        return np.concatenate(arrived)

    def concatenate(self, own: np.ndarray, counts: list[int]) -> np.ndarray:
        self.meeting.moved += (self.size - 1) * own.nbytes
        arrived = self.meeting.swap(self.rank, own.copy())
        assert [len(piece) for piece in arrived] == counts
        return np.concatenate(arrived)


def on_ranks(ranks: int, work: Callable[[ThreadTransport], Any]) -> tuple[list[Any], int]:
    """Call ``work`` with the transport of each rank: return what each returns, and the bytes that moved."""
    meeting = Meeting(ranks)

    def start(rank: int) -> Any:
        with meeting.turn:
            try:
                return work(ThreadTransport(rank, meeting))
            except BaseException:
                meeting.give_up()
                raise

    with ThreadPoolExecutor(ranks) as threads:
        return list(threads.map(start, range(ranks))), meeting.moved
