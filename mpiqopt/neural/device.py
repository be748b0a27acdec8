"""Which device computes the networks of a rank, which there are, and how rows of NumPy come to it and back."""

import numpy as np
import torch

from mpiqopt.errors import UsageError


def choose_device(wanted: str, local_rank: int) -> torch.device:
    """Return the device of a rank: "cpu", "cuda", or "auto" for a GPU where PyTorch finds one.

    local_rank : number of the rank on its host: ranks of a host take its GPUs in turn. Raises UsageError for "cuda"
    without a GPU.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("run.device = 'cuda': PyTorch finds no GPU here; want 'auto' or 'cpu'")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def is_remote(device: torch.device) -> bool:
    """Return True if tensors on a device are not in memory that NumPy can use, so that rows are copied."""
    return device.type != "cpu"


class Staging:
    """Moves rows of NumPy to vectors on a device and back, one at a time.

    On a CPU a vector is the row's own memory. On a GPU rows pass through one buffer of pinned memory, which the GPU
    reads and writes by itself; it is made at the first copy and used by all. A copy is over when a method returns: the
    buffer is free, and NumPy may read what has arrived. Not for several threads at once.

    Parameters
    ----------
    like : (d,), a tensor of the type, length and device of the vectors

    >>> staging = Staging(torch.zeros(2, dtype=torch.float64))
    >>> row = np.array([1.0, 2.0])
    >>> vector = staging.vector(row)
    >>> vector *= 3
    >>> staging.download(vector, row)
    >>> row.tolist()
    [3.0, 6.0]
    """

    def __init__(self, like: torch.Tensor) -> None:
        self._like = like
        self._buffer: torch.Tensor | None = None

    def vector(self, row: np.ndarray) -> torch.Tensor:
        """Return a row (d,) as a vector: of the same memory on a CPU, unless the row may not be written to.

        PyTorch knows no tensors that may not; shared rows are such.
        """
        if is_remote(self._like.device):
            vector = torch.empty_like(self._like)
            self.upload(row, vector)
            return vector
        return torch.from_numpy(row if row.flags.writeable else row.copy())

    def upload(self, row: np.ndarray, vector: torch.Tensor) -> None:
        """Copy a row (d,) into a vector (d,)."""
        if is_remote(vector.device):
            buffer = self._pinned()
            np.copyto(buffer.numpy(), row)
            vector.copy_(buffer)
        else:
            vector.copy_(self.vector(row))

    def download(self, vector: torch.Tensor, row: np.ndarray) -> None:
        """Copy a vector (d,) into a row (d,), unless they are the same memory."""
        if is_remote(vector.device):
            buffer = self._pinned()
            buffer.copy_(vector)  # waits for what the GPU still computes
            np.copyto(row, buffer.numpy())
        elif vector.data_ptr() != row.ctypes.data:
            torch.from_numpy(row).copy_(vector)

    def _pinned(self) -> torch.Tensor:
        """Return the buffer."""
        if self._buffer is None:
            pinned = self._like.device.type == "cuda"
            self._buffer = torch.empty(len(self._like), dtype=self._like.dtype, pin_memory=pinned)
        return self._buffer


def upload_positions(chosen: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return positions of samples, int64 (k,), on a device, without waiting for what it still computes.

    PyTorch keeps the pinned copy until it has been read.
    """
    positions = torch.from_numpy(chosen)
    if device.type == "cuda":
        positions = positions.pin_memory()
    return positions.to(device, non_blocking=True)


def describe_devices() -> str:
    """Return PyTorch's version, and what it can compute on here, as ``mpiqopt doctor`` prints them."""
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return f"PyTorch {torch.__version__} on {', '.join(gpus) or 'CPUs alone: it finds no GPU'}"


def describe_frozen_blocks() -> str:
    """Return how frozen blocks are computed here, as ``mpiqopt doctor`` prints it."""
    from mpiqopt.neural.int8 import has_bfloat16, why_not

    if why_not():
        return f"folded float32: convolutions of 8-bit numbers do not work here ({why_not()})"
    return f"8-bit convolutions work here; gradients pass them as {'bfloat16' if has_bfloat16() else 'float32'}"
