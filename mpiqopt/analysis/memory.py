"""Predictions of the bytes that a rank of a run will need."""

from typing import Any

import numpy as np

from mpiqopt.data.source import Source
from mpiqopt.placement.placement import Placement
from mpiqopt.results.checkpoint import flat_state
from mpiqopt.run.assembly import Experiment
from mpiqopt.topologies.topology import DENSE_LIMIT

# All of these are measured: peaks of runs of 2 to 131,072 nodes (benchmarks/size.py memory).
# Python, NumPy, h5py and this package; MPI; SciPy, where graphs are large or directed and for sparse data
PYTHON, MPI, SCIPY = 80e6, 21e6, 26e6
# for each entry of W: what stays, and what is there while W is made and written
ENTRY, ENTRY_MADE = 40, 50
# for each coordinate of each node: arrays of a step and of a record
STEP = {8: 40, 4: 32}
# the same with coded gossip; a method says what coordination adds
CODED = 40
# for each node that trains by itself: Python's objects
TRAINED = 2700
# for each sample of all ranks while data are loaded, more if some are held out; for each of a rank
ALL_TARGETS, TESTED, OWN_TARGETS = 25, 24, 16


def memory_per_rank(experiment: Experiment, ranks: int) -> float:
    """Return the peak bytes of the rank that needs most, Python and libraries included, to about a factor of 1.5.

        peak = libraries + W + max(making W, loading the data, data + iterates of the hosted nodes)

    Parameters
    ----------
    experiment: the assembled run, all nodes in this process. ranks: how many the nodes are to be spread over.
    """
    place = Placement(experiment.network.place.nodes, ranks, ranks - 1)
    entries = sum(len(mixing.columns) for mixing in experiment.network.topology.cycle)
    data, loading = _data(experiment, place)
    later = data + place.hosted * _per_node(experiment)
    return _libraries(experiment, ranks) + ENTRY * entries + max(ENTRY_MADE * entries, loading, later)


def _libraries(experiment: Experiment, ranks: int) -> float:
    """Return the bytes of Python, MPI and SciPy.

    SciPy counts where something imports it: large or directed graphs and sparse data.
    """
    dense = isinstance(experiment.shares.features, np.ndarray)
    scipy = experiment.network.place.nodes > DENSE_LIMIT or experiment.algorithm.directed or not dense
    return PYTHON + MPI * (ranks > 1) + SCIPY * scipy


def _data(experiment: Experiment, place: Placement) -> tuple[float, float]:
    """Return the bytes of the data on the rank with most samples, and of them while they are loaded in float64.

    The second number is larger: features are read, put in the order of the nodes, scaled and converted one after the
    other, and targets of all ranks are there at once.
    """
    shares, source = experiment.shares, experiment.config.data
    own = np.add.reduceat(shares.sizes, place.bounds[:-1]).max() / shares.sizes.sum()
    values = own * _values(shares.features) + _values(shares.test_features) / place.ranks
    index = 0 if isinstance(shares.features, np.ndarray) else 4
    item, samples = shares.features.dtype.itemsize, shares.sizes.sum() + len(shares.test_targets)
    targets = samples * (ALL_TARGETS + TESTED * bool(shares.held_out) + OWN_TARGETS * own)
    copies = _copies(source, shares.sizes.max() / shares.sizes.sum() / own)
    if item != 8:
        changed = source.scale == "unit-rows" or source.intercept
        copies = max(copies, 1 + changed + (item + index) / (8 + index))
    return values * (item + index) + samples * OWN_TARGETS * own, values * copies * (8 + index) + targets


def _values(features: Any) -> int:
    """Return how many numbers are stored of features."""
    return features.size if isinstance(features, np.ndarray) else features.nnz


def _copies(source: Source, share: float) -> float:
    """Return the most copies of the features in float64 that are there at once, while they are loaded.

    share: of the largest node in the samples of a rank.
    """
    ordered = 1 + (source.split != "contiguous")  # as read, and in the order of the nodes
    if source.scale in ("standard", "images"):
        return max(ordered, 1 + share, 1 + source.intercept)
    return max(ordered, 1 + (source.scale == "unit-rows") + source.intercept)


def _per_node(experiment: Experiment) -> float:
    """Return the bytes of the iterates of a node and of all that is computed from them.

    They are those of the method's state, as ``init`` makes it, and for each coordinate what steps and records take.
    """
    algorithm, problem = experiment.algorithm, experiment.problem
    state = algorithm.init(experiment.start, problem, experiment.network, experiment.streams)
    arrays = {id(value): value.nbytes for value in flat_state(state).values() if isinstance(value, np.ndarray)}
    beside = STEP[problem.dtype.itemsize]
    if experiment.network.compressor is not None and not algorithm.server:
        beside += CODED
    beside += algorithm.coordination_bytes()
    return sum(arrays.values()) / problem.hosted + beside * problem.d + TRAINED * algorithm.trains
