"""Random numbers keyed by (seed, purpose, who, when), never by rank.

A draw is a function of its key: it does not depend on which rank hosts a node or on what was drawn
before, so a run is the same on any number of ranks and a checkpoint stores no generator state.

>>> random_stream(0, "start").integers(0, 100, 4).tolist() == random_stream(0, "start").integers(0, 100, 4).tolist()
True
>>> streams = Streams(seed=0, first=0, sizes=np.array([5, 2, 9]))  # three nodes on one rank
>>> one = streams.batch(step=7, size=3).index[2].tolist()
>>> alone = Streams(seed=0, first=2, sizes=np.array([9]))  # the last of them on a rank of its own
>>> alone.batch(step=7, size=3).index[0].tolist() == one
True
"""

from typing import NamedTuple

import numpy as np

from mpiqopt._sampling import fill_indices

# Fixed for ever: changing a number changes every published trajectory.
PURPOSES = {
    "batch": 1,
    "split": 2,
    "synthetic": 3,
    "test": 4,
    "start": 5,
    "message": 6,
    "round": 7,
    "activation": 8,
    "machine": 9,
    "link": 10,
    "label": 11,
    "cohort": 12,
    "order": 13,
    "augment": 14,
    "device": 15,
    "window": 16,
    "dropout": 17,
}
# of NumPy's ziggurat for normal numbers: one in 4000 is larger
ZIGGURAT_END = 3.6541528853610088


def random_stream(seed: int, purpose: str, *key: int) -> "np.random.Generator":
    """Return a NumPy generator for a purpose and up to two integers (a node, a block of samples, ...).

    purpose: a key of PURPOSES. Equal arguments give equal numbers, on every rank and machine.
    """
    counter = [0, *([*key, 0, 0][:2]), PURPOSES[purpose]]
    return np.random.Generator(np.random.Philox(counter=counter, key=[seed, 0]))


def standard_normal(stream: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    """Return normal numbers N(0, 1), the same bits on every machine.

    NumPy's ziggurat takes those beyond its last step from log1p of the machine's libm, whose last bit depends on the
    processor: these few are rounded.
    """
    numbers = stream.standard_normal(shape)
    beyond = np.abs(numbers) > ZIGGURAT_END
    numbers[beyond] = np.rint(numbers[beyond] * 2.0**26) / 2.0**26
    return numbers


class Batch(NamedTuple):
    """A minibatch at every hosted node.

    index: int64 (hosted, width), positions within the node's own samples; counts: int64 (hosted,), how
    many of the width are used at each node.
    """

    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index
    counts: np.ndarray


class Streams:
    """The random streams of the nodes first, first + 1, ... that this process hosts.

    seed: of the run, 0 to 2^63 - 1. sizes: int64 (hosted,), the number of samples at each.
    """

    def __init__(self, seed: int, first: int, sizes: np.ndarray) -> None:
        self.seed, self.first, self.sizes = seed, first, sizes
        self._scratch: dict[int, Batch] = {}
        self._own_scratch: dict[tuple[int, int], Batch] = {}

    def batch(self, step: int, size: int) -> Batch:
        """Draw ``size`` samples per node, uniform with replacement, for iteration ``step``.

        A node that has no more than ``size`` samples takes each of them once. The arrays are reused by
        the next call with the same size.
        """
        size = min(size, int(self.sizes.max()))
        if size not in self._scratch:
            hosted = len(self.sizes)
            self._scratch[size] = Batch(np.empty((hosted, size), np.int64), np.empty(hosted, np.int64))
        batch = self._scratch[size]
        fill_indices(self.seed, PURPOSES["batch"], step, self.first, self.sizes, batch.index, batch.counts)
        return batch

    def node_batch(self, node: int, step: int, size: int) -> Batch:
        """Return ``batch`` for the hosted node at position ``node`` alone, arrays (1, width); for one thread a node."""
        size = min(size, int(self.sizes[node]))
        key = node, size
        if key not in self._own_scratch:
            self._own_scratch[key] = Batch(np.empty((1, size), np.int64), np.empty(1, np.int64))
        batch = self._own_scratch[key]
        sizes = self.sizes[node : node + 1]
        fill_indices(self.seed, PURPOSES["batch"], step, self.first + node, sizes, batch.index, batch.counts)
        return batch

    def uniform(self, purpose: str, step: int) -> np.ndarray:
        """Return a number in [0, 1) for every hosted node, float64 (hosted,), for iteration ``step``."""
        hosted = len(self.sizes)
        return random_stream(self.seed, purpose, step).random(self.first + hosted)[self.first :]
