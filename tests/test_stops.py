"""Signals and time limits are answered within seconds, whatever goes on."""

import os
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.commands import TIMEOUT, command, environment

# of what takes an hour; a machine that is busy with other tests is slow
SECONDS = 15


def slowly(value):
    """A parameter whose test is slow."""
    return pytest.param(value, marks=pytest.mark.slow)


SLOW_STEP = """
import time
from dataclasses import dataclass
from pathlib import Path
from mpiqopt.algorithms.gradient_tracking import GradientTracking
from mpiqopt.registry import register

@register("algorithm", "slow")
@dataclass(frozen=True, kw_only=True)
class Slow(GradientTracking):
    '''The first five iterations take so many seconds, the next an hour.'''

    seconds: float = 0.2

    def step(self, state, problem, network, rng):
        problem.evaluations += 1000
        if state.t >= 5:
            Path("slow").touch()
            time.sleep(3600)
        time.sleep(self.seconds)
        return super().step(state, problem, network, rng)
"""
SLOW_DATA = """
import time
from dataclasses import dataclass
from pathlib import Path
from mpiqopt.data.synthetic import Synthetic
from mpiqopt.registry import register

@register("data", "slow")
@dataclass(frozen=True, kw_only=True)
class Slow(Synthetic):
    def open(self, seed):
        Path("slow").touch()
        time.sleep(3600)
"""
# C code that gives the interpreter away, but never comes back to look for signals: a mutex that it holds itself
DEAF = SLOW_STEP.replace("import time\n", "import ctypes, time\n").replace(
    "time.sleep(3600)",
    "mutex = (ctypes.c_char * 64)(); [ctypes.CDLL(None).pthread_mutex_lock(mutex) for _ in range(2)]",
)


def as_in_a_terminal() -> None:
    """The suite itself may run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start(folder: Path, path: str, *extra: str, ranks: int = 0) -> subprocess.Popen:
    """Start a run with the plug-in, and return when it is in what takes an hour."""
    (folder / "slow").unlink(missing_ok=True)
    words = command("run", path, "--plugin", "slow.py", *extra, ranks=ranks)
    job = subprocess.Popen(
        words, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=as_in_a_terminal
    )
    end = time.monotonic() + TIMEOUT
    while not (folder / "slow").exists():
        assert job.poll() is None, job.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    return job


def answer(job: subprocess.Popen, *numbers: int) -> str:
    """What a run says when it has got signals."""
    began = time.monotonic()
    for number in numbers:
        job.send_signal(number)
        time.sleep(0.5)
    try:
        _, said = job.communicate(timeout=TIMEOUT)
    finally:
        job.kill()
    assert time.monotonic() - began < SECONDS
    assert job.returncode == 75, said
    return said


def saved(folder: Path) -> h5py.AttributeManager:
    with h5py.File(folder / "small.h5.checkpoint") as file:
        return dict(file.attrs)


@pytest.fixture
def slow(config, tmp_path) -> str:
    (tmp_path / "slow.py").write_text(SLOW_STEP)
    return config(algorithm={"name": "slow", "step_size": 0.1}, record={"every": 100})


@pytest.mark.parametrize("name", ["SIGTERM", *map(slowly, ["SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])])
def test_a_signal_amid_a_long_iteration_stops_after_the_one_before(name, slow, mpiqopt, tmp_path):
    """What the broken iteration had counted is forgotten, and the run goes on from there to the same bits."""
    said = answer(start(tmp_path, slow), signal.Signals[name])
    assert f"stopped: signal {name} (go on with --resume)" in said
    now = saved(tmp_path)
    assert now["iteration"] == now["state.t"] == 5
    assert now["rounds"] == 10
    with h5py.File(tmp_path / "small.h5.checkpoint") as file:
        assert set(file["evaluations"][()]) <= {5000 + 6 * 10, 5000 + 6 * 11}  # 83 samples for 8 nodes
    with h5py.File(tmp_path / "small.h5") as file:
        assert file.attrs["status"] == "stopped"
        assert file["final/x"].shape == (8, 7)


def test_a_time_limit_is_kept_amid_a_long_iteration(slow, mpiqopt, tmp_path):
    began = time.monotonic()
    result = mpiqopt("run", slow, "--plugin", "slow.py", "--time-limit", "2")
    assert result.returncode == 75
    assert "stopped: time limit of 2 s (go on with --resume)" in result.stderr
    assert time.monotonic() - began < 2 + SECONDS
    assert saved(tmp_path)["iteration"] == 5


@pytest.mark.mpi
@pytest.mark.alone
@pytest.mark.parametrize("limit", [False, True])
def test_ranks_end_with_the_checkpoint_of_the_iteration_before(limit, slow, tmp_path):
    """One cannot be thrown away on several ranks, so long iterations, of more than a second, are saved one by one."""
    slow = (*slow.split(), "--set", "algorithm.seconds=1.2")
    job = start(tmp_path, *slow, *(("--time-limit", "10") if limit else ()), ranks=2)
    said = answer(job, *(() if limit else (signal.SIGUSR1,)))
    assert said.count("in the middle of something long; small.h5: the last checkpoint is of iteration 5") == 1
    assert saved(tmp_path)["iteration"] == 5
    assert not list(tmp_path.glob("*.lock"))


def test_a_second_interrupt_ends_a_run_at_once(slow, tmp_path):
    said = answer(start(tmp_path, slow), signal.SIGINT, signal.SIGINT)
    assert "stopped: Ctrl-C, twice" in said
    assert "(go on with --resume)" in said
    assert sorted(path.name for path in tmp_path.glob("small.h5*")) == ["small.h5", "small.h5.checkpoint"]


def test_code_that_is_deaf_to_signals_does_not_keep_a_run(slow, tmp_path):
    (tmp_path / "slow.py").write_text(DEAF)
    said = answer(start(tmp_path, slow), signal.SIGTERM)
    assert "stopped: signal SIGTERM, in the middle of something long; small.h5: the last checkpoint is of" in said
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_set_up_is_left_at_a_signal(number, config, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_DATA)
    path = config(data={"name": "slow", "task": "classification"})
    said = answer(start(tmp_path, path), number)
    assert f"stopped: signal {number.name}, in the set-up" in said
    assert not list(tmp_path.glob("small.h5*"))


@pytest.mark.mpi
def test_ranks_leave_the_set_up_at_a_signal(config, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_DATA)
    path = config(data={"name": "slow", "task": "classification"})
    assert "nothing was written" in answer(start(tmp_path, path, ranks=2), signal.SIGUSR1)
    assert not list(tmp_path.glob("small.h5*"))


def test_what_comes_after_a_signal_is_the_same_as_without(mpiqopt, config, tmp_path):
    """Quick iterations, too: thrown away are those since ranks last agreed."""
    path = config(run={"iterations": 3000}, record={"every": 7})
    assert mpiqopt("run", path, "-o", "whole.h5").returncode == 0
    job = subprocess.Popen(command("run", path, "-q"), cwd=tmp_path, env=environment())
    while not (tmp_path / "small.h5").exists():
        time.sleep(0.001)
    os.kill(job.pid, signal.SIGTERM)
    assert job.wait(TIMEOUT) in (0, 75)
    assert mpiqopt("run", path, "--resume").returncode == 0
    with h5py.File(tmp_path / "small.h5") as now, h5py.File(tmp_path / "whole.h5") as whole:
        for name in ("iteration", "objective", "bytes", "samples"):
            assert np.array_equal(now[name], whole[name])
