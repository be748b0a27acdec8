"""Does it pay that weak devices train what they can? Figure cocofl.png and the tables of README.md.

usage: python benchmarks/cocofl.py [--folder FOLDER] [--parts PART...] [--minutes M] [--processes N] [--draft]

The question of Pfeiffer et al., "CoCoFL", TMLR 2023, in small. A third of the devices is strong, a third has .66 of
the time and memory that training the whole network takes, a third .33, and those two can upload a part of it that is
drawn from [.5, 1] in each round. Classes of samples are divided evenly, by Dirichlet(0.1) over clients, or by
Dirichlet(0.1) over the three classes of devices, so that what weak devices know nobody else does. Ten clients a round
train for one epoch. All methods have the step at which FedAvg's accuracy at the end is highest for another seed.
Accuracies are those of held-out samples, bytes are those that clients upload, and device time is that of rounds which
wait for all, emulated.

Every run is a config and a result file in FOLDER, made by `mpiqopt run`. Runs that are done are not repeated, and those
that were interrupted go on where they were.
--parts: those of PARTS, in the order of the command line; all by default
--minutes: of wall time; then no further run is begun, those under way are stopped with a checkpoint, and what there is
is printed
--processes: runs at a time, each on one thread
--draft: print and draw what is there
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from mpiqopt.errors import UsageError
from mpiqopt.results.reader import Result, read_result

CONFIG = """\
[run]
seed = {seed}
iterations = {rounds}

[data]
{data}
{split}
test_fraction = 0.2

[problem]
name = "torch"
{model}

[topology]
name = "star"
nodes = {clients}

[algorithm]
step_size = {step}
batch_size = {batch}
weight_decay = 1e-3
schedule = "inverse"
decay = {decay}
{algorithm}

[record]
every = {every}
training = "none"
"""
FEDERATED = """
[emulate]
gradient_seconds = 0.1
bandwidth = {bandwidth}
sleep = false
{extra}"""
# limits of the authors' experiments; and the same devices if each had memory and uplink for the whole network
LIMITED = """
[[devices]]

[[devices]]
time = 0.66
memory = 0.66
upload = [0.5, 1.0]

[[devices]]
time = 0.33
memory = 0.33
upload = [0.5, 1.0]
"""
SLOW = """
[[devices]]

[[devices]]
time = 0.66

[[devices]]
time = 0.33
"""
SPLITS = {
    "iid": 'split = "iid"',
    "dirichlet": 'split = "dirichlet"\nalpha = 0.1',
    "resource": 'split = "resource-dirichlet"\nalpha = 0.1',
}
TITLES = {
    "iid": "divided evenly",
    "dirichlet": "Dirichlet(0.1) over clients",
    "resource": "Dirichlet(0.1) over classes of devices",
}
CLASSES = ("strong", "medium", "weak")
SEEDS, TUNING, STEPS = (1, 2, 3), 0, (0.05, 0.1, 0.2)
# of the records at the end that are averaged
LAST = 5
# clients of a round
COHORT = 10


class Case(NamedTuple):
    """Data and network, and how long they are trained; bandwidth in bytes/s."""

    data: str
    model: str
    clients: int
    batch: int
    rounds: int
    bandwidth: float


CNN = 'model = "cnn"\noptions = {{ channels = {}, padding = "same", pool = "each", norm = "batch", dense = [32] }}'
RESNET = 'model = "resnet18"\noptions = { width = 8 }'
MNIST, DIGITS = 'name = "mnist-5k"', 'name = "digits"'
# bandwidths: the whole network takes as long as the epoch of a strong client
CASES = {
    "mnist-cnn": Case(MNIST, CNN.format([8, 16, 16, 32]), 60, 32, 150, 1.3e5),
    "digits-cnn": Case(DIGITS, CNN.format([16, 16, 16]), 30, 16, 150, 1e5),
    "digits-resnet": Case(DIGITS, RESNET, 30, 16, 150, 2.4e6),
    "mnist-resnet": Case(MNIST, RESNET, 60, 32, 100, 2.4e6),
}


class Method(NamedTuple):
    """A method: its keys of [algorithm], and its other tables."""

    algorithm: str
    extra: str = LIMITED


TRAINING = f"local_epochs = 1\nclients_per_round = {COHORT}"
COCOFL = f'name = "cocofl"\n{TRAINING}'
FEDAVG = f'name = "fedavg"\n{TRAINING}'
CODED = '\n[compressor]\nname = "eden"\nbits = 4\n'
METHODS = {
    "CoCoFL": Method(COCOFL),
    "FedAvg, full resources": Method(FEDAVG, SLOW),
    # as the authors do: as many clients as for the others, but all of them strong (of a third of the clients)
    "FedAvg, weak ones dropped": Method('name = "fedavg-drop"\nlocal_epochs = 1\nclients_per_round = 30'),
    "HeteroFL": Method(f'name = "heterofl"\nwidths = [1.0, 0.6, 0.3, 0.25]\n{TRAINING}'),
    "FedAvg, 4-bit messages": Method(FEDAVG, SLOW + CODED),
    "weakest window for all": Method(f'{COCOFL}\nwindows = "weakest"'),
    "CoCoFL, 4-bit messages": Method(COCOFL, LIMITED + CODED),
    "CoCoFL, mean over trainers": Method(f'{COCOFL}\naggregation = "trainers"'),
    "CoCoFL, frozen in float": Method(f'{COCOFL}\nfrozen = "float"\nfrozen_after = "float"'),
    "centralized": Method('name = "centralized"', ""),
}
MAIN = list(METHODS)[:6]
VARIANTS = list(METHODS)[6:9]
CENTRAL = list(METHODS)[9]
BITS = (6, 5, 4, 3, 2)
METHODS |= {f"CoCoFL, {bits} bits": Method(f"{COCOFL}\nfrozen_bits = {bits}") for bits in BITS}
# cases and division of the sweep over the bits of frozen blocks; division of the runs from which steps are chosen
SWEEP, SWEEP_SPLIT, TUNING_SPLIT = ("mnist-cnn", "digits-resnet"), "resource", "dirichlet"
UPPER, IN_FLOAT = "FedAvg, full resources", "CoCoFL, frozen in float"


class Job(NamedTuple):
    """One run."""

    case: str
    split: str
    method: str
    seed: int
    step: float

    def path(self, folder: Path) -> Path:
        """Return the result file."""
        words = self.case, self.split, self.method, str(self.seed), f"{self.step:g}"
        return folder / f"{'_'.join(words).replace(', ', '-').replace(' ', '-')}.h5"

    def config(self) -> str:
        """Return the text of the config."""
        case, method = CASES[self.case], METHODS[self.method]
        values = {**self._asdict(), **case._asdict(), **method._asdict(), "split": SPLITS[self.split]}
        values |= {"every": 5, "decay": 0.02}
        if self.method != CENTRAL:
            return (CONFIG + FEDERATED).format(**values)
        # as many samples as a cohort of clients has in as many rounds
        batches = round(samples(case) * COHORT / case.clients / case.batch)
        values |= {"rounds": case.rounds * batches, "every": 5 * batches, "decay": 0.02 / batches}
        return CONFIG.format(**values)


def samples(case: Case) -> int:
    """Return the number of training samples."""
    return 4000 if case.data == MNIST else 1437


def tuning(case: str) -> list[Job]:
    """Return the runs from which the step of a case is chosen."""
    return [Job(case, TUNING_SPLIT, UPPER, TUNING, step) for step in STEPS]


def best_step(case: str, folder: Path) -> float | None:
    """Return the step of all methods of a case: FedAvg's best for the seed of tuning; None if that is not known yet."""
    if not all(is_done(job.path(folder)) for job in tuning(case)):
        return None
    ends = {job.step: end(run) for job in tuning(case) if (run := read_run(job, folder)) is not None}
    return max(ends, key=lambda step: ends[step])


def main_runs(case: str, step: float) -> list[Job]:
    """Return the comparison of a case, the first seed first."""
    jobs = [Job(case, split, method, seed, step) for seed in SEEDS for split in SPLITS for method in MAIN]
    return jobs + [Job(case, "iid", CENTRAL, seed, step) for seed in SEEDS]


def variants(case: str, step: float) -> list[Job]:
    """Return the variants of CoCoFL."""
    return [Job(case, split, method, seed, step) for seed in SEEDS for split in SPLITS for method in VARIANTS]


def sweep(case: str, step: float) -> list[Job]:
    """Return CoCoFL with frozen blocks in fewer bits, and in float; those in 8 are in the comparison."""
    methods = [*(f"CoCoFL, {bits} bits" for bits in BITS), IN_FLOAT]
    return [Job(case, SWEEP_SPLIT, method, seed, step) for seed in SEEDS for method in methods]


PARTS: dict[str, tuple[str, Callable[[str, float], list[Job]]]] = {
    **{case: (case, main_runs) for case in CASES},
    "variants": ("mnist-cnn", variants),
    **{f"bits-{case}": (case, sweep) for case in SWEEP},
}


def solve(job: Job, folder: Path, ends: float) -> None:
    """Do a run, or what is left of it, unless the time is over; a run that fails is told, and left out."""
    left, path = ends - monotonic(), job.path(folder)
    if is_done(path) or left <= 0:
        return
    config = path.with_suffix(".toml")
    config.write_text(job.config())
    limit = ["--time-limit", f"{left:.0f}"] if np.isfinite(left) and left >= 1 else []
    command = [sys.executable, "-m", "mpiqopt", "run", config, "-o", path, "--resume", "--quiet", *limit]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 75):
        print(f"{path.name}: {done.stderr.strip()[-300:]}", file=sys.stderr)
    print(".", end="", file=sys.stderr, flush=True)


def is_done(path: Path) -> bool:
    """Return True if a run has come to its end, or to none."""
    return path.exists() and (read_result(path, []).attributes["status"] == "finished" or has_diverged(path))


def has_diverged(path: Path) -> bool:
    """Return True if a run was stopped since its numbers were no longer finite."""
    return path.exists() and "diverged" in str(read_result(path, []).attributes.get("stop_reason", ""))


def solve_all(jobs: Iterable[Job], folder: Path, processes: int, ends: float) -> None:
    """Do all runs, some at a time."""
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(partial(solve, folder=folder, ends=ends), jobs))
    print(file=sys.stderr)


class Run(NamedTuple):
    """What is read from a result file, (records,) each; devices: (records, classes)."""

    rounds: np.ndarray
    accuracy: np.ndarray
    uploaded: np.ndarray
    downloaded: np.ndarray
    seconds: np.ndarray
    devices: np.ndarray


def read_run(job: Job, folder: Path) -> Run | None:
    """Return a run, None if it is not done or has diverged."""
    path = job.path(folder)
    if not is_done(path) or has_diverged(path):
        return None
    result = read_result(
        path, ["iteration", "accuracy", "emulated_time", "device_accuracy"], ["up_bytes", "down_bytes"]
    )
    columns = result.columns
    rounds = columns["iteration"]
    if result.clients is None:
        rounds = rounds / rounds[-1] * CASES[job.case].rounds
        return Run(rounds, columns["accuracy"], *[np.full(len(rounds), np.nan)] * 3, np.full((len(rounds), 1), np.nan))
    sent = [sums(result, name)[rounds] for name in ("up_bytes", "down_bytes")]
    return Run(rounds, columns["accuracy"], *sent, columns["emulated_time"], columns["device_accuracy"])


def sums(result: Result, name: str) -> np.ndarray:
    """Return what all clients have sent before each round, and after the last."""
    assert result.clients is not None
    return np.concatenate([[0], np.cumsum(result.clients.rounds[name].sum(axis=1))])


def runs_of(case: str, split: str, method: str, folder: Path) -> list[Run]:
    """Return those runs of the seeds that are done."""
    step = best_step(case, folder)
    if step is None:
        return []
    found = (read_run(Job(case, split, method, seed, step), folder) for seed in SEEDS)
    return [run for run in found if run is not None]


def end(run: Run) -> float:
    """Return the accuracy at the end, over the last records."""
    return float(run.accuracy[-LAST:].mean())


def at(run: Run, counts: np.ndarray, most: float) -> float:
    """Return the accuracy at the last record at which a count is at most so much, and the two before it.

    NaN if the run ends far before it.
    """
    if not counts[-1] >= 0.9 * most:
        return np.nan
    last = int(np.flatnonzero(counts <= most)[-1])
    return float(run.accuracy[max(last - 2, 0) : last + 1].mean())


def spread(values: Iterable[float]) -> str:
    """Return the mean and the standard deviation of seeds, in per cent."""
    numbers = np.array(list(values))
    if not len(numbers) or not np.isfinite(numbers).all():
        return ""
    return f"{100 * numbers.mean():.1f}" + (f" ± {100 * numbers.std(ddof=1):.1f}" if len(numbers) > 1 else "")


def print_table(title: str, columns: list[str], rows: Iterable[list[str]]) -> None:
    """Print a table of Markdown."""
    print(f"\n{title}\n\n|", " | ".join(columns), "|")
    print("| --- " * len(columns) + "|")
    for row in rows:
        print("|", " | ".join(row), "|")


def comparison(case: str, folder: Path) -> None:
    """Print the tables of a case, one for each division."""
    total = CASES[case].rounds
    for split in SPLITS:
        found = {method: runs_of(case, split, method, folder) for method in [*MAIN, *VARIANTS]}
        ours = found[MAIN[0]]
        if not ours:
            continue
        most, longest = (np.mean([getattr(run, name)[-1] for run in ours]) for name in ("uploaded", "seconds"))
        columns = ["method", "seeds", f"{total // 4} rounds", f"{total // 2} rounds", f"end, {total} rounds"]
        columns += [f"{most / 1e6:.3g} MB uploaded", f"{longest:.0f} s", "MB up", "MB down", "s"]
        columns += [f"{each} devices" for each in CLASSES]
        rows = (table_row(method, runs, total, most, longest) for method, runs in found.items() if runs)
        print_table(f"{case}, {TITLES[split]}", columns, rows)
    central = [end(run) for run in runs_of(case, "iid", CENTRAL, folder)]
    if central:
        print(f"\n{case}, centralized: {spread(central)}")


def table_row(method: str, runs: list[Run], total: int, most: float, longest: float) -> list[str]:
    """Return what a table says of a method."""
    row = [method, str(len(runs))]
    row += [spread(at(run, run.rounds, rounds) for run in runs) for rounds in (total // 4, total // 2)]
    row += [spread(map(end, runs))]
    row += [spread(at(run, run.uploaded, most) for run in runs), spread(at(run, run.seconds, longest) for run in runs)]
    row += [f"{np.mean([getattr(run, name)[-1] for run in runs]) / 1e6:.3g}" for name in ("uploaded", "downloaded")]
    row += [f"{np.mean([run.seconds[-1] for run in runs]):.0f}"]
    return row + [spread(run.devices[-LAST:, k].mean() for run in runs) for k in range(len(CLASSES))]


def bits_table(folder: Path) -> None:
    """Print the accuracy at the end for each number of bits of frozen blocks."""
    methods = {"float": IN_FLOAT, "8": MAIN[0]} | {str(bits): f"CoCoFL, {bits} bits" for bits in BITS}
    rows = [
        [case, *[spread(map(end, runs_of(case, SWEEP_SPLIT, method, folder))) for method in methods.values()]]
        for case in SWEEP
    ]
    print_table(f"bits of frozen blocks, {TITLES[SWEEP_SPLIT]}, end", ["case", *methods], rows)


def steps_table(case: str, folder: Path) -> None:
    """Print FedAvg's accuracies from which the step of a case is chosen."""
    runs = {f"{job.step:g}": read_run(job, folder) for job in tuning(case)}
    ends = ["diverged or not done" if run is None else spread([end(run)]) for run in runs.values()]
    print_table(f"{case}, steps: {UPPER}, {TITLES[TUNING_SPLIT]}, seed {TUNING}", ["step", *runs], [["end", *ends]])


AXES = {"rounds": "rounds", "uploaded": "uploaded by clients", "seconds": "device time, emulated"}


def draw(case: str, folder: Path, output: Path) -> None:
    """Draw accuracy against rounds, uploaded bytes and device time, a row for each division, with the seeds' range."""
    figure = Figure(figsize=(13, 10), layout="constrained")
    rows = figure.subplots(len(SPLITS), len(AXES), sharey=True, sharex="col")
    central = [end(run) for run in runs_of(case, "iid", CENTRAL, folder)]
    for split, row in zip(SPLITS, rows, strict=True):
        for method in MAIN:
            runs = runs_of(case, split, method, folder)
            for axis, count in zip(row, AXES, strict=True):
                curve(axis, runs, count, method)
        for axis in row:
            axis.set_title(TITLES[split], fontsize=10)
            axis.grid(True, alpha=0.3)
        if central:
            row[0].axhline(np.mean(central), color="black", linestyle="dotted", linewidth=1, label="centralized")
        row[0].set_ylabel("held-out accuracy")
    rows[0, 0].yaxis.set_major_formatter(PercentFormatter(1, 0))
    for axis, label, unit in zip(rows[-1], AXES.values(), ("", "B", "s"), strict=True):
        axis.set_xlabel(label)
        axis.xaxis.set_major_formatter(EngFormatter(unit))
    for axis in rows[:, 1]:
        axis.set_xscale("log")
    figure.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(output, dpi=110)


def curve(axis: Axes, runs: list[Run], count: str, method: str) -> None:
    """Draw the mean of the seeds, and the range between the worst and the best."""
    if not runs:
        return
    x = np.mean([getattr(run, count) for run in runs], axis=0)[1:]
    heights = np.array([run.accuracy for run in runs])[:, 1:]
    (line,) = axis.plot(x, heights.mean(axis=0), label=method, linewidth=2.2 if method == MAIN[0] else 1.2)
    axis.fill_between(x, heights.min(axis=0), heights.max(axis=0), color=line.get_color(), alpha=0.12, linewidth=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("results/cocofl"))
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--draft", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not options.draft:
        ends = monotonic() + 60 * options.minutes
        for case, jobs in map(PARTS.__getitem__, options.parts):
            solve_all(tuning(case), options.folder, options.processes, ends)
            step = best_step(case, options.folder)
            if step is not None:
                solve_all(jobs(case, step), options.folder, options.processes, ends)
    for case in CASES:
        steps_table(case, options.folder)
        comparison(case, options.folder)
    bits_table(options.folder)
    draw("mnist-cnn", options.folder, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(str(error))
