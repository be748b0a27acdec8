"""What a call of each coordinator costs, beside one MPI all-reduce of the same vector, in one run."""

import statistics
import sys
import time

import numpy as np

SPREAD = float(sys.argv.pop())

from mpiqopt.network import Network
from mpiqopt.placement import Placement
from mpiqopt.topologies.lattices import Ring
from mpiqopt.topologies.spectrum import Topology
from mpiqopt.transport.launch import session


def main() -> None:
    with session() as transport:
        nodes = 8
        graph = Ring(nodes=nodes)
        place = Placement(nodes, transport.size, transport.rank)
        network = Network(Topology("ring", tuple(graph.cycle())), place, transport, mailboxes=sys.argv[1])
        rng = np.random.default_rng(0)
        for d in map(int, sys.argv[2:]):
            base = rng.standard_normal(d)
            for mail in (False, True):
                for name in ("ftqc", "integer-push-sum", "tree", "allreduce"):
                    network._coordinators.clear()
                    c = network.coordinator(name, "floor", mail)
                    times, effort, previous = [], 0, np.zeros(d)
                    for call in range(40 if d < 10000 else 12):
                        rows = (base + SPREAD * rng.standard_normal((nodes, d)))[place.first : place.last]
                        transport.maximum(np.zeros(1))
                        t0 = time.perf_counter()
                        got = c.coordinate(rows, previous, 1e-3, call, effort, np.zeros((len(rows), 1), np.int64))
                        times.append(time.perf_counter() - t0)
                        previous, effort = got.vector, got.effort
                        c.coordination.settle()
                    b = network.counters()["bytes"] / len(times)
                    if transport.rank == 0:
                        e = getattr(c.coordination, "_nodes", None)
                        extra = (
                            f"steps {e.steps.tolist()} votes {e.votes}"
                            if mail and e is not None and hasattr(e, "votes")
                            else f"effort {effort}"
                        )
                        print(
                            f"{d:7} {name:18} {'mail' if mail else 'lock'} {1e3 * statistics.median(times[5:]):9.3f} ms  {b:10.0f} bytes {extra}",
                            flush=True,
                        )
                    network.settle()
                    c.coordination.close()


main()
