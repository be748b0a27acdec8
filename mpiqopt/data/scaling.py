"""Scale the features of all nodes alike, append the intercept, and round to the type of the run."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from mpiqopt.data.shares import Shares
from mpiqopt.data.source import Features, Source

# Mean over all nodes of one float64 row per hosted node; collective.
Mean = Callable[[np.ndarray], np.ndarray]
# Below this, relative to its mean, the deviation of a feature is rounding error: the feature is constant.
CONSTANT = 1e-12
# Numbers whose squares are there at once, 32 MB: a node may have many images.
PIECE = 1 << 22


def scale_features(shares: Shares, source: Source, mean: Mean, dtype: np.dtype | str) -> Shares:
    """Return shares whose features are scaled as ``data.scale`` says; collective.

    "standard": z = (a - mu)/sigma with the mean mu and deviation sigma of each feature over the training samples of all
    nodes (sparse data: a/sigma, which keeps zeros); "images": the same with mu and sigma of all pixels of a channel;
    "unit-rows": z = a/|a|_2. Held-out samples are scaled by the same numbers. Then ``data.intercept`` appends a feature
    that is always 1.

    Parameters
    ----------
    shares:
        of the hosted nodes; dense features may be overwritten
    source:
        whose keys ``scale`` and ``intercept`` say what to do
    mean:
        average over all nodes of rows (hosted, d), float64, the same bits on any number of ranks
    dtype:
        of the run, to which features are rounded last

    Returns
    -------
    Shares
        without ``solution`` where features are not those that it was drawn for, and without ``shape`` where the
        intercept is one more
    """
    train, test = shares.features, shares.test_features
    if source.scale in ("standard", "images"):
        centre, deviation = _moments(shares, mean, channels=source.scale == "images")
        train, test = (_standardised(part, centre, deviation) for part in (train, test))
    elif source.scale == "unit-rows":
        train, test = _unit_rows(train), _unit_rows(test)
    names = shares.names
    if source.intercept:
        train, test = _with_ones(train), _with_ones(test)
        names = None if names is None else (*names, "intercept")
    # the planted parameter belongs to the features as drawn
    solution = shares.solution if source.scale == "none" and not source.intercept else None
    train, test = (rows.astype(dtype, copy=False) for rows in (train, test))
    shape = None if source.intercept else shares.shape
    return replace(shares, features=train, test_features=test, solution=solution, names=names, shape=shape)


def _moments(shares: Shares, mean: Mean, channels: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation (d,) of each feature over the training samples; constant ones get deviation 1.

    Two passes for dense data, sum (a - mu)^2: in sum a^2 - m mu^2 the digits of features far from 0 cancel. channels:
    True for mean and deviation of all pixels of a channel, at each of its pixels.
    """
    per_node = shares.sizes.sum() / len(shares.sizes)
    pooled = partial(_pooled, channels=shares.shape[0]) if channels and shares.shape else lambda values: values
    centre = pooled(mean(_node_sums(shares, lambda rows: rows)) / per_node)
    dense = isinstance(shares.features, np.ndarray)
    if dense:
        variance = pooled(mean(_node_sums(shares, lambda rows: _squared_differences(rows, centre))) / per_node)
    else:
        squares = pooled(mean(_node_sums(shares, lambda rows: rows.multiply(rows).tocsr())) / per_node)
        variance = squares - centre * centre
    deviation = np.sqrt(np.maximum(variance, 0))
    deviation[deviation <= CONSTANT * np.maximum(np.abs(centre), 1)] = 1.0
    return (centre if dense else np.zeros_like(centre)), deviation


def _pooled(values: np.ndarray, channels: int) -> np.ndarray:
    """Return the mean of the values of each channel at each of its pixels, float64 (d,)."""
    each = values.reshape(channels, -1)
    return np.repeat(np.add.reduce(each, axis=1) / each.shape[1], each.shape[1])


def _squared_differences(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    differences = rows - centre
    return np.square(differences, out=differences)


def _node_sums(shares: Shares, of: Callable[[Features], Features]) -> np.ndarray:
    """Return the sums of ``of(rows)`` over the samples of each hosted node, float64 (hosted, d)."""
    return np.array([_sum(shares.features[a:b], of) for a, b in pairwise(shares.offsets.tolist())])


def _sum(rows: Features, of: Callable[[Features], Features]) -> np.ndarray:
    """Return the sum of ``of(rows)`` over the rows of a node, float64 (d,), of a few rows at a time."""
    count = max(1, PIECE // rows.shape[1])
    pieces = (rows[first : first + count] for first in range(0, rows.shape[0], count))
    sums = [np.asarray(of(piece).sum(axis=0, dtype=np.float64)).ravel() for piece in pieces]
    return np.add.reduce(sums, axis=0)


def _standardised(rows: Features, centre: np.ndarray, deviation: np.ndarray) -> Features:
    """Return (rows - centre)/deviation, in place if rows may be written; sparse ones without the centre."""
    if isinstance(rows, np.ndarray):
        rows = rows if rows.flags.writeable else rows.copy()
        rows -= centre
        rows /= deviation
        return rows
    scaled = rows.copy()
    scaled.data = scaled.data / deviation[scaled.indices]
    return scaled


def _unit_rows(rows: Features) -> Features:
    """Return the rows divided by their Euclidean norms; rows of zeros stay."""
    if isinstance(rows, np.ndarray):
        norms = np.sqrt(np.add.reduce(rows * rows, axis=1))
        return rows / np.where(norms > 0, norms, 1)[:, None]
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    scaled = rows.copy()
    scaled.data = rows.data / np.repeat(np.where(norms > 0, norms, 1), np.diff(rows.indptr))
    return scaled


def _with_ones(rows: Features) -> Features:
    """Return the rows with a 1 appended to each, dense or CSR as they are."""
    ones = np.ones((rows.shape[0], 1), rows.dtype)
    if isinstance(rows, np.ndarray):
        return np.ascontiguousarray(np.concatenate([rows, ones], axis=1))
    from scipy.sparse import hstack

    return hstack([rows, ones], format="csr")
