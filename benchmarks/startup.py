"""Start-up of many ranks: a run of one iteration against a bare script that imports mpi4py and numpy.

    python benchmarks/startup.py [--ranks 1 2 8 16 64] [--repeat 3] [--other CHECKOUT]

Logistic regression on synthetic data, 64 nodes. Bare script, run and, with --other, the run of another checkout (whose
extensions are built) alternate; medians of wall time and of the time of processors, of all ranks together.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = "import numpy; from mpi4py import MPI; MPI.COMM_WORLD.Barrier()"
CONFIG = """
[run]
iterations = 1
[data]
name = "synthetic"
task = "classification"
samples = 6400
[problem]
name = "logistic"
[topology]
name = "ring"
nodes = {nodes}
[algorithm]
name = "gradient-tracking"
"""
CROWDED = {
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "",  # else every start compiles the modules of an editable install
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def timed(ranks: int, words: list[str], folder: str, **variables: str) -> tuple[float, float]:
    """Seconds of a job, and of processors."""
    launcher = str(Path(sys.executable).with_name("mpiexec"))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [launcher, "-n", str(ranks), sys.executable, *words],
        cwd=folder,
        env={**os.environ, **CROWDED, **variables},
        check=True,
        capture_output=True,
        timeout=300,
    )
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(ranks: int, repeat: int, other: str | None) -> str:
    """A row of the table: medians, and ratios of neighbours."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "one.toml").write_text(CONFIG.format(nodes=max(64, ranks)))
        run = ["-m", "mpiqopt", "run", "one.toml", "-q", "-o", "a.h5", "--overwrite"]
        kinds = {"bare": (["-c", BARE], {}), "run": (run, {})}
        if other:
            kinds["other"] = (run, {"PYTHONPATH": other})
        times = {kind: [] for kind in kinds}
        for _ in range(repeat):
            for kind, (words, variables) in kinds.items():
                times[kind].append(timed(ranks, words, folder, **variables))
    cells = []
    for kind, pairs in times.items():
        wall, processor = (statistics.median(column) for column in zip(*pairs, strict=True))
        cells.append(f"{wall:.2f} ({processor:.1f})")
        if kind != "bare":
            ratios = [own[0] / bare[0] for own, bare in zip(pairs, times["bare"], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f}")
    return f"| {ranks} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 8, 16, 64])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--other", metavar="CHECKOUT")
    options = parser.parse_args()
    more = " other | ratio |" * bool(options.other)
    print(f"| ranks | bare, s (of processors) | run | ratio |{more}")
    print("| --- | --- | --- | --- |" + " --- | --- |" * bool(options.other))
    for ranks in options.ranks:
        print(measure(ranks, options.repeat, options.other), flush=True)


if __name__ == "__main__":
    main()
