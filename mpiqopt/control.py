"""When a run stops early and when it saves its state: signals, time limits, the queue's end, agreed by all ranks."""

import os
import signal
import time
from types import FrameType
from typing import NamedTuple

import numpy as np

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
# seconds between agreements, which cost one small all-reduce
AGREE_SECONDS = 0.1
# a deadline that does not come, and what sets it
NEVER = (float("inf"), "")


def deadline(time_limit: float | None) -> tuple[float, str]:
    """When to stop, in seconds of time.monotonic, and what sets it: a time limit or the end of the SLURM job.

    Before the job's end a tenth of what is left of it, 5 to 60 s, is kept for the last checkpoint.
    """
    now = time.monotonic()
    limits = [NEVER]
    if time_limit is not None:
        limits.append((now + time_limit, f"time limit of {time_limit:g} s"))
    end = os.environ.get("SLURM_JOB_END_TIME") or _slurm_end_time()
    if end:
        left = float(end) - time.time()
        limits.append((now + left - min(max(left / 10, 5), 60), "end of the SLURM job"))
    return min(limits)


def _slurm_end_time() -> str | None:
    """The end of the job that this process runs in, asked from SLURM where it is not in the environment."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    import subprocess

    if "SLURM_ARRAY_TASK_ID" in os.environ:  # one task's number may be that of the whole array
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%L"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        days, _, clock = text.rpartition("-")
        seconds = 0
        for part in clock.split(":"):
            seconds = 60 * seconds + int(part)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return str(time.time() + 86400 * int(days or 0) + seconds)


class Decision(NamedTuple):
    """What all ranks do now. ``stop``: why the run stops early, or "". ``next``: iteration of the next agreement."""

    stop: str
    save: bool
    next: int


class Control:
    """Collects signals on every rank and rank 0's clock, and lets all ranks decide the same at the same iteration."""

    def __init__(self, transport, until: tuple[float, str], every_seconds: float):
        self.transport = transport
        self.deadline, self.deadline_reason = until
        self.every_seconds = every_seconds
        self._signal = 0
        self._saved = time.monotonic()
        self._last = (0, self._saved)
        self._interval = 1
        # nohup ignores SIGHUP, and that must stay; what a job script ignores while a run starts is handled from here on
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        wanted = [number for number in SIGNALS if number != signal.SIGHUP or not ignored]
        self._handlers = {number: signal.signal(number, self._receive) for number in wanted}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: at once
        self._signal = number

    def agree(self, iteration: int) -> Decision:
        """Collective, at the iteration that the last decision named."""
        now = time.monotonic()
        mine = np.array([self._signal, 0, 0, 0], np.int64)
        if self.transport.rank == 0:
            mine[1:] = now >= self.deadline, now - self._saved >= self.every_seconds, self._steps(iteration, now)
        number, late, save, steps = self.transport.maximum(mine).tolist()
        self._last, self._interval = (iteration, now), steps
        if save:
            self._saved = now
        late_reason = self.deadline_reason or "time limit" if late else ""
        reason = f"signal {signal.Signals(number).name}" if number else late_reason
        return Decision(reason, bool(save), iteration + steps)

    def _steps(self, iteration: int, now: float) -> int:
        """Iterations that take about AGREE_SECONDS, growing at most twofold each time."""
        done, since = self._last
        if iteration == done:
            return 1
        steps = AGREE_SECONDS * (iteration - done) / max(now - since, 1e-9)
        return max(1, min(int(steps), 2 * self._interval))

    def close(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
