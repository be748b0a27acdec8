"""A network of your own: `problem.model = "own_model:build"` in a config in this folder (own_model.toml)."""

import torch
from torch import nn


class Skip(nn.Module):
    """x + conv(relu(norm(x))) for images of as many channels as before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(4, channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + self.body(images)


def build(shape: tuple[int, ...], outputs: int, *, width: int = 8, depth: int = 2) -> nn.Module:
    """Return a residual network for images of ``shape`` (channels, height, width) with ``outputs`` classes.

    width, depth: options, keys of the config's table ``problem.options``; their types are checked.
    """
    stem = nn.Conv2d(shape[0], width, 3, padding=1)
    output = nn.Linear(width * shape[1] * shape[2], outputs)
    return nn.Sequential(stem, *(Skip(width) for _ in range(depth)), nn.Flatten(), output)
