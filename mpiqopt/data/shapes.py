"""Shapes of samples: images and texts in the flat rows of a table, and the keys that only these obey."""

from dataclasses import replace
from math import prod

import numpy as np

from mpiqopt.data.source import Features, Source, Table
from mpiqopt.errors import UsageError, quote_in_error

# Numbers of channels, by which an array with channels last is known: behind two larger numbers, height and width.
COLOURS = (1, 3, 4)


def unit_pixels(pixels: np.ndarray) -> np.ndarray:
    """Return bytes 0..255 as float32 in [0, 1], of the same shape: divided by 255.

    >>> unit_pixels(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    return np.divide(pixels, np.float32(255), dtype=np.float32)


def sample_shape(where: str, dimensions: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape of one sample of an array: (c, h, w) of (m, c, h, w), (1, h, w) of (m, h, w), None of others.

    Raises UsageError for images with channels last, (m, h, w, 3).

    >>> sample_shape("a.npz", (100, 28, 28)), sample_shape("a.npz", (100, 3, 32, 32)), sample_shape("a.npz", (100, 7))
    ((1, 28, 28), (3, 32, 32), None)
    """
    if len(dimensions) == 4 and dimensions[3] in COLOURS and min(dimensions[1:3]) > max(COLOURS):
        raise UsageError(
            f"{where}: images {dimensions} have their channels last; want (samples, channels, height, width)"
        )
    if len(dimensions) not in (3, 4):
        return None
    return (1,) * (4 - len(dimensions)) + tuple(dimensions[1:])


def flat_samples(where: str, samples: Features) -> tuple[Features, tuple[int, ...] | None]:
    """Return samples as rows (m, d), and ``sample_shape``; what are no images stays as it is. Makes no copy."""
    shape = sample_shape(where, samples.shape)
    return (samples if shape is None else samples.reshape(len(samples), prod(shape))), shape


def with_shape(source: Source, table: Table) -> Table:
    """Return the table with the shape that ``data.shape`` gives, by default its own.

    Raises UsageError for a shape of another number of features, and for keys that the samples cannot obey: images need
    a shape of three, and the tokens of a text are no numbers to compute with.
    """
    if table.vocabulary is not None:
        _require_tokens_kept(source, table)
    shape = table.shape if source.shape is None else tuple(source.shape)
    if shape is not None and prod(shape) != table.features:
        given = "shape" if source.shape is None else f"data.shape = {quote_in_error(source.shape)}"
        raise UsageError(f"{table.where}: {given}: {prod(shape)} numbers; want {table.features}, one for each feature")
    for key in ("augment", "shape"):
        value = getattr(source, key)
        if value and source.intercept:
            raise UsageError(f"data.{key} = {quote_in_error(value)}: data.intercept = true appends to them; want false")
    _require_images(source, table.where, shape)
    return table if shape == table.shape else replace(table, shape=shape)


def _require_tokens_kept(source: Source, table: Table) -> None:
    """Raise UsageError for a key that would change the tokens of a text, or their order."""
    for key, neutral in (("scale", "none"), ("intercept", False), ("label_noise", 0.0), ("shape", None)):
        value = getattr(source, key)
        if value != neutral:
            raise UsageError(f"data.{key} = {quote_in_error(value)}: {table.where} is a text; want none of it")


def _require_images(source: Source, where: str, shape: tuple[int, ...] | None) -> None:
    """Raise UsageError if a key is for images and samples are none."""
    if shape is not None and len(shape) == 3:
        return
    for key, is_asked in (("augment", bool(source.augment)), ("scale", source.scale == "images")):
        if is_asked:
            found = f"have shape {list(shape)}" if shape else "have none"
            said = f"data.{key} = {quote_in_error(getattr(source, key))}: wants data.shape = [channels, height, width]"
            raise UsageError(f"{said}; samples of {where} {found}")
