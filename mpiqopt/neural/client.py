"""The ``Trainable`` of networks: points are tensors, on the device of the process."""

from functools import cached_property

import numpy as np
import torch

from mpiqopt.neural.device import upload_positions
from mpiqopt.neural.evaluator import NetworkEvaluator
from mpiqopt.neural.network_blocks import Wanted, named_blocks, row_blocks
from mpiqopt.neural.partial import Block, Partial
from mpiqopt.neural.program import Layers
from mpiqopt.neural.window import WindowNetwork


class NetworkClient:
    """Trains the network at the samples of the hosted clients: ``problems.client_training.Trainable``.

    Parameters
    ----------
    evaluator : of the hosted nodes' samples
    blocks : modules of each block of the network, for ``network_blocks.named_blocks``; needed for windows alone
    """

    def __init__(self, evaluator: NetworkEvaluator, blocks: Wanted = "auto") -> None:
        self._evaluator, self._net, self._wanted = evaluator, evaluator.net, blocks
        self._window: WindowNetwork | None = None
        self.point, self.gradient, self.weights = self._net.row, self._net.gradient, self._net.weights
        self._start: tuple[np.ndarray, torch.Tensor] | None = None
        self._layers: Layers | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget what was counted."""
        self._losses: list[torch.Tensor] = []
        self._hits: list[torch.Tensor] = []
        self._samples = 0

    def load(self, start: np.ndarray) -> torch.Tensor:
        """Set the point: ``Trainable.load``. The start of a round that all clients share is moved once."""
        if self._start is None or not _are_same_constant(self._start[0], start):
            self._start = start, self.vector(start)  # the row too, so that its memory is not given to another
            self._layers = {} if self._evaluator.nodes > 1 and _is_constant(start) else None
        moved = self._start[1]
        self._net.load(moved)
        self._net.train(True)
        return moved

    def differentiate(self, client: int, chosen: np.ndarray | None, key: tuple[int, int, int]) -> None:
        """Leave the gradient in ``gradient``: ``Trainable.differentiate``."""
        which = None if chosen is None else upload_positions(chosen, self.point.device)
        for loss, hits, samples in self._evaluator.differentiate(client, which, key, self._window):
            self._losses.append(loss * samples)
            self._hits.append(hits)
            self._samples += samples

    @cached_property
    def _blocks(self) -> list[Block]:
        """The blocks of the network."""
        return row_blocks(self._net, named_blocks(self._net.model, self._wanted))

    def begin_window(self, partial: Partial) -> slice:
        """Train a part of the network from now on: ``Trainable.begin_window``.

        Layers that are frozen at the start of a round are made once for all clients that it has here.
        """
        self._window = WindowNetwork(self._net, self._blocks, partial, self._layers)
        return self._window.parameters

    def end_window(self) -> np.ndarray:
        """Train the whole network again, and return scales: ``Trainable.end_window``."""
        assert self._window is not None  # ``begin_window`` comes first
        observed = self._window.observed()  # before what has observed it is let go
        self._window.close()
        self._window = None
        return observed

    def counted(self) -> tuple[float, float]:
        """Return the mean loss and accuracy over all samples since the last call."""
        samples, losses, hits = self._samples, self._losses, self._hits
        self._begin()
        if not samples:
            return np.nan, np.nan
        right = torch.stack(hits).sum().item() / (samples * self._evaluator.predictions)
        return torch.stack(losses).sum().item() / samples, right if self._evaluator.classifies else np.nan

    def vector(self, row: np.ndarray) -> torch.Tensor:
        """Return a row as a tensor on the device: ``Staging.vector``."""
        return self._net.staging.vector(row)

    def store(self, vector: torch.Tensor, out: np.ndarray) -> None:
        """Write a tensor into a row: ``Staging.download``."""
        self._net.staging.download(vector, out)


def _are_same_constant(row: np.ndarray, other: np.ndarray) -> bool:
    """Return True if two rows (d,) are the same memory, and nobody writes to it: shared rows, which never change."""
    return _is_constant(other) and row.__array_interface__["data"] == other.__array_interface__["data"]


def _is_constant(row: np.ndarray) -> bool:
    """Return True if nobody writes to a row."""
    return not row.flags.writeable
