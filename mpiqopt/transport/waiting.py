"""Waiting for other ranks without taking the processor from them."""

import time

from mpi4py import MPI

# seconds between looks: a wait is at most twice as long as it had to be, and hardly costs anything when it is long
SHORTEST, LONGEST = 5e-5, 1e-2


def quietly(request: MPI.Request) -> None:
    """Wait for what takes long somewhere: MPI's own waiting would keep a processor busy.

    While rank 0 of 64 on two cores works for 0.3 s, the others that poll, and give the processor away each time, make
    10 s of it.
    """
    pause = SHORTEST
    while not request.Test():
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)
