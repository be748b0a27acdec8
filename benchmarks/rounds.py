"""What a call of the coordinators costs, beside what ``mpiqopt check`` predicts. Prints the table of README.md.

usage: python benchmarks/rounds.py

Lock-step in one process; values differ between nodes by ``spread`` steps of the grid, and from the last result by as
much; means of the calls after the first.
"""

import time

import numpy as np

from mpiqopt.analysis.rounds import measure_network, predict_round
from mpiqopt.coordination.lockstep import LockstepCoordination
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.serial import SerialFrames

CALLS = 4
GRAPHS = (
    ("complete", 4, {}),
    ("ring", 8, {}),
    ("ring", 64, {}),
    ("ring", 200, {}),
    ("path", 64, {}),
    ("grid", 25, {}),
    ("grid", 400, {}),
    ("erdos-renyi", 50, {}),
    ("erdos-renyi", 1000, {}),
    ("hypercube", 64, {}),
    ("star", 30, {}),
    ("directed-ring", 16, {}),
    ("random-digraph", 100, {"probability": 0.05}),
)
VALUES = ((1, 10), (10, 1000), (100, 10), (100, 10**6), (1000, 1000))
# values in a call, and of a slow graph
MOST, MOST_SLOW = 64_000, 3000


def calls(topology: Topology, protocol: str, d: int, spread: int) -> tuple[float, float]:
    """Mean bytes and seconds of a call."""
    place = Placement(topology.nodes)
    coordination = LockstepCoordination(LocalProtocol.of(protocol, topology, place), SerialFrames())
    rng, effort, bytes, seconds = np.random.default_rng(0), 0, [], []
    centre = rng.integers(-spread, spread + 1, d)
    for call in range(CALLS):
        rows = centre + np.rint(spread * (rng.random((topology.nodes, d)) - 0.5)).astype(np.int64)
        before, began = coordination.bytes, time.process_time()
        effort = coordination.agree(rows, call, effort).effort
        seconds.append(time.process_time() - began)
        bytes.append(coordination.bytes - before)
    return float(np.mean(bytes[1:])), float(np.mean(seconds[1:]))


def size(bytes: float) -> str:
    return f"{bytes / 1e3:.3g}" if bytes < 1e6 else f"{bytes / 1e3:.0f}"


def main() -> None:
    print(
        "| graph | coordinator | d | spread | kB | predicted | ratio | ms | predicted | ratio |\n" + "| --- " * 10 + "|"
    )
    ratios: dict[str, list[tuple[float, float]]] = {}
    for name, nodes, keys in GRAPHS:
        topology = Topology(name, tuple(find_member("topology", name)(nodes=nodes, **keys).cycle()))
        network = measure_network(topology)
        for protocol in ("ftqc", "integer-push-sum", "tree", "collect"):
            for d, spread in VALUES:
                slow = protocol == "ftqc" and network.forgetting > 100
                if nodes * d > (MOST_SLOW if slow else MOST):
                    continue
                bytes, seconds = calls(topology, protocol, d, spread)
                said = predict_round(find_member("coordinator", protocol)(), network, d, spread)
                ratio = said.bytes / bytes, said.seconds / seconds
                ratios.setdefault(protocol, []).append(ratio)
                print(
                    f"| {name} {nodes} | `{protocol}` | {d} | {spread} | {size(bytes)} | {size(said.bytes)} | "
                    f"{ratio[0]:.2f} | {1e3 * seconds:.3g} | {1e3 * said.seconds:.3g} | {ratio[1]:.2f} |",
                    flush=True,
                )
    for protocol, pairs in ratios.items():
        for what, column in zip(("bytes", "seconds"), np.array(pairs).T, strict=True):
            low, middle, high = np.quantile(column, (0.1, 0.5, 0.9))
            print(f"{protocol}, {what}: predicted/measured {middle:.2f}, of 8 in 10 between {low:.2f} and {high:.2f}")


main()
