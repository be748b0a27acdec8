"""Values and gradients of networks on the samples of nodes: an ``Evaluator`` of rows."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from mpiqopt.neural.rows import MOMENTUM, RowModule
from mpiqopt.neural.samples import Samples


class Piece(NamedTuple):
    """What some samples have brought: their mean loss, how many predictions are right, and how many samples."""

    loss: torch.Tensor
    hits: torch.Tensor
    samples: int


class NetworkEvaluator:
    """Evaluates a network at the rows of nodes, one node after the other: ``problems.evaluators.Evaluator``.

        f_i(x) = mean loss over the samples of node i + (l2/2) |w|^2 + nonconvex sum_k w_k^2/(1 + w_k^2)

    x is a row, w its parameters. Where a value is asked for, batch normalisation uses its running statistics; where
    only the gradient is, that of the batch s, and the gradient of the running statistics r is r - s, that of
    |r - s|^2/2: methods that know nothing of buffers take them along.

    Parameters
    ----------
    network : returns the network of a thread, which all evaluators share
    samples : of the nodes, one after the other
    offsets : int64 (nodes + 1,), where each node's begin and end
    l2, nonconvex : weights of the smooth regularisers
    """

    def __init__(
        self,
        network: Callable[[], RowModule],
        samples: Samples,
        offsets: np.ndarray,
        l2: float = 0.0,
        nonconvex: float = 0.0,
    ) -> None:
        self._network, self.samples, self.offsets = network, samples, (offsets - offsets[0]).tolist()
        self.predictions, self.classifies = samples.predictions, samples.kind != "numbers"
        self._l2, self._nonconvex = l2, nonconvex

    @property
    def net(self) -> RowModule:
        """The network of this thread, at whatever row was loaded last."""
        return self._network()

    def evaluate(
        self,
        x: np.ndarray,
        gradient: np.ndarray | None = None,
        value: np.ndarray | None = None,
        index: np.ndarray | None = None,
        counts: np.ndarray | None = None,
    ) -> None:
        """Write values and gradients: ``Evaluator.evaluate``."""
        net = self.net
        net.train(value is None)
        for i in range(len(self.offsets) - 1):
            if i == 0 or len(x) > 1:
                net.load(x[i])
            chosen = None if index is None or counts is None else torch.from_numpy(index[i, : int(counts[i])])
            if gradient is None:
                with torch.no_grad():
                    pieces = [piece for piece, _ in self._pieces(i, chosen)]
            else:
                pieces = self._differentiate_with_buffers(i, chosen)
                torch.from_numpy(gradient[i]).copy_(net.gradient)
            if value is not None:
                losses = sum(piece.loss.item() * piece.samples for piece in pieces)
                value[i] = losses / sum(piece.samples for piece in pieces) + self._regularizers()

    def differentiate(self, node: int, chosen: torch.Tensor | None) -> list[Piece]:
        """Leave the gradient of f_i at the point of ``net`` in ``net.gradient``, and return the losses.

        chosen : int64 (k,), positions within the node's samples; None for all.
        """
        net = self.net
        net.gradient.zero_()
        pieces = []
        with torch.enable_grad():
            for piece, share in self._pieces(node, chosen):
                (piece.loss if share == 1 else piece.loss * share).backward()
                pieces.append(piece._replace(loss=piece.loss.detach()))
        if self._l2 or self._nonconvex:
            w = net.row[: net.weights]
            net.gradient[: net.weights] += self._l2 * w + 2 * self._nonconvex * w / (1 + w * w) ** 2
        return pieces

    def _differentiate_with_buffers(self, node: int, chosen: torch.Tensor | None) -> list[Piece]:
        """Do the same, with the gradient r - s of running statistics, which stay as they were."""
        net = self.net
        if not net.normalizes:
            return self.differentiate(node, chosen)
        running = net.row[net.weights :]
        before = running.clone()
        pieces = self.differentiate(node, chosen)
        net.gradient[net.weights :] = (before - running) / MOMENTUM
        running.copy_(before)
        return pieces

    def _pieces(self, node: int, chosen: torch.Tensor | None) -> Iterator[tuple[Piece, float]]:
        """Yield the samples of a node, or some of them, piece by piece, and the share of each piece."""
        samples, first = self.samples, self.offsets[node]
        count = self.offsets[node + 1] - first if chosen is None else len(chosen)
        for start in range(0, count, samples.piece):
            stop = min(start + samples.piece, count)
            which = slice(first + start, first + stop) if chosen is None else first + chosen[start:stop]
            inputs, targets = samples.batch(which)
            outputs = self.net.model(inputs)
            hits = samples.hits(outputs.detach(), targets).sum()
            yield Piece(samples.loss(outputs, targets), hits, stop - start), (stop - start) / count

    def _regularizers(self) -> float:
        """Return (l2/2) |w|^2 + nonconvex sum_k w_k^2/(1 + w_k^2) at the point of the network."""
        if not (self._l2 or self._nonconvex):
            return 0.0
        squares = self.net.row[: self.net.weights] ** 2
        return (0.5 * self._l2 * squares.sum() + self._nonconvex * (squares / (1 + squares)).sum()).item()

    def hits(self, x: np.ndarray) -> np.ndarray:
        """Return how many predictions are right for each sample at x (d,), int64 (samples,)."""
        net, samples, found = self.net, self.samples, []
        net.load(x)
        net.train(False)
        with torch.no_grad():
            for start in range(0, len(samples.inputs), samples.piece):
                inputs, targets = samples.batch(slice(start, start + samples.piece))
                found.append(samples.hits(net.model(inputs), targets))
        return torch.cat(found).cpu().numpy()
