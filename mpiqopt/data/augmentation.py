"""Changed copies of images to train on: more samples than there are, from what does not change their classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mpiqopt.streams import random_stream


class Augmentation(NamedTuple):
    """Which changes: ``data.augment`` and ``data.augment_pixels``."""

    ways: tuple[str, ...]
    pixels: int


def augment(
    batch: np.ndarray, seed: int, node: int, step: int, *, ways: Sequence[str] = (), pixels: int = 2
) -> np.ndarray:
    """Return changed copies of images; what is drawn depends on (seed, node, step) and the place in the batch alone.

    "flip": each image is reversed left-right with probability 1/2. "shift": padded with ``pixels`` zeros on each side
    and cropped at a uniform place, so moved by up to ``pixels`` in each direction. Both: the flip first.

    Parameters
    ----------
    batch:
        (k, c, h, w), any type; stays as it is
    seed, node, step:
        of the run, the global number of the node, and which of its batches this is
    ways:
        ``data.augment``
    pixels:
        ``data.augment_pixels``

    Returns
    -------
    numpy.ndarray
        (k, c, h, w), of the type of the batch; the batch itself if there are no ways

    References
    ----------
    He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2: both, with 4 pixels for 32 x 32.

    Examples
    --------
    >>> image = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> [augment(image, 0, 0, step, ways=["flip"]).ravel().tolist() for step in (0, 2)]
    [[1.0, 0.0, 3.0, 2.0], [0.0, 1.0, 2.0, 3.0]]
    """
    stream = random_stream(seed, "augment", node, step)
    # both are drawn always: one way does not change what the other does
    is_flipped = stream.random(len(batch)) < 0.5
    places = stream.integers(0, 2 * pixels + 1, (2, len(batch)))
    if "flip" in ways:
        batch = np.where(is_flipped[:, None, None, None], batch[..., ::-1], batch)
    return _cropped(batch, places, pixels) if "shift" in ways else batch


def _cropped(batch: np.ndarray, places: np.ndarray, pixels: int) -> np.ndarray:
    """Return the images, padded with zeros, from rows and columns ``places`` (2, k) on, in their former size."""
    padded = np.pad(batch, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)))
    crops = sliding_window_view(padded, batch.shape[2:], axis=(2, 3))  # (k, c, 2 pixels + 1, 2 pixels + 1, h, w)
    return crops[np.arange(len(batch)), :, *places]
