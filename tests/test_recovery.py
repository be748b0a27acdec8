"""A run that is stopped or killed goes on to the same bits, and its file opens at any moment."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.commands import TIMEOUT, command, environment, mpiexec
from tools.interruption import descendants, interrupted, iteration_saved
from tools.outputs import records
from tools.representatives import slow

# Some 3 s in one process of a slow machine: long enough to be interrupted in the middle.
LONG = {
    "run": {"iterations": 30_000, "seed": 3},
    "data": {"name": "synthetic", "task": "classification", "samples": 800, "features": 30},
    "algorithm": {"name": "proxgt-sr-e", "gossip_rounds": 2, "step_size": 0.3},
    "regularizer": {"name": "l1", "weight": 0.01},
    "record": {"every": 7},
    "checkpoint": {"every_seconds": 0.2},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, np.ndarray]:
    """The records and final iterates of the uninterrupted run."""
    import tomli_w

    folder = tmp_path_factory.mktemp("whole")
    tables = {"problem": {"name": "logistic", "l2": 0.1}, "topology": {"name": "ring", "nodes": 8}, **LONG}
    (folder / "a.toml").write_text(tomli_w.dumps(tables))
    subprocess.run(command("run", "a.toml", "-q"), cwd=folder, env=environment(), check=True, timeout=TIMEOUT)
    return records(folder / "a.h5")


def assert_same(folder: Path, whole: dict[str, np.ndarray]) -> None:
    now = records(folder / "small.h5")
    assert now.keys() == whole.keys()
    for name, values in whole.items():
        assert np.array_equal(now[name], values), name
    with h5py.File(folder / "small.h5") as file:
        assert file.attrs["status"] == "finished"
        assert np.all(np.diff(file["time"][()]) >= 0)
    assert sorted(path.name for path in folder.glob("small.h5*")) == ["small.h5", "small.h5.checkpoint"]


@pytest.mark.parametrize("number", [signal.SIGTERM, *slow(signal.SIGUSR1, signal.SIGINT)])
def test_a_signal_stops_with_a_checkpoint_and_resume_gives_the_same_bits(number, mpiqopt, config, whole, tmp_path):
    config(**LONG)
    job = interrupted(tmp_path, 0)
    job.send_signal(number)
    assert job.wait(TIMEOUT) == 75
    with h5py.File(tmp_path / "small.h5") as file:
        assert file.attrs["status"] == "stopped"
        assert file.attrs["stop_reason"] == f"signal {number.name}"
        assert 0 < file["iteration"][-1] < 30_000
        assert file["final/x"].shape == (8, 30)
    assert mpiqopt("run", "small.toml", "--resume").returncode == 0
    assert_same(tmp_path, whole)


def test_nohup_keeps_a_run_alive(config, tmp_path):
    """SIGHUP stops with a checkpoint, unless it is ignored from the start, as under nohup."""
    config(**LONG | {"run": {"iterations": 10**9}})
    for ignored, expected in ((True, signal.SIGTERM), (False, signal.SIGHUP)):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        try:
            job = interrupted(tmp_path, 0, "--overwrite")
        finally:
            signal.signal(signal.SIGHUP, before)
        job.send_signal(signal.SIGHUP)
        if ignored:
            time.sleep(0.5)
            assert job.poll() is None
            job.terminate()
        assert job.wait(TIMEOUT) == 75
        with h5py.File(tmp_path / "small.h5") as file:
            assert file.attrs["stop_reason"] == f"signal {expected.name}"


@pytest.mark.mpi
def test_resume_on_other_numbers_of_ranks_gives_the_same_bits(mpiqopt, config, whole, tmp_path):
    """Two ranks until a signal, three until a time limit, then one process."""
    config(**LONG)
    job = interrupted(tmp_path, 2)
    os.kill(job.pid, signal.SIGUSR1)  # the launchers of both libraries pass it on to the ranks
    assert job.wait(TIMEOUT) == 75
    result = mpiqopt("run", "small.toml", "--resume", "--time-limit", "0.3", ranks=3)
    assert result.returncode == 75
    assert "stopped: time limit of 0.3 s (go on with --resume)" in result.stderr
    assert mpiqopt("run", "small.toml", "--resume").returncode == 0
    assert_same(tmp_path, whole)


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "compressor"),
    [
        ({"name": "proxgt-sr-e", "gossip_rounds": 2, "step_size": 0.3}, {"name": "qsgd", "block_size": 8}),
        ({"name": "ef-sgd", "two_way": True, "batch_size": 8, "step_size": 0.01}, {"name": "top-k", "fraction": 0.2}),
    ],
    ids=["difference-coding", "error-feedback"],
)
def test_memories_and_errors_survive_an_interruption(algorithm, compressor, mpiqopt, config, tmp_path):
    """What was sent, heard and not sent yet is in the checkpoint, and random numbers go on where they were."""
    path = config(**{**LONG, "run": {"iterations": 4_000}, "algorithm": algorithm, "compressor": compressor})
    assert mpiqopt("run", path, "-q", "-o", "whole.h5").returncode == 0
    job = interrupted(tmp_path, 0)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(TIMEOUT) == 75
    assert mpiqopt("run", path, "-q", "--resume", ranks=3).returncode == 0
    assert_same(tmp_path, records(tmp_path / "whole.h5"))


def test_kill_9_leaves_a_file_that_opens_and_resumes(mpiqopt, config, whole, tmp_path):
    config(**LONG)
    for extra in ((), ("--resume",), ("--resume",)):
        job = interrupted(tmp_path, 0, *extra)
        time.sleep(0.05)
        job.kill()
        assert job.wait(TIMEOUT) == -signal.SIGKILL
        with h5py.File(tmp_path / "small.h5") as file:
            count = len(file["iteration"])
            assert count > 0
            assert np.array_equal(file["iteration"][()], whole["iteration"][:count])
            assert np.array_equal(file["objective"][()], whole["objective"][:count])
            assert file.attrs["status"] == "running"
    assert mpiqopt("run", "small.toml", "--resume").returncode == 0
    assert_same(tmp_path, whole)


@pytest.mark.mpi
def test_kill_9_of_one_rank_ends_the_job(config, tmp_path):
    """Within seconds, and with a file that opens."""
    config(**LONG | {"run": {"iterations": 10**9}})
    job = interrupted(tmp_path, 3)
    ranks = [pid for pid in descendants(job.pid) if b"mpiqopt" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    victims = [pid for pid in ranks if b"mpiexec" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(victims[-1], signal.SIGKILL)
    begun = time.monotonic()
    assert job.wait(TIMEOUT) not in (0, 2, 75)
    assert time.monotonic() - begun < 20
    with h5py.File(tmp_path / "small.h5") as file:
        assert len(file["iteration"]) > 0


def test_a_file_can_be_read_while_it_is_written(config, tmp_path):
    """Any reader at any moment sees a whole file with all records up to some iteration."""
    config(**LONG)
    job = interrupted(tmp_path, 0)
    counts = []
    while job.poll() is None:
        with h5py.File(tmp_path / "small.h5") as file:
            lengths = {len(file[name]) for name in ("iteration", "objective", "time", "bytes", "record")}
            assert len(lengths) == 1
            counts.append(lengths.pop())
        time.sleep(0.02)
    assert job.returncode == 0
    assert counts == sorted(counts)
    assert len(set(counts)) > 2


def test_resume_without_a_file_starts(mpiqopt, config, tmp_path):
    assert mpiqopt("run", config(), "--resume").returncode == 0
    assert (tmp_path / "small.h5").exists()


def test_resume_of_a_finished_run_changes_nothing(mpiqopt, config, tmp_path):
    mpiqopt("run", config())
    before = (tmp_path / "small.h5").read_bytes()
    result = mpiqopt("run", "small.toml", "--resume")
    assert (result.returncode, (tmp_path / "small.h5").read_bytes()) == (0, before)
    assert "finished already (iterations: 40 done)" in result.stderr


def test_resume_wants_the_same_config_but_for_limits(mpiqopt, config, tmp_path):
    path = config(**LONG)
    assert mpiqopt("run", path, "--time-limit", "0.3").returncode == 75
    result = mpiqopt("run", path, "--resume", "--set", "algorithm.step_size=0.2")
    assert result.returncode == 2
    assert "algorithm.step_size = 0.2 (was 0.3)" in result.stderr
    assert mpiqopt("run", path, "--resume", "--set", "run.time_limit=0.3").returncode == 75


def test_a_checkpoint_of_another_run_is_not_taken(mpiqopt, config, tmp_path):
    """Overwriting a stopped run and killing the new one leaves the new one's start, and an old one put there by hand is
    refused."""
    path = config(**LONG)
    assert mpiqopt("run", path, "--time-limit", "0.3").returncode == 75
    checkpoint = tmp_path / "small.h5.checkpoint"
    old = checkpoint.read_bytes()
    slow = [*command("run", path, "-q", "--overwrite", "--set", "checkpoint.every_seconds=1000")]
    job = subprocess.Popen(slow, cwd=tmp_path, env=environment())
    while iteration_saved(tmp_path) > 0:
        assert job.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    job.kill()
    job.wait()
    assert iteration_saved(tmp_path) == 0
    checkpoint.write_bytes(old)
    result = mpiqopt("run", path, "--resume")
    assert result.returncode == 2
    assert "small.h5.checkpoint: belongs to another run" in result.stderr


@pytest.mark.mpi
def test_only_rank_0_needs_the_files(mpiqopt, config, whole, tmp_path):
    """Each rank in a folder of its own, as on hosts without a common file system."""
    path = config(**LONG)
    for rank in range(2):
        (tmp_path / f"host{rank}").mkdir()
    alone = command("run", path, "-q", "-o", "small.h5", "--resume", "--time-limit", "0.5")
    parts = [["-n", "1", "-wdir", str(tmp_path / f"host{rank}"), *alone] for rank in range(2)]
    for _ in range(2):
        job = subprocess.run([mpiexec(), *parts[0], ":", *parts[1]], env=environment(), timeout=TIMEOUT)
        assert job.returncode == 75
    assert list((tmp_path / "host1").iterdir()) == []
    assert mpiqopt("run", path, "-o", "host0/small.h5", "--resume").returncode == 0
    assert_same(tmp_path / "host0", whole)


def test_defaults_may_be_written_out_on_resume(mpiqopt, config):
    path = config(**LONG)
    assert mpiqopt("run", path, "--time-limit", "0.3").returncode == 75
    assert mpiqopt("run", path, "--resume", "--time-limit", "0.3", "--set", "run.dtype=float64").returncode == 75


def test_the_end_of_a_slurm_job_stops_the_run(mpiqopt, config):
    """SLURM_JOB_END_TIME in 6 s: at least 5 s are kept for the last checkpoint."""
    path = config(**LONG | {"run": {"iterations": 10**9}})
    begun = time.monotonic()
    result = mpiqopt("run", path, SLURM_JOB_END_TIME=str(int(time.time()) + 6), SLURM_JOB_ID="1")
    assert result.returncode == 75
    assert "end of the SLURM job" in result.stderr
    assert time.monotonic() - begun < 6


def test_divergence_stops_with_the_file_intact(mpiqopt, config, tmp_path):
    path = config(
        algorithm={"name": "dgd", "step_size": 1e6}, problem={"name": "least-squares"}, run={"iterations": 10**6}
    )
    result = mpiqopt("run", path)
    assert result.returncode == 1
    assert "diverged at iteration" in result.stderr
    assert "step_size" in result.stderr
    with h5py.File(tmp_path / "small.h5") as file:
        assert file.attrs["status"] == "stopped"
        assert "diverged" in file.attrs["stop_reason"]
        assert np.isfinite(file["objective"][0])


def test_tolerance_finishes(mpiqopt, config, tmp_path):
    path = config(run={"iterations": 10**6, "tolerance": 1e-6})
    assert mpiqopt("run", path).returncode == 0
    lipschitz = float(re.search(r"# L, largest of the nodes +(\S+)", mpiqopt("check", path).stdout)[1])
    with h5py.File(tmp_path / "small.h5") as file:
        reached = file["stationarity"][:] + lipschitz**2 * file["consensus"][:]
        assert reached[-1] <= 1e-6 * (1 + 1e-5) < reached[-2]  # L is printed to six digits
        assert file.attrs["stop_reason"] == "tolerance: stationarity + L^2 consensus <= 1e-06"
