"""How fast each rank can send to rank 0, as measured."""

import time

import numpy as np

from mpiqopt.transport.transport import Transport

# of a message, and how many of them are timed
NBYTES, REPEATS = 1 << 20, 3


def measured_bandwidth(transport: Transport) -> float:
    """Return the bytes a second of this rank's messages to rank 0, the median of some; infinite on rank 0; collective.

    Ranks send one after the other, so that they do not slow each other down.
    """
    seconds = []
    for rank in range(1, transport.size):
        own = np.zeros((int(rank == transport.rank), NBYTES), np.uint8)
        counts = [int(each == rank) for each in range(transport.size)]
        for _ in range(REPEATS):
            transport.total(np.zeros(1))  # all ranks are here
            began = time.perf_counter()
            transport.gather(own, counts)
            transport.total(np.zeros(1))
            if rank == transport.rank:
                seconds.append(time.perf_counter() - began)
    return NBYTES / float(np.median(seconds)) if seconds else np.inf
