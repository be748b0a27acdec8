"""Speed against floors: a bare MPI loop, the products alone, an empty Python. Prints the tables of README.md.

usage: make bench   (or: python benchmarks/speed.py [loop] [hosted] [large] [start])

Every figure is the median of RUNS runs; what is compared runs in turn (A B A B ...), so that a machine whose speed
drifts treats both alike. Ratios are of medians.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
RUNS = 5
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def start(ranks: int, *words: object) -> str:
    """What a Python script prints, alone (0 ranks) or under mpiexec."""
    launcher = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)] if ranks else []
    command = [*launcher, sys.executable, *map(str, words)]
    return subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True, timeout=900).stdout


def bare(ranks: int, d: int, iterations: int) -> float:
    return float(start(ranks, HERE / "bare_gradient_tracking.py", 200, d, iterations))


def ours(ranks: int, nodes: int, d: int, iterations: int, samples: int = 200, **keys) -> dict[str, float]:
    values = {"topology.nodes": nodes, "data.samples": samples * nodes, "data.features": d, **keys}
    values["run.iterations"] = iterations
    changes = [f"{key}={value}" for key, value in values.items()]
    return json.loads(start(ranks, HERE / "timed_run.py", HERE / "gradient_tracking.toml", *changes))


def table(*rows: tuple) -> None:
    heading, *body = [[str(cell) for cell in row] for row in rows]
    print("| " + " | ".join(heading) + " |\n|" + " --- |" * len(heading))
    print("\n".join("| " + " | ".join(row) + " |" for row in body), "\n", flush=True)


def loop() -> None:
    """One node per rank on 2 ranks, against the bare loop."""
    rows = []
    for d, iterations in ((20, 20000), (1000, 4000)):
        pairs = [(ours(2, 2, d, iterations), bare(2, d, iterations)) for _ in range(RUNS)]
        floor = median(b for _, b in pairs)
        algorithm, whole = (median(a[key] for a, _ in pairs) for key in ("algorithm", "whole"))
        ratios = f"**{algorithm / floor:.2f}**", f"{whole / floor:.2f}"
        rows.append((d, f"{floor:.1f}", f"{algorithm:.1f}", ratios[0], f"{whole:.1f}", ratios[1]))
    table(("d", "bare loop, µs", "iteration, µs", "ratio", "with recording, µs", "ratio"), *rows)


def hosted() -> None:
    """Many nodes on 1 or 2 ranks, against the bare loop with a rank for each node on the same two cores."""
    rows = []
    for nodes in (8, 16):
        runs = [(bare(nodes, 20, 1000), ours(1, nodes, 20, 10000), ours(2, nodes, 20, 10000)) for _ in range(RUNS)]
        floor = median(run[0] for run in runs)
        one, two = (median(run[k]["algorithm"] for run in runs) for k in (1, 2))
        rows.append((nodes, f"{floor:.0f}", f"{one:.1f}", f"{floor / one:.1f}", f"{two:.1f}", f"{floor / two:.1f}"))
    table(("nodes", "bare, a rank each, µs", "1 rank, µs", "times faster", "2 ranks, µs", "times faster"), *rows)


def large() -> None:
    """Random 4-regular graphs of 10,000 to 100,000 nodes in one process, d = 100, 20 samples each."""
    rows = []
    graph = {"topology.name": "random-regular", "topology.degree": 4}
    for nodes in (10_000, 30_000, 100_000):
        pairs = [
            (ours(0, nodes, 100, 30, samples=20, **graph), float(start(0, HERE / "node_products.py", nodes, 20, 100)))
            for _ in range(RUNS)
        ]
        floor, iteration = median(b for _, b in pairs), median(a["algorithm"] for a, _ in pairs) / 1000
        memory = median(a["memory"] for a, _ in pairs)
        needed = nodes * 100 * 8 * (20 + 3) / 2**20  # features and the state x, y, gradient
        ratios = f"**{iteration / floor:.2f}**", f"**{memory / needed:.2f}**"
        rows.append((nodes, f"{floor:.1f}", f"{iteration:.1f}", ratios[0], f"{needed:.0f}", f"{memory:.0f}", ratios[1]))
    heading = ("products alone, ms", "iteration, ms", "ratio", "data + state, MB", "peak memory, MB", "ratio")
    table(("nodes", *heading), *rows)


def begin() -> None:
    """Wall time of whole commands on a small problem."""
    config = str(HERE / "gradient_tracking.toml")
    result = Path("/tmp") / f"mpiqopt-start-{os.getpid()}.h5"
    run = ["-m", "mpiqopt", "run", config, "--set", "run.iterations=1", "-q", "--overwrite", "-o", str(result)]
    commands = {
        "python -c pass": (0, ["-c", "pass"]),
        "run, one iteration": (0, run),
        "mpiexec -n 2 run, one iteration": (2, run),
        "check": (0, ["-m", "mpiqopt", "check", config]),
        "show": (0, ["-m", "mpiqopt", "show", str(result)]),
    }
    times = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, (ranks, words) in commands.items():
            begun = time.perf_counter()
            start(ranks, *words)
            times[name].append(time.perf_counter() - begun)
    result.unlink()
    table(("command", "seconds"), *((name, f"{median(seconds):.2f}") for name, seconds in times.items()))


PARTS = {"loop": loop, "hosted": hosted, "large": large, "start": begin}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"## {name}: {PARTS[name].__doc__}\n")
        PARTS[name]()
