"""What a call of each coordinator costs beside one MPI all-reduce of the same vector, and a local step beside copying.

    mpiexec -n 2 python benchmarks/coordination.py [--transport window] [--spread 10] [D]...

Eight nodes of a ring; vectors differ between nodes by some ``spread`` steps of the grid, and from call to call. Medians
over the calls after the first five; bytes of all nodes, headers included, beside float64 gossip with Metropolis weights
until all nodes are within a step of the grid.
"""

import argparse
import statistics
import time

import numpy as np

from mpiqopt._coordination import Lockstep
from mpiqopt.coordination.wiring import wire
from mpiqopt.network import Network
from mpiqopt.placement import Placement
from mpiqopt.topologies.lattices import Ring
from mpiqopt.topologies.spectrum import Topology
from mpiqopt.transport.launch import session

NODES, STEP = 8, 1e-3
RING = Topology("ring", tuple(Ring(nodes=NODES).cycle()))
COORDINATORS = ("ftqc", "integer-push-sum", "tree", "allreduce")


def values(d: int, spread: float, rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    return base + spread * STEP * rng.standard_normal((NODES, d))


def call_cost(network: Network, name: str, mailboxes: bool, d: int, spread: float) -> tuple[float, float]:
    """Median seconds of a call, and bytes of all nodes."""
    place, rng = network.place, np.random.default_rng(0)
    base, previous, effort, seconds = rng.standard_normal(d), np.zeros(d), 0, []
    coordinator = network.coordinator(name, "floor", mailboxes)
    for call in range(45 if d < 10_000 else 15):
        rows = values(d, spread, rng, base)[place.first : place.last]
        network.settle()
        if call == 5:
            sent = network.counters()["bytes"]
        network.transport.maximum(np.zeros(1))  # all begin together
        begin = time.perf_counter()
        agreed = coordinator.coordinate(rows, previous, STEP, call, effort, np.zeros((len(rows), 1), np.int64))
        seconds.append(time.perf_counter() - begin)
        previous, effort = agreed.vector, agreed.effort
    network.settle()
    return statistics.median(seconds[5:]), (network.counters()["bytes"] - sent) / len(seconds[5:])


def gossip_bytes(d: int, spread: float) -> int:
    """Float64 gossip until all nodes are within STEP of the mean."""
    w, rng = RING.cycle[0].dense(), np.random.default_rng(0)
    x = values(min(d, 1000), spread, rng, np.zeros(min(d, 1000)))
    rounds, mean = 0, x.mean(axis=0)
    while np.abs(x - mean).max() > STEP:
        x, rounds = w @ x, rounds + 1
    return rounds * 2 * NODES * 8 * d


def local_step(d: int, spread: float) -> tuple[float, float]:
    """Seconds per value of a step of FTQC for each piece (split and pack, unpack and merge), and of copying it.

    Copied are the integers that a piece takes up: y and the piece at the sender, y and the piece at the receiver.
    """
    nodes = Lockstep(wire(RING, Placement(NODES), "ftqc"), "ftqc", d, 1)
    integers = np.rint(values(d, spread, np.random.default_rng(0), np.zeros(d)) / STEP).astype(np.int64)
    nodes.begin(0, integers)
    begin = time.perf_counter()
    for _ in range(60):
        nodes.step()
        nodes.deliver()
    step = (time.perf_counter() - begin) / nodes.pieces.sum() / d
    copy, copies = np.empty_like(integers), []
    for _ in range(20):
        begin = time.perf_counter()
        np.copyto(copy, integers)
        copies.append(time.perf_counter() - begin)
    return step, 4 * statistics.median(copies) / integers.size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transport", default="auto", choices=["auto", "window", "two-sided"])
    parser.add_argument("--spread", type=float, default=10.0)
    parser.add_argument("d", type=int, nargs="*")
    options = parser.parse_args()
    with session() as transport:
        show = print if transport.rank == 0 else lambda *_, **__: None
        show("| d | coordinator | lock-step ms | mailboxes ms | kB lock-step | kB mailboxes | of float64 gossip |")
        show("| --- | --- | --- | --- | --- | --- | --- |")
        for d in options.d or (1, 1000, 100_000):
            for name in COORDINATORS:
                place = Placement(NODES, transport.size, transport.rank)
                cells = []
                for mailboxes in (False, True):
                    network = Network(RING, place, transport, mailboxes=options.transport)
                    cells.append(call_cost(network, name, mailboxes, d, options.spread))
                    network.close()
                (lock, lock_bytes), (mail, mail_bytes) = cells
                share = lock_bytes / gossip_bytes(d, options.spread)
                show(
                    f"| {d} | {name} | {1e3 * lock:.3f} | {1e3 * mail:.3f} | {lock_bytes / 1e3:.1f} | "
                    f"{mail_bytes / 1e3:.1f} | {share:.2f} |",
                    flush=True,
                )
        for d in (1000, 100_000) if transport.rank == 0 else ():
            step, copy = local_step(d, options.spread)
            show(f"local step, d = {d}: {1e9 * step:.2f} ns a value, {step / copy:.2f} times copying its integers")


main()
