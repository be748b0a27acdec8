"""Networks of finished runs, as PyTorch has them."""

from typing import Any

import numpy as np
import torch

from mpiqopt.errors import UsageError
from mpiqopt.neural.network import network_kind, set_up_torch


def trained_network(facts: dict[str, Any], row: np.ndarray, folder: str | None = None) -> torch.nn.Module:
    """Return the network of a run at a row, in evaluation mode.

    Parameters
    ----------
    facts : ``model``, ``options``, ``shape`` and ``outputs`` of the network, as a result file has them in its attribute
        ``network``
    row : (d,), float32 or float64, such as the mean of /final/x
    folder : where modules of the user's are looked for, beside PYTHONPATH

    Raises
    ------
    UsageError
        For options that the model does not take, and a row of another length than its own.
    """
    set_up_torch(torch.device("cpu"), threads=1, folder=folder)
    kind = network_kind(facts["model"], facts["options"], facts["shape"], facts["outputs"], row.dtype.name)
    net = kind.make(seed=0)
    if len(net.row) != len(row):
        raise UsageError(
            f"problem.model = {facts['model']!r} has {len(net.row)} parameters now, but /final/x {len(row)}"
        )
    net.load(np.ascontiguousarray(row))
    return net.model.eval()


def save_state(network: torch.nn.Module, path: str) -> None:
    """Write the parameters and buffers of a network to a file that ``torch.load`` reads. Raises OSError."""
    state = network.state_dict()
    plain = {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    with open(path, "wb") as file:
        torch.save(plain, file)
