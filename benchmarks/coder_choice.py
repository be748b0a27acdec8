"""Seconds of a call of ``collect`` by mailboxes with each coder, and with that which measurements favour.

    mpiexec -n 2 python benchmarks/coder_choice.py [--bandwidth BYTES_PER_SECOND] [--calls 60] [D]...

Two nodes, a rank each. Integers are like innovations, small but for some: of a Laplace distribution, whose scale is
half a step of the grid, and 25 steps for 1 % of them. Medians over the last third of the calls, and bytes of both nodes
in a call.
"""

import argparse
import statistics
import time

import numpy as np

from mpiqopt.coordination.protocol import CODERS
from mpiqopt.emulation.settings import Emulate
from mpiqopt.network.network import Network
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.launch import mpi_session
from mpiqopt.transport.transport import Transport

STEP, SMALL, LARGE, FEW = 2.0**-10, 0.5, 25.0, 0.01
PAIR = Topology("path", tuple(find_member("topology", "path")(nodes=2).cycle()))


def drawn(d: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the rows of both nodes (2, d)."""
    return STEP * np.where(rng.random((2, d)) < FEW, LARGE, SMALL) * rng.laplace(size=(2, d))


def cost(transport: Transport, coder: str, d: int, calls: int, bandwidth: float | None) -> tuple[float, float]:
    """Return median seconds of a call, and its bytes."""
    place = Placement(2, transport.size, transport.rank)
    network = Network(PAIR, place, transport, emulate=Emulate(bandwidth=bandwidth))
    coordinator, rng = network.coordination.coordinator("collect", "nearest", True, coder), np.random.default_rng(0)
    previous, seconds, last = np.zeros(d), [], calls - calls // 3
    for call in range(calls):
        rows = drawn(d, rng)[place.first : place.last]
        network.drain()
        if call == last:
            sent = network.counters()["bytes"]
        transport.maximum(np.zeros(1))  # all begin together
        begin = time.perf_counter()
        coordinator.coordinate(rows, previous, STEP, call, 0, np.zeros((len(rows), 0), np.int64))
        seconds.append(time.perf_counter() - begin)
    network.drain()
    bytes = (network.counters()["bytes"] - sent) / (calls - last)
    network.close()
    return float(transport.maximum(np.array([statistics.median(seconds[last:])]))[0]), bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bandwidth", type=float)
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("d", type=int, nargs="*")
    options = parser.parse_args()
    with mpi_session() as transport:
        for d in options.d or [640, 10_000, 100_000]:
            cells = []
            for coder in CODERS:
                seconds, sent = cost(transport, coder, d, options.calls, options.bandwidth)
                cells.append(f"{1e3 * seconds:.3f} ms, {1e-3 * sent:.1f} kB")
            if transport.rank == 0:
                print(f"| {d} | {' | '.join(cells)} |", flush=True)


main()
