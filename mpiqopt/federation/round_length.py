"""How long a round is, and what each rank can do in it, from what ranks measure of themselves.

Not reproducible: measurements differ from run to run.
"""

import time

import numpy as np

from mpiqopt.emulation.devices import Limits
from mpiqopt.federation.profiles import Profile
from mpiqopt.transport.transport import Transport

# bytes that are sent to find a bandwidth
PROBE = 1 << 20


def agree_round_seconds(profile: Profile, transport: Transport) -> float:
    """Return how long a step may take in a round, collective: the same on every rank.

        max(full training of the fastest rank, quickest window of the slowest rank)

    so that the fastest trains the whole network, and every rank at least one window. profile : measured by this rank.
    Source: ours, after Pfeiffer et al., "CoCoFL", TMLR 2023, where a deadline is given.
    """
    full = profile.full.seconds
    assert full is not None  # measured
    quickest = full * min(cost.time for cost in profile.costs)
    fastest, slowest = transport.maximum(np.array([-full, quickest]))
    return float(max(-fastest, slowest))


def measure_bandwidth(transport: Transport) -> float:
    """Return the bytes in a second that this rank sends to rank 0, collective; infinite on rank 0.

    One rank after the other sends PROBE bytes, and waits until they have arrived.
    """
    found = np.inf
    for sender in range(1, transport.size):
        mine = sender == transport.rank
        probe = np.zeros((int(mine), PROBE), np.uint8)
        transport.maximum(np.zeros(1))
        began = time.perf_counter()
        transport.gather(probe, [int(rank == sender) for rank in range(transport.size)])
        transport.maximum(np.zeros(1))
        if mine:
            found = PROBE / max(time.perf_counter() - began, 1e-9)
    return found


def measured_limits(profile: Profile, step_seconds: float, steps: int, bandwidth: float, memory: float) -> Limits:
    """Return what this rank can do in a round, as parts of what training the whole network takes.

    Parameters
    ----------
    profile : measured by this rank
    step_seconds : that a step may take, of ``agree_round_seconds``
    steps : of a client in a round, which has as long again to upload
    bandwidth : bytes a second to rank 0
    memory : the limit of its device
    """
    assert profile.full.seconds is not None  # measured
    upload = bandwidth * step_seconds * steps / profile.full.upload
    return Limits(min(1.0, step_seconds / profile.full.seconds), memory, min(1.0, upload))
