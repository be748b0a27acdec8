"""Measures steps of local training: their time, and the memory that they take at most."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.memory import PeakMemory, release_pages
from mpiqopt.neural.partial import Frozen, Partial, Window
from mpiqopt.problems.local_optimizers import LocalOptimizer
from mpiqopt.problems.problem import Problem

# steps before the first that is timed: codes are generated, scales observed, the allocator has what it needs
FIRST_STEPS = 2
# steps of a measurement go on until they have taken so many seconds together, or are so many
LEAST_SECONDS, MOST_STEPS = 0.3, 100


class Steps(NamedTuple):
    """What steps have taken.

    Attributes
    ----------
    seconds : of a step, the median
    memory : bytes above the loaded network, at most; None where the system does not tell
    scales : float32 (S,), observed; empty if the whole network was trained without a window
    """

    seconds: float
    memory: float | None
    scales: np.ndarray


class StepMeter:
    """Trains the network of a problem on samples of its first client, and measures that.

    Parameters
    ----------
    problem : of a network
    start : (d,), the point where every measurement begins
    optimizer : that moves the parameters
    batch : samples of a step; 0 for all that the client has. Too few are taken several times
    clock : tells seconds; by default those on the wall

    Attributes
    ----------
    batch : samples of a step
    """

    def __init__(
        self,
        problem: Problem,
        start: np.ndarray,
        optimizer: LocalOptimizer,
        batch: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        size = int(problem.sizes[0])
        self.batch = batch or size
        self._clock = clock
        self._chosen = np.arange(self.batch) % size
        self._blocks = len(problem.blocks())
        self._model, self._start, self._optimizer = problem.trainable(), start.copy(), optimizer

    def observe(self, frozen: Frozen, scales: int) -> np.ndarray:
        """Return the scales of the whole network, float32 (scales,)."""
        whole = Partial(Window(0, self._blocks - 1), frozen, np.zeros(scales, np.float32))
        return self.measure(whole, repeats=1).scales

    def measure(self, partial: Partial | None, repeats: int) -> Steps:
        """Return what steps take, after some that are not timed. partial : what is trained; None for all.

        repeats : steps of which the median is taken; more, where they are short, unless it is 1

        The gradient's memory is given back first: a step that does not use all of it does not take all of it.
        """
        model = self._model
        model.load(self._start)
        gradient = np.asarray(model.gradient)
        release_pages(gradient)
        peak = PeakMemory()
        trained = slice(0, model.weights) if partial is None else model.begin_window(partial)
        kept = self._optimizer.begin(model.point[trained])
        seconds = [self._step(trained, kept, k) for k in range(FIRST_STEPS + repeats)]
        memory = peak.taken()
        # short steps are disturbed most by what else the machine does
        while len(seconds) < MOST_STEPS and sum(seconds[FIRST_STEPS:]) < LEAST_SECONDS * (repeats > 1):
            seconds.append(self._step(trained, kept, len(seconds)))
        scales = np.zeros(0, np.float32) if partial is None else model.end_window()
        model.counted()
        return Steps(median(seconds[FIRST_STEPS:]), memory, scales)

    def _step(self, trained: slice, kept: list[Any], t: int) -> float:
        """Do one step, and return how long it took."""
        began = self._clock()
        self._model.differentiate(0, self._chosen, (0, 0, t))
        self._optimizer.move(self._model.point[trained], self._model.gradient[trained], kept, t)
        return self._clock() - began
