"""The network of a process: made once for each thread and kind of problem, and shared by all that evaluates it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mpiqopt.neural.model import make_model
from mpiqopt.neural.rows import RowModule

_nets = threading.local()


@dataclass
class _Settings:
    """What ``set_up_torch`` has chosen for this process."""

    device: torch.device
    threads: int
    folder: str | None


_settings = _Settings(torch.device("cpu"), 1, None)


def set_up_torch(device: torch.device, threads: int, folder: str | None = None) -> None:
    """Let PyTorch use a device and so many threads, and only algorithms that give the same bits every time.

    These are settings of the process. folder: where modules of the user's are looked for, too.
    """
    import os

    _settings.device, _settings.threads, _settings.folder = device, threads, folder
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS wants for it, before it starts
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else whatever names no device takes memory of the first one, too
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # with NaN, which takes time in every operation
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def torch_device() -> torch.device:
    """Return the device of this process's networks."""
    return _settings.device


@dataclass(frozen=True)
class NetworkKind:
    """Say which network: model, its options, sorted, with tuples for lists, shape of a sample, outputs, and dtype."""

    model: str
    options: tuple[tuple[str, Any], ...]
    shape: tuple[int, ...]
    outputs: int
    dtype: str

    def make(self, seed: int) -> RowModule:
        """Return a new network with initial parameters drawn from ``seed``."""
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in self.options}
        made = make_model(self.model, self.shape, self.outputs, options, seed, _settings.folder)
        return RowModule(made, torch_dtype(self.dtype), torch_device())

    def of_this_thread(self) -> RowModule:
        """Return the network of this thread, whose row is whatever was loaded last."""
        known: dict[NetworkKind, RowModule] = vars(_nets).setdefault("known", {})
        if self not in known:
            torch.set_num_threads(_settings.threads)
            known[self] = self.make(seed=0)
        return known[self]


def network_kind(model: str, options: dict[str, Any], shape: Sequence[int], outputs: int, dtype: str) -> NetworkKind:
    """Return the kind of network that a config's keys stand for, whose ``options`` may hold lists."""
    frozen = tuple(sorted((key, _frozen(value)) for key, value in options.items()))
    return NetworkKind(model, frozen, tuple(shape), outputs, dtype)


def _frozen(value: Any) -> Any:
    """Return a value of the config with tuples for its lists."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def torch_dtype(name: str) -> torch.dtype:
    """Return the type of tensors that NumPy calls ``name``, "float32" or "float64"."""
    return {"float32": torch.float32, "float64": torch.float64}[name]
