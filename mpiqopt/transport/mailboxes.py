"""Mailboxes: bytes from rank to rank when there are some, in windows within a host, else in two-sided messages.

What was sent to a rank comes in order, in pieces that begin and end where the sender's did. Nothing here waits for
another rank.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from mpi4py import MPI

from mpiqopt.transport.diagnosis import one_sided_progresses

TAG = 1
# bytes of a slot in a window, and of all slots of a rank
SLOT, WINDOW = 1 << 19, 1 << 26
# of the words that say how many messages there were (42 bits), whether the last is whole, and its size
BITS_OF_SIZE = 20
LAST = 1 << BITS_OF_SIZE


class Mailboxes(Protocol):
    """Bytes to and from neighbouring ranks. k: position of a neighbour in ``ranks``; bytes: handed to MPI so far."""

    ranks: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Return how many bytes were handed to MPI."""

    @property
    def whole(self) -> bool:
        """True if no message waits for space at its receiver, or for its rest."""

    @property
    def quiet(self) -> bool:
        """True if all that was sent has left this process, or has been read."""

    def ready(self, k: int) -> bool:
        """True if something can be sent to neighbour k now."""

    def send(self, k: int, frames: np.ndarray) -> None:
        """Send uint8 (bytes,) that stay as they are until neighbour k is ``ready`` again."""

    def receive(self) -> Iterator[np.ndarray]:
        """Yield what has come since the last time, uint8 (bytes,); each is valid until the next."""

    def close(self) -> None:
        """Give back what MPI holds, collective, when nothing is on its way."""


class TwoSided(Mailboxes):
    """Isend and Iprobe from named ranks; one message to each neighbour at a time is on its way."""

    def __init__(self, comm: MPI.Intracomm, ranks: tuple[int, ...]):
        self.comm, self.ranks = comm, ranks
        self._bytes = 0
        self._requests: list[MPI.Request | None] = [None] * len(ranks)
        self._buffer = np.empty(1 << 16, np.uint8)
        self._status = MPI.Status()

    @property
    def bytes(self) -> int:
        return self._bytes

    def ready(self, k: int) -> bool:
        request = self._requests[k]
        if request is None:
            return True
        if not request.Test():
            return False
        self._requests[k] = None
        return True

    def send(self, k: int, frames: np.ndarray) -> None:
        self._requests[k] = self.comm.Isend([frames, MPI.BYTE], self.ranks[k], TAG)
        self._bytes += frames.size

    def receive(self) -> Iterator[np.ndarray]:
        for rank in self.ranks:
            while self.comm.Iprobe(rank, TAG, self._status):
                size = self._status.Get_count(MPI.BYTE)
                if size > self._buffer.size:
                    self._buffer = np.empty(2 * size, np.uint8)
                frames = self._buffer[:size]
                self.comm.Recv([frames, MPI.BYTE], rank, TAG)
                yield frames

    @property
    def whole(self) -> bool:
        return True  # MPI has all of every message

    @property
    def quiet(self) -> bool:
        return all(self.ready(k) for k in range(len(self.ranks)))

    def close(self) -> None:
        pass


class Windows(Mailboxes):
    """A slot for every neighbour in a window of the receiver, written only by that neighbour.

    A slot is written again when its reader has said that it has read it, so that it never changes while it is read.
    Within the window: for every neighbour a word that says what its slot holds, for every neighbour a word that says
    what it has read of ours, the slots. Bytes go first and are flushed, then the word: a word within the bytes' own
    put would not protect them.
    """

    def __init__(self, comm: MPI.Intracomm, ranks: tuple[int, ...]):
        self.comm, self.ranks, self._bytes = comm, ranks, 0
        count = len(ranks)
        everyone = comm.allgather(ranks)
        self._slot = max(4096, min(SLOT, WINDOW // max(map(len, everyone)) if any(everyone) else SLOT)) // 8 * 8
        self._places = [everyone[rank].index(comm.rank) for rank in ranks]  # of this rank, there
        self._counts = [len(everyone[rank]) for rank in ranks]
        self._window = MPI.Win.Allocate(16 * count + self._slot * count, 1, comm=comm)
        memory = np.frombuffer(self._window.tomemory(), np.uint8) if count else np.empty(0, np.uint8)
        memory[:] = 0
        self._announced, self._read = memory[: 16 * count].view(np.int64).reshape(2, count)
        self._slots = memory[16 * count :].reshape(count, self._slot)
        self._sent, self._heard = [0] * count, [0] * count
        self._rest: list[np.ndarray | None] = [None] * count
        self._parts: list[list[np.ndarray]] = [[] for _ in ranks]
        self._word = np.empty(1, np.int64)
        comm.Barrier()  # all windows are zero before the first put
        self._window.Lock_all(MPI.MODE_NOCHECK)

    @property
    def bytes(self) -> int:
        return self._bytes

    def ready(self, k: int) -> bool:
        if self._read[k] != self._sent[k]:
            return False
        rest = self._rest[k]
        if rest is None:
            return True
        self._put(k, rest)
        return False

    def send(self, k: int, frames: np.ndarray) -> None:
        self._bytes += frames.size
        self._put(k, frames)

    def _put(self, k: int, frames: np.ndarray) -> None:
        """Put as much of ``frames`` into neighbour k's slot as fits, and then the word that says so."""
        rank, place, count = self.ranks[k], self._places[k], self._counts[k]
        piece, rest = frames[: self._slot], frames[self._slot :]
        self._window.Put([piece, MPI.BYTE], rank, [16 * count + place * self._slot, piece.size, MPI.BYTE])
        self._window.Flush(rank)
        self._sent[k] += 1
        self._rest[k] = rest if rest.size else None
        size = piece.size if rest.size else piece.size | LAST
        self._write(rank, place, self._sent[k] << (BITS_OF_SIZE + 1) | size)

    def _write(self, rank: int, place: int, word: int) -> None:
        """Put a word at its place in another rank's window, after all that was put before."""
        self._word[0] = word
        self._window.Put([self._word, MPI.INT64_T], rank, [8 * place, 1, MPI.INT64_T])
        self._window.Flush(rank)

    def receive(self) -> Iterator[np.ndarray]:
        self.comm.Iprobe()  # between hosts a put arrives while its target is in MPI
        self._window.Sync()
        for k in np.flatnonzero(self._announced >> (BITS_OF_SIZE + 1) > self._heard):
            word = int(self._announced[k])
            piece: np.ndarray | None = self._slots[k, : word & (LAST - 1)]
            if not word & LAST or self._parts[k]:
                self._parts[k].append(self._slots[k, : word & (LAST - 1)].copy())
                piece = None
            if piece is not None:
                yield piece
            elif word & LAST:
                parts, self._parts[k] = self._parts[k], []
                yield np.concatenate(parts)
            self._heard[k] = word >> (BITS_OF_SIZE + 1)
            self._write(self.ranks[k], self._counts[k] + self._places[k], self._heard[k])

    @property
    def whole(self) -> bool:
        return all(self.ready(k) for k, rest in enumerate(self._rest) if rest is not None)

    @property
    def quiet(self) -> bool:
        self._window.Sync()
        return all(self.ready(k) for k in range(len(self.ranks)))

    def close(self) -> None:
        self._window.Unlock_all()
        self._window.Free()


class Both(Mailboxes):
    """Windows to some neighbours, two-sided messages to the others."""

    def __init__(self, ranks: tuple[int, ...], windows: Windows, near: list[int], messages: TwoSided, far: list[int]):
        self.ranks, self._ways = ranks, (windows, messages)
        self._way: dict[int, tuple[Windows | TwoSided, int]] = {k: (windows, at) for at, k in enumerate(near)}
        self._way |= {k: (messages, at) for at, k in enumerate(far)}

    @property
    def bytes(self) -> int:
        return sum(way.bytes for way in self._ways)

    def ready(self, k: int) -> bool:
        way, at = self._way[k]
        return way.ready(at)

    def send(self, k: int, frames: np.ndarray) -> None:
        way, at = self._way[k]
        way.send(at, frames)

    def receive(self) -> Iterator[np.ndarray]:
        for way in self._ways:
            yield from way.receive()

    @property
    def whole(self) -> bool:
        return all(way.whole for way in self._ways)

    @property
    def quiet(self) -> bool:
        return all(way.quiet for way in self._ways)

    def close(self) -> None:
        for way in self._ways:
            way.close()
        self._ways[0].comm.Free()  # of this host's ranks


def choose_mailboxes(comm: MPI.Intracomm, ranks: tuple[int, ...], mail_transport: str) -> tuple[Mailboxes, str]:
    """Return mailboxes to the ranks that hold neighbours, and what was chosen and why; collective.

    Parameters
    ----------
    comm : the ranks of the run.
    ranks : those that hold neighbours of nodes here.
    mail_transport : "auto" | "window" | "two-sided". Auto: windows within a host if one-sided operations do not wait
        for a rank that computes, which is measured, and two-sided messages otherwise; between hosts two-sided messages,
        because every flush of a window would be a round trip.
    """
    if mail_transport == "two-sided":
        return TwoSided(comm, ranks), "two-sided (as the config says)"
    if mail_transport == "window":
        return Windows(comm, ranks), "window (as the config says)"
    host = comm.Split_type(MPI.COMM_TYPE_SHARED)
    waits = not one_sided_progresses(host)
    counts = np.array([host.rank == 0, host.rank == 0 and waits], np.int64)
    comm.Allreduce(MPI.IN_PLACE, counts)
    hosts, waiting = counts.tolist()
    if hosts in (1, comm.size) or waiting:
        host.Free()
    if hosts == comm.size:
        return TwoSided(comm, ranks), "two-sided (every rank is on a host of its own)"
    if waiting:
        return TwoSided(comm, ranks), "two-sided (one-sided operations wait for ranks that compute)"
    if hosts == 1:
        return Windows(comm, ranks), "window (all ranks are on one host)"
    members = host.allgather(comm.rank)
    near = [k for k, rank in enumerate(ranks) if rank in members]
    far = [k for k in range(len(ranks)) if k not in near]
    windows = Windows(host, tuple(members.index(ranks[k]) for k in near))
    chosen = Both(ranks, windows, near, TwoSided(comm, tuple(ranks[k] for k in far)), far)
    return chosen, f"window within each of {hosts} hosts, two-sided between them"
