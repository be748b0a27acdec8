"""LeNet-5."""

from typing import Literal

from torch import nn

from mpiqopt.neural.layers import Chain, require_image

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}
POOLS: dict[str, type[nn.Module]] = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}
# the side of the paper's images, to which it pads those of MNIST
SIDE = 32


def build(
    shape: tuple[int, ...],
    outputs: int,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    pool: Literal["average", "max"] = "average",
) -> nn.Module:
    """Return LeNet-5: convolutions 6 and 16 of 5 x 5, pooling by 2 after each, fully connected 120, 84, outputs.

    LeCun et al., "Gradient-based learning applied to document recognition", 1998, as it is used today: every map of
    the second convolution sees all of the first, pooling has no parameters, the output is linear. 61,706 parameters for
    10 classes of grey images of 28 x 28 or 32 x 32.

    Parameters
    ----------
    shape : (channels, height, width) of a sample, from 12 x 12 up; below 32 padded by 2 on every side.
    outputs : the classes. activation : after each layer but the last. pool : average or maximum of 2 x 2 pixels.

    Raises ShapeError if samples are no images or too small.
    """
    channels, *sides = require_image(shape, 12)
    padding = 2 if min(sides) < SIDE else 0
    height, width = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in sides)

    def followed(*layers: nn.Module) -> nn.Module:
        """Return layers and an activation."""
        return nn.Sequential(*layers, ACTIVATIONS[activation]())

    return Chain(
        {
            "conv1": nn.Sequential(followed(nn.Conv2d(channels, 6, 5, padding=padding)), POOLS[pool](2)),
            "conv2": nn.Sequential(followed(nn.Conv2d(6, 16, 5)), POOLS[pool](2)),
            "dense1": followed(nn.Flatten(), nn.Linear(16 * height * width, 120)),
            "dense2": followed(nn.Linear(120, 84)),
            "output": nn.Linear(84, outputs),
        }
    )
