"""Small convolutional networks: those of FedAvg, pfl-research and BEER by their options."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from mpiqopt.neural.layers import Chain, ShapeError, make_norm, require_image
from mpiqopt.neural.options import Size

LEAST = 8


def build(
    shape: tuple[int, ...],
    outputs: int,
    *,
    channels: Sequence[Size] = (32, 64),
    kernel: Size = 3,
    padding: Literal["valid", "same"] = "valid",
    pool: Literal["last", "each"] = "last",
    norm: Literal["none", "batch", "group"] = "none",
    dense: Sequence[Size] = (128,),
) -> nn.Module:
    """Return convolutions with ReLU and max-pooling by 2, then fully connected layers with ReLU, and the output.

    The default is pfl-research's "simple_cnn" without its dropout (Granqvist et al., "pfl-research", 2024). With
    ``kernel = 5, padding = "same", pool = "each", dense = [512]`` it is the CNN of McMahan et al. 2017 (1,663,370
    parameters on MNIST), with ``channels = [16, 32], kernel = 5, padding = "same", pool = "each", norm = "batch",
    dense = []`` that of Zhao et al., "BEER", 2022.

    Parameters
    ----------
    shape : (channels, height, width) of a sample, from 8 x 8 up. outputs : the classes.
    channels : of each convolution. kernel : its width and height. padding : "same" keeps the size of images.
    pool : after the last convolution or after each. norm : between convolution and ReLU. dense : hidden units.

    Raises ShapeError if samples are no images, or nothing is left of them.
    """
    inputs, *sides = require_image(shape, LEAST)
    blocks: dict[str, nn.Module] = {}
    for k, (narrow, wide) in enumerate(pairwise([inputs, *channels]), 1):
        pooled = pool == "each" or k == len(channels)
        layers = [nn.Conv2d(narrow, wide, kernel, padding=padding), make_norm(norm, wide), nn.ReLU()]
        blocks[f"conv{k}"] = nn.Sequential(*layers, *[nn.MaxPool2d(2)] * pooled)
        sides = [_next_side(side, 0 if padding == "same" else kernel - 1, pooled) for side in sides]
    widths = [([inputs, *channels][-1]) * sides[0] * sides[1], *dense]
    for k, each in enumerate(pairwise(widths), 1):
        blocks[f"dense{k}"] = nn.Sequential(nn.Flatten(), nn.Linear(*each), nn.ReLU())
    blocks["output"] = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1], outputs))
    return Chain(blocks)


def _next_side(side: int, lost: int, pooled: bool) -> int:
    """Return a side of what a convolution that loses ``lost`` pixels makes. Raises ShapeError if nothing is left."""
    left = (side - lost) // (2 if pooled else 1)
    if left < 1:
        raise ShapeError("too small for these options: take padding = 'same', a smaller kernel or fewer layers")
    return left
