"""ResNet-18 for small images."""

from typing import Literal

import torch
from torch import nn

from mpiqopt.neural.layers import Chain, MeanOfPixels, make_norm, require_image
from mpiqopt.neural.options import Size


class BasicBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)), convolutions of 3 x 3.

    He et al., "Deep residual learning for image recognition", 2016, figure 5 left. The shortcut is the identity, or a
    convolution of 1 x 1 with a norm where the shape changes.
    """

    def __init__(self, narrow: int, wide: int, stride: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, stride, padding=1, bias=False), make_norm(norm, wide), nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1, bias=False), make_norm(norm, wide),
        )  # fmt: skip
        same = stride == 1 and narrow == wide
        self.shortcut = nn.Sequential(
            *([] if same else [nn.Conv2d(narrow, wide, 1, stride, bias=False), make_norm(norm, wide)])
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (batch, wide, h/stride, w/stride) for images (batch, narrow, h, w)."""
        return torch.relu(self.body(images) + self.shortcut(images))


def build(
    shape: tuple[int, ...], outputs: int, *, width: Size = 64, norm: Literal["batch", "group"] = "batch"
) -> nn.Module:
    """Return ResNet-18 with a stem of 3 x 3 and no pooling after it, as is usual for 32 x 32 images.

    10 blocks: the stem, two residual blocks of each ``width``, 2, 4, 8 times that, and the linear output: the units
    that CoCoFL freezes (Pfeiffer et al., 2023). 11,173,962 parameters for 3 channels and 10 classes.

    Parameters
    ----------
    shape : (channels, height, width) of a sample, from 8 x 8 up. outputs : the classes.
    width : channels of the stem. norm : "batch", or "group" for clients with few or one-sided samples.

    Raises ShapeError if samples are no images or too small.
    """
    channels, *_ = require_image(shape, 8)
    stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    blocks: dict[str, nn.Module] = {"stem": nn.Sequential(stem, make_norm(norm, width), nn.ReLU())}
    before = width
    for stage in range(4):
        after = width << stage
        blocks[f"block{2 * stage + 1}"] = BasicBlock(before, after, 2 if stage else 1, norm)
        blocks[f"block{2 * stage + 2}"] = BasicBlock(after, after, 1, norm)
        before = after
    blocks["output"] = nn.Sequential(MeanOfPixels(), nn.Linear(before, outputs))
    return Chain(blocks)
