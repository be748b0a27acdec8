"""Local training at the nodes: one node after the other, or in worker threads beside the coordination."""

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams

# how far worker threads stand back behind the coordination, as nice(1) counts
NICENESS = 10


class Descent(NamedTuple):
    """Gradient descent on f_i(w) + (pull/2) |w - centre|^2: w -= step (g + pull (w - centre)), ``steps`` times.

    batch: samples of each gradient estimate; 0 for all that a node has.
    """

    step: float
    steps: int
    batch: int = 0
    pull: float = 0.0


class Trained(NamedTuple):
    """Rows (hosted, d) of points reached and of the common point when the training began; active: bool (hosted,)."""

    points: np.ndarray
    origins: np.ndarray
    active: np.ndarray


class Counters:
    """What the hosted nodes have done so far; arrays (hosted,).

    joined: rounds in which a node took part with something new; local_steps: gradient steps; staleness: sum over these
    rounds of the rounds that had passed since the training began, less the one that it takes at least; stalest: the
    largest; training: seconds.
    """

    def __init__(self, hosted: int):
        self.joined, self.local_steps = np.zeros(hosted, np.int64), np.zeros(hosted, np.int64)
        self.staleness, self.stalest = np.zeros(hosted, np.int64), np.zeros(hosted, np.int64)
        self.training = np.zeros(hosted)

    def count(self, node: int, began: int, now: int, steps: int, seconds: float) -> None:
        """A training of ``steps`` steps that began after round ``began`` joins round ``now``."""
        self.joined[node] += 1
        self.local_steps[node] += steps
        late = now - began - 1
        self.staleness[node] += late
        self.stalest[node] = max(self.stalest[node], late)
        self.training[node] += seconds


class Local:
    """Descent at one node, with room of its own, so that nodes can train at the same time."""

    def __init__(self, problem: Problem, streams: Streams, node: int):
        self.node, self._streams = node, streams
        self._evaluator, self._size = problem.node_evaluator(node), int(problem.sizes[node])
        self._gradient = np.empty((1, problem.d), problem.dtype)
        self._evaluations = problem.evaluations[node : node + 1]

    def descend(
        self, start: np.ndarray, centre: np.ndarray, how: Descent, round: int, go_on: threading.Event | None = None
    ) -> np.ndarray:
        """The point (d,) reached from ``start``. round: or another number of this training, which keys the batches.

        go_on: waited for before each step.
        """
        w, gradient = start.copy()[None], self._gradient
        step, pull = w.dtype.type(how.step), w.dtype.type(how.pull)
        for e in range(round * how.steps, (round + 1) * how.steps):
            if go_on is not None:
                go_on.wait()
            if how.batch:
                batch = self._streams.node_batch(self.node, e, how.batch)
                self._evaluator.evaluate(w, gradient, index=batch.index, counts=batch.counts)
                self._evaluations += batch.counts
            else:
                self._evaluator.evaluate(w, gradient)
                self._evaluations += self._size
            if how.pull:
                gradient += pull * (w - centre)
            w -= step * gradient
        return w[0]


class Training:
    """Trainings of the hosted nodes, one after the other. emulated: how long they are to take (``emulation``)."""

    def __init__(self, problem: Problem, streams: Streams, emulated):
        self.counters = Counters(problem.hosted)
        self._local = [Local(problem, streams, i) for i in range(problem.hosted)]
        self._emulated = emulated

    def train(
        self, starts: np.ndarray, centres: np.ndarray, common: np.ndarray, how: Descent, round: int, active: np.ndarray
    ) -> Trained:
        """A training at every active node, now; the points of the others are their ``starts``."""
        points, longest, begun = starts.copy(), 0.0, time.perf_counter()
        for i in np.flatnonzero(active):
            start = time.perf_counter()
            points[i] = self._local[i].descend(starts[i], centres[i], how, round)
            seconds = self._seconds(i, round, how.steps, time.perf_counter() - start)
            self.counters.count(i, round, round + 1, how.steps, seconds)
            longest = max(longest, seconds)
        # the nodes are machines of their own: the slowest decides
        if self._emulated is not None:
            time.sleep(max(0.0, longest - (time.perf_counter() - begun)))
        return Trained(points, common, active)

    def _seconds(self, node: int, round: int, steps: int, taken: float) -> float:
        """How long a training is to take."""
        return taken if self._emulated is None else self._emulated.seconds(node, round, steps, taken)

    def busy(self) -> np.ndarray:
        """Seconds that the hosted nodes have trained, what is not finished included."""
        return self.counters.training.copy()

    def pause(self) -> None:
        """Nothing goes on between calls."""

    def resume(self) -> None:
        """The reverse of ``pause``."""

    def close(self) -> None:
        """End in order."""


class _Running(NamedTuple):
    future: Future
    round: int
    began: float
    origin: np.ndarray


class _Clock(NamedTuple):
    """paused: seconds of all pauses that are over; stopped: when one began that is not."""

    paused: float
    stopped: float | None


class BackgroundTraining(Training):
    """Trainings in threads, one for each hosted node but no more than there are processors for this rank."""

    def __init__(self, problem: Problem, streams: Streams, emulated, processors: int):
        super().__init__(problem, streams, emulated)
        self._pool = ThreadPoolExecutor(min(problem.hosted, processors), initializer=_stand_back)
        self._go_on = threading.Event()
        self._go_on.set()
        self._running: dict[int, _Running] = {}
        self._clock = _Clock(0.0, None)

    def start(self, starts: np.ndarray, centres: np.ndarray, common: np.ndarray, how: Descent, round: int) -> None:
        """Begin a training, after round ``round``, at every node that has nothing to do; rows are as in ``train``."""
        for node in range(len(starts)):
            if node not in self._running:
                # rows of arrays that nobody changes any more
                trainings = int(self.counters.joined[node])  # key what is drawn, also where a round has several
                task = self._pool.submit(self._descend, node, starts[node], centres[node], how, trainings)
                self._running[node] = _Running(task, round, self._now(), common[node])

    def _descend(self, node: int, start: np.ndarray, centre: np.ndarray, how: Descent, round: int):
        """In a worker: the point, and when it is to be handed over."""
        begun = self._now()
        point = self._local[node].descend(start, centre, how, round, self._go_on)
        seconds = self._seconds(node, round, how.steps, self._now() - begun)
        return point, seconds, how.steps

    def _ready(self, node: int) -> bool:
        task = self._running[node]
        return task.future.done() and self._now() >= task.began + task.future.result()[1]

    def shortest(self) -> float:
        """Mean seconds of a training at the quickest of the hosted nodes that have finished any; infinite before."""
        count, seconds = self.counters.joined.copy(), self.counters.training.copy()
        for node in filter(self._ready, self._running):
            count[node] += 1
            seconds[node] += self._running[node].future.result()[1]
        return float(np.divide(seconds, count, out=np.full(len(count), np.inf), where=count > 0).min())

    def news(self) -> bool:
        """Whether a training is finished that was not collected."""
        return any(map(self._ready, self._running))

    def collect(self, common: np.ndarray, round: int) -> Trained:
        """The trainings that are finished, which join round ``round``; ``common`` stands for the others."""
        trained = Trained(common.copy(), common.copy(), np.zeros(len(common), bool))
        for node in [node for node in self._running if self._ready(node)]:
            task = self._running.pop(node)
            point, seconds, steps = task.future.result()
            self.counters.count(node, task.round, round, steps, seconds)
            trained.points[node], trained.origins[node], trained.active[node] = point, task.origin, True
        return trained

    def _now(self) -> float:
        """Seconds, pauses left out."""
        clock = self._clock  # once: workers ask while the main thread changes it
        return (time.perf_counter() if clock.stopped is None else clock.stopped) - clock.paused

    def busy(self) -> np.ndarray:
        busy, now = super().busy(), self._now()
        for node, task in self._running.items():
            seconds = task.future.result()[1] if task.future.done() else np.inf
            busy[node] += min(now - task.began, seconds)
        return busy

    def pause(self) -> None:
        """Trainings stop before their next gradient, and their time stands still."""
        if self._clock.stopped is None:
            self._go_on.clear()
            self._clock = self._clock._replace(stopped=time.perf_counter())

    def resume(self) -> None:
        """The reverse of ``pause``."""
        if self._clock.stopped is not None:
            self._clock = _Clock(self._clock.paused + time.perf_counter() - self._clock.stopped, None)
            self._go_on.set()

    def close(self) -> None:
        """Give up what is running."""
        self._go_on.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _stand_back() -> None:
    """The coordination comes first: on Linux each thread has its own niceness."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
