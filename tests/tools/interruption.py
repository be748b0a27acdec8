"""Runs to interrupt: started until they have written a checkpoint."""

import subprocess
import time
from pathlib import Path

import h5py

from mpiqopt.results.lock import is_being_written
from tools.commands import TIMEOUT, command, environment


def iteration_saved(folder: Path) -> int:
    """The iteration of the checkpoint, -1 without one."""
    checkpoint = folder / "small.h5.checkpoint"
    if not checkpoint.exists():
        return -1
    with h5py.File(checkpoint) as file:
        return int(file.attrs["iteration"])


def interrupted(folder: Path, ranks: int, *extra: str) -> subprocess.Popen:
    """Start (or go on with) the run, and return when it has written a checkpoint on the way."""
    before = max(iteration_saved(folder), 0)
    job = subprocess.Popen(
        command("run", "small.toml", "-q", *extra, ranks=ranks),
        cwd=folder,
        env=environment(),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + TIMEOUT
    while iteration_saved(folder) <= before:
        assert job.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < end
        time.sleep(0.01)
    return job


def descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found[1:]


def wait_until_nobody_writes(path: Path) -> None:
    """Return when no process has the lock of a result file any more; at most half a minute."""
    until = time.monotonic() + 30
    while is_being_written(path) and time.monotonic() < until:
        time.sleep(0.05)
