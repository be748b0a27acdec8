"""The samples of nodes as tensors, in the shape that a network takes, and its loss on some of them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from mpiqopt.memory import require_memory

# Input numbers of a piece of a full batch: activations of more would not fit in the caches, and at last in memory.
PIECE = 1 << 17
# the same for tokens, each of which becomes a vector
TOKENS = 1 << 14
# Bytes. Matrix products round differently where rows are not aligned to 16, and where the samples of a node lie in
# memory depends on the ranks; 64 is what PyTorch's own tensors have.
ALIGNMENT = 64


@dataclass(frozen=True)
class Samples:
    """The samples that one process evaluates, node after node.

    Attributes
    ----------
    inputs : (samples, *shape) of the run's type; integers (samples, context + 1) for sequences
    targets : class numbers int64 (samples,), or numbers of the run's type (samples,)
    kind : "classes", "signs" (-1 and +1), "numbers" or "tokens", whose target is the next token at every position
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    kind: str

    @property
    def predictions(self) -> int:
        """Number of predictions for each sample: 1, or the context of a sequence."""
        return self.inputs.shape[1] - 1 if self.kind == "tokens" else 1

    @property
    def piece(self) -> int:
        """Number of samples that are evaluated together where all of a node's are wanted."""
        return max(1, (TOKENS if self.kind == "tokens" else PIECE) // math.prod(self.inputs.shape[1:]))

    def batch(self, which: "slice | torch.Tensor") -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and targets of some samples: for sequences all tokens but the last, and all but the first."""
        if isinstance(which, slice):
            inputs, targets = _aligned(self.inputs[which]), self.targets[which]
        else:
            which = which.to(self.inputs.device)
            inputs, targets = self.inputs.index_select(0, which), self.targets.index_select(0, which)
        if self.kind == "tokens":
            tokens = inputs.long()
            return tokens[:, :-1], tokens[:, 1:]
        return inputs, targets

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        """Return the mean (or "sum") of the loss over the predictions of a batch.

        Cross-entropy for classes and tokens, log(1 + exp(-b z)) for signs, (z - b)^2/2 for numbers.
        """
        if self.kind in ("classes", "tokens"):
            return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction=reduction)
        z = outputs.squeeze(-1)
        each = functional.softplus(-targets * z) if self.kind == "signs" else 0.5 * (z - targets) ** 2
        return each.mean() if reduction == "mean" else each.sum()

    def hits(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return how many predictions are right for each sample of a batch, int64 (samples,); 0 for numbers."""
        if self.kind == "numbers":
            return torch.zeros(len(targets), dtype=torch.int64, device=targets.device)
        if self.kind == "signs":
            return ((outputs.squeeze(-1) > 0) == (targets > 0)).long()
        right = outputs.argmax(-1) == targets
        return right.sum(-1) if self.kind == "tokens" else right.long()


def tensor_samples(
    features: Any, targets: np.ndarray, shape: tuple[int, ...], kind: str, dtype: torch.dtype, device: torch.device
) -> Samples:
    """Return samples on a device.

    Parameters
    ----------
    features : (samples, product of shape), dense or a SciPy CSR array, which becomes dense
    targets : (samples,), class numbers, signs or numbers
    """
    number = torch.float32 if kind == "tokens" else dtype  # tokens are made integers batch by batch
    dense = features if isinstance(features, np.ndarray) else _dense(features, number)
    inputs = torch.from_numpy(np.ascontiguousarray(dense)).to(device, number).reshape(len(dense), *shape)
    classes = kind in ("classes", "tokens")
    wanted = torch.from_numpy(np.ascontiguousarray(targets)).to(device, torch.int64 if classes else dtype)
    return Samples(inputs, wanted, kind)


def _dense(features: Any, number: torch.dtype) -> np.ndarray:
    """Return a CSR array with all its zeros. Raises MemoryError if this machine has too little memory for them."""
    require_memory(math.prod(features.shape) * number.itemsize, "features with all their zeros, as networks take them,")
    return features.astype(str(number).removeprefix("torch.")).toarray()


def _aligned(rows: torch.Tensor) -> torch.Tensor:
    """Return rows, copied if they do not begin at a multiple of ALIGNMENT: the same bits wherever they lie."""
    return rows.clone() if rows.data_ptr() % ALIGNMENT else rows
