"""A network of which a window of blocks is trained, and the rest is frozen."""

from collections.abc import Sequence

import numpy as np
import torch

from mpiqopt.neural.partial import Block, Partial
from mpiqopt.neural.program import Layers, Program
from mpiqopt.neural.rows import RowModule


class WindowNetwork:
    """A network that computes and differentiates as training a window of its blocks wants it.

    Gradients reach the window's parameters alone; blocks outside use running statistics and keep every bit. Blocks
    before it run without autograd, those after it keep masks for the gradients that pass them. A network that cannot be
    traced is computed as it is, with gradients of the window's parameters alone.

    Parameters
    ----------
    net : the network, its row loaded
    blocks : of ``row_blocks``
    partial : what is trained
    layers : frozen ones that others have made of the same row, and that this one adds its own to; None: nobody will
        need them after it

    Attributes
    ----------
    parameters : the window's coordinates that optimisers move
    parts : all of its coordinates: with running statistics
    """

    def __init__(self, net: RowModule, blocks: Sequence[Block], partial: Partial, layers: Layers | None = None) -> None:
        window = partial.window
        trained = blocks[window.first : window.last + 1]
        self._net, self._partial, self._layers = net, partial, {} if layers is None else layers
        self.parameters = slice(trained[0].parameters.start, trained[-1].parameters.stop)
        self.parts = [part for block in trained for part in block.parts]
        self._trained = tuple(net.model.get_submodule(name) for block in trained for name in block.modules)
        self._frozen = [
            parameter for part, parameter in net.parameters if parameter.requires_grad and not self._has(part)
        ]
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        self._graph = net.trace([block.modules for block in blocks])
        self._program: Program | None = None

    def _has(self, part: slice) -> bool:
        return self.parameters.start <= part.start < self.parameters.stop

    def compute_as_it_is(self) -> None:
        """Freeze by leaving out gradients alone, as of a network that cannot be traced; before the first batch."""
        self._graph = None

    def train(self, training: bool) -> None:
        """Let batch normalisation in the window use the statistics of each batch, or its running ones."""
        self._net.train(training, self._trained)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the network makes of a batch; gradients reach the window's parameters."""
        if self._graph is None:
            return self._net.forward(inputs)
        if self._program is None:
            self._program = Program(self._graph, self._partial, inputs, self._layers)
        return self._program(inputs)

    def observed(self) -> np.ndarray:
        """Return the largest magnitude of each quantised tensor that the window makes, float32 (S,); 0 of others.

        It is the mean over batches: the largest of all would let one odd batch coarsen every other.
        """
        if self._program is None:
            return np.zeros_like(self._partial.scales)
        return self._program.observed()

    def close(self) -> None:
        """Let the network be trained as a whole again."""
        self._program, self._layers = None, {}
        for parameter in self._frozen:
            parameter.requires_grad_(True)
