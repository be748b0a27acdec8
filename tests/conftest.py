"""Fixtures that start the command line, alone and under mpiexec, and that write configs and tables."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Generous for a crowded machine; a hanging MPI job is ended by it.
TIMEOUT = 120

# More ranks than cores: the libraries must yield the processor while they wait. Open MPI does so by itself when it
# is told that it may oversubscribe, and refuses to run as root (in containers) unless told.
MPI_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}
# A test that is itself run under a launcher (or in a SLURM job) must not look like a rank of it.
LAUNCHER_PREFIXES = ("MPIQOPT_RANKS", "PMI", "HYDI", "OMPI_", "SLURM_", "PALS_", "MPI_LOCAL")


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER_PREFIXES)}
    return {**kept, **MPI_ENVIRONMENT}


def command(*arguments: str, ranks: int = 0) -> list[str]:
    """The command line of mpiqopt; ranks = 0: one process without mpiexec."""
    alone = [sys.executable, "-m", "mpiqopt", *arguments]
    return [mpiexec(), "-n", str(ranks), *alone] if ranks else alone


def mpiexec() -> str:
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec") or pytest.skip("no mpiexec: install an MPI")


@pytest.fixture
def mpiqopt(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a command in ``tmp_path`` and return what it printed; never waits longer than TIMEOUT."""

    def start(*arguments: str, ranks: int = 0, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(*map(str, arguments), ranks=ranks),
            cwd=tmp_path,
            env={**environment(), **variables},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    return start


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """Write a small config, with tables replaced or added as keyword arguments; returns its path."""
    import tomli_w

    tables = {
        "run": {"iterations": 40},
        "data": {"name": "synthetic", "task": "classification", "samples": 83, "features": 7},
        "problem": {"name": "logistic", "l2": 0.1},
        "topology": {"name": "ring", "nodes": 8},
        "algorithm": {"name": "gradient-tracking"},
    }

    def write(name: str = "small.toml", **changes: dict) -> str:
        path = tmp_path / name
        path.write_text(tomli_w.dumps({**tables, **changes}))
        return str(path)

    return write


@pytest.fixture
def written(tmp_path: Path, monkeypatch) -> Callable[..., Any]:
    """Write a file in the present folder and open it as a table."""
    monkeypatch.chdir(tmp_path)

    from mpiqopt.registry import find

    def write(content: str | bytes | None, kind: str = "csv", name: str = "", **keys):
        path = Path(name or f"d.{kind}")
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return find("data", kind)(path=str(path), **keys).open(0)

    return write
