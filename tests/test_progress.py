"""Mailboxes are windows only where one-sided operations do not wait for a rank that computes."""

import shutil
import subprocess
import sys
from glob import glob

import h5py
import pytest
from tools.commands import TIMEOUT, environment, mpiexec

pytestmark = pytest.mark.mpi
MEASURE = """
from mpiqopt.transport import launch

with launch.mpi_session() as transport:
    from mpiqopt.transport.diagnosis import one_sided_progress, one_sided_progresses

    told = one_sided_progresses(transport.comm)
    for rank, word in enumerate(transport.comm.allgather(told)):
        assert word == told, rank
    measured = one_sided_progress(transport.comm)
    if transport.rank == 0:
        print(told, not any(each.waits for each in measured))
"""


@pytest.mark.alone
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_short_measurement_agrees_with_the_long_one(ranks):
    words = [mpiexec(), "-n", str(ranks), sys.executable, "-c", MEASURE]
    job = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
    assert job.returncode == 0, job.stderr
    short, long = job.stdout.split()
    assert short == long


@pytest.fixture
def debians_mpich(tmp_path) -> tuple[str, dict[str, str]]:
    """mpiexec of Debian's MPICH 4, where windows wait, and the environment in which mpi4py takes that library."""
    found, hydra = glob("/usr/lib/*/libmpich.so.12"), shutil.which("mpiexec.hydra", path="/usr/bin")
    if not (found and hydra):
        pytest.skip("needs Debian's packages mpich and libmpich12")
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "libmpi.so.12").symlink_to(found[0])
    return hydra, {**environment(), "LD_LIBRARY_PATH": str(folder), "MPI4PY_MPIABI": "mpich"}


@pytest.mark.parametrize("ranks", [2, 3])
def test_auto_takes_messages_where_windows_wait(ranks, debians_mpich, config, tmp_path):
    launcher, variables = debians_mpich
    path = config(run={"iterations": 10}, algorithm={"name": "ftqc-admm", "execution": "asynchronous"})
    words = [launcher, "-n", str(ranks), sys.executable, "-m", "mpiqopt", "run", path, "-q", "-o", "a.h5"]
    job = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=TIMEOUT)
    assert job.returncode == 0, job.stderr
    with h5py.File(tmp_path / "a.h5") as file:
        library, carried = file.attrs["mpi_library"], file.attrs["transport"]
    if "4.0" not in library:
        pytest.skip(f"not the library that waits: {library}")
    assert carried == "two-sided (one-sided operations wait for ranks that compute)"
