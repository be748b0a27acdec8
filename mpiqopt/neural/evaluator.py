"""Values and gradients of networks on the samples of nodes: an ``Evaluator`` of rows."""

from collections.abc import Callable, Iterator
from copy import copy
from typing import NamedTuple

import numpy as np
import torch

from mpiqopt.data.augmentation import Augmentation, augment
from mpiqopt.neural.device import upload_positions
from mpiqopt.neural.rows import MOMENTUM, RowModule
from mpiqopt.neural.samples import Samples
from mpiqopt.neural.window import WindowNetwork


class Piece(NamedTuple):
    """What some samples have brought: their mean loss, how many predictions are right, and how many samples."""

    loss: torch.Tensor
    hits: torch.Tensor
    samples: int


class NetworkEvaluator:
    """Evaluates a network at the rows of nodes, one node after the other: ``problems.evaluators.Evaluator``.

        f_i(x) = mean loss over the samples of node i + (l2/2) |w|^2 + nonconvex sum_k w_k^2/(1 + w_k^2)

    x is a row, w its parameters. Where a value is asked for, batch normalisation uses its running statistics; where
    only the gradient is, those s of the batch (or of each piece of many samples), and the gradient of the running
    statistics r is r - s, that of |r - s|^2/2: methods that know nothing of buffers take them along.

    Parameters
    ----------
    network : returns the network of a thread, which all evaluators share
    samples : of the nodes, one after the other
    offsets : int64 (nodes + 1,), where each node's begin and end
    l2, nonconvex : weights of the smooth regularisers
    augmentation : of the images that clients train on; None for them as they are
    """

    def __init__(
        self,
        network: Callable[[], RowModule],
        samples: Samples,
        offsets: np.ndarray,
        l2: float = 0.0,
        nonconvex: float = 0.0,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._network, self.samples, self.offsets = network, samples, (offsets - offsets[0]).tolist()
        self.predictions, self.classifies = samples.predictions, samples.kind != "numbers"
        self._l2, self._nonconvex, self._augmentation = l2, nonconvex, augmentation
        self._masked = False
        self._classes: dict[int, torch.Tensor] = {}

    def of_network(self, net: RowModule, masked: bool) -> "NetworkEvaluator":
        """Return what evaluates another network on the same samples.

        masked : True if ``differentiate`` sets the outputs of classes to 0 that a node has no samples of
        """
        other = copy(self)
        other._network, other._masked = lambda: net, masked
        return other

    @property
    def nodes(self) -> int:
        """How many nodes the samples are of."""
        return len(self.offsets) - 1

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
        for i in range(self.nodes):
            if i == 0 or len(x) > 1:
                net.load(x[i])
            chosen = None
            if index is not None and counts is not None:
                chosen = upload_positions(index[i, : int(counts[i])], net.row.device)
            if gradient is None:
                losses = self._losses(net, i, chosen)
            else:
                losses = self._differentiate_with_buffers(net, i, chosen)
                net.staging.download(net.gradient, gradient[i])
            if value is not None:
                value[i] = sum(loss.item() * share for loss, share in losses) + self._regularizers(net)

    def differentiate(
        self,
        node: int,
        chosen: torch.Tensor | None,
        key: tuple[int, int, int] = (0, 0, 0),
        window: WindowNetwork | None = None,
    ) -> list[Piece]:
        """Leave the gradient of f_i at the point of ``net`` in ``net.gradient``, and return what the samples brought.

        Images are augmented if the data say so. Batch normalisation uses its running statistics for a single sample.

        chosen : int64 (k,), positions within the node's samples; None for all. key : seed, node of the network and
        number of the batch, from which augmentation draws. window : of ``net``, whose parameters alone have a gradient;
        None for all.
        """
        net, pieces = self.net, []
        computes: RowModule | WindowNetwork = net if window is None else window
        trained = slice(0, net.weights) if window is None else window.parameters
        net.gradient[trained].zero_()
        for number, (images, targets, share) in enumerate(self._pieces(node, chosen)):
            inputs = self._augmented(images, key, number)
            if net.normalizes:
                computes.train(len(targets) > 1)
            outputs, loss = self._backward(computes, inputs, targets, share, self._known(node))
            pieces.append(Piece(loss, self.samples.hits(outputs, targets).sum(), len(targets)))
        self._differentiate_regularizers(net, trained)
        return pieces

    def _known(self, node: int) -> torch.Tensor | None:
        """Return the classes of a node's samples, int64 (k,), if its loss is to know these alone; else None."""
        if not self._masked or self.samples.kind not in ("classes", "tokens"):
            return None
        if node not in self._classes:
            _, targets = self.samples.batch(slice(*self.offsets[node : node + 2]))
            self._classes[node] = targets.unique()
        return self._classes[node]

    def _augmented(self, images: torch.Tensor, key: tuple[int, int, int], piece: int) -> torch.Tensor:
        """Return the images of a piece of a batch as they are trained on."""
        if self._augmentation is None:
            return images
        ways, pixels = self._augmentation
        changed = augment(images.cpu().numpy(), *key[:2], (piece << 48) + key[2], ways=ways, pixels=pixels)
        return torch.from_numpy(np.ascontiguousarray(changed)).to(images.device)

    def _losses(self, net: RowModule, node: int, chosen: torch.Tensor | None) -> list[tuple[torch.Tensor, float]]:
        """Return the mean loss of each piece of a node's samples, and the share of the piece."""
        with torch.no_grad():
            return [
                (self.samples.loss(net.model(inputs), targets), share)
                for inputs, targets, share in self._pieces(node, chosen)
            ]

    def _differentiate_with_buffers(
        self, net: RowModule, node: int, chosen: torch.Tensor | None
    ) -> list[tuple[torch.Tensor, float]]:
        """Leave the gradient in ``net.gradient``, that of running statistics included, and return ``_losses``.

        Running statistics stay as they were: each piece moves them to r + MOMENTUM (s - r), which is taken back.
        """
        losses = []
        net.gradient.zero_()
        before = net.buffers.clone() if net.normalizes else net.buffers
        for inputs, targets, share in self._pieces(node, chosen):
            losses.append((self._backward(net, inputs, targets, share)[1], share))
            if net.normalizes:
                net.gradient[net.weights :] += share / MOMENTUM * (before - net.buffers)
                net.buffers.copy_(before)
        self._differentiate_regularizers(net, slice(0, net.weights))
        return losses

    def _backward(
        self,
        net: RowModule | WindowNetwork,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        share: float,
        known: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add share times the gradient of the mean loss of a batch to the row's; return outputs and loss.

        known : int64 (k,), the outputs of which the loss knows, the others being 0; None for all
        """
        outputs = net.forward(inputs)
        if known is not None:
            outputs = torch.zeros_like(outputs).index_copy(-1, known, outputs.index_select(-1, known))
        loss = self.samples.loss(outputs, targets)
        if loss.requires_grad:  # else it does not depend on what is trained: the gradient is 0
            (loss if share == 1 else loss * share).backward()
        return outputs.detach(), loss.detach()

    def _pieces(self, node: int, chosen: torch.Tensor | None) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
        """Yield inputs and targets of a node, or some of them, in pieces of nearly equal size, and each one's share.

        Nearly equal: batch normalisation cannot take a last piece of one sample.
        """
        first = self.offsets[node]
        count = self.offsets[node + 1] - first if chosen is None else len(chosen)
        pieces = -(-count // self.samples.piece)
        for k in range(pieces):
            start, stop = k * count // pieces, (k + 1) * count // pieces
            which = slice(first + start, first + stop) if chosen is None else chosen[start:stop] + first
            yield *self.samples.batch(which), (stop - start) / count

    def _differentiate_regularizers(self, net: RowModule, trained: slice) -> None:
        """Add the gradient of the smooth regularisers with regard to some parameters to ``net.gradient``."""
        if self._l2 or self._nonconvex:
            w = net.row[trained]
            net.gradient[trained] += self._l2 * w + 2 * self._nonconvex * w / (1 + w * w) ** 2

    def _regularizers(self, net: RowModule) -> float:
        """Return (l2/2) |w|^2 + nonconvex sum_k w_k^2/(1 + w_k^2) at the point of the network."""
        if not (self._l2 or self._nonconvex):
            return 0.0
        squares = net.row[: net.weights] ** 2
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
