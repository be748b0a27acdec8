"""What each block of a network computes and keeps, counted on one small batch: the same numbers on every machine."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from mpiqopt.neural.block_count import BlockCount
from mpiqopt.neural.partial import Block
from mpiqopt.neural.rows import RowModule

# samples of the batch: some layers treat a single one differently
SAMPLES = 2
# bytes of a number of the counts: saved indices and masks are counted in these, too
NUMBER = 4


def count_blocks(net: RowModule, blocks: Sequence[Block], shape: Sequence[int], tokens: bool) -> list[BlockCount]:
    """Return the counts of each block, by a forward pass on zeros with running statistics; the network stays as it is.

    Parameters
    ----------
    net : the network, of float32
    blocks : of ``row_blocks``
    shape : of a sample
    tokens : True if samples are tokens

    What is computed outside of all blocks counts for the block before it. Attention's products of queries and keys are
    no layers, and not counted; what they save is.
    """
    inputs = torch.zeros((SAMPLES, *shape), dtype=torch.int64 if tokens else net.row.dtype, device=net.row.device)
    net.train(False)
    recorder = _Recorder(net, len(blocks))
    hooks = [
        hook
        for k, block in enumerate(blocks)
        for module in map(net.model.get_submodule, block.modules)
        for hook in (
            module.register_forward_pre_hook(recorder.enters(k)),
            module.register_forward_hook(recorder.leaves(k)),
        )
    ]
    try:
        with recorder.flops, saved_tensors_hooks(recorder.save, lambda tensor: tensor):
            net.model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        BlockCount(block.name, _length(block.parameters), _length(block.statistics), _length(block.scales), *counted)
        for block, counted in zip(blocks, recorder.counts(), strict=True)
    ]


def _length(part: slice) -> int:
    return part.stop - part.start


class _Recorder:
    """Counts what happens between the first and the last module of each block."""

    def __init__(self, net: RowModule, blocks: int) -> None:
        self.flops = FlopCounterMode(display=False)
        self._own = {net.row.untyped_storage().data_ptr()}
        self._own |= {tensor.untyped_storage().data_ptr() for tensor in net.model.buffers()}
        self._block = 0
        self._alive: dict[int, torch.Tensor] = {}  # by address, which nothing else may get meanwhile
        self._work, self._inputs, self._saved, self._largest = ([0] * blocks for _ in range(4))

    def enters(self, block: int) -> Callable[..., None]:
        """Return the hook of a module of a block that begins."""

        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._block = block
            self._inputs[block] = self._inputs[block] or sum(map(_numbers, inputs))
            self._work[block] -= self.flops.get_total_flops()

        return hook

    def leaves(self, block: int) -> Callable[..., None]:
        """Return the hook of a module of a block that ends."""

        def hook(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
            self._work[block] += self.flops.get_total_flops()
            self._largest[block] = max(self._largest[block], _numbers(outputs))

        return hook

    def save(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor that autograd saves, once for all that share its memory."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own and storage.data_ptr() not in self._alive:
            self._alive[storage.data_ptr()] = tensor
            numbers = storage.nbytes() // NUMBER
            self._saved[self._block] += numbers
            self._largest[self._block] = max(self._largest[self._block], numbers)
        return tensor

    def counts(self) -> list[tuple[int, int, int, int]]:
        """Return multiply-adds, inputs, saved and largest of each block, for a sample."""
        return [
            (work // (2 * SAMPLES), inputs // SAMPLES, saved // SAMPLES, largest // SAMPLES)
            for work, inputs, saved, largest in zip(self._work, self._inputs, self._saved, self._largest, strict=True)
        ]


def _numbers(value: Any) -> int:
    """Return how many numbers a tensor has; 0 for something else."""
    return value.numel() if isinstance(value, torch.Tensor) else 0
