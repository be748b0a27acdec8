"""Problems, methods and runs of alternatives.py, and what each took to the target."""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from hashlib import sha256
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mpiqopt.config.parse import parse
from mpiqopt.errors import NumericalError
from mpiqopt.results.reader import Result, read_result
from mpiqopt.run.assembly import assemble
from mpiqopt.run.loop import run
from mpiqopt.run.start import Options
from mpiqopt.transport.serial import SerialTransport

TEXT = """
run.iterations = {iterations}
run.time_limit = 600
run.optimum = {optimum!r}
run.stop_gap = {target}
run.stop_bytes = {stop_bytes}
record.every = {every}
{problem}
topology = {{name = "{graph}", nodes = {nodes}}}
algorithm = {{{algorithm}}}
{compressor}
{emulate}
"""
PROBLEMS = {
    "A": """data = {name = "synthetic", samples = 1000, features = 10, task = "classification"}
problem = {name = "logistic", l2 = 0.05}""",
    "D": """data = {name = "digits", split = "by-label", scale = "unit-rows"}
problem = {name = "softmax", l2 = 0.05}""",
    "l1": """data = {name = "synthetic", samples = 2000, features = 200, task = "classification", density = 0.1}
problem = {name = "logistic", l2 = 0.01}
regularizer = {name = "l1", weight = 0.005}""",
}
ABOUT = {
    "A": "A: logistic regression on 1000 synthetic samples, d = 10, l2 = 0.05",
    "D": "D: softmax regression on digits by label, unit rows, d = 640, l2 = 0.05",
    "l1": "l1: sparse logistic regression on 2000 synthetic samples, d = 200, l1 = 0.005, l2 = 0.01",
}
GRAPHS = ("erdos-renyi", "ring", "grid", "exponential", "random-digraph")
TARGET, LATER = 1e-9, 1e-6
NODES = (10, 64, 256)
# what no run goes beyond
ITERATIONS, STOP_BYTES = 1500, 5e8


class Method(NamedTuple):
    """A method and what of it is tried.

    algorithm: its keys. compressors: names for tables and their configs. steps: in 1/L, L the largest smoothness
    constant of a node; none: the automatic one. gammas: ``gossip_step``. h, directed: whether it has a prox, and bears
    digraphs.
    """

    algorithm: str
    compressors: tuple[tuple[str, str], ...] = (("", ""),)
    steps: tuple[float | None, ...] = (None,)
    gammas: tuple[float | None, ...] = (None,)
    h: bool = True
    directed: bool = True


QSGD_8 = ("qsgd, 8 bits", 'compressor = {name = "qsgd"}')
COMPRESSORS = (
    QSGD_8,
    ("qsgd, 4 bits", 'compressor = {name = "qsgd", levels = 7}'),
    ("qsgd, 2 bits", 'compressor = {name = "qsgd", levels = 1}'),
    ("drive", 'compressor = {name = "drive"}'),
    ("eden, 1 bit", 'compressor = {name = "eden", bits = 1}'),
    ("eden, 2 bits", 'compressor = {name = "eden", bits = 2}'),
    ("top-k, 10 %", 'compressor = {name = "top-k", fraction = 0.1}'),
)
QSGD_8_RANGE = ("qsgd, 8 bits, range", 'compressor = {name = "qsgd", coder = "range"}')
# entropy coded: zoom-in by its first step and factor, uniform by its step, with which it comes no nearer the optimum
CODED = (
    QSGD_8_RANGE,
    ("qsgd, 4 bits, range", 'compressor = {name = "qsgd", levels = 7, coder = "range"}'),
    *(
        (
            f"zoom-in {first}, {factor}",
            f'compressor = {{name = "zoom-in", initial_step = {first}, factor = {factor}, coder = "range"}}',
        )
        for first, factor in product((1.0, 0.1, 0.01), (0.9, 0.8, 0.7))
    ),
    *(
        (f"uniform {step}", f'compressor = {{name = "uniform", bits = 16, step = {step}, coder = "range"}}')
        for step in (1e-5, 1e-4)
    ),
)
COORDINATED = 'name = "coordinated-prox-gradient", coordinator = '
OURS = {
    "`collect`, tile": Method(COORDINATED + '"collect"'),
    "`collect`, range": Method(COORDINATED + '"collect", coder = "range"'),
    "`collect`, range, accelerated": Method(COORDINATED + '"collect", coder = "range", accelerated = true'),
    "`tree`, tile": Method(COORDINATED + '"tree"'),
    "`integer-push-sum`": Method(COORDINATED + '"integer-push-sum"'),
    "`ftqc`": Method(COORDINATED + '"ftqc"'),
}
STEPS, GAMMAS = (0.5, 1.0, 1.5, 1.9), (None, 0.25, 0.5, 1.0)
RIVALS = {
    "LEAD, qsgd 8 bits": Method('name = "prox-lead"', (QSGD_8,), STEPS, GAMMAS, directed=False),
    "LEAD, qsgd 8 bits, range": Method('name = "prox-lead"', (QSGD_8_RANGE,), STEPS, GAMMAS, directed=False),
    "LEAD, fixed bits": Method('name = "prox-lead"', COMPRESSORS, STEPS, GAMMAS, directed=False),
    "LEAD, range": Method('name = "prox-lead"', CODED, STEPS, GAMMAS, directed=False),
    "NIDS": Method('name = "nids"', steps=(1.0, 1.5, 1.9), directed=False),
    "PG-EXTRA": Method('name = "pg-extra"', steps=(None, 1.0), directed=False),
    "ProxGT": Method(
        'name = "proxgt-sr-e", batch_size = "all"', (("", ""), *COMPRESSORS[:2]), (None, 0.5), directed=False
    ),
    "CHOCO-SGD": Method('name = "choco-sgd"', COMPRESSORS[:2], (0.1, 0.5), (None, 1.0), h=False, directed=False),
    "Push-DIGing": Method('name = "push-diging"', steps=(None, 0.25, 0.5, 1.0), h=False),
}
METHODS = OURS | RIVALS


class Job(NamedTuple):
    """One run; step: in 1/L; compressor, emulate: their configs; label: of the compressor.

    hosts: 0, or which one of the runs on two hosts it is, from 1 on.
    """

    problem: str
    graph: str
    nodes: int
    algorithm: str
    label: str = ""
    compressor: str = ""
    step: float | None = None
    emulate: str = ""
    target: float = TARGET
    iterations: int = ITERATIONS
    hosts: int = 0

    def path(self, folder: Path) -> Path:
        """Return the result file."""
        return folder / f"{self.problem}-{self.graph}-{self.nodes}-{sha256(repr(self).encode()).hexdigest()[:16]}.h5"

    @property
    def every(self) -> int:
        """Return the iterations between records: for a record mailboxes are drained, at no time that is counted."""
        return 5 if self.emulate or self.hosts else 1

    def text(self, folder: Path) -> str:
        """Return the config."""
        optimum, smoothness = reference(self.problem, self.nodes, folder)
        step = "" if self.step is None else f", step_size = {self.step / smoothness!r}"
        values = {**self._asdict(), "algorithm": self.algorithm + step, "problem": PROBLEMS[self.problem]}
        return TEXT.format(**values, optimum=optimum, stop_bytes=STOP_BYTES, every=self.every)


def reference(problem: str, nodes: int, folder: Path) -> tuple[float, float]:
    """Return F* and the largest smoothness constant of a node, found once for each problem and number of nodes."""
    path = folder / f"{problem}-{nodes}.json"
    if not path.exists():
        values = {"problem": PROBLEMS[problem], "graph": "ring", "nodes": nodes, "iterations": 1500}
        values |= {"algorithm": COORDINATED + '"allreduce", accelerated = true', "compressor": "", "emulate": ""}
        values |= {"optimum": 0.0, "target": 1e-300, "stop_bytes": 1e300, "every": 10}
        config = parse(TEXT.format(**values), str(path))
        result = path.with_suffix(".h5")
        run(config, Options(result, overwrite=True, quiet=True), SerialTransport())
        columns = read_result(result).columns
        assert columns["stationarity"].min() < 1e-20
        smoothness = float(assemble(config, SerialTransport()).constants.lipschitz)
        path.write_text(json.dumps([float(columns["objective"].min()), smoothness]))
    optimum, smoothness = json.loads(path.read_text())
    return optimum, smoothness


def solve(job: Job, folder: Path) -> None:
    """Do a run unless it is done."""
    path = job.path(folder)
    if not is_done(path):
        config = parse(job.text(folder), str(folder / "config"))
        with contextlib.suppress(NumericalError):
            run(config, Options(path, overwrite=True, quiet=True), SerialTransport())


def is_done(path: Path) -> bool:
    """Return True if a run has come to its end, or has diverged."""
    return path.exists() and read_result(path, ["objective"]).attributes["status"] != "running"


def solve_all(jobs: Iterable[Job], folder: Path, processes: int) -> None:
    """Do all runs, some at a time, each on one thread."""
    jobs = list(dict.fromkeys(jobs))
    for problem, nodes in dict.fromkeys((job.problem, job.nodes) for job in jobs):
        reference(problem, nodes, folder)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(partial(solve, folder=folder), jobs):
            print(".", end="", file=sys.stderr, flush=True)


def candidates(name: str, problem: str, graph: str, nodes: int) -> Iterator[Job]:
    """Yield the runs among which the best of a method is looked for; none where it cannot be used."""
    method = METHODS[name]
    if (problem == "l1" and not method.h) or (graph == "random-digraph" and not method.directed):
        return
    for (label, compressor), step, gamma in product(method.compressors, method.steps, method.gammas):
        coarse = "" if gamma is None else f", gossip_step = {gamma}"
        yield Job(problem, graph, nodes, method.algorithm + coarse, label, compressor, step)


class Outcome(NamedTuple):
    """What a run took to the target: bytes, rounds and seconds; gap: the smallest, where it was not reached."""

    bytes: float
    rounds: int
    seconds: float
    gap: float

    @property
    def reached(self) -> bool:
        return np.isfinite(self.bytes)


@cache
def outcome(job: Job, folder: Path, target: float | None = None) -> Outcome:
    """Return what a finished run took to a target, by default its own."""
    columns = columns_of(job, folder)
    gap = columns["objective"] - reference(job.problem, job.nodes, folder)[0]
    reached = gap <= (job.target if target is None else target)
    if not reached.any():
        return Outcome(np.inf, 0, np.inf, float(np.nanmin(gap)))
    k = reached.argmax()
    return Outcome(float(columns["bytes"][k]), int(columns["rounds"][k]), float(columns["time"][k]), float(gap[k]))


def columns_of(job: Job, folder: Path) -> dict[str, np.ndarray]:
    """Return the columns of a finished run."""
    result: Result = read_result(job.path(folder), ["objective", "bytes", "rounds", "time"])
    return result.columns


def best(jobs: Iterable[Job], folder: Path) -> Job | None:
    """Return the run with the fewest bytes to the target, or else the smallest gap; None if there is none."""
    done = [job for job in jobs if is_done(job.path(folder))]
    return min(done, key=lambda job: outcome(job, folder)[::3], default=None)
