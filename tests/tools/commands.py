"""The command line, alone and under mpiexec, and the environment to start it in."""

import os
import shutil
import sys
from pathlib import Path

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
    """Return the variables of a process that is no rank of the job that this one may be of."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER_PREFIXES)}
    return {**kept, **MPI_ENVIRONMENT}


def with_tools() -> dict[str, str]:
    """Return ``environment()`` with tests/ in PYTHONPATH, for `python -m tools...`."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**environment(), "PYTHONPATH": os.pathsep.join(paths)}


def command(*arguments: str, ranks: int = 0) -> list[str]:
    """Return the command line of mpiqopt; ranks = 0: one process without mpiexec."""
    alone = [sys.executable, "-m", "mpiqopt", *arguments]
    return [mpiexec(), "-n", str(ranks), *alone] if ranks else alone


def mpiexec() -> str:
    """Return the launcher beside this Python, or of the PATH; skips the test where there is none."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        import pytest  # a third of what a rank of a job imports, which needs none of it

        pytest.skip("no mpiexec: install an MPI")
    return found
