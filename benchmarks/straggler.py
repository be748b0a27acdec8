"""One node ten times slower than seven others: how long until a target, when everybody waits and when nobody does.

    python benchmarks/straggler.py [--hosts] [--loss P] [-o FIGURE]

Runs configs/straggler.toml on two ranks, synchronously and asynchronously, with the slow node and without, coordinated
by ftqc. --hosts: the two ranks are on hosts (network namespaces) 5 ms apart, for which trainings are ten times longer
(root, Linux), coordinated by integer-push-sum. --loss: frames are lost, on top of the window transport, and all runs
coordinate by mailboxes: nothing else bears that.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from thin_link import thin_link

CONFIG = Path(__file__).parents[1] / "configs" / "straggler.toml"
EVEN = "emulate.slowdown=1.0"
# rounds that are enough for the target
ROUNDS = {("slow", "synchronous"): 10, ("slow", "asynchronous"): 50, ("even", "synchronous"): 12}


def commands(folder: Path, hosts: bool, loss: float) -> dict[tuple[str, str], list[str]]:
    """The four runs."""
    chosen = {}
    for machine in ("slow", "even"):
        for execution in ("synchronous", "asynchronous"):
            sets = [f"algorithm.execution={execution}", f"run.iterations={ROUNDS.get((machine, execution), 30)}"]
            sets += [EVEN] if machine == "even" else []
            sets += [f"algorithm.coordinator={'integer-push-sum' if hosts else 'ftqc'}"]
            sets += ["emulate.gradient_seconds=0.025"] if hosts else []
            sets += [f"emulate.loss={loss}", "algorithm.coordination=mailboxes"] if loss else []
            output = folder / f"{machine}-{execution}.h5"
            words = [sys.executable, "-m", "mpiqopt", "run", str(CONFIG), "-q", "-o", str(output)]
            chosen[machine, execution] = words + [word for s in sets for word in ("--set", s)]
    return chosen


def optimum() -> float:
    """F*, by centralised gradient descent."""
    from mpiqopt.config.parse import load
    from mpiqopt.run.assembly import assemble
    from mpiqopt.transport.serial import SerialTransport

    sets = ("algorithm.name=centralized-prox-gradient", "emulate.slowdown=1.0", "emulate.gradient_seconds=0.0")
    experiment = assemble(load(str(CONFIG), sets), SerialTransport())
    arguments = experiment.problem, experiment.network, experiment.streams
    state = experiment.algorithm.init(experiment.start, *arguments)
    for _ in range(5000):
        state = experiment.algorithm.step(state, *arguments)
    return experiment.evaluate(state.x).objective


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", action="store_true")
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("-o", "--output")
    options = parser.parse_args()
    best, curves = optimum(), {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        link = stack.enter_context(thin_link(rate=None, delay=0.005)) if options.hosts else None
        for run, words in commands(Path(folder), options.hosts, options.loss).items():
            if link is not None:
                link.run(words, timeout=900)
            else:
                mpiexec = Path(sys.executable).with_name("mpiexec")
                subprocess.run([mpiexec, "-n", "2", *words], check=True, timeout=600)
            with h5py.File(words[words.index("-o") + 1]) as file:
                curves[run] = {name: file[name][()] for name in ("time", "objective", "accuracy", "bytes", "rounds")}
                joined, carried = file["nodes/joined"][()], file.attrs["transport"]
            print(f"{run[0]:5} {run[1]:13} rounds joined: {joined.tolist()}; {carried}", flush=True)
    report(curves, best)
    if options.output:
        draw(curves, best, options.output)


TARGETS = {
    "held-out accuracy 0.95": lambda curve, best: curve["accuracy"] >= 0.95,
    "F - F* <= 0.01": lambda curve, best: curve["objective"] - best <= 1e-2,
    "F - F* <= 0.003": lambda curve, best: curve["objective"] - best <= 3e-3,
}


def report(curves: dict, best: float) -> None:
    """Seconds, rounds and bytes of each run to each target, and the two ratios."""
    print("\n| target | slow, sync | slow, async | times quicker | even, sync | even, async | times as long |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for target, test in TARGETS.items():
        seconds, cells = {}, {}
        for run, curve in curves.items():
            reached = np.flatnonzero(test(curve, best))
            k = reached[0] if len(reached) else -1
            seconds[run] = curve["time"][k] if len(reached) else np.nan
            cells[run] = f"{seconds[run]:.2f} s, {curve['rounds'][k]} rounds, {curve['bytes'][k] / 1e6:.2f} MB"
        quicker = seconds["slow", "synchronous"] / seconds["slow", "asynchronous"]
        longer = seconds["even", "asynchronous"] / seconds["even", "synchronous"]
        words = list(cells.values())
        print(f"| {target} | {words[0]} | {words[1]} | {quicker:.2f} | {words[2]} | {words[3]} | {longer:.2f} |")


def draw(curves: dict, best: float, output: str) -> None:
    """F - F* against time, with the slow node and without."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    titles = {"slow": "one node of eight is ten times slower", "even": "all nodes are equally quick"}
    for axis, (machine, title) in zip(axes, titles.items(), strict=True):
        for execution, style in (("synchronous", "dashed"), ("asynchronous", "solid")):
            curve = curves[machine, execution]
            axis.semilogy(curve["time"], curve["objective"] - best, linestyle=style, label=execution)
        axis.set_title(title)
        axis.set_xlabel("time [s]")
        axis.grid(True, alpha=0.3)
    axes[0].set_ylabel("F − F*")
    axes[1].legend()
    figure.savefig(output, dpi=130)


main()
