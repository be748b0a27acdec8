"""Rows to neighbouring ranks over MPI: persistent requests, planned once; and the few collectives of a run."""

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI
from numpy.typing import DTypeLike

from mpiqopt.placement.placement import ExchangePlan
from mpiqopt.transport.transport import Channel, Transport
from mpiqopt.transport.waiting import PatientComm, wait_all, wait_quietly

if TYPE_CHECKING:
    from mpiqopt.transport.frames import MailboxFrames, NeighbourFrameExchange


# seconds after which a process ends by itself that MPI was to end
ABORT_SECONDS = 3.0


def mpi_library() -> str:
    """Return name and version of the MPI library, one short line."""
    return " ".join(MPI.Get_library_version().split(",")[0].splitlines()[0].rstrip("\0").split())


class NeighbourChannel(Channel):
    """Persistent sends and receives for one exchange plan: one message to and from each neighbouring rank.

    Requests and buffers are made once; a round copies the outgoing rows, starts the requests and waits for them.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        exchange: ExchangePlan,
        tag: int,
        width: int,
        dtype: DTypeLike,
        wait_all: Callable[[list[MPI.Request]], object],
    ):
        self.ghosts = np.empty((len(exchange.ghosts), width), dtype)
        self.outbox = np.empty((len(exchange.outgoing), width), dtype)
        self.outgoing = exchange.outgoing
        self.requests = [comm.Recv_init(piece, rank, tag) for rank, piece in _pieces(self.ghosts, exchange.sources)]
        self.requests += [comm.Send_init(piece, rank, tag) for rank, piece in _pieces(self.outbox, exchange.targets)]
        self._wait_all = wait_all

    def exchange(self, rows: np.ndarray) -> np.ndarray:
        # mode="clip": with "raise" NumPy buffers the output
        rows.take(self.outgoing, axis=0, out=self.outbox, mode="clip")
        MPI.Prequest.Startall(self.requests)
        self._wait_all(self.requests)
        return self.ghosts

    def free(self) -> None:
        for request in self.requests:
            request.Free()


def _packed(value: Any) -> np.ndarray:
    """Return a value of the set-up as bytes, uint8 (bytes,)."""
    return np.frombuffer(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), np.uint8)


def _pieces(rows: np.ndarray, counts: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each rank with its piece of rows that lie one after the other; counts: (rank, rows)."""
    start = 0
    for rank, count in counts:
        yield rank, rows[start : start + count]
        start += count


def _but_own(rank: int, sizes: list[int]) -> tuple[list[int], list[int], slice]:
    """Return the sizes of the pieces of all ranks, 0 for this rank's, where each begins, and where its own is."""
    starts = [0, *accumulate(sizes[:-1])]
    return [*sizes[:rank], 0, *sizes[rank + 1 :]], starts, slice(starts[rank], starts[rank] + sizes[rank])


class MPITransport(Transport):
    """Two-sided MPI between the ranks of a communicator.

    patient: ranks that wait give the processor away, as ``waiting.wait_until`` does; for more ranks than processors.
    """

    def __init__(self, comm: MPI.Intracomm, patient: bool = False):
        self.comm, request = (PatientComm(comm) if patient else comm).Idup()
        wait_quietly(request)
        self._wait_all = wait_all if patient else MPI.Request.Waitall
        self.rank, self.size = comm.rank, comm.size
        self.name = f"rank {self.rank} on {MPI.Get_processor_name()}"
        self.library = mpi_library()
        self._channels: list[NeighbourChannel] = []

    @cached_property
    def processors(self) -> int:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, available // self._on_host[1])

    @cached_property
    def local_rank(self) -> int:
        return self._on_host[0]

    @cached_property
    def crowded(self) -> bool:
        return self._on_host[1] > (os.cpu_count() or 1)

    @cached_property
    def _on_host(self) -> tuple[int, int]:
        """Return this rank's number among those that share the host's memory, and how many; collective at first."""
        host = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        found = host.rank, host.size
        host.Free()
        return found

    def channel(self, exchange: ExchangePlan, tag: int, width: int, dtype: DTypeLike) -> NeighbourChannel:
        # tags up to 32767 are guaranteed; exchanges run one after the other, so that equal tags cannot meet
        channel = NeighbourChannel(self.comm, exchange, tag % 32768, width, dtype, self._wait_all)
        self._channels.append(channel)
        return channel

    def gather(self, rows: np.ndarray, counts: list[int]) -> np.ndarray | None:
        rows = np.ascontiguousarray(rows)
        values = [count * int(np.prod(rows.shape[1:])) for count in counts]
        if self.rank:
            self.comm.Gatherv(rows, None)
            return None
        out = np.empty((sum(counts), *rows.shape[1:]), rows.dtype)
        self.comm.Gatherv(rows, [out, values])
        return out

    def scatter(self, rows: np.ndarray | None, counts: list[int], out: np.ndarray) -> None:
        if self.rank:
            self.comm.Scatterv(None, out)
        else:
            row = int(np.prod(out.shape[1:]))
            self.comm.Scatterv([np.ascontiguousarray(rows), [count * row for count in counts]], out)

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        self.comm.Bcast(array)
        return array

    def alltoall(self, outgoing: np.ndarray, sent: list[int], received: list[int]) -> np.ndarray:
        incoming = np.empty(sum(received), np.uint8)
        (others, starts, own), (others_in, starts_in, own_in) = (_but_own(self.rank, s) for s in (sent, received))
        # MPICH 5 sends 12 MB to itself in 1600 looks at MPI: 1.6 s if patient ranks sleep between them
        incoming[own_in] = outgoing[own]
        self.comm.Alltoallv([outgoing, (others, starts)], [incoming, (others_in, starts_in)])
        return incoming

    def concatenate(self, own: np.ndarray, counts: list[int]) -> np.ndarray:
        out = np.empty(sum(counts), own.dtype)
        self.comm.Allgatherv(np.ascontiguousarray(own), [out, counts])
        return out

    def maximum(self, values: np.ndarray) -> np.ndarray:
        out = np.empty_like(values)
        self.comm.Allreduce(values, out, MPI.MAX)
        return out

    def total(self, values: np.ndarray) -> np.ndarray:
        out = np.empty_like(values)
        self.comm.Allreduce(values, out, MPI.SUM)
        return out

    def first_error(self, message: str | None) -> str | None:
        lowest = np.array([self.size if message is None else self.rank])
        wait_quietly(self.comm.Iallreduce(MPI.IN_PLACE, lowest, MPI.MIN))
        return self._shared(message, int(lowest[0])) if lowest[0] < self.size else None

    def share(self, value: Any) -> Any:
        return self._shared(value, 0)

    def _shared(self, value: Any, root: int) -> Any:
        """Return the value of rank ``root`` on every rank."""
        packed = _packed(value) if self.rank == root else None
        size = np.array([0 if packed is None else packed.size])
        wait_quietly(self.comm.Ibcast(size, root))
        if packed is None:
            packed = np.empty(size[0], np.uint8)
        wait_quietly(self.comm.Ibcast(packed, root))
        return value if self.rank == root else pickle.loads(packed.data)

    def deal(self, parts: list | None) -> Any:
        packed = [_packed(part) for part in parts] if parts is not None else []
        sizes, size = np.array([part.size for part in packed]), np.empty(1, np.int64)
        wait_quietly(self.comm.Iscatter(sizes if packed else None, size))
        own = np.empty(size[0], np.uint8)
        wait_quietly(self.comm.Iscatterv([np.concatenate(packed), sizes.tolist()] if packed else None, own))
        return pickle.loads(own.data)

    def frame_exchange(self, ranks: tuple[int, ...]) -> "NeighbourFrameExchange":
        from mpiqopt.transport.frames import NeighbourFrameExchange

        return NeighbourFrameExchange(self.comm.Dup(), ranks)

    def frame_queue(self, ranks: tuple[int, ...], mail_transport: str) -> "MailboxFrames":
        from mpiqopt.transport.frames import MailboxFrames

        return MailboxFrames(self.comm.Dup(), ranks, mail_transport)

    def close(self) -> None:
        """Free requests and communicators, so that nothing is pending, and finalise MPI."""
        wait_quietly(self.comm.Ibarrier())  # rank 0 has a file to finish
        for channel in self._channels:
            channel.free()
        self.comm.Free()
        MPI.Finalize()

    def abort(self, status: int = 1) -> None:
        ending = threading.Timer(ABORT_SECONDS, os._exit, (status,))
        ending.daemon = True
        ending.start()  # another thread may be in MPI, and Abort wait for it
        MPI.COMM_WORLD.Abort(status)
        ending.join()  # Abort may come back before the process is ended
