"""Run a config on the ranks that it is started on, and print what it took, as JSON.

usage: [mpiexec -n N] python timed_run.py CONFIG [TABLE.KEY=VALUE]...
algorithm, whole: microseconds per iteration without and with recording (start-up excluded); memory: peak megabytes of
rank 0 above Python and its libraries (those that a large random graph needs included).
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import networkx  # noqa: F401 (imported for its size)
import scipy.sparse.csgraph  # noqa: F401

from mpiqopt.config.parse import load
from mpiqopt.run import loop as running
from mpiqopt.run.allocator import keep_freed_memory
from mpiqopt.run.start import Options
from mpiqopt.run.trajectory import Trajectory
from mpiqopt.transport import launch


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


keep_freed_memory()
imports = peak_megabytes()
times = {}
follow = Trajectory.follow


def timed(self, control):
    begun = time.perf_counter()
    outcome = follow(self, control)
    times["whole"] = 1e6 * (time.perf_counter() - begun) / outcome.iteration
    times["algorithm"] = 1e6 * self.position.elapsed / outcome.iteration
    return outcome


Trajectory.follow = timed
with launch.mpi_session() as transport, tempfile.TemporaryDirectory() as folder:
    config = load(sys.argv[1], tuple(sys.argv[2:]))
    running.run(config, Options(Path(folder) / "a.h5", quiet=True), transport)
    if transport.rank == 0:
        print(json.dumps({**times, "memory": peak_megabytes() - imports}))
