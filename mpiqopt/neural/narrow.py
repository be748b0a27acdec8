"""Narrower networks in a wide one: the leading channels and units of each layer, and what trains them.

Source: Diao, Ding, Tarokh, "HeteroFL: computation and communication efficient federated learning for heterogeneous
clients", ICLR 2021.
"""

import math
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import nn

from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.neural.client import NetworkClient
from mpiqopt.neural.evaluator import NetworkEvaluator
from mpiqopt.neural.rows import RowModule, shape_like

# Options of the built-in networks that are numbers of channels or units, or multiply them.
WIDTHS = {"cnn": ("channels", "dense"), "mlp": ("hidden",), "resnet18": ("width",), "mobilenetv2": ("width",)}


def narrow_options(name: str, build: Callable[..., nn.Module], options: dict[str, Any], width: float) -> dict[str, Any]:
    """Return the options of a network that is narrower by a factor; numbers of channels and units are rounded up.

    Parameters
    ----------
    name : of the network; one of a user's is narrowed by the option ``width`` of its function, 1 by default
    build : its function
    options : of the wide network
    width : over 0, at most 1

    Raises UsageError for a network without such options.
    """
    known = signature(build).parameters
    keys = WIDTHS.get(name, ("width",) if ":" in name else ())
    if not keys or not all(key in known for key in keys):
        raise UsageError(
            f"problem.model = {name!r}: no narrower network of this kind is known; want {', '.join(WIDTHS)}, or a "
            "function of your own with an option 'width'"
        )
    given = {key: options.get(key, known[key].default) for key in keys}
    return options | {key: _narrowed(value, width) for key, value in given.items()}


def _narrowed(value: Any, width: float) -> Any:
    """Return a number of channels, several, or what multiplies them, narrower by a factor."""
    if isinstance(value, list | tuple):
        return [_narrowed(each, width) for each in value]
    return math.ceil(value * width) if isinstance(value, int) else value * width


def leading_coordinates(wide: RowModule, narrow: RowModule) -> np.ndarray:
    """Return which coordinates of the wide network's row are those of the narrow one, int64 (d of the narrow one,).

    Of each parameter and running statistic these are the leading ones along every axis. Raises UsageError if the two
    networks have other parameters, so that one is no part of the other.
    """
    numbers, found = torch.arange(len(wide.row)), torch.empty(len(narrow.row), dtype=torch.int64)
    tensors, narrower = _tensors(wide), _tensors(narrow)
    for name in (name for name in tensors | narrower if name not in tensors or name not in narrower):
        where, has = "the narrower network", "lacks" if name in tensors else "alone has"
        raise UsageError(f"{where} {has} {quote_in_error(name)}, so it is no part of the wide one")
    for name, tensor in narrower.items():
        known = tensors[name]
        if tensor.dim() != known.dim() or any(a > b for a, b in zip(tensor.shape, known.shape, strict=True)):
            raise UsageError(f"{quote_in_error(name)} of the narrower network does not fit into that of the wide one")
        whole = shape_like(numbers[wide.names[name]], known)
        shape_like(found[narrow.names[name]], tensor).copy_(whole[tuple(slice(size) for size in tensor.shape)])
    return found.numpy()


def _tensors(net: RowModule) -> dict[str, torch.Tensor]:
    """Return the parameters and running statistics of a network by name."""
    every = dict(net.model.named_parameters()) | dict(net.model.named_buffers())
    return {name: every[name] for name in net.names}


def scale_hidden_layers(net: RowModule, width: float) -> None:
    """Divide what convolutions and linear layers make, but the last, by the width: HeteroFL's scaler.

    So that narrow layers make numbers as large as those of the wide network, into which they are averaged.
    """
    layers = [module for module in net.model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for layer in layers[:-1]:
        layer.register_forward_hook(lambda module, inputs, output: output / width)


class NarrowClient(NetworkClient):
    """Trains a narrow network that is part of a wide one: a ``Trainable`` of the wide one's rows.

    Points are those of the narrow network; of rows (d,) only its coordinates are read and written.

    Parameters
    ----------
    evaluator : of the wide network on the hosted nodes' samples
    narrow : the narrow one
    coordinates : of the wide network's row, int64 (d of the narrow one,)
    masked : True if losses know the classes alone that a client has samples of
    """

    def __init__(self, evaluator: NetworkEvaluator, narrow: RowModule, coordinates: np.ndarray, masked: bool) -> None:
        super().__init__(evaluator.of_network(narrow, masked))
        self._coordinates = coordinates

    def vector(self, row: np.ndarray) -> torch.Tensor:
        """Return the narrow network's coordinates of a row as a tensor."""
        return super().vector(row[self._coordinates])

    def store(self, vector: torch.Tensor, out: np.ndarray) -> None:
        """Write a tensor to the narrow network's coordinates of a row."""
        values = np.empty(len(self._coordinates), out.dtype)
        super().store(vector, values)
        out[self._coordinates] = values
