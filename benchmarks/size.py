"""Large networks and long runs: seconds, memory and bytes. Prints the tables of README.md.

usage: python benchmarks/size.py [records] [nodes] [memory]

Every figure is of a whole command in a process of its own, memory its peak; where its set-up is meant, ``run`` has 0
iterations.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).parent
CONFIG = str(HERE / "gradient_tracking.toml")
NODES = 100_000
GRAPHS = (
    {"name": "ring"},
    {"name": "torus"},
    {"name": "star"},
    {"name": "hypercube", "nodes": 2**17},
    {"name": "exponential"},
    {"name": "erdos-renyi"},
    {"name": "random-regular"},
    {"name": "geometric"},
    {"name": "random-digraph", "probability": 1e-4},
    {"name": "file"},
)
SCALES = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


# s of the processor that a command may take
PATIENCE = 60


class Cost(NamedTuple):
    """seconds: of the processor, which a busy machine changes less than those of the clock."""

    seconds: float
    megabytes: float
    text: str


def cost(*words: object) -> Cost:
    """What a command of mpiqopt takes."""
    return child("-m", "mpiqopt", *words)


def child(*words: object) -> Cost:
    """What a Python process takes; infinite if it is not there in time."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE + 5)),
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if process.returncode == -signal.SIGXCPU:
        return Cost(float("inf"), usage.ru_maxrss * 1024 / 1e6, "")
    if process.returncode:
        raise RuntimeError(f"{words}: {text}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, text)


def changes(**keys: object) -> list[str]:
    """--set words; topology__nodes = 5 is topology.nodes = 5."""
    return [
        word for name, value in keys.items() for word in ("--set", f"{name.replace('__', '.')}={json.dumps(value)}")
    ]


def predicted(text: str) -> float:
    """Return the MB that ``check`` predicts for a rank."""
    if not text:
        return float("nan")
    value, unit = re.search(r"# memory per rank +(?:about )?([\d.e+]+) (\w+)", text).groups()
    more = re.search(r"# memory per rank.* and about (\d+) MB", text)
    return float(value) * SCALES[unit] + (float(more.group(1)) if more else 0.0)


def line(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def heading(*cells: str) -> None:
    line(*cells)
    print("|" + " --- |" * len(cells), flush=True)


def network(graph: dict, folder: str, **keys: object) -> list[str]:
    """--set words for a graph of ``NODES`` nodes with two samples each."""
    graph = {"nodes": NODES, **graph}
    if graph["name"] == "file":
        graph["path"] = str(Path(folder) / "g.edges")
        ends = np.random.default_rng(0).integers(0, NODES, (3 * NODES, 2))
        ring = np.stack([np.arange(NODES), np.roll(np.arange(NODES), -1)], axis=1)
        np.savetxt(graph["path"], np.concatenate([ring, ends]), "%d")
    keys = {"data__samples": 2 * graph["nodes"], "run__iterations": 0, **keys}
    return changes(**{f"topology__{key}": value for key, value in graph.items()}, **keys)


def nodes() -> None:
    """Networks of 100,000 nodes (hypercube: 2^17), two samples and 20 features each, gradient tracking."""
    heading("topology", "run's set-up, s", "check, s", "run, MB", "check, MB", "check predicts, MB")
    with tempfile.TemporaryDirectory() as folder:
        for graph in GRAPHS:
            directed = {"algorithm__name": "push-sum"} if "digraph" in graph["name"] else {}
            words = network(graph, folder, **directed)
            run = cost("run", CONFIG, *words, "-q", "--overwrite", "-o", f"{folder}/a.h5")
            check = cost("check", CONFIG, *words)
            seconds = (f"{value:.2f}" for value in (run.seconds, check.seconds))
            line(
                graph["name"],
                *seconds,
                *(f"{mb:.0f}" for mb in (run.megabytes, check.megabytes, predicted(check.text))),
            )


# what is changed in CONFIG
RUNS = (
    {},
    {"topology__nodes": 900, "data__samples": 1800, "algorithm__name": "dgd"},
    {"topology__nodes": 20_000, "data__samples": 40_000},
    {"topology__nodes": 20_000, "data__samples": 40_000, "run__dtype": "float32"},
    {"topology__nodes": 20_000, "data__samples": 40_000, "data__features": 200},
    {"topology__nodes": 20_000, "data__samples": 40_000, "data__features": 200, "run__dtype": "float32"},
    {"topology__nodes": 20_000, "data__samples": 40_000, "data__features": 200, "algorithm__name": "lead"},
    {"topology__nodes": 20_000, "data__samples": 40_000, "topology__name": "random-regular", "topology__degree": 40},
    {"topology__nodes": 2000, "data__samples": 4000, "topology__name": "complete"},
    {"topology__nodes": 100, "data__samples": 200_000, "data__features": 50, "algorithm__name": "nids"},
    {"topology__nodes": 4096, "data__samples": 8192, "data__features": 200, "topology__name": "hypercube",
     "algorithm__name": "ftqc-admm", "algorithm__coordinator": "tree"},
    {"topology__nodes": 100, "data__name": "digits", "problem__name": "softmax", "algorithm__name": "proxgt-sr-e"},
)  # fmt: skip


def memory() -> None:
    """Print the peak memory of ten iterations beside what ``check`` predicts, for changes of gradient_tracking.toml."""
    heading("changes", "peak, MB", "predicted, MB", "ratio")
    with tempfile.TemporaryDirectory() as folder:
        for change in RUNS:
            words = changes(run__iterations=10, record__every=5, **change)
            peak = cost("run", CONFIG, *words, "-q", "--overwrite", "-o", f"{folder}/a.h5").megabytes
            said = predicted(cost("check", CONFIG, *words).text)
            name = ", ".join(f"{key.replace('__', '.')} = {value}" for key, value in change.items()) or "none"
            line(name, f"{peak:.0f}", f"{said:.0f}", f"{said / peak:.2f}")


RECORDS = 1_000_000
# what a run hands to the writer, without the run
WRITE = """
import sys, time
from pathlib import Path
from mpiqopt.results.layout import QUANTITIES
from mpiqopt.results.writer import Writer
from mpiqopt.topologies.lattices import Ring
from mpiqopt.topologies.topology import Topology
import numpy as np
attributes = {"config": open(sys.argv[2]).read(), "status": "running", "stop_reason": ""}
writer = Writer.create(Path(sys.argv[1]), attributes, Topology("ring", tuple(Ring(nodes=2).cycle())))
optional = {name: None for name, quantity in QUANTITIES.items() if quantity.optional}
began = time.process_time()
for i in range(int(sys.argv[3])):
    writer.append({name: i + 1.5 for name in QUANTITIES} | {"iteration": i} | optional)
writer.finish("finished", "", np.zeros((2, 20)), "")
print(time.process_time() - began)
"""


def records() -> None:
    """Result files: a short run, a million records handed to the writer, and their plot."""
    heading("what", "seconds", "peak memory, MB", "file, kB")
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short.h5", Path(folder) / "long.h5"
        cost("run", CONFIG, *changes(run__iterations=40), "-q", "-o", short)
        line("run, 5 records", "", "", f"{short.stat().st_size / 1e3:.0f}")
        process = child("-c", WRITE, long, CONFIG, RECORDS)
        size = f"{long.stat().st_size / 1e3:.0f}"
        line(f"write {RECORDS:,} records", f"{float(process.text):.1f}", f"{process.megabytes:.0f}", size)
        plot = cost("plot", long, "-o", f"{folder}/a.png")
        line("plot them", f"{plot.seconds:.1f}", f"{plot.megabytes:.0f}", "")


PARTS = {"records": records, "nodes": nodes, "memory": memory}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"## {name}: {PARTS[name].__doc__}\n")
        PARTS[name]()
