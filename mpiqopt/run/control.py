"""Decide when a run stops early and when it saves its state: time limits, the queue's end, and agreement of ranks."""

import os
import time
from typing import NamedTuple

import numpy as np

from mpiqopt.run.watch import GRACE, Watch

# Seconds between agreements, which cost one small all-reduce.
AGREE_SECONDS = 0.1
# A long iteration is followed by a checkpoint if that takes at most this share of its time.
SAVING_SHARE = 0.05
# A deadline that does not come, and what sets it.
NEVER = (float("inf"), "")


def deadline(time_limit: float | None) -> tuple[float, str]:
    """Return when to stop, in seconds of time.monotonic(), and what sets it: a time limit or the end of the SLURM job.

    Before the job's end a tenth of what is left of it, 5 to 60 s, is kept for the last checkpoint.
    time_limit: in seconds from now, or None.
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
    """Return the end of this process's job, in time.time(), asked from SLURM where it is not in the environment."""
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
    """What all ranks do now.

    Attributes
    ----------
    stop : why the run stops early; "" if it does not
    save : True to write a checkpoint
    next : the iteration of the next agreement
    """

    stop: str
    save: bool
    next: int


class Control:
    """Lets all ranks stop and save at the same iteration: by their signals, and by rank 0's clock.

    Parameters
    ----------
    watch : knows this rank's signal, and on rank 0 the deadline
    every_seconds : seconds between checkpoints
    """

    def __init__(self, watch: Watch, every_seconds: float):
        self.watch, self.transport = watch, watch.transport
        self.every_seconds = every_seconds
        self._saved, self._saving = time.monotonic(), 0.0
        self._last = (0, self._saved)
        self._interval = 1

    def saved(self, began: float) -> None:
        """Note that the state was saved; began: when saving began, in time.monotonic()."""
        self._saved = time.monotonic()
        self._saving = self._saved - began

    @property
    def slow(self) -> bool:
        """True if an iteration may take long: ranks agree after each of them."""
        return self._interval == 1

    def agree(self, iteration: int) -> Decision:
        """Return what all ranks do, collective; iteration: the one that the last decision named as ``next``."""
        now = time.monotonic()
        mine = np.array([self.watch.number, 0, 0, 0], np.int64)
        if self.transport.rank == 0:
            mine[1:] = now >= self.watch.deadline, self._due(iteration, now), self._steps(iteration, now)
        number, late, save, steps = self.transport.maximum(mine).tolist()
        self._last, self._interval = (iteration, now), steps
        reason = self.watch.reason(number, bool(late))
        if reason:
            self.watch.answered()
        return Decision(reason, bool(save), iteration + steps)

    def _due(self, iteration: int, now: float) -> bool:
        """Return True if it is time for a checkpoint.

        That is also after an iteration so long that a signal in it would have gone unanswered.
        """
        done, since = self._last
        one = (now - since) / max(iteration - done, 1)
        long = one > GRACE / 2 and self._saving < SAVING_SHARE * one
        return iteration > done and (long or now - self._saved >= self.every_seconds)

    def _steps(self, iteration: int, now: float) -> int:
        """Return how many iterations take about AGREE_SECONDS, at most twice as many as last time."""
        done, since = self._last
        if iteration == done:
            return 1
        steps = AGREE_SECONDS * (iteration - done) / max(now - since, 1e-9)
        return max(1, min(int(steps), 2 * self._interval))
