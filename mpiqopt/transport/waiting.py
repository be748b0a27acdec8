"""Waiting for other ranks without taking the processor from them.

MPI looks for messages as fast as it can, and MPICH, in most versions, never yields: a rank that waits would take the
processor from the ranks that it waits for.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

# seconds between looks of ``wait_quietly``: a wait is at most twice as long as it had to be, and costs hardly anything
# when it is long
SHORTEST, LONGEST = 5e-5, 1e-2
# looks of ``wait_until`` before other ranks get the processor: less than 0.1 ms
PATIENCE = 100
# seconds that ``wait_until`` goes on looking, then it sleeps for a share of what it has waited so far, and not too long
AWAKE, SHARE, NAP = 2e-3, 1 / 32, 1e-3


def wait_quietly(request: MPI.Request) -> None:
    """Wait until a request is complete, asleep between looks: for what takes long somewhere.

    While rank 0 of 64 on two cores works for 0.3 s, the others that poll, and give the processor away each time, make
    10 s of it.
    """
    pause = SHORTEST
    while not request.Test():
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)


def wait_until(ready: Callable[[], bool]) -> None:
    """Return when ``ready`` returns True; it must enter MPI, so that messages progress.

    A wait that takes long is at most 3 % longer for the sleep in it. Ranks that crowd a processor and give it away
    after each look still leave those that work less than half of it.
    """
    for _ in range(PATIENCE):
        if ready():
            return
    began = time.perf_counter()
    while not ready():
        waited = time.perf_counter() - began
        if waited < AWAKE:
            os.sched_yield()
        else:
            time.sleep(min(SHARE * waited, NAP))


def wait_all(requests: list[MPI.Request]) -> None:
    """Return when all requests are complete."""
    wait_until(lambda: MPI.Request.Testall(requests))


class PatientComm(MPI.Intracomm):
    """A communicator whose collectives wait by ``wait_all``. Its duplicates are patient, too."""

    def bcast(self, value: Any = None, root: int = 0) -> Any:
        """Return the value of rank ``root``, pickled, on every rank."""
        message = MPI.pickle.dumps(value) if self.rank == root else b""
        size = np.array(len(message))
        self.Bcast(size, root)
        buffer = bytearray(message or int(size))
        self.Bcast([buffer, MPI.BYTE], root)
        return MPI.pickle.loads(buffer)

    def allgather(self, value: Any) -> list:
        """Return the values of all ranks in rank order, pickled."""
        message = np.frombuffer(MPI.pickle.dumps(value), np.uint8)
        sizes = np.empty(self.size, np.int64)
        self.Allgather(np.array([message.size]), sizes)
        messages = np.empty(sizes.sum(), np.uint8)
        self.Allgatherv(message, [messages, sizes])
        return [MPI.pickle.loads(piece) for piece in np.split(messages, np.cumsum(sizes)[:-1])]


def _patient(name: str) -> Callable[..., None]:
    """Return a collective of that name that starts its non-blocking twin and waits by ``wait_all``."""
    begin = getattr(MPI.Intracomm, f"I{name.lower()}")
    return lambda comm, *arguments: wait_all([begin(comm, *arguments)])


for _name in ("Allgather", "Allgatherv", "Allreduce", "Alltoallv", "Barrier", "Bcast", "Gatherv", "Scatterv"):
    setattr(PatientComm, _name, _patient(_name))
