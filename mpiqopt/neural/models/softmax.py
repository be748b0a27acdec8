"""Softmax regression as a network: the problem "softmax" with torch's arithmetic."""

import math
from typing import Literal

import numpy as np
from torch import nn

from mpiqopt.neural.layers import Chain, draw_by_fan_in


def build(
    shape: tuple[int, ...], outputs: int, *, bias: bool = False, initial: Literal["zero", "uniform"] = "zero"
) -> nn.Module:
    """Return the linear network a -> W a (+ b), W (outputs, features).

    The flat parameters without bias are those of ``problem.name = "softmax"``: W row by row.

    Parameters
    ----------
    shape : of a sample, flattened. outputs : the classes.
    bias : add b, (outputs,). initial : where to start: "zero", or "uniform", U(-1/sqrt(features), 1/sqrt(features)).
    """
    layer = nn.Linear(math.prod(shape), outputs, bias=bias)
    output = nn.Sequential(nn.Flatten(), layer)
    return Chain({"output": output}, draw_by_fan_in if initial == "uniform" else _zero)


def _zero(model: nn.Module, stream: np.random.Generator) -> None:
    """Set all parameters to zero; nothing is drawn."""
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
