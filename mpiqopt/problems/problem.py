"""The problem that a run solves, F + h: data, loss and regulariser together, on the hosted nodes."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mpiqopt._losses import LinearModel
from mpiqopt.arithmetic.products import row_squares
from mpiqopt.data.shares import Shares, largest_magnitude_of_shares
from mpiqopt.errors import UsageError
from mpiqopt.placement.shared_rows import distinct_rows
from mpiqopt.problems.evaluators import Evaluator, compiled_evaluator, loss_evaluator
from mpiqopt.problems.held_out import HeldOut
from mpiqopt.problems.layers import Layers
from mpiqopt.problems.loss import Loss
from mpiqopt.problems.smoothness import curvatures
from mpiqopt.regularizers.regularizer import Regularizer
from mpiqopt.streams import Batch, Streams

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from mpiqopt.neural.block_count import BlockCount
    from mpiqopt.neural.partial import Block
    from mpiqopt.problems.client_training import ClientTrainer, Trainable
    from mpiqopt.problems.narrow import Narrow
    from mpiqopt.problems.training import BackgroundTrainer, MachineTimes, Trainer

Numbers = TypeVar("Numbers", float, np.ndarray)

# Coordinates of the nodes whose curvatures are found at once, so that what is worked on stays in the cache.
NUMBERS_TOGETHER = 1 << 16
# Samples of a node from which the variance of a sample's gradient is estimated.
VARIANCE_SAMPLES = 64


def _require_squares(shares: Shares, targets: np.ndarray, dtype: np.dtype) -> None:
    """Raise UsageError unless the squares of targets, and the norms of samples, are numbers of that type."""
    most = float(np.sqrt(np.finfo(dtype).max))
    for what, found, largest in (
        ("target", largest_magnitude_of_shares(targets), most),
        ("feature", largest_magnitude_of_shares(shares.features), most / shares.features.shape[1] ** 0.5),
    ):
        if not found <= largest:
            raise UsageError(
                f"{shares.where}: a {what} is {found:g} in magnitude, as scaled: its square is beyond {dtype}; want at "
                f"most {largest:.2g}"
            )


class Problem:
    """min_x F(x) + h(x), F = (1/n) sum_i f_i, seen from the process that hosts some of the nodes.

    Points are (hosted, d) arrays of ``dtype``, one row for each hosted node; ``shared_rows`` are such, too.

    Parameters
    ----------
    loss : what f_i is on the samples of node i
    shares : the samples of the hosted nodes
    regularizer : h
    dtype : float64 or float32, of points and gradients
    machines : how long gradients are to take, where slower machines are emulated

    Attributes
    ----------
    d : coordinates of a point
    hosted : number of nodes here; sizes: int64 (hosted,), their samples; all_sizes: int64 (n,), those of all nodes
    evaluations : int64 (hosted,), gradients of single samples that ``grad`` and trainings have taken at each node
    held_out : the samples that are held out; None if none are
    training : what trains the nodes, for methods that say so; None until ``make_trainer`` makes it
    clients : what trains the clients of federated methods; None until ``client_trainer`` makes it

    Raises
    ------
    UsageError
        If the data do not fit the loss, or their squares are no numbers of that type.
    """

    def __init__(
        self,
        loss: Loss,
        shares: Shares,
        regularizer: Regularizer,
        dtype: "DTypeLike" = np.float64,
        machines: "MachineTimes | None" = None,
    ):
        self.loss, self.regularizer, self.dtype = loss, regularizer, np.dtype(dtype)
        self.outputs = loss.outputs(shares)
        self.features = shares.features.shape[1]
        self.d = loss.coordinates(shares)
        self.sizes, self.all_sizes = np.diff(shares.offsets), shares.sizes
        self.hosted = len(self.sizes)
        self.evaluations = np.zeros(self.hosted, np.int64)
        self._targets = loss.targets(shares.targets, shares).astype(self.dtype)
        _require_squares(shares, self._targets, self.dtype)
        self._shares = shares
        self.held_out = HeldOut(loss, shares, self.outputs, self.dtype) if shares.held_out else None
        self._evaluator = loss_evaluator(loss, shares, self._targets, self.outputs)
        self.training: Trainer | None = None
        self._background: BackgroundTrainer | None = None
        self.clients: ClientTrainer | None = None
        self._layers: dict[tuple[str, ...], Layers] = {}
        self._machines = machines
        self._calls = 0

    def grad(self, x: np.ndarray, batch: Batch | None = None) -> np.ndarray:
        """Return the gradients of the f_i at their rows of x, (hosted, d), and count the evaluations.

        batch: the samples of each node whose mean gradient is taken; None for all samples.
        """
        out = np.empty(x.shape, x.dtype)
        x = distinct_rows(x)
        began = time.perf_counter()
        if batch is None:
            self._evaluator.evaluate(x, out)
            self.evaluations += self.sizes
        else:
            self._evaluator.evaluate(x, out, index=batch.index, counts=batch.counts)
            self.evaluations += batch.counts
        if self._machines is not None:
            self._calls += 1
            self._machines.delay(self._calls, began)
        return out

    def make_trainer(self, streams: Streams, processors: int | None = None) -> None:
        """Make ``training``, for a method whose nodes train one by one.

        streams: of the hosted nodes' batches; processors: for threads that train beside the communication, None if
        nodes train one after the other when the method asks for it.
        """
        if processors is None:
            from mpiqopt.problems.training import Training

            self.training = Training(self, streams, self._machines)
        else:
            from mpiqopt.problems.background import BackgroundTraining

            self.training = self._background = BackgroundTraining(self, streams, self._machines, processors)

    def client_trainer(self, streams: Streams) -> "ClientTrainer":
        """Return ``clients``, made at the first call. streams: of the hosted nodes' batches."""
        if self.clients is None:
            from mpiqopt.problems.client_training import ClientTrainer

            self.clients = ClientTrainer(self, streams, self._machines)
        return self.clients

    def layers(self, personal: tuple[str, ...] = ()) -> Layers:
        """Return which coordinates travel if clients keep some layers. Raises UsageError for unknown ones."""
        if personal not in self._layers:
            names = self.loss.parameter_slices(self._shares) if personal else {}
            self._layers[personal] = Layers(self.d, names, personal)
        return self._layers[personal]

    def blocks(self) -> "list[Block]":
        """Return the blocks of the network, from input to output. Raises UsageError for models without blocks."""
        found = self.loss.row_blocks(self._shares)
        if not found:
            raise UsageError(f"problem.name = {self.loss.name!r} has no blocks; want a network, problem.name = 'torch'")
        return found

    @property
    def model_facts(self) -> dict[str, Any]:
        """Return what a result file says of the network; nothing of other models."""
        return self.loss.model_facts(self._shares)

    def block_counts(self) -> "list[BlockCount]":
        """Return what each block of the network computes and keeps. Raises UsageError for models without blocks."""
        self.blocks()
        return self.loss.block_counts(self._shares)

    def narrow(self, width: float, masked: bool) -> "Narrow":
        """Return the network that is narrower by a factor. Raises UsageError for models that have none.

        masked: True if the loss of a client knows the classes of its samples alone.
        """
        self.blocks()
        found = self.loss.narrow(self._shares, width, self.dtype.name, masked)
        if found is None:
            raise UsageError(f"problem.name = {self.loss.name!r} has no narrower networks")
        return found

    def narrow_trainer(self, narrow: "Narrow", streams: Streams) -> "ClientTrainer":
        """Return what trains a narrow network at the clients. streams: of the hosted nodes' batches."""
        from mpiqopt.problems.client_training import ClientTrainer

        return ClientTrainer(self, streams, self._machines, narrow.trainable(self._evaluator))

    def trainable(self) -> "Trainable":
        """Return the model of the hosted clients, which ``client_training`` trains."""
        own = self.loss.make_trainable(self._evaluator)
        if own is not None:
            return own
        from mpiqopt.problems.vector_model import VectorModel

        return VectorModel(self)

    def trainer(self) -> "Trainer":
        """Return ``training``. Raises TypeError if the method does not say that it trains nodes."""
        if self.training is None:
            raise TypeError("problem.trainer() is for algorithms whose property trains is True")
        return self.training

    def background_trainer(self) -> "BackgroundTrainer":
        """Return ``training`` of a method that trains in the background. Raises TypeError if it does not say so."""
        if self._background is None:
            raise TypeError("problem.background_trainer() is for algorithms whose property in_background is True")
        return self._background

    def start(self, seed: int) -> np.ndarray:
        """Return the start (d,) of ``run.start = "auto"``: 0, or what a loss that draws its start draws from seed."""
        return self.loss.start(self._shares, seed)

    def node_evaluator(self, node: int) -> Evaluator:
        """Return what evaluates f_i of one hosted node at points (1, d), with scratch arrays of its own, for threads.

        Evaluations are not counted.
        """
        return self._evaluator_of(node, node + 1)

    def _evaluator_of(self, first: int, last: int) -> Evaluator:
        """Return what evaluates f_i of the hosted nodes first .. last-1."""
        a, b = self._shares.offsets[[first, last]]
        return loss_evaluator(self.loss, self._part(first, last), self._targets[a:b], self.outputs)

    def value_and_grad(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the values f_i, float64 (hosted,), and gradients (hosted, d) at x: (hosted, d), or (1, d) for all.

        For metrics: evaluations are not counted.
        """
        return self.value_and_grad_of(0, self.hosted, x)

    def value_and_grad_of(self, first: int, last: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``value_and_grad`` of the hosted nodes first .. last-1 alone, float64 (k,) and (k, d).

        x: their k points (k, d), or (1, d) for one of all. For networks, of whose gradients (hosted, d) is too much.
        """
        some = last - first
        evaluator = self._evaluator if some == self.hosted else self._evaluator_of(first, last)
        values, gradients = np.empty(some), np.empty((some, self.d), self.dtype)
        evaluator.evaluate(distinct_rows(x), gradients, values)
        return values, gradients

    def values(self, x: np.ndarray) -> np.ndarray:
        """Return the values f_i alone, float64 (hosted,), at x (hosted, d), or (1, d) for all; nothing is counted."""
        values = np.empty(self.hosted)
        self._evaluator.evaluate(distinct_rows(x), None, values)
        return values

    def prox(self, x: np.ndarray, step: float) -> np.ndarray:
        """Return prox_{step h} of x, (hosted, d) or (d,), row by row."""
        return self.regularizer.prox(x, step)

    @property
    def coordinate_names(self) -> tuple[str, ...] | None:
        """Return what each coordinate stands for, "feature" or "label:feature"; None if the data name no features."""
        names = self._shares.names
        if names is None or self.d != self.outputs * self.features:
            return None
        if self.outputs == 1:
            return names
        return tuple(f"{output}:{name}" for output in self._output_names() for name in names)

    def _output_names(self) -> Sequence[str]:
        """Return what each output stands for: the label as the data have it, or its number."""
        words, labels = self._shares.words, self._shares.labels
        if words is not None:
            return words
        if labels is not None and len(labels) == self.outputs:
            return [f"{label:g}" for label in labels]
        return [str(output) for output in range(self.outputs)]

    @property
    def has_accuracy(self) -> bool:
        """True if there are held-out samples, and a loss that classifies."""
        return self.held_out is not None and self.loss.has_classes

    def lipschitz(self) -> np.ndarray:
        """Return L_i, the smoothness of each hosted node's f_i: float64 (hosted,).

            L_i = curvature * lambda_max(A_i^T A_i)/m_i + l2 + 2 nonconvex

        For losses that know a bound of their curvature.
        """
        together = max(1, NUMBERS_TOGETHER // self.features)
        parts = [self._curvatures(i, min(i + together, self.hosted)) for i in range(0, self.hosted, together)]
        return self.bound(np.concatenate(parts))

    def bound(self, squares: Numbers) -> Numbers:
        """Return the bound of a loss's curvature, given lambda_max(A^T A)/m of its samples, one number or (hosted,)."""
        return self._curvature * squares + self._smooth()

    @property
    def _curvature(self) -> float:
        """The loss's bound c; callers have seen that there is one."""
        if self.loss.curvature is None:
            raise TypeError(f"problem {self.loss.name!r} knows no bound of its curvature")
        return self.loss.curvature

    @property
    def strong_convexity(self) -> float:
        """A mu such that every f_i - (mu/2) |x|^2 is convex, 0 if none is known: l2 - nonconvex/2 for convex phi.

        The second derivative of x^2/(1 + x^2) is at least -1/2.
        """
        return max(0.0, self.loss.l2 - self.loss.nonconvex / 2) if self.loss.convex else 0.0

    def squares(self, direction: np.ndarray) -> np.ndarray:
        """Return A_i^T A_i v/m_i for v (features,), of every hosted node: float64 (hosted, features)."""
        rows = np.repeat(direction[None], self.hosted, axis=0)
        out = np.empty_like(rows)
        self._squares(0, self.hosted).evaluate(rows, out)
        return out

    def sample_constants(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean over j of L_ij^2 and the largest L_ij of every hosted node, two float64 (hosted,).

        L_ij = curvature |a_ij|^2 + l2 + 2 nonconvex,  the smoothness of the loss on sample j of node i
        """
        constants = self._curvature * row_squares(self._shares.features) + self._smooth()
        starts = self._shares.offsets[:-1]
        return np.add.reduceat(np.square(constants), starts) / self.sizes, np.maximum.reduceat(constants, starts)

    def gradient_variance(self, x: np.ndarray) -> np.ndarray:
        """Return the variance of a sample's gradient at x (hosted, d): float64 (hosted,), of VARIANCE_SAMPLES samples.

        Evaluations are not counted.
        """
        full, out = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
        x = distinct_rows(x)
        self._evaluator.evaluate(x, full)
        total, ones = np.zeros(self.hosted), np.ones(self.hosted, np.int64)
        for k in range(VARIANCE_SAMPLES):
            self._evaluator.evaluate(x, out, index=(k * self.sizes // VARIANCE_SAMPLES)[:, None], counts=ones)
            total += np.add.reduce(np.square(out.astype(np.float64) - full), axis=1)
        return total / VARIANCE_SAMPLES

    def _smooth(self) -> float:
        """Return the part of every L that does not depend on the data."""
        return self.loss.identity_curvature + self.loss.l2 + 2 * self.loss.nonconvex

    def _curvatures(self, first: int, last: int) -> np.ndarray:
        return curvatures(self._squares(first, last), last - first, self.features)

    def _squares(self, first: int, last: int) -> LinearModel:
        """Return what evaluates least squares with targets 0 on the samples of nodes first .. last-1."""
        own = self._part(first, last)
        own = replace(own, features=own.features.astype(np.float64, copy=False))
        return compiled_evaluator("squared", own, np.zeros(own.features.shape[0]), outputs=1)

    def _part(self, first: int, last: int) -> Shares:
        """Return the samples of the hosted nodes first .. last-1."""
        offsets = self._shares.offsets[first : last + 1]
        return replace(
            self._shares, features=self._shares.features[offsets[0] : offsets[-1]], offsets=offsets - offsets[0]
        )
