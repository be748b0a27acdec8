"""Frames of coordination between ranks: all at once, step by step, or when there are some.

What a frame says is the business of the compiled nodes (``mpiqopt._coordination``); here frames are bytes.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from mpi4py import MPI

from mpiqopt.transport.mailboxes import choose_mailboxes
from mpiqopt.transport.transport import FrameExchange, FrameQueue, FrameSource, SteppingNodes
from mpiqopt.transport.waiting import wait_all, wait_until

TAG = 2


class NeighbourFrameExchange(FrameExchange):
    """One message of any size to and from every neighbouring rank in every step."""

    def __init__(self, comm: MPI.Intracomm, ranks: tuple[int, ...]):
        self.comm, self.ranks, self._bytes = comm, ranks, 0
        self._buffer = np.empty(1 << 16, np.uint8)
        self._status = MPI.Status()

    def exchange(self, nodes: SteppingNodes) -> None:
        sent = []
        for b, rank in enumerate(self.ranks, 1):
            frames = nodes.take(b)
            self._bytes += frames.size
            sent.append(self.comm.Isend([frames, MPI.BYTE], rank, TAG))
        nodes.deliver()
        for rank in self.ranks:
            wait_until(partial(self.comm.Iprobe, rank, TAG, self._status))
            size = self._status.Get_count(MPI.BYTE)
            if size > self._buffer.size:
                self._buffer = np.empty(2 * size, np.uint8)
            frames = self._buffer[:size]
            self.comm.Recv([frames, MPI.BYTE], rank, TAG)
            nodes.receive(frames)
        wait_all(sent)

    @property
    def bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        self.comm.Free()


class MailboxFrames(FrameQueue):
    """Frames to and from other ranks by mailboxes; mail_transport: as in ``mailboxes.choose_mailboxes``."""

    def __init__(self, comm: MPI.Intracomm, ranks: tuple[int, ...], mail_transport: str):
        self.comm = comm
        self._mail, self.mail_transport = choose_mailboxes(comm, ranks, mail_transport)
        self._count = [0, 0]  # messages sent and received
        self._boxes = list(enumerate(range(1, len(ranks) + 1)))

    @property
    def bytes(self) -> int:
        return self._mail.bytes

    def pass_on(self, nodes: FrameSource) -> bool:
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

    def has_taken(self, nodes: FrameSource) -> bool:
        return self._mail.whole and not any(nodes.filled(b) for _, b in self._boxes)

    @property
    def quiet(self) -> bool:
        return self._mail.quiet

    def totals(self) -> tuple[Callable[[], bool], np.ndarray]:
        totals = np.empty(2, np.int64)
        request = self.comm.Iallreduce(np.array(self._count, np.int64), totals)
        return request.Test, totals

    def close(self) -> None:
        self._mail.close()
        self.comm.Free()
