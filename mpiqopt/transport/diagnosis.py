"""What the MPI at hand can do: measured, not looked up.

One-sided operations may or may not progress while their target computes: that depends on library, version, network and
settings, and decides whether windows or messages carry asynchronous coordination.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from mpi4py import MPI

from mpiqopt.transport.waiting import wait_quietly

BUSY_SECONDS = 0.5
# seconds that a rank computes in the short measurement, and how often it is made before the answer is no
SHORT, TRIALS = 0.005, 10
# a one-sided operation that takes longer than this part of the target's computation waited for it
WAITED = 0.5


class Progress(NamedTuple):
    """How long one operation and its flush took.

    operation: "put", "get" or "accumulate"; idle: seconds with the target waiting inside MPI; busy: with the target
    computing for BUSY_SECONDS.
    """

    operation: str
    idle: float
    busy: float

    @property
    def waits(self) -> bool:
        """True if the operation waited for the target's computation to end."""
        return self.busy > WAITED * BUSY_SECONDS


def thread_level() -> str:
    """Return the thread level that MPI gave: SINGLE, FUNNELED, SERIALIZED or MULTIPLE."""
    names = ("SINGLE", "FUNNELED", "SERIALIZED", "MULTIPLE")
    return names[
        (MPI.THREAD_SINGLE, MPI.THREAD_FUNNELED, MPI.THREAD_SERIALIZED, MPI.THREAD_MULTIPLE).index(MPI.Query_thread())
    ]


def one_sided_progress(comm: MPI.Intracomm) -> list[Progress] | None:
    """Measure how rank 0's one-sided operations on the last rank progress while that rank computes; collective.

    Window by MPI_Win_allocate, one lock_all, an operation of 1024 doubles and a flush. Returns the measurements on rank
    0, None elsewhere.
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


def _timed(comm: MPI.Intracomm, window: MPI.Win, target: int, start: Callable[[], object], busy: float) -> float:
    """Return the seconds of an operation and its flush at rank 0 while the target computes for ``busy`` seconds."""
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


def one_sided_progresses(comm: MPI.Intracomm) -> bool:
    """True if one-sided operations are done while their target computes; collective over the ranks of a host.

    Between the first and the last rank, in 5 to 200 ms; the others wait quietly.
    """
    answer = np.ones(1, np.int64)
    ends = (0, comm.size - 1)
    if comm.rank in ends and comm.size > 1:
        group = comm.group.Incl(ends)
        answer[0] = _seen_to_progress(comm.Create_group(group))
        group.Free()
    wait_quietly(comm.Ibcast(answer))
    return bool(answer[0])


def _seen_to_progress(pair: MPI.Intracomm) -> bool:
    """True if an operation of rank 0 was seen to begin and end while rank 1 computed.

    One such operation proves it. On a loaded machine the operation may come too late by chance, hence the repetitions.
    """
    window = MPI.Win.Allocate(8, 1, comm=pair)
    window.Lock_all()
    seen = np.zeros(1, np.int64)
    for _ in range(TRIALS):
        pair.Barrier()
        seen[0] = _overlaps(pair, window)
        pair.Bcast(seen)
        if seen[0]:
            break
    window.Unlock_all()
    window.Free()
    pair.Free()
    return bool(seen[0])


def _overlaps(pair: MPI.Intracomm, window: MPI.Win) -> bool:
    """True at rank 0 if its operation fell into the time in which rank 1 computed. Both read the same clock."""
    times = np.empty(2)
    if pair.rank == 1:
        begun = now = time.monotonic()
        while now < begun + SHORT:
            now = time.monotonic()
        pair.Send(np.array([begun, now]), 0)
        return False
    time.sleep(SHORT / 5)  # rank 1 is surely computing
    begun = time.monotonic()
    window.Put(np.ones(1), 1)
    window.Flush(1)
    ended = time.monotonic()
    pair.Recv(times, 1)
    return bool(times[0] < begun and ended < times[1])
