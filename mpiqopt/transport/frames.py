"""Frames of coordination between ranks: all at once, step by step, or when they come."""

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from mpiqopt.transport.mailboxes import choose
from mpiqopt.transport.waiting import until, wait_all

TAG = 2


class FrameExchange:
    """One message of any size to and from every neighbouring rank in every step."""

    def __init__(self, comm: MPI.Intracomm, ranks: tuple[int, ...]):
        self.comm, self.ranks, self.bytes = comm, ranks, 0
        self._room = np.empty(1 << 16, np.uint8)
        self._status = MPI.Status()

    def exchange(self, nodes) -> None:
        """All frames of a step arrive."""
        sent = []
        for b, rank in enumerate(self.ranks, 1):
            frames = nodes.take(b)
            self.bytes += frames.size
            sent.append(self.comm.Isend([frames, MPI.BYTE], rank, TAG))
        nodes.deliver()
        for rank in self.ranks:
            until(lambda rank=rank: self.comm.Iprobe(rank, TAG, self._status))
            size = self._status.Get_count(MPI.BYTE)
            if size > self._room.size:
                self._room = np.empty(2 * size, np.uint8)
            frames = self._room[:size]
            self.comm.Recv([frames, MPI.BYTE], rank, TAG)
            nodes.receive(frames)
        wait_all(sent)

    def close(self) -> None:
        """Collective."""
        self.comm.Free()


class FrameQueue:
    """Frames to and from other ranks by mailboxes."""

    def __init__(self, comm: MPI.Intracomm, ranks: tuple[int, ...], kind: str):
        self.comm = comm
        self._mail, self.chosen = choose(comm, ranks, kind)
        self._count = [0, 0]  # messages sent and received
        self._boxes = list(enumerate(range(1, len(ranks) + 1)))

    @property
    def bytes(self) -> int:
        return self._mail.bytes

    def pass_on(self, nodes) -> bool:
        """Send what can be sent and receive what has come. Whether there was anything."""
        moved = False
        for k, b in self._boxes:
            if self._mail.ready(k) and nodes.filled(b):
                self._mail.send(k, nodes.take(b))
                self._count[0] += 1
                moved = True
        for frames in self._mail.receive():
            self._count[1] += 1
            nodes.receive(frames)
            moved = True
        return moved

    def has_taken(self, nodes) -> bool:
        """Whether nothing of what nodes want to send is left here."""
        return self._mail.whole and not any(nodes.filled(b) for _, b in self._boxes)

    @property
    def quiet(self) -> bool:
        """Whether all that was sent has left."""
        return self._mail.quiet

    def totals(self) -> tuple[Callable[[], bool], np.ndarray]:
        """Messages sent and received by all ranks, int64 (2,), valid when the function returned says so. Collective."""
        totals = np.empty(2, np.int64)
        request = self.comm.Iallreduce(np.array(self._count, np.int64), totals)
        return request.Test, totals

    def close(self) -> None:
        self._mail.close()
        self.comm.Free()
