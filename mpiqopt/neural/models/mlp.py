"""Fully connected layers."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from mpiqopt.neural.layers import Chain
from mpiqopt.neural.options import Size

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def build(
    shape: tuple[int, ...],
    outputs: int,
    *,
    hidden: Sequence[Size] = (200, 200),
    activation: Literal["relu", "tanh", "gelu"] = "relu",
) -> nn.Module:
    """Return a network of fully connected layers with biases.

    The default is the "2NN" of McMahan et al., "Communication-efficient learning of deep networks from decentralized
    data", 2017: 199,210 parameters on MNIST.

    Parameters
    ----------
    shape : of a sample, flattened. outputs : the classes.
    hidden : units of each hidden layer; none: a linear network. activation : after each of them.
    """
    widths = [math.prod(shape), *hidden]
    # only the first layer may meet samples that are not flat: there alone Flatten does something
    layers: dict[str, nn.Module] = {
        f"hidden{k}": nn.Sequential(nn.Flatten(), nn.Linear(*each), ACTIVATIONS[activation]())
        for k, each in enumerate(pairwise(widths), 1)
    }
    layers["output"] = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1], outputs))
    return Chain(layers)
