"""Random calls of coordinators, alone and on ranks, and runs by mailboxes that end, in order or killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest
from tools import soak
from tools.commands import TIMEOUT, command, environment, mpiexec, with_tools
from tools.interruption import descendants
from tools.ranks_of_runs import is_rank, wait_for_records

from mpiqopt.transport.serial import SerialTransport


@pytest.mark.parametrize(("emulate", "calls"), [(False, 400), (True, 20)])
def test_random_calls_in_one_process(emulate, calls):
    options = soak.parsed(["--calls", str(calls), "--seed", "5", *(["--emulate"] if emulate else [])])
    tally = soak.soak(options, SerialTransport())
    assert tally.calls >= calls
    assert (tally.wrong, tally.lost) == (0, 0)
    assert tally.weighed > 0


def under_mpiexec(ranks: int, *arguments: str) -> subprocess.CompletedProcess:
    script = [sys.executable, "-m", "tools.soak", *arguments]
    start = [mpiexec(), "-n", str(ranks), *script]
    return subprocess.run(start, env=with_tools(), capture_output=True, text=True, timeout=TIMEOUT)


def complaints(stderr: str) -> list[str]:
    """Without what Open MPI 5 says of every window on machines without InfiniBand."""
    return [line for line in stderr.splitlines() if line.strip() and "OSC UCX component priority" not in line]


@pytest.mark.mpi
@pytest.mark.parametrize("transport", ["window", "two-sided"])
@pytest.mark.parametrize(
    ("ranks", "calls", "extra"),
    [(2, 15, ["--emulate"]), (3, 15, []), *(pytest.param(*it, [], marks=pytest.mark.slow) for it in ((2, 60), (8, 4)))],
)
def test_random_calls_on_ranks(ranks, calls, extra, transport):
    """All right, no mass lost, status 0, and nothing on stderr: no request, window or message is left over."""
    result = under_mpiexec(ranks, "--calls", str(calls), "--seed", "3", "--transport", transport, *extra)
    assert result.returncode == 0, result.stderr
    assert "wrong results 0, lost mass 0" in result.stdout
    assert complaints(result.stderr) == []


ENDLESS = ("--set", "algorithm.execution=asynchronous", "--set", "run.iterations=1000000000")


@pytest.mark.mpi
@pytest.mark.parametrize("transport", ["window", "two-sided"])
def test_a_run_by_mailboxes_ends_in_order(transport, mpiqopt, tmp_path):
    config = Path(__file__).parents[1] / "configs" / "ftqc.toml"
    asynchronous = ("--set", "algorithm.execution=asynchronous", "--set", "run.iterations=20")
    result = mpiqopt("run", config, "-q", "-o", "a.h5", *asynchronous, "--set", f"run.transport={transport}", ranks=2)
    assert result.returncode == 0
    assert not re.search("pending|leak|request|warning|error", " ".join(complaints(result.stderr)), re.IGNORECASE)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["status"] == "finished"


@pytest.mark.mpi
@pytest.mark.parametrize(("transport", "victim"), [("window", 0), ("two-sided", 2)])
def test_kill_9_of_one_rank_ends_a_run_by_mailboxes(transport, victim, tmp_path):
    """Within seconds, although the others only look into their mailboxes; and the file opens."""
    config = Path(__file__).parents[1] / "configs" / "ftqc.toml"
    started = command("run", str(config), "-q", "-o", "a.h5", *ENDLESS, "--set", f"run.transport={transport}", ranks=3)
    job = subprocess.Popen(started, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    try:
        wait_for_records(tmp_path / "a.h5", job)
        ranks = [pid for pid in descendants(job.pid) if is_rank(pid)]
        assert len(ranks) == 3
        os.kill(sorted(ranks)[victim], signal.SIGKILL)
        begun = time.monotonic()
        assert job.wait(TIMEOUT) not in (0, 2, 75)
        assert time.monotonic() - begun < 10
        assert not any(is_rank(pid) for pid in ranks)
    finally:
        job.terminate()
        job.wait(TIMEOUT)
    with h5py.File(tmp_path / "a.h5") as file:
        assert len(file["iteration"]) > 0
