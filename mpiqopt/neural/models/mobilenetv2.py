"""MobileNetV2 for small images."""

from typing import Literal

import torch
from torch import nn

from mpiqopt.neural.layers import Chain, MeanOfPixels, make_norm, require_image
from mpiqopt.neural.options import OptionError

# expansion, channels, blocks and the first one's stride: table 2 of the paper, the stride of 24 channels 1, not 2
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM, HEAD = 32, 1280


def _normed(conv: nn.Conv2d, norm: str) -> list[nn.Module]:
    """Return a convolution and the norm of what it makes."""
    return [conv, make_norm(norm, conv.out_channels)]


class InvertedResidual(nn.Module):
    """Expand by 1 x 1, convolve each channel by 3 x 3, project by 1 x 1; plus the shortcut where the stride is 1."""

    def __init__(self, narrow: int, wide: int, expansion: int, stride: int, norm: str) -> None:
        super().__init__()
        inner = expansion * narrow
        self.body = nn.Sequential(
            *_normed(nn.Conv2d(narrow, inner, 1, bias=False), norm), nn.ReLU(),
            *_normed(nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False), norm), nn.ReLU(),
            *_normed(nn.Conv2d(inner, wide, 1, bias=False), norm),
        )  # fmt: skip
        changes = stride == 1 and narrow != wide
        self.shortcut = nn.Sequential(*(_normed(nn.Conv2d(narrow, wide, 1, bias=False), norm) if changes else []))
        self.stride = stride

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (batch, wide, h/stride, w/stride) for images (batch, narrow, h, w)."""
        body = self.body(images)
        return body + self.shortcut(images) if self.stride == 1 else body


def build(
    shape: tuple[int, ...], outputs: int, *, width: float = 1.0, norm: Literal["batch", "group"] = "batch"
) -> nn.Module:
    """Return MobileNetV2 with the strides that are usual for 32 x 32 images: 8 in all instead of 32.

    Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", 2018, with CoCoFL's changes (Pfeiffer et
    al., 2023): a projected shortcut where the stride is 1 and the channels change, the first block's expansion by 1,
    ReLU instead of ReLU6. 20 blocks: the stem, 17 inverted residuals, the last convolution, the linear output.
    2,296,922 parameters for 3 channels and 10 classes.

    Parameters
    ----------
    shape : (channels, height, width) of a sample, from 8 x 8 up. outputs : the classes.
    width : multiplies all channels, rounded to multiples of 8; those of the last convolution only where it is over 1.
    norm : "batch", or "group" for clients with few or one-sided samples.

    Raises ShapeError if samples are no images or too small, OptionError for a width that is not in (0, 16].
    """
    if not 0 < width <= 16:
        raise OptionError(f"width = {width}: want a number over 0, at most 16")
    channels, *_ = require_image(shape, 8)
    before = _rounded(STEM * width)
    stem = nn.Conv2d(channels, before, 3, padding=1, bias=False)
    blocks: dict[str, nn.Module] = {"stem": nn.Sequential(*_normed(stem, norm), nn.ReLU())}
    for expansion, unscaled, count, first_stride in STAGES:
        after = _rounded(unscaled * width)
        for k in range(count):
            blocks[f"block{len(blocks)}"] = InvertedResidual(before, after, expansion, 1 if k else first_stride, norm)
            before = after
    last = nn.Conv2d(before, _rounded(HEAD * max(width, 1.0)), 1, bias=False)
    blocks["last"] = nn.Sequential(*_normed(last, norm), nn.ReLU())
    blocks["output"] = nn.Sequential(MeanOfPixels(), nn.Linear(last.out_channels, outputs))
    return Chain(blocks)


def _rounded(channels: float) -> int:
    """Return the nearest multiple of 8 that is no less than nine tenths of ``channels``, as the authors' code does."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
