"""Local training: what a method asks of it, and nodes that train one after the other, when they are asked."""

import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from mpiqopt.streams import Streams

if TYPE_CHECKING:
    from threading import Event

    from mpiqopt.problems.problem import Problem


class Descent(NamedTuple):
    """How a node trains: gradient descent on f_i(w) + (pull/2) |w - centre|^2.

        w -= step (g + pull (w - centre)),  ``steps`` times, g the gradient of f_i or an estimate of it

    Attributes
    ----------
    step : step size
    steps : gradient steps of a training
    batch : samples of each gradient estimate, drawn uniformly with replacement; 0 for all that the node has
    pull : weight of the quadratic term
    """

    step: float
    steps: int
    batch: int = 0
    pull: float = 0.0


class Trained(NamedTuple):
    """What trainings have brought.

    Attributes
    ----------
    points : (hosted, d), the points reached
    origins : (hosted, d), the common point when each training began
    active : bool (hosted,), True for the nodes that have trained
    ages : int64 (hosted,), how many rounds ago the training of which a node brought something last began
    """

    points: np.ndarray
    origins: np.ndarray
    active: np.ndarray
    ages: np.ndarray


class Counters:
    """What the hosted nodes have done so far, arrays (hosted,); they are changed in place and saved in checkpoints.

    Attributes
    ----------
    joined : int64, rounds in which the node took part with something new
    local_steps : int64, gradient steps
    staleness : int64, sum over these rounds of the rounds that had passed since the training began, less the one that
        it takes at least
    stalest : int64, the largest of them
    training : float64, seconds
    """

    def __init__(self, hosted: int):
        self.joined, self.local_steps = np.zeros(hosted, np.int64), np.zeros(hosted, np.int64)
        self.staleness, self.stalest = np.zeros(hosted, np.int64), np.zeros(hosted, np.int64)
        self.training = np.zeros(hosted)

    def count(self, node: int, began: int, now: int, steps: int, seconds: float) -> None:
        """Count a training of ``steps`` steps and ``seconds`` that began after round ``began`` and joins ``now``."""
        self.joined[node] += 1
        self.local_steps[node] += steps
        late = now - began - 1
        self.staleness[node] += late
        self.stalest[node] = max(self.stalest[node], late)
        self.training[node] += seconds


class MachineTimes(Protocol):
    """How long gradients and trainings take on emulated machines (``emulation.machines``)."""

    def seconds(self, node: int, round: int, steps: int, taken: float) -> float:
        """Return the seconds of a training of ``steps`` gradients at a hosted node that really took ``taken``."""

    def delay(self, round: int, began: float) -> None:
        """Return when the gradients of all hosted nodes would be there, begun at ``began`` (time.perf_counter)."""


class Trainer(Protocol):
    """What trains the hosted nodes of a method whose ``trains`` is True: ``problem.trainer()``.

    Arrays of points are (hosted, d), of the problem's dtype, and nobody may change them afterwards.
    """

    counters: Counters

    def train(
        self, starts: np.ndarray, centres: np.ndarray, common: np.ndarray, how: Descent, round: int, active: np.ndarray
    ) -> Trained:
        """Train the active nodes now, and return when all are done; the others' points are their ``starts``.

        Parameters
        ----------
        starts : (hosted, d), where each node begins
        centres : (hosted, d), where ``how.pull`` pulls it
        common : (hosted, d), equal rows: the point that all nodes know
        how : the steps
        round : number of the round, which keys the batches
        active : bool (hosted,)
        """

    def busy(self) -> np.ndarray:
        """Return the seconds that each hosted node has trained, float64 (hosted,), unfinished trainings included."""

    def pause(self) -> None:
        """Stop local training until ``resume``, so that ranks may block in MPI collectives."""

    def resume(self) -> None:
        """Go on after ``pause``."""

    def close(self) -> None:
        """Give up unfinished trainings and end all threads."""


class BackgroundTrainer(Trainer, Protocol):
    """A trainer whose nodes train beside the communication: ``problem.background_trainer()``."""

    def start(self, starts: np.ndarray, centres: np.ndarray, common: np.ndarray, how: Descent, round: int) -> None:
        """Begin a training, after round ``round``, at every idle node; arrays are as in ``train``."""

    def news(self) -> bool:
        """Return True if a training is finished and not yet collected."""

    def shortest(self) -> float:
        """Return the mean seconds of a training at the quickest hosted node; infinite before any is finished."""

    def collect(self, common: np.ndarray, round: int) -> Trained:
        """Return the finished trainings, which join round ``round``; ``common`` stands for the other nodes."""


class LocalDescent:
    """Gradient descent at one node, with scratch arrays of its own, so that nodes can train at the same time."""

    def __init__(self, problem: "Problem", streams: Streams, node: int):
        self.node, self._streams = node, streams
        self._evaluator, self._size = problem.node_evaluator(node), int(problem.sizes[node])
        self._gradient = np.empty((1, problem.d), problem.dtype)
        self._evaluations = problem.evaluations[node : node + 1]

    def descend(
        self, start: np.ndarray, centre: np.ndarray, how: Descent, round: int, go_on: "Event | None" = None
    ) -> np.ndarray:
        """Return the point (d,) that ``how`` reaches from ``start`` (d,).

        Parameters
        ----------
        start, centre : (d,)
        how : the steps
        round : number of the round or training, which keys the batches
        go_on : an event that is waited for before each step
        """
        w, gradient = start.copy()[None], self._gradient
        step, pull = w.dtype.type(how.step), w.dtype.type(how.pull)
        for e in range(round * how.steps, (round + 1) * how.steps):
            if go_on is not None:
                go_on.wait()
            self._evaluate(w, e, how.batch)
            if how.pull:
                gradient += pull * (w - centre)
            w -= step * gradient
        return w[0]

    def _evaluate(self, w: np.ndarray, e: int, batch: int) -> None:
        """Write the gradient at w (1, d), or its estimate of step ``e``, and count the evaluations."""
        if batch:
            drawn = self._streams.node_batch(self.node, e, batch)
            self._evaluator.evaluate(w, self._gradient, index=drawn.index, counts=drawn.counts)
            self._evaluations += drawn.counts
        else:
            self._evaluator.evaluate(w, self._gradient)
            self._evaluations += self._size


class Training:
    """A ``Trainer`` in which the hosted nodes train one after the other.

    began: int64 (hosted,), the round after which the last training that a node has brought began.
    """

    def __init__(self, problem: "Problem", streams: Streams, machines: MachineTimes | None):
        self.counters, self.began = Counters(problem.hosted), np.zeros(problem.hosted, np.int64)
        self._local = [LocalDescent(problem, streams, i) for i in range(problem.hosted)]
        self._machines = machines

    def train(
        self, starts: np.ndarray, centres: np.ndarray, common: np.ndarray, how: Descent, round: int, active: np.ndarray
    ) -> Trained:
        """Train the active nodes now: ``Trainer.train``."""
        points, longest, begun = starts.copy(), 0.0, time.perf_counter()
        for i in np.flatnonzero(active).tolist():
            start = time.perf_counter()
            points[i] = self._local[i].descend(starts[i], centres[i], how, round)
            seconds = self._seconds(i, round, how.steps, time.perf_counter() - start)
            self.counters.count(i, round, round + 1, how.steps, seconds)
            self.began[i] = round
            longest = max(longest, seconds)
        # the nodes are machines of their own: the slowest decides
        if self._machines is not None:
            time.sleep(max(0.0, longest - (time.perf_counter() - begun)))
        return Trained(points, common, active, round - self.began)

    def _seconds(self, node: int, round: int, steps: int, taken: float) -> float:
        """Return how long a training is to take."""
        return taken if self._machines is None else self._machines.seconds(node, round, steps, taken)

    def busy(self) -> np.ndarray:
        """Return the seconds that each hosted node has trained, float64 (hosted,)."""
        return self.counters.training.copy()

    def pause(self) -> None:
        """Do nothing: nothing trains between calls."""

    def resume(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
