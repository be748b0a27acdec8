"""Local training of clients: epochs or steps of an optimiser on a client's own samples, from a point that it is given.

The same code trains networks and losses in NumPy: points are arrays of NumPy or tensors, changed in place.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mpiqopt.neural.partial import Partial
from mpiqopt.problems.client_log import ClientLog
from mpiqopt.problems.local_optimizers import LocalOptimizer, add_scaled
from mpiqopt.streams import Streams, random_stream

if TYPE_CHECKING:
    from mpiqopt.problems.problem import Problem
    from mpiqopt.problems.training import MachineTimes

# A point: an array of NumPy (d,) or a tensor of PyTorch.
Vector = Any


class Work(NamedTuple):
    """What a client does when it trains.

        repeat:  g = gradient of f_i on a batch + pull (w - start) + correction;  the optimiser moves w by g

    Attributes
    ----------
    optimizer : which, with its step size
    batch : samples of a gradient; 0 for all that the client has
    epochs : passes over the client's samples, each in an order of its own, the last batch as it is; 0: count steps
    steps : gradient steps, their batches drawn with replacement, where epochs = 0
    pull : weight of (1/2)|w - start|^2, as in FedProx
    """

    optimizer: LocalOptimizer
    batch: int = 0
    epochs: int = 1
    steps: int = 0
    pull: float = 0.0

    def count_steps(self, samples: np.ndarray) -> np.ndarray:
        """Return the gradient steps of clients with so many samples, int64 like ``samples``."""
        if not self.epochs:
            return np.full_like(samples, self.steps)
        return self.epochs * (-(-samples // self.batch) if self.batch else np.ones_like(samples))

    def count_evaluations(self, samples: np.ndarray) -> np.ndarray:
        """Return the gradients of single samples that clients with so many samples take, int64 like ``samples``."""
        if self.epochs:
            return self.epochs * samples
        return self.steps * (np.minimum(self.batch, samples) if self.batch else samples)


class Trained(NamedTuple):
    """What a training has come to.

    Attributes
    ----------
    loss, accuracy : over the batches, each at the point before its step; accuracy NaN for losses without classes
    steps : gradient steps
    seconds : that it took here
    scales : float32 (S,), of a training of a window: the largest magnitude of each quantised tensor that the window has
        made, 0 for the others; None if the whole model was trained
    """

    loss: float
    accuracy: float
    steps: int
    seconds: float
    scales: np.ndarray | None = None


class Trainable(Protocol):
    """The model of the hosted clients, at one point at a time.

    point, gradient : (d,), changed in place. weights : how many of the first coordinates optimisers move; the others
    are running statistics, which ``differentiate`` updates in ``point``.
    """

    point: Vector
    gradient: Vector
    weights: int

    def load(self, start: np.ndarray) -> Vector:
        """Set the point to ``start`` (d,), and return that in the form of points."""

    def differentiate(self, client: int, chosen: np.ndarray | None, key: tuple[int, int, int]) -> None:
        """Leave the gradient of f_i of a hosted client on some samples in ``gradient``, and count loss and hits.

        chosen : int64 (k,), positions among the client's samples; None for all. key : seed, node of the network and
        number of the batch, which key what is drawn, such as shifts of images.
        """

    def begin_window(self, partial: Partial) -> slice:
        """Let gradients be those of a part of the model, at the point that is loaded, until ``end_window``.

        Returns the coordinates that optimisers move: ``gradient`` is written there alone.
        """

    def end_window(self) -> np.ndarray:
        """Let gradients be those of the whole model again, and return ``Trained.scales`` of the window."""

    def counted(self) -> tuple[float, float]:
        """Return the mean loss and accuracy over the samples of all gradients since the last call."""

    def vector(self, row: np.ndarray) -> Vector:
        """Return a row (d,) in the form of points; of the same memory where that is possible."""

    def store(self, vector: Vector, out: np.ndarray) -> None:
        """Write a vector (d,) in the form of points into a row."""


class ClientTrainer:
    """Trains hosted clients, one after the other.

    Parameters
    ----------
    problem : whose clients train; gradient evaluations are counted there
    streams : of the hosted nodes' batches
    machines : emulated ones, None for this one
    model : what is trained; by default the problem's, whole

    Attributes
    ----------
    weights : coordinates that optimisers move; the others are running statistics
    client_log : what clients have done, round by round
    """

    def __init__(
        self,
        problem: "Problem",
        streams: Streams,
        machines: "MachineTimes | None",
        model: Trainable | None = None,
    ):
        self._problem, self._streams, self._machines = problem, streams, machines
        self._model = model or problem.trainable()
        self.weights = self._model.weights
        self.client_log = ClientLog(problem.hosted)

    def train(
        self,
        client: int,
        start: np.ndarray,
        work: Work,
        round: int,
        out: np.ndarray,
        correction: np.ndarray | None = None,
        memory: tuple[np.ndarray, ...] = (),
        taken: int = 0,
        partial: Partial | None = None,
    ) -> Trained:
        """Train a client, and write the point that it reaches.

        Parameters
        ----------
        client : position among the hosted ones
        start : (d,), of the problem's dtype; not changed
        work : what it does
        round : number of the round, which keys batches
        out : (d,), written where the model has coordinates
        correction : (d,), added to every gradient, as in SCAFFOLD
        memory : (d,) arrays that the optimiser keeps, ``work.optimizer.slots`` of them, changed in place; by default
            they begin at zero and are forgotten
        taken : steps that it took before with this memory
        partial : what of a network is trained, everything else stays as it is; None for all of it
        """
        began, model = time.perf_counter(), self._model
        origin = model.load(start)
        weights = slice(0, model.weights) if partial is None else model.begin_window(partial)
        point, gradient = model.point[weights], model.gradient[weights]
        shift = None if correction is None else model.vector(correction)
        rows = [model.vector(row) for row in memory]
        kept = [row[weights] for row in rows] or work.optimizer.begin(point)
        steps = 0
        for chosen in self._batches(client, work, round):
            model.differentiate(client, chosen, self._key(client, round, steps))
            self._problem.evaluations[client] += self._problem.sizes[client] if chosen is None else len(chosen)
            if work.pull:
                add_scaled(gradient, work.pull, point - origin[weights])
            if shift is not None:
                add_scaled(gradient, 1.0, shift[weights])
            work.optimizer.move(point, gradient, kept, taken + steps)
            steps += 1
        model.store(model.point, out)
        for vector, row in zip(rows, memory, strict=True):
            model.store(vector, row)
        scales = None if partial is None else model.end_window()
        loss, accuracy = model.counted()
        seconds = self._seconds(client, round, steps, time.perf_counter() - began)
        return Trained(loss, accuracy, steps, seconds, scales)

    def gradient(self, client: int, point: np.ndarray, chosen: np.ndarray, round: int) -> np.ndarray:
        """Return the gradient of a hosted client's loss on some samples at a point, both (d,); evaluations are counted.

        For running statistics it has what a training step would take off them.

        chosen : int64 (k,), positions among the client's samples. round : keys what is drawn beside.
        """
        model, statistics = self._model, slice(self._model.weights, None)
        model.load(point)
        model.differentiate(client, chosen, self._key(client, round, 0))
        model.counted()
        self._problem.evaluations[client] += len(chosen)
        out, updated = np.empty_like(point), np.empty_like(point)
        model.store(model.gradient, out)
        model.store(model.point, updated)
        out[statistics] = point[statistics] - updated[statistics]
        return out

    def _key(self, client: int, round: int, step: int) -> tuple[int, int, int]:
        """Return what keys a batch: seed, node of the network, number of the batch."""
        return self._streams.seed, self._streams.first + client, (round << 24) + step

    def _batches(self, client: int, work: Work, round: int) -> Iterator[np.ndarray | None]:
        """Yield the samples of each step, int64 positions among the client's; None for all."""
        size, streams = int(self._problem.sizes[client]), self._streams
        if not work.batch or work.batch >= size:
            yield from (None for _ in range(work.epochs or work.steps))
        elif not work.epochs:
            for step in range(round * work.steps, (round + 1) * work.steps):
                drawn = streams.node_batch(client, step, work.batch)
                yield drawn.index[0]
        else:
            for epoch in range(round * work.epochs, (round + 1) * work.epochs):
                order = random_stream(streams.seed, "order", streams.first + client, epoch).permutation(size)
                yield from (order[at : at + work.batch] for at in range(0, size, work.batch))

    def _seconds(self, client: int, round: int, steps: int, taken: float) -> float:
        """Return how long a training is to take."""
        return taken if self._machines is None else self._machines.seconds(client, round, steps, taken)
