"""Trains a window of a network under a limit of memory: python -m tools.limited_memory CONFIG BYTES FIRST LAST.

The limit is that of ``ulimit -d``: what the process has when the network is loaded, and so many bytes more; 0 for none.
Prints how many bytes some steps took at most; what goes wrong is said as the command line says it, with status 2.
"""

import resource
import sys

import numpy as np

from mpiqopt.config.parse import load
from mpiqopt.errors import error_line, out_of_memory_error_line
from mpiqopt.federation.step_meter import StepMeter
from mpiqopt.memory import process_bytes, trim_memory
from mpiqopt.neural.partial import Frozen, Partial, Window
from mpiqopt.neural.warm_up import warm_up
from mpiqopt.problems.local_optimizers import LocalOptimizer
from mpiqopt.run.assembly import assemble
from mpiqopt.transport.serial import SerialTransport


def main(path: str, limit: int, window: Window) -> None:
    """Train a window, or the whole network if it has all blocks."""
    problem = assemble(load(path, ()), SerialTransport()).problem
    warm_up(threads=1)
    meter = StepMeter(problem, problem.start(0).astype(np.float32), LocalOptimizer("sgd", 1e-3), batch=0)
    blocks = problem.blocks()
    partial = Partial(window, Frozen(), np.ones(blocks[-1].scales.stop, np.float32))
    if limit:
        trim_memory()
        most = int(process_bytes("VmData")) + limit
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    print(meter.measure(None if window == (0, len(blocks) - 1) else partial, repeats=1).memory)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), Window(int(sys.argv[3]), int(sys.argv[4])))
    except (RuntimeError, MemoryError) as error:
        line = out_of_memory_error_line(error)
        if not line:
            raise
        print(error_line(line), file=sys.stderr)
        sys.exit(2)
