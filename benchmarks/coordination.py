"""What a call of each coordinator costs beside one MPI all-reduce of the same vector, and a step beside copying.

    mpiexec -n 2 python benchmarks/coordination.py [--transport window] [--spread 1000] [D]...
    python benchmarks/coordination.py --steps [--spread 1000] [D]...
    python benchmarks/coordination.py --momentum [--spread 1000]

Eight nodes of a ring; vectors differ between nodes by some ``spread`` steps of the grid, and from call to call. Medians
over the calls after the first five; bytes of all nodes, headers included, beside float64 gossip with Metropolis weights
until all nodes are within a step of the grid. --steps: what a node computes in one (split or share, pack, unpack what
others sent, merge), in one process, beside copying the integers that it reads and writes, of 32 bits if they are
stored so. --momentum: steps of integer push-sum until all nodes agree on 100 values, to 1 %, with and without.
"""

import argparse
import statistics
import time

import numpy as np

from mpiqopt._coordination import Lockstep
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.network.network import Network
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.lattices import Ring
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.launch import mpi_session

NODES, STEP = 8, 1e-3
RING = Topology("ring", tuple(Ring(nodes=NODES).cycle()))
COORDINATORS = ("ftqc", "integer-push-sum", "tree", "collect", "allreduce")


def values(d: int, spread: float, rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    return base + spread * STEP * rng.standard_normal((NODES, d))


def call_cost(network: Network, name: str, mailboxes: bool, d: int, spread: float) -> tuple[float, float]:
    """Median seconds of a call, and bytes of all nodes."""
    place, rng = network.place, np.random.default_rng(0)
    base, previous, effort, seconds = rng.standard_normal(d), np.zeros(d), 0, []
    coordinator = network.coordination.coordinator(name, "floor", mailboxes)
    for call in range(45 if d < 10_000 else 15):
        rows = values(d, spread, rng, base)[place.first : place.last]
        network.drain()
        if call == 5:
            sent = network.counters()["bytes"]
        network.transport.maximum(np.zeros(1))  # all begin together
        begin = time.perf_counter()
        agreed = coordinator.coordinate(rows, previous, STEP, call, effort, np.zeros((len(rows), 0), np.int64))
        seconds.append(time.perf_counter() - begin)
        previous, effort = agreed.vector, agreed.effort
    network.drain()
    return statistics.median(seconds[5:]), (network.counters()["bytes"] - sent) / len(seconds[5:])


def gossip_bytes(d: int, spread: float) -> int:
    """Float64 gossip until all nodes are within STEP of the mean."""
    w, rng = RING.cycle[0].dense(), np.random.default_rng(0)
    x = values(min(d, 1000), spread, rng, np.zeros(min(d, 1000)))
    rounds, mean = 0, x.mean(axis=0)
    while np.abs(x - mean).max() > STEP:
        x, rounds = w @ x, rounds + 1
    return rounds * 2 * NODES * 8 * d


def step_cost(protocol: str, d: int, spread: float) -> tuple[float, float]:
    """Median seconds of a step of one node, and the same in times of copying its integers.

    FTQC: for each piece y and the piece at the sender, y and the piece at the receiver. Push-sum: y and what was given
    at the sender, y and the piece for each neighbour at the receiver.
    """
    local = LocalProtocol.of(protocol, RING, Placement(NODES), 1)
    nodes = Lockstep(local.wiring, local.rules(d))
    integers = np.rint(values(d, spread, np.random.default_rng(0), np.zeros(d)) / STEP).astype(np.int64)
    seconds, moved = [], []
    for call in range(3):
        nodes.begin(call, integers)
        for _ in range(20):
            before, begin = nodes.pieces.sum(), time.perf_counter()
            nodes.step()
            nodes.deliver()
            seconds.append((time.perf_counter() - begin) / NODES)
            moved.append((nodes.pieces.sum() - before) / NODES)
    stored = integers.astype(np.int32 if nodes.narrow else np.int64)
    copy, copies = np.empty_like(stored), []
    for _ in range(60):
        begin = time.perf_counter()
        np.copyto(copy, stored)
        copies.append((time.perf_counter() - begin) / NODES)
    passes = np.array([4 * pieces if protocol == "ftqc" else 2 + 2 * pieces for pieces in moved])
    return statistics.median(seconds), float(np.median(seconds / (passes * statistics.median(copies))))


def kilobytes(size: float) -> str:
    return f"{size / 1e3:.4g}" if size < 1e6 else f"{size / 1e3:.0f}"


def calls(transport, sizes: list[int], spread: float, kind: str) -> None:
    show = print if transport.rank == 0 else lambda *_, **__: None
    head = "d|coordinator|lock-step, ms|mailboxes, ms|times MPI_Allreduce|kB|of float64 gossip|kB by mailboxes"
    show(f"| {head.replace('|', ' | ')} |\n{'| --- ' * 8}|")
    for d in sizes:
        place, lines = Placement(NODES, transport.size, transport.rank), []
        for name in COORDINATORS:
            cells = []
            for mailboxes in (False, True):
                network = Network(RING, place, transport, mail_transport=kind)
                cells.append(call_cost(network, name, mailboxes, d, spread))
                network.close()
            lines.append((name, *cells))
        reduced, gossip = lines[-1][1][0], gossip_bytes(d, spread)
        for name, (lock, lock_bytes), (mail, mail_bytes) in lines:
            show(
                f"| {d} | `{name}` | {1e3 * lock:.3g} | {1e3 * mail:.3g} | {lock / reduced:.3g} | "
                f"{kilobytes(lock_bytes)} | {lock_bytes / gossip:.2f} | {kilobytes(mail_bytes)} |",
                flush=True,
            )


def steps(sizes: list[int], spread: float) -> None:
    print(f"| d | coordinator | step of a node, µs | times copying |\n{'| --- ' * 4}|")
    for d in sizes:
        for name in COORDINATORS[:2]:
            seconds, copies = step_cost(name, d, spread)
            print(f"| {d} | `{name}` | {1e6 * seconds:.3g} | {copies:.2f} |")


def steps_to_agree(local: LocalProtocol, integers: np.ndarray) -> int:
    """To 1 %: votes are so far apart."""
    nodes, taken = Lockstep(local.wiring, local.rules(integers.shape[1])), 0
    nodes.begin(0, integers)
    while True:
        for _ in range(1 + taken // 100):
            nodes.step()
            nodes.deliver()
            taken += 1
        nodes.look_around()
        for _ in range(local.wiring.diameter):
            nodes.flood()
            nodes.deliver()
        if nodes.agreed:
            return taken


def momentum(spread: float) -> None:
    print(f"| graph | steps | without momentum |\n{'| --- ' * 3}|")
    for name, nodes in (("ring", 8), ("ring", 50), ("path", 50), ("grid", 25), ("erdos-renyi", 30)):
        graph = Topology(name, tuple(find_member("topology", name)(nodes=nodes).cycle()))
        local = LocalProtocol.of("integer-push-sum", graph, Placement(nodes))
        without = local._replace(overlay=local.overlay._replace(momentum=0.0))
        integers = np.rint(spread * np.random.default_rng(0).standard_normal((nodes, 100))).astype(np.int64)
        counts = [steps_to_agree(each, integers) for each in (local, without)]
        print(f"| {name} of {nodes} | {counts[0]} | {counts[1]} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transport", default="auto", choices=["auto", "window", "two-sided"])
    parser.add_argument("--spread", type=float, default=1000.0)
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--momentum", action="store_true")
    parser.add_argument("d", type=int, nargs="*")
    options = parser.parse_args()
    sizes = options.d or [1, 1000, 100_000]
    with mpi_session() as transport:
        if options.steps:
            steps(sizes, options.spread)
        elif options.momentum:
            momentum(options.spread)
        else:
            calls(transport, sizes, options.spread, options.transport)


main()
