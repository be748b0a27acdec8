"""Local steps with coded outer deltas against SGD that sends float32 in every step, over links of 100 Mbit/s.

    python benchmarks/local_steps.py [--tune]        (some five minutes; needs torch and mlxtend)

local_steps_cnn.toml and local_steps_text.toml have the tasks and SGD, CHANGES what other methods change. Until the
held-out loss is the target: gradient steps of a node, bytes of all messages, and seconds of training and messages one
after the other, as emulated. There a gradient takes the processor time that is measured here first, so that it does not
matter what else runs on the machine. Then the CNN with two nodes, on two ranks that wait for their messages, by the
clock. Figure local_steps.png.

--tune: instead, the losses after all steps, for the grids of step sizes from which those of STEP_SIZES are taken.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from mpiqopt.config.parse import load
from mpiqopt.errors import NumericalError
from mpiqopt.results.reader import read_result
from mpiqopt.run.assembly import assemble
from mpiqopt.run.loop import run
from mpiqopt.run.start import Options
from mpiqopt.transport.serial import SerialTransport

FOLDER = Path(__file__).parent
# gradient steps between messages
LOCAL = 10
Columns = dict[str, np.ndarray]


class Task(NamedTuple):
    """A training: its title, the loss to be reached, gradient steps of a node in a run and to a record; ticks."""

    title: str
    target: float
    steps: int
    every: int
    ticks: tuple[float, ...]


TASKS = {
    "cnn": Task("convolutional network, MNIST", 0.2, 200, 10, (0.15, 0.2, 0.3, 0.5, 1, 2)),
    "text": Task("transformer, characters of Python's library", 2.1, 400, 20, (1.9, 2.1, 2.4, 2.7, 3, 3.5)),
}
DILOCO = [
    "algorithm.name=diloco",
    f"algorithm.local_steps={LOCAL}",
    "algorithm.outer_optimizer=sgd",
    "algorithm.outer_step=1.0",
    "algorithm.two_way=true",
    "compressor.name=eden",
    # without blocks vectors are padded to a power of two: a quarter more bytes for the CNN
    "compressor.block_size=8192",
]
SGD, EVERY = "SGD, float32, every step", "AdamW, float32, every step"
FOUR, ONE = "DiLoCo, 4 bits", "DiLoCo, 1 bit"
CHANGES = {
    SGD: [],
    EVERY: ["algorithm.optimizer=adamw", "algorithm.weight_decay=0.1"],
    FOUR: [*DILOCO, "compressor.bits=4"],
    ONE: [*DILOCO, "compressor.bits=1"],
}
# step sizes by task and method, chosen by --tune; the 4 bits have those of 1 bit
STEP_SIZES = {
    "cnn": {SGD: 0.05, EVERY: 0.005, FOUR: 0.005, ONE: 0.005},
    "text": {SGD: 0.1, EVERY: 0.0015, FOUR: 0.0015, ONE: 0.0015},
}
NESTEROV = ["algorithm.outer_optimizer=nesterov", "algorithm.outer_momentum=0.5", "algorithm.outer_step=0.7"]
# of --tune: variants, and step sizes to be tried with each
GRIDS = {
    "cnn": {
        SGD: ([[], ["algorithm.momentum=0.0"]], [[0.025, 0.05, 0.1], [0.2, 0.3, 0.5]]),
        EVERY: ([[]], [[0.002, 0.005, 0.01]]),
        ONE: ([[], NESTEROV], [[0.003, 0.005, 0.01], [0.002, 0.003, 0.005]]),
    },
    "text": {
        SGD: ([[], ["algorithm.momentum=0.0"]], [[0.05, 0.1, 0.2], [0.25, 0.5, 1.0]]),
        EVERY: ([[]], [[0.00075, 0.0015, 0.003]]),
        ONE: ([[], NESTEROV], [[0.00075, 0.0015, 0.003], [0.0015, 0.003, 0.006]]),
    },
}


def config(task: str) -> Path:
    """Return the file of a task."""
    return FOLDER / f"local_steps_{task}.toml"


def settings(task: str, method: str, step_size: float | None = None) -> list[str]:
    """Return what a method changes in the config: a run has the same gradient steps with all, and as many records."""
    size, local = step_size or STEP_SIZES[task][method], local_steps(method)
    lengths = [f"run.iterations={TASKS[task].steps // local}", f"record.every={TASKS[task].every // local}"]
    return [*CHANGES[method], f"algorithm.step_size={size}", *lengths]


def local_steps(method: str) -> int:
    """Return the gradient steps between messages."""
    return LOCAL if "DiLoCo" in method else 1


def solve(task: str, sets: list[str]) -> Columns | None:
    """Return the quantities at the records of a run in this process; None if it diverged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        try:
            run(load(str(config(task)), tuple(sets)), Options(path, quiet=True), SerialTransport())
        except NumericalError:
            return None
        return read_result(path).columns


def step_seconds(task: str, sets: list[str], rounds: int) -> float:
    """Return the processor seconds of a node's gradient step: median of rounds, with coding and the server's work."""
    made = assemble(load(str(config(task)), tuple(sets)), SerialTransport())
    arguments = made.problem, made.network, made.streams
    state, seconds = made.algorithm.init(made.start, *arguments), []
    for _ in range(rounds):
        begun = time.process_time()
        state = made.algorithm.step(state, *arguments)
        seconds.append(time.process_time() - begun)
    return median(seconds[rounds // 4 :]) / (made.problem.hosted * made.algorithm.local_steps)


def reach(columns: Columns, cost: np.ndarray, target: float) -> float:
    """Return what it has cost when the loss first is the target, log(loss) being linear between records."""
    loss = columns["test_loss"]
    below = np.flatnonzero(loss <= target)
    if not len(below):
        return np.nan
    k = below[0]
    share = np.log(loss[k - 1] / target) / np.log(loss[k - 1] / loss[k])
    return float(cost[k - 1] + share * (cost[k] - cost[k - 1]))


class Reached(NamedTuple):
    """What it takes to reach the target: gradient steps, bytes, seconds; and seconds of a step and of its messages."""

    steps: float
    bytes: float
    seconds: float
    step: float
    link: float


def measure(task: str, method: str) -> tuple[Columns, Reached]:
    """Return the trajectory of a method, and what it takes to reach the target."""
    local, sets = local_steps(method), settings(task, method)
    step = step_seconds(task, sets, 4 + 24 // local)
    columns = solve(task, [*sets, f"emulate.gradient_seconds={step}"])
    steps = columns["iteration"] * local
    costs = [reach(columns, cost, TASKS[task].target) for cost in (steps, columns["bytes"], columns["emulated_time"])]
    return columns, Reached(*costs, step, columns["emulated_time"][-1] / steps[-1] - step)


def compare(task: str) -> dict[str, Columns]:
    """Print the table of a task; return the trajectories."""
    measured = {method: measure(task, method) for method in CHANGES}
    first = measured[SGD][1]
    bound = 1 + first.link / first.step
    print(f"\n{TASKS[task].title}, until the held-out loss is {TASKS[task].target}; 1 + t_link/t_step = {bound:.1f}\n")
    print("| method | step size | steps | MB | times fewer | ms a step | seconds | times less | of 1 + t_link/t_step |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for method, (_, it) in measured.items():
        less = first.seconds / it.seconds
        print(
            f"| {method} | {STEP_SIZES[task][method]} | {it.steps:.0f} | {it.bytes / 1e6:.3g} | "
            f"{first.bytes / it.bytes:.0f} | {1e3 * it.step:.1f} + {1e3 * it.link:.1f} | {it.seconds:.2f} | "
            f"{less:.1f} | {less / bound:.2f} |",
            flush=True,
        )
    return {method: columns for method, (columns, _) in measured.items()}


def by_the_clock(folder: Path) -> None:
    """Print how long the CNN takes with two nodes on two ranks that wait for their messages."""
    print("\nthe CNN with two nodes on two ranks, by the clock\n")
    print("| method | steps | MB | seconds | times less |")
    print("| --- | --- | --- | --- | --- |")
    first = None
    for method in (SGD, ONE):
        columns, local = on_two_ranks(method, folder), local_steps(method)
        steps, volume, seconds = (
            reach(columns, cost, TASKS["cnn"].target)
            for cost in (columns["iteration"] * local, columns["bytes"], columns["time"])
        )
        first = first or seconds
        print(f"| {method} | {steps:.0f} | {volume / 1e6:.3g} | {seconds:.2f} | {first / seconds:.1f} |", flush=True)


def on_two_ranks(method: str, folder: Path) -> Columns:
    """Return the trajectory of the CNN with a node on each of two ranks, messages taking their time."""
    output = folder / "ranks.h5"
    words = [sys.executable, "-m", "mpiqopt", "run", str(config("cnn")), "-q", "--overwrite", "-o", str(output)]
    sets = ["topology.nodes=2", "emulate.sleep=true", *settings("cnn", method)]
    mpiexec = Path(sys.executable).with_name("mpiexec")
    words += [word for each in sets for word in ("--set", each)]
    subprocess.run([mpiexec, "-n", "2", *words], check=True, timeout=900)
    return read_result(output).columns


def tune(task: str) -> None:
    """Print the gradient steps to the target, and the last loss, for all trials."""
    for method, (variants, sizes) in GRIDS[task].items():
        for variant, step_size in ((v, s) for v, tried in zip(variants, sizes, strict=True) for s in tried):
            columns = solve(task, [*settings(task, method, step_size), *variant])
            print(f"{task}, {method}, {step_size}, {' '.join(variant)}: ", end="")
            if columns is None:
                print("diverges", flush=True)
            else:
                steps = reach(columns, columns["iteration"] * local_steps(method), TASKS[task].target)
                print(f"{steps:.0f} steps to the target, last loss {columns['test_loss'][-1]:.3f}", flush=True)


# quantity, unit, label
AXES = (("bytes", "B", "sent, both ways"), ("emulated_time", "s", "training and messages at 100 Mbit/s"))


def draw(curves: dict[str, dict[str, Columns]]) -> None:
    """Draw the held-out loss against bytes and seconds, a row for each task."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    for task, row in zip(curves, figure.subplots(2, 2, sharey="row"), strict=True):
        for axis, (quantity, unit, label) in zip(row, AXES, strict=True):
            for method, columns in curves[task].items():
                axis.plot(columns[quantity][1:], columns["test_loss"][1:], marker=".", label=method)
            axis.axhline(TASKS[task].target, color="black", linestyle="dotted", linewidth=0.8)
            axis.set(xscale="log", yscale="log", xlabel=label, title=TASKS[task].title)
            axis.xaxis.set_major_formatter(EngFormatter(unit))
            axis.set_yticks(TASKS[task].ticks, [f"{tick:g}" for tick in TASKS[task].ticks])
            axis.set_yticks([], minor=True)
            axis.grid(True, alpha=0.3)
        row[0].set_ylabel("held-out loss")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(CHANGES))
    figure.savefig(FOLDER / "local_steps.png", dpi=110)


def main() -> None:
    """Compare, or tune."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tune", action="store_true")
    if parser.parse_args().tune:
        for task in TASKS:
            tune(task)
        return
    draw({task: compare(task) for task in TASKS})
    with tempfile.TemporaryDirectory() as folder:
        by_the_clock(Path(folder))


if __name__ == "__main__":
    main()
