"""Run ProxGT-SR-E on a small network in the setting of DEEPSTORM: a table of README.md.

usage: python benchmarks/deepstorm.py --data FOLDER [--seeds N]   (a few minutes a seed)

FOLDER has a9a.gz and a9a.t.gz in LIBSVM's format. The setting is that of Mancino-Ball, Miao, Xu, Chen, "Proximal
stochastic recursive momentum methods for nonconvex composite decentralized optimization", AAAI 2023
(github.com/gmancino/DEEPSTORM): deepstorm.toml, with initial parameters of their own at every node. Their weights of
the ladder are I - L/lambda_max(L), L its Laplacian; here they are Metropolis weights.

Losses and accuracies are those at the mean over nodes: of all training samples, without the l1 norm. Stationarity is
the squared gradient mapping with step 1. Expected is what the paper's recursion (arXiv 2110.01594) has given in other
programs; the published run (.3431, 84.20 %, 2.2e-3, 126 s on 8 V100) is of a program whose recursive correction is
always zero, and whose gradients are those of f_i/8.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tomli_w

from mpiqopt.config.parse import load
from mpiqopt.results.reader import final_mean, read_result
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.transport.serial import SerialTransport

CONFIG = Path(__file__).with_name("deepstorm.toml")
EXPECTED = ".4570", ".3275", ".8517", "1.6e-4", "< 126"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a9a.gz and a9a.t.gz")
    parser.add_argument("--seeds", type=int, default=1, help="number of runs, from other initial parameters")
    return parser.parse_args()


def settings(data: Path, start: Path, seed: int, iterations: int) -> list[str]:
    """Return what `--set` takes."""
    paths = {"data.path": data / "a9a.gz", "data.test_path": data / "a9a.t.gz", "run.start": start}
    words = [
        f"{key}={tomli_w.dumps({'x': str(path.resolve())}).split(' = ')[1].strip()}" for key, path in paths.items()
    ]
    return [*words, f"run.seed={seed}", f"run.iterations={iterations}"]


def write_start(e: Experiment, path: Path, seed: int) -> None:
    """Write initial parameters (8, d), drawn for each node."""
    np.save(path, np.stack([e.problem.start(1000 * seed + node) for node in range(e.problem.hosted)]))


def run(ranks: int, out: Path, given: list[str]) -> Path:
    """Run the config on so many ranks, without mpiexec on one."""
    start = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)] if ranks > 1 else []
    words = [word for setting in given for word in ("--set", setting)]
    subprocess.run(
        [*start, sys.executable, "-m", "mpiqopt", "run", str(CONFIG), "-o", str(out), "-q", *words], check=True
    )
    return out


def training_loss(e: Experiment, path: Path) -> float:
    """Return the mean over nodes of their losses at the final mean iterate."""
    return float(e.problem.value_and_grad(final_mean(path).astype(e.problem.dtype)[None])[0].mean())


def main() -> None:
    """Print a row for each seed and number of ranks."""
    asked = arguments()
    columns = "seed", "ranks", "loss after 1000", "loss after 10,000", "test accuracy", "stationarity", "seconds"
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}\n| expected | | {' | '.join(EXPECTED)} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        start = scratch / "start.npy"
        plain = [word for word in settings(asked.data, start, 0, 1) if not word.startswith("run.start")]
        e = assemble(load(str(CONFIG), tuple(plain)), SerialTransport())
        for seed in range(1, asked.seeds + 1):
            write_start(e, start, seed)
            short = training_loss(e, run(1, scratch / f"short{seed}.h5", settings(asked.data, start, seed, 1000)))
            for ranks in (1, 2):
                path = run(ranks, scratch / f"{seed}-{ranks}.h5", settings(asked.data, start, seed, 10_000))
                last = {name: column[-1] for name, column in read_result(path).columns.items()}
                numbers = f"{short:.4f} | {training_loss(e, path):.4f} | {last['accuracy']:.4f}"
                print(f"| {seed} | {ranks} | {numbers} | {last['stationarity']:.1e} | {last['time']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
