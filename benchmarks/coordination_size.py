"""What `collect` takes on large networks, and how that grows. Prints the table and the laws of README.md.

    [mpiexec -n 16] python benchmarks/coordination_size.py [--width 20] [--calls 15] [--graphs ring grid] [N]...

Lock-step, several nodes a rank. After the call in which the tree is found, calls of `collect` and of `allreduce` (the
sum of the hosted rows and one MPI_Allreduce) take turns with the same integers: the quickest call of each, at its
slowest rank; seconds of the processor on one rank, which a busy machine changes less. A step is one in which no node
has anything to do. "times": seconds of a call less those of its steps, in times of `allreduce`. Memory is the peak of
the largest rank until then, Python and libraries included.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mpiqopt.coordination.allreduce import AllreduceCoordination
from mpiqopt.coordination.lockstep import LockstepCoordination
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.connectivity import hops_from_and_to_0
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.launch import mpi_session

SIZES = (64, 256, 1024, 4096, 10_000)
# mean degree of the digraph
DEGREE = 10
GRAPHS = ("ring", "grid", "exponential", "random-digraph")
IDLE_STEPS = 50
# integers are those of innovations: small
SPREAD = 3


class Row(NamedTuple):
    """One network: d, n, arcs, D, links of the longest way to or from
    node 0, steps of a call; bytes and s of the search; bytes and s of a call; the others, s."""

    width: int
    nodes: int
    arcs: int
    diameter: int
    reach: int
    steps: int
    found_bytes: int
    found: float
    call_bytes: float
    call: float
    reduced: float
    step: float

    @property
    def times(self) -> float:
        return (self.call - self.steps * self.step) / self.reduced


def network(name: str, nodes: int) -> Topology:
    options = {"probability": DEGREE / nodes} if name == "random-digraph" else {}
    return Topology(name, tuple(find_member("topology", name)(nodes=nodes, **options).cycle()))


def slowest(transport, act: Callable[[], object]) -> float:
    """Seconds of the slowest rank; all begin together."""
    clock = time.process_time if transport.size == 1 else time.perf_counter
    transport.maximum(np.zeros(1))
    begin = clock()
    act()
    return float(transport.maximum(np.array([clock() - begin]))[0])


def measured(transport, topology: Topology, width: int, calls: int) -> Row:
    place = Placement(topology.nodes, transport.size, transport.rank)
    local = LocalProtocol.of("collect", topology, place)
    exchange = transport.frame_exchange(local.wiring.ranks)
    found = LockstepCoordination(local, exchange)
    reduce = AllreduceCoordination(place.nodes, place.ranks, place.rank == 0, transport, lambda *sizes: None)
    values = np.random.default_rng(place.rank).integers(-SPREAD, SPREAD + 1, (place.hosted, width))
    hats = np.zeros((2, *values.shape))
    seconds, results = ([], []), []

    def call(which: int, coordination, number: int) -> None:
        results.append(coordination.settle(values, hats[which], 1.0, number, 0).mean)

    first = slowest(transport, lambda: call(0, found, 0))
    sent = [found.bytes]
    for number in range(1, calls + 1):
        seconds[0].append(slowest(transport, lambda number=number: call(0, found, number)))
        sent.append(found.bytes)
        seconds[1].append(slowest(transport, lambda number=number: call(1, reduce, number)))
        assert np.array_equal(results[-1], results[-2])
    nodes = found._delivery

    def idle() -> None:
        for _ in range(IDLE_STEPS):
            nodes.step()
            exchange.exchange(nodes)

    step = min(slowest(transport, idle) for _ in range(5)) / IDLE_STEPS
    own = np.array([int(found.found_bytes.sum()), sent[-1] - sent[0]])
    found_bytes, call_bytes = transport.total(own).tolist()
    exchange.close()
    once, reduced = map(min, seconds)
    arcs, diameter = len(topology.arcs()), topology.diameter
    reach = int(np.max(hops_from_and_to_0(place.nodes, topology.arcs())))
    sizes = (width, place.nodes, arcs, diameter, reach, local.steps)
    return Row(*sizes, found_bytes, first - once, call_bytes / calls, once, reduced, step)


def law(rows: list[Row]) -> list[str]:
    """Fit what a call and the search take, by least squares of relative errors."""
    work = [row.call - row.steps * row.step for row in rows]
    frames = np.array([2 * (row.nodes - 1) for row in rows])
    per_frame = fitted([frames], work)
    size = fitted([frames], [row.call_bytes for row in rows])
    told = fitted([[row.arcs * row.reach for row in rows]], [row.found_bytes for row in rows])
    return [
        f"a call: 2 (n - 1) frames, {size[0]:.1f} bytes each, {1e9 * per_frame[0]:.0f} ns beyond the steps",
        f"the search: {told[0]:.1f} bytes an arc and link to or from node 0 of the node farthest from it",
    ]


def fitted(columns: list, values: list) -> np.ndarray:
    matrix = np.array(columns, float).T / np.array(values)[:, None]
    return np.linalg.lstsq(matrix, np.ones(len(values)), rcond=None)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--calls", type=int, default=15)
    parser.add_argument("--graphs", nargs="+", default=GRAPHS, choices=GRAPHS)
    parser.add_argument("nodes", type=int, nargs="*")
    options = parser.parse_args()
    with mpi_session() as transport:
        show = print if transport.rank == 0 else lambda *_, **__: None
        head = "graph|n|arcs|D|search, kB|search, s|steps|kB|ms|`allreduce`, ms|a step, µs|times|memory, MB"
        show(f"| {head.replace('|', ' | ')} |\n{'| --- ' * 13}|")
        rows = []
        for name in options.graphs:
            of_graph = []
            for nodes in options.nodes or SIZES:
                row = measured(transport, network(name, nodes), options.width, options.calls)
                of_graph.append(row)
                peak = transport.maximum(np.array([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))[0]
                show(
                    f"| {name} | {row.nodes} | {row.arcs} | {row.diameter} | {row.found_bytes / 1e3:.4g} | "
                    f"{row.found:.3g} | {row.steps} | {row.call_bytes / 1e3:.4g} | {1e3 * row.call:.3g} | "
                    f"{1e3 * row.reduced:.3g} | {1e6 * row.step:.2g} | {row.times:.2f} | {peak:.0f} |",
                    flush=True,
                )
            rows += of_graph
            for words in law(of_graph):
                show(f"{name}: {words}")
        for words in law(rows):
            show(words)


main()
