"""What the MPI at hand can do: measured, not looked up."""

import time
from typing import NamedTuple

import numpy as np
from mpi4py import MPI

BUSY_SECONDS = 0.5
# a one-sided operation that takes longer than this part of the target's computation waited for it
WAITED = 0.5


class Progress(NamedTuple):
    """Seconds of one operation and its flush: with the target waiting inside MPI, and computing for BUSY_SECONDS."""

    operation: str
    idle: float
    busy: float

    @property
    def waits(self) -> bool:
        return self.busy > WAITED * BUSY_SECONDS


def thread_level() -> str:
    """The thread level that MPI gave."""
    names = ("SINGLE", "FUNNELED", "SERIALIZED", "MULTIPLE")
    return names[
        (MPI.THREAD_SINGLE, MPI.THREAD_FUNNELED, MPI.THREAD_SERIALIZED, MPI.THREAD_MULTIPLE).index(MPI.Query_thread())
    ]


def one_sided_progress(comm: MPI.Intracomm) -> list[Progress] | None:
    """Collective: whether rank 0's one-sided operations on the last rank progress while that rank computes.

    Window by MPI_Win_allocate, one lock_all, an operation and a flush. The measurements at rank 0, None elsewhere.
    """
    window = MPI.Win.Allocate(8 * 1024, 8, comm=comm)
    window.Lock_all()
    target, buffer = comm.size - 1, np.ones(1024)
    operations = {
        "put": lambda: window.Put(buffer, target),
        "get": lambda: window.Get(buffer, target),
        "accumulate": lambda: window.Accumulate(buffer, target, op=MPI.SUM),
    }
    results = []
    for name, start in operations.items():
        idle, busy = (_timed(comm, window, target, start, seconds) for seconds in (0.0, BUSY_SECONDS))
        results.append(Progress(name, idle, busy))
    window.Unlock_all()
    window.Free()
    return results if comm.rank == 0 else None


def _timed(comm: MPI.Intracomm, window: MPI.Win, target: int, start, busy: float) -> float:
    """Seconds of an operation and its flush at rank 0 while the target computes for ``busy`` seconds."""
    comm.Barrier()
    took = 0.0
    if comm.rank == 0:
        time.sleep(BUSY_SECONDS / 10)  # the target is surely computing
        begun = time.perf_counter()
        start()
        window.Flush(target)
        took = time.perf_counter() - begun
    elif comm.rank == target:
        end = time.perf_counter() + busy
        while time.perf_counter() < end:
            pass
    comm.Barrier()
    return took
