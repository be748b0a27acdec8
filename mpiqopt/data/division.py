"""What a division of samples among nodes is, and steps that several rules of dividing have in common."""

from typing import NamedTuple

import numpy as np

from mpiqopt.arithmetic.distinct import distinct_values


class Division(NamedTuple):
    """Say which samples each node has: node i has ``order[bounds[i]:bounds[i + 1]]``.

    order: int64 (m,), a permutation of the samples, or None for "in file order"; bounds: int64 (nodes + 1,), ascending
    from 0 to m.
    """

    order: np.ndarray | None
    bounds: np.ndarray


def divide_by_owner(owner: np.ndarray, nodes: int) -> Division:
    """Return the division that gives each sample to its owner. owner: int64 (m,), the node of each sample."""
    counts = np.bincount(owner, minlength=nodes)
    return Division(np.argsort(owner, kind="stable"), np.concatenate([[0], np.cumsum(counts)]))


def shuffle_by_label(codes: np.ndarray, stream: np.random.Generator) -> list[np.ndarray]:
    """Return the samples of each label 0, 1, ... in random order."""
    shuffled = stream.permutation(len(codes))
    shuffled = shuffled[np.argsort(codes[shuffled], kind="stable")]
    return np.split(shuffled, np.cumsum(np.bincount(codes))[:-1])


def code_labels(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels in ascending order, and the number of each sample's own among them, int64 (m,)."""
    labels = distinct_values(targets)
    return labels, np.searchsorted(labels, targets)
