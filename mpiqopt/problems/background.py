"""Local training in worker threads beside the communication."""

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from mpiqopt.problems.problem import Problem
from mpiqopt.problems.training import Descent, MachineTimes, Trained, Training
from mpiqopt.streams import Streams

# Niceness of worker threads, as nice(1) counts it: the thread that communicates is to run first.
NICENESS = 10


class _Finished(NamedTuple):
    """What a worker returns. seconds: how long the training is to take, by the emulated machine if there is one."""

    point: np.ndarray
    seconds: float
    steps: int


class _Running(NamedTuple):
    """A training that was begun after round ``round``, at ``began``, when ``origin`` (d,) was the common point."""

    future: "Future[_Finished]"
    round: int
    began: float
    origin: np.ndarray


class _Clock(NamedTuple):
    """paused: seconds of all pauses that are over; stopped: when one began that is not."""

    paused: float
    stopped: float | None


class BackgroundTraining(Training):
    """A ``BackgroundTrainer``: one thread for each hosted node, but no more than ``processors`` of this rank."""

    def __init__(self, problem: Problem, streams: Streams, machines: MachineTimes | None, processors: int):
        super().__init__(problem, streams, machines)
        self._pool = ThreadPoolExecutor(min(problem.hosted, processors), initializer=_lower_priority)
        self._go_on = threading.Event()
        self._go_on.set()
        self._running: dict[int, _Running] = {}
        self._clock = _Clock(0.0, None)

    def start(self, starts: np.ndarray, centres: np.ndarray, common: np.ndarray, how: Descent, round: int) -> None:
        """Begin a training, after round ``round``, at every idle node: ``BackgroundTrainer.start``."""
        for node in range(len(starts)):
            if node not in self._running:
                # the number of trainings keys what is drawn, also where a round has several
                trainings = int(self.counters.joined[node])
                task = self._pool.submit(self._descend, node, starts[node], centres[node], how, trainings)
                self._running[node] = _Running(task, round, self._now(), common[node])

    def _descend(self, node: int, start: np.ndarray, centre: np.ndarray, how: Descent, round: int) -> _Finished:
        """Train one node, in a worker."""
        begun = self._now()
        point = self._local[node].descend(start, centre, how, round, self._go_on)
        return _Finished(point, self._seconds(node, round, how.steps, self._now() - begun), how.steps)

    def _ready(self, node: int) -> bool:
        """Return True if a node has finished and, on an emulated machine, would have."""
        task = self._running[node]
        return task.future.done() and self._now() >= task.began + task.future.result().seconds

    def shortest(self) -> float:
        """Return the mean seconds of a training at the quickest hosted node; infinite before any is finished."""
        count, seconds = self.counters.joined.copy(), self.counters.training.copy()
        for node in filter(self._ready, self._running):
            count[node] += 1
            seconds[node] += self._running[node].future.result().seconds
        return float(np.divide(seconds, count, out=np.full(len(count), np.inf), where=count > 0).min())

    def news(self) -> bool:
        """Return True if a training is finished and not yet collected."""
        return any(map(self._ready, self._running))

    def collect(self, common: np.ndarray, round: int) -> Trained:
        """Return the finished trainings, which join round ``round``: ``BackgroundTrainer.collect``."""
        trained = Trained(common.copy(), common.copy(), np.zeros(len(common), bool), self.began)
        for node in [node for node in self._running if self._ready(node)]:
            task = self._running.pop(node)
            done = task.future.result()
            self.counters.count(node, task.round, round, done.steps, done.seconds)
            self.began[node] = task.round
            trained.points[node], trained.origins[node], trained.active[node] = done.point, task.origin, True
        return trained._replace(ages=round - 1 - self.began)

    def _now(self) -> float:
        """Return the time in seconds, pauses left out."""
        clock = self._clock  # once: workers ask while the main thread changes it
        return (time.perf_counter() if clock.stopped is None else clock.stopped) - clock.paused

    def busy(self) -> np.ndarray:
        """Return the seconds that each hosted node has trained, float64 (hosted,), unfinished trainings included."""
        busy, now = super().busy(), self._now()
        for node, task in self._running.items():
            seconds = task.future.result().seconds if task.future.done() else np.inf
            busy[node] += min(now - task.began, seconds)
        return busy

    def pause(self) -> None:
        """Stop trainings before their next gradient, and their clock, so that ranks may block in MPI collectives."""
        if self._clock.stopped is None:
            self._go_on.clear()
            self._clock = self._clock._replace(stopped=time.perf_counter())

    def resume(self) -> None:
        """Go on after ``pause``."""
        if self._clock.stopped is not None:
            self._clock = _Clock(self._clock.paused + time.perf_counter() - self._clock.stopped, None)
            self._go_on.set()

    def close(self) -> None:
        """Give up unfinished trainings and end the threads."""
        self._go_on.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _lower_priority() -> None:
    """Give this worker a niceness of its own, as each thread has on Linux."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
