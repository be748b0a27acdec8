"""Runs examples in empty environments: every Python here, lowest and newest versions, four MPIs, 1, 2 and 4 ranks.

    python -m tools.matrix [--python 3.13] [--bounds lowest] [--mpi debian-mpich]      all of them, or only these

The lowest versions are the declared bounds on the lowest Python, and on others the lowest with a wheel. Prints a table:
for each config what every number of ranks gave, a digest of what must be the same bits, or "ran" for an asynchronous
one. Exit status 0: all ran, and each config gave one digest.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py

from mpiqopt.results.layout import REPRODUCIBLE
from tools.commands import environment
from tools.environments import BOUNDS, MPIS, ROOT, create, install, pythons, requirements, sdist, wheel, with_mpi

# config -> iterations
RUNS = {"digits": 300, "straggler": 30, "ftqc-dgd": 200, "compressed": 300}
RANKS = (1, 2, 4)
TIMEOUT = 300
FAILED = "failed"


def bases(source: Path, folder: Path, chosen: argparse.Namespace):
    """Make an environment without MPI for each Python and bounds; yields Python's version, bounds and its path."""
    for version, python in pythons().items():
        name = ".".join(map(str, version))
        for bounds in BOUNDS:
            if chosen.python in (None, name) and chosen.bounds in (None, bounds):
                home = folder / f"{name}-{bounds}"
                package = wheel(source, home / "wheel", python, bounds)
                base = create(home / "base", python, requirements(), bounds)
                install(base, [str(package)], bounds, "--no-deps")
                yield name, bounds, base


def run(python: Path, config: str, ranks: int, output: Path) -> str:
    """Run an example; returns a digest of what is the same on any number of ranks, or how it failed."""
    command = [python.with_name("mpiexec"), "-n", str(ranks), python, "-m", "mpiqopt", "run"]
    arguments = [ROOT / "configs" / f"{config}.toml", "--overwrite", "-q", "-o", output]
    arguments += ["--set", f"run.iterations={RUNS[config]}"]
    try:
        job = subprocess.run(
            [*command, *arguments], cwd=output.parent, env=environment(), capture_output=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return f"{FAILED}: hangs"
    if job.returncode:
        print(job.stderr.decode()[-2000:], file=sys.stderr)
        return f"{FAILED}: {job.returncode}"
    return "ran" if config == "straggler" else digest(output)


def digest(path: Path) -> str:
    digest = hashlib.sha256()
    with h5py.File(path) as file:
        for name in (*REPRODUCIBLE, "final/x"):
            if name in file:
                digest.update(name.encode() + file[name][()].tobytes())
    return digest.hexdigest()[:8]


def versions(python: Path) -> str:
    code = "import numpy, scipy, h5py, mpi4py; print(*(m.__version__ for m in (numpy, scipy, h5py, mpi4py)))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def row(python: str, bounds: str, mpi: str, results: dict[str, list[str]]) -> str:
    """Return a line of the table; what all numbers of ranks gave stands there once."""
    return f"{python:<8}{bounds:<8}{mpi:<16}" + "".join(f"{' '.join(dict.fromkeys(r)):<12}" for r in results.values())


def measured(source: Path, folder: Path, chosen: argparse.Namespace):
    """Run everything that is chosen and print the table; yields what each environment gave, by config."""
    print(row("Python", "bounds", "MPI", {config: [config] for config in RUNS}))
    for name, bounds, base in bases(source, folder, chosen):
        print(f"{name} {bounds}: NumPy, SciPy, h5py, mpi4py {versions(base)}", flush=True)
        for mpi in (mpi for mpi in MPIS if chosen.mpi in (None, mpi)):
            python = with_mpi(base.parent.parent.parent / mpi, base, mpi, bounds)
            if python is None:
                print(f"{mpi}: skipped, {MPIS[mpi]} is not there (apt-get install mpich openmpi-bin)")
                continue
            results = {config: [run(python, config, ranks, folder / "a.h5") for ranks in RANKS] for config in RUNS}
            print(row(name, bounds, mpi, results), flush=True)
            yield results


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python")
    parser.add_argument("--bounds", choices=BOUNDS)
    parser.add_argument("--mpi", choices=MPIS)
    chosen = parser.parse_args(arguments)
    found = {config: set() for config in RUNS}
    with tempfile.TemporaryDirectory() as folder:
        for results in measured(sdist(Path(folder, "source")), Path(folder), chosen):
            for config, values in results.items():
                found[config].update(values)
    same = all(len(values) == 1 and not any(FAILED in value for value in values) for values in found.values())
    print("all ran, and synchronous runs gave the same bits" if same else f"not all the same: {found}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
