"""Runs as jobs that are killed, raced and starved, and what their files have to hold then."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import tomli_w

from mpiqopt.errors import PREFIX
from mpiqopt.results.layout import REPRODUCIBLE
from tools.commands import TIMEOUT, command, environment

CONFIG, RESULT = "c.toml", "r.h5"
# Some 2 s in one process, with records and checkpoints all the time: a random moment is one in the middle of a write.
TABLES = {
    "run": {"iterations": 15_000, "seed": 3},
    "data": {"name": "hdf5", "path": "d.hdf5"},
    "problem": {"name": "logistic", "l2": 0.1},
    "topology": {"name": "ring", "nodes": 8},
    "algorithm": {"name": "proxgt-sr-e", "gossip_rounds": 2, "step_size": 0.3},
    "regularizer": {"name": "l1", "weight": 0.01},
    "record": {"every": 7},
    "checkpoint": {"every_seconds": 0.05},
}

Contents = dict[str, np.ndarray]


class Loss(Exception):
    """Something that was computed, or had to be said, is lost."""


@dataclass
class Job:
    """A command that runs in ``folder``. ranks = 0: one process without mpiexec."""

    folder: Path
    words: Sequence[str]
    ranks: int = 0
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self._err = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would stop the job
        self.process = subprocess.Popen(
            command(*self.words, ranks=self.ranks),
            cwd=self.folder,
            env={**environment(), **self.variables},
            stdout=subprocess.DEVNULL,
            stderr=self._err,
            start_new_session=True,
        )

    def wait(self, seconds: float = TIMEOUT) -> int:
        """The exit status; raises Loss if there is none in time, or if what it said is not as documented."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Loss(f"no end within {seconds:.0f} s: {self}") from None
        if "Traceback" in self.said():
            raise Loss(f"a traceback: {self}: {self.said()}")
        return status

    def ends_within(self, seconds: float) -> bool:
        try:
            self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def said(self) -> str:
        self._err.seek(0)
        return self._err.read().decode(errors="replace")

    def kill(self, one: Callable[[list[int]], int] | None = None) -> None:
        """kill -9 of all processes of the job; or of one of its ranks, which ends the others."""
        found = [self.process.pid, *descendants(self.process.pid)]
        ranks = [pid for pid in found if self.ranks and _is_rank(pid)]
        victims = [one(ranks)] if one and ranks else found
        for pid in victims:
            _send(pid, signal.SIGKILL)
        if not self.ends_within(30):
            raise Loss(f"the job goes on without a rank: {self}")
        _gone(found)

    def __str__(self) -> str:
        return f"mpiqopt {' '.join(self.words)} ({self.ranks or 'no'} ranks)"


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_rank(pid: int) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"mpiqopt" in line and b"mpiexec" not in Path(os.fsdecode(line[0])).name.encode() and b"-n" not in line


def descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:  # it has ended
                continue
    return found[1:]


def _gone(pids: Sequence[int]) -> None:
    """Wait until none of them runs: a rank that still writes would be another race."""
    end = time.monotonic() + 30
    while any(_runs(pid) for pid in pids):
        if time.monotonic() > end:
            raise Loss(f"killed processes still run: {pids}")
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def prepared(folder: Path, **changes: dict) -> Path:
    """A new folder with the config and its data."""
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(tomli_w.dumps({**TABLES, **changes}))
    draw = np.random.default_rng(0)
    with h5py.File(folder / "d.hdf5", "w") as file:
        file["X"] = draw.standard_normal((800, 30))
        file["y"] = draw.choice([-1.0, 1.0], 800)
    return folder


def whole(folder: Path, *extra: str) -> Contents:
    """The records and final iterates of the uninterrupted run of what is in ``folder``."""
    job = Job(folder, ["run", CONFIG, "-q", "-o", "whole.h5", *extra])
    if job.wait() != 0:
        raise Loss(f"{job}: {job.said()}")
    found = contents(folder / "whole.h5")
    (folder / "whole.h5").unlink()
    return found


def contents(path: Path) -> Contents:
    try:
        with h5py.File(path) as file:
            names = [name for name in (*REPRODUCIBLE, "final/x") if name in file]
            return {name: file[name][()] for name in names}
    except (OSError, RuntimeError, KeyError) as error:
        raise Loss(f"{path} does not open: {error}") from error


def require_whole(path: Path, expected: Contents) -> None:
    """The file holds the finished run, bit for bit."""
    found = contents(path)
    if found.keys() != expected.keys():
        raise Loss(f"{path}: has {sorted(found)}, not {sorted(expected)}")
    for name, values in expected.items():
        if found[name].tobytes() != values.tobytes():
            raise Loss(f"{path}: /{name} is not that of the uninterrupted run")
    with h5py.File(path) as file:
        if file.attrs["status"] != "finished":
            raise Loss(f"{path}: status is {file.attrs['status']!r}")


def require_start(path: Path, expected: Contents) -> int:
    """The file, if there is one, opens and holds the first records of the run; how many."""
    if not path.exists():
        return 0
    found = contents(path)
    count = len(found["iteration"])
    for name, values in found.items():
        if name != "final/x" and values.tobytes() != expected[name][:count].tobytes():
            raise Loss(f"{path}: /{name} does not hold the first {count} records of the run")
    return count


def require_clean(folder: Path, *extra: str) -> None:
    """Nothing is left in the folder but what the run is made of and what it made."""
    allowed = {CONFIG, "d.hdf5", RESULT, f"{RESULT}.checkpoint", *extra}
    left = {path.name for path in folder.iterdir()} - allowed
    if left:
        raise Loss(f"{folder}: left behind: {', '.join(sorted(left))}")


def require_one_line(job: Job, *words: str) -> None:
    """The job has said one line, which holds one of the words; launchers say more of a job that fails."""
    lines, status = job.said().splitlines(), job.process.returncode
    if job.ranks:
        lines = [line for line in lines if line.startswith(PREFIX)]
    if len(lines) != 1 or len(lines[0]) > 200 or not any(word in lines[0] for word in words):
        wanted = " or ".join(map(repr, words))
        raise Loss(f"{job}: status {status}: want one line with {wanted}, got {job.said()!r}")


def resume(folder: Path, expected: Contents, result: str = RESULT, **of_job) -> bool:
    """Go on to the end, which has to be the whole run's. False if the run had no checkpoint and had to begin again."""
    words = ["run", CONFIG, "-q", "-o", result]
    saved = (folder / f"{result}.checkpoint").exists()
    job = Job(folder, [*words, "--resume"], **of_job)
    status, again = job.wait(), False
    if status == 2 and not saved and "--overwrite" in job.said():
        job, again = Job(folder, [*words, "--overwrite"], **of_job), True
        status = job.wait()
    if status != 0:
        raise Loss(f"{job}: status {status}: {job.said()}")
    require_whole(folder / result, expected)
    return not again
