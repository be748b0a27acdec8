"""What of ProxGT's theory can be measured: figure claims.png and the tables of README.md.

usage: python benchmarks/claims.py   (under a minute)

Sparse non-convex softmax regression on 1024 handwritten digits, ProxGT-SR-E with the batch and epoch lengths of the
theory (b = sqrt(m/n), q = sqrt(nm)), the same step in all runs, until stationarity <= EPS:

* gradient samples of a node against the topology at n = 16,
* gradient samples of a node against n at constant total data,
* gossip rounds against lambda on rings of 8 to 64 nodes, with and without Chebyshev acceleration.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mpiqopt.config.parse import parse
from mpiqopt.results.reader import read_result
from mpiqopt.run.loop import run
from mpiqopt.run.start import Options
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.serial import SerialTransport

EPS = 1e-4
TEXT = f"""
run = {{iterations = 20000, tolerance = {EPS}, tolerance_on = "mean", seed = 1}}
# 773 samples are held out, which leaves 1024 = 2^10: b and q are whole numbers
data = {{name = "digits", split = "iid", scale = "standard", test_fraction = 0.4302}}
problem = {{name = "softmax", nonconvex = 1e-2}}
regularizer = {{name = "l1", weight = 5e-3}}
topology = {{name = "%s", nodes = %d}}
algorithm = {{name = "proxgt-sr-e", step_size = 0.1, chebyshev = %s}}
record.every = 1
"""


def solve(topology: str, nodes: int, chebyshev: bool = True) -> tuple[float, int, Topology]:
    """Samples of a node and gossip rounds until stationarity <= EPS, and the network."""
    config = parse(TEXT % (topology, nodes, str(chebyshev).lower()), "claims")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        outcome = run(config, Options(path, quiet=True), SerialTransport())
        columns = read_result(path).columns
    assert outcome.reason.startswith("tolerance"), outcome
    return float(columns["samples"][-1]), int(columns["rounds"][-1]), config.topology()


def slope(x: list[float], y: list[float]) -> float:
    """Exponent of the power law through the points."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def by_topology(axis) -> None:
    names = ("ring", "grid", "exponential", "complete")
    results = [solve(name, 16) for name in names]
    samples = [result[0] for result in results]
    axis.bar(names, samples)
    axis.set(title="n = 16: the topology does not matter", ylabel="samples per node")
    print("| topology, n = 16 | lambda | samples per node | gossip rounds |\n| --- | --- | --- | --- |")
    for name, (count, rounds, network) in zip(names, results, strict=True):
        print(f"| {name} | {network.contraction:.3f} | {count:.0f} | {rounds} |")
    print(f"\nlargest / smallest number of samples: {max(samples) / min(samples):.3f}\n")


def by_nodes(axis) -> None:
    sizes = [2, 4, 8, 16]
    samples = [solve("exponential", n)[0] for n in sizes]
    axis.loglog(sizes, samples, "o-", label=f"measured, exponent {slope(sizes, samples):.2f}")
    axis.loglog(sizes, [samples[0] * sizes[0] / n for n in sizes], "k:", label="1/n")
    axis.set(title="constant total data: samples fall as 1/n", xlabel="nodes n", ylabel="samples per node")
    axis.set_xticks(sizes, sizes)
    axis.set_xticks([], minor=True)
    axis.legend()
    print("| nodes | samples per node | times n |\n| --- | --- | --- |")
    for n, count in zip(sizes, samples, strict=True):
        print(f"| {n} | {count:.0f} | {count * n:.0f} |")
    print(f"\nexponent: {slope(sizes, samples):.3f} (theory: -1)\n")


def by_gap(axis) -> None:
    sizes = [8, 16, 32, 64]
    print("| ring of | 1/(1 - lambda) | rounds, Chebyshev | rounds, plain |\n| --- | --- | --- | --- |")
    runs = [(solve("ring", n), solve("ring", n, chebyshev=False)) for n in sizes]
    gaps = [1 / (1 - accelerated[2].contraction) for accelerated, _ in runs]
    fast, plain = ([pair[k][1] for pair in runs] for k in (0, 1))
    for row in zip(sizes, gaps, fast, plain, strict=True):
        print("| {} | {:.1f} | {} | {} |".format(*row))
    print(f"\nexponents in 1/(1 - lambda): Chebyshev {slope(gaps, fast):.3f} (theory: 0.5), ", end="")
    print(f"plain {slope(gaps, plain):.3f} (theory: 1)")
    axis.loglog(gaps, plain, "s-", label=f"plain, exponent {slope(gaps, plain):.2f}")
    axis.loglog(gaps, fast, "o-", label=f"Chebyshev, exponent {slope(gaps, fast):.2f}")
    axis.set(title="rings of 8 to 64 nodes", xlabel="1/(1 − λ)", ylabel="gossip rounds")
    axis.legend()


if __name__ == "__main__":
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    for draw, axis in zip((by_topology, by_nodes, by_gap), figure.subplots(1, 3), strict=True):
        draw(axis)
        axis.grid(True, alpha=0.3)
    figure.suptitle(f"ProxGT-SR-E on digits, until stationarity ≤ {EPS:g}")
    figure.savefig(Path(__file__).with_name("claims.png"), dpi=110)
