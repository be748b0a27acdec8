"""Predictions of the bytes that a rank of a run will need."""

from typing import Any

import numpy as np

from mpiqopt.data.source import Source
from mpiqopt.placement.placement import Placement
from mpiqopt.placement.shared_rows import distinct_rows, is_shared
from mpiqopt.results.checkpoint import flat_state
from mpiqopt.run.assembly import Experiment
from mpiqopt.run.metrics import PIECE_BYTES
from mpiqopt.topologies.topology import DENSE_LIMIT

# All of these are measured: peaks of runs of 2 to 131,072 nodes (benchmarks/size.py memory), of networks of fedavg.
# Python, NumPy, h5py and this package; MPI; SciPy, where graphs are large or directed and for sparse data; PyTorch for
# processors, with networks
PYTHON, MPI, SCIPY, TORCH = 80e6, 21e6, 26e6, 200e6
# for each entry of W: what stays, and what is there while W is made and written
ENTRY, ENTRY_MADE = 40, 50
# for each coordinate of each node: arrays of a step and of a record
STEP = {8: 40, 4: 32}
# the same with coded gossip; a method says what coordination adds
CODED = 40
# vectors of a step where all nodes have one point, in the type of the run; sums of a record for each doubling of nodes
COMMON, SUMS = 24, 1
# for each node that trains by itself: Python's objects
TRAINED = 2700
# for each sample of all ranks while data are loaded, more if some are held out; for each of a rank
ALL_TARGETS, TESTED, OWN_TARGETS = 25, 24, 16


def memory_per_rank(experiment: Experiment, ranks: int) -> float:
    """Return the peak bytes of the rank that needs most, Python and libraries included, to about a factor of 1.5.

        peak = libraries + W + max(making W, loading the data, data + iterates of the hosted nodes + common vectors)

    Parameters
    ----------
    experiment: the assembled run, all nodes in this process. ranks: how many the nodes are to be spread over.
    """
    place = Placement(experiment.network.place.nodes, ranks, ranks - 1)
    entries = sum(len(mixing.columns) for mixing in experiment.network.topology.cycle)
    data, loading = _data(experiment, place)
    arrays = _state_arrays(experiment)
    later = data + place.hosted * _per_node(experiment, arrays) + _common(experiment, arrays)
    return _libraries(experiment, ranks) + ENTRY * entries + max(ENTRY_MADE * entries, loading, later)


def _libraries(experiment: Experiment, ranks: int) -> float:
    """Return the bytes of Python, MPI, SciPy and PyTorch.

    SciPy counts where something imports it: large or directed graphs and sparse data.
    """
    dense = isinstance(experiment.shares.features, np.ndarray)
    scipy = experiment.network.place.nodes > DENSE_LIMIT or experiment.algorithm.directed or not dense
    return PYTHON + MPI * (ranks > 1) + SCIPY * scipy + TORCH * (experiment.config.problem.name == "torch")


def _data(experiment: Experiment, place: Placement) -> tuple[float, float]:
    """Return the bytes of the data on the rank with most samples, and of them while they are loaded.

    The second number is larger: features are read, put in the order of the nodes, scaled and converted one after the
    other, until then in float64 but for images and texts of a run of float32; and targets of all ranks are there at
    once.
    """
    shares, source = experiment.shares, experiment.config.data
    own = np.add.reduceat(shares.sizes, place.bounds[:-1]).max() / shares.sizes.sum()
    values = own * _values(shares.features) + _values(shares.test_features) / place.ranks
    index = 0 if isinstance(shares.features, np.ndarray) else 4
    item, samples = shares.features.dtype.itemsize, shares.sizes.sum() + len(shares.test_targets)
    targets = samples * (ALL_TARGETS + TESTED * bool(shares.held_out) + OWN_TARGETS * own)
    copies = _copies(source, shares.sizes.max() / shares.sizes.sum() / own)
    loaded = 8 if shares.shape is None else item
    if item != loaded:
        changed = source.scale == "unit-rows" or source.intercept
        copies = max(copies, 1 + changed + (item + index) / (loaded + index))
    return values * (item + index) + samples * OWN_TARGETS * own, values * copies * (loaded + index) + targets


def _values(features: Any) -> int:
    """Return how many numbers are stored of features."""
    return features.size if isinstance(features, np.ndarray) else features.nnz


def _copies(source: Source, share: float) -> float:
    """Return the most copies of the features that are there at once, while they are loaded.

    share: of the largest node in the samples of a rank.
    """
    ordered = 1 + (source.split != "contiguous")  # as read, and in the order of the nodes
    if source.scale in ("standard", "images"):
        return max(ordered, 1 + share, 1 + source.intercept)
    return max(ordered, 1 + (source.scale == "unit-rows") + source.intercept)


def _state_arrays(experiment: Experiment) -> list[np.ndarray]:
    """Return the arrays of the method's state, as ``init`` makes it; each once."""
    algorithm, problem = experiment.algorithm, experiment.problem
    state = algorithm.init(experiment.start, problem, experiment.network, experiment.streams)
    return [*{id(each): each for each in flat_state(state).values() if isinstance(each, np.ndarray)}.values()]


def _per_node(experiment: Experiment, arrays: list[np.ndarray]) -> float:
    """Return the bytes of the iterates of a node and of all that is computed from them.

    They are those of the method's state, and for each coordinate what steps and records take. Nodes with one row for
    all take part in both one after the other.
    """
    algorithm, problem = experiment.algorithm, experiment.problem
    own = sum(array.nbytes for array in arrays if not is_shared(array)) / problem.hosted
    beside = 0 if algorithm.one_row else STEP[problem.dtype.itemsize]
    if experiment.network.compressor is not None and not algorithm.server:
        beside += CODED
    beside += algorithm.coordination_bytes()
    return own + beside * problem.d + TRAINED * algorithm.trains


def _common(experiment: Experiment, arrays: list[np.ndarray]) -> float:
    """Return the bytes of vectors that all nodes share, of what steps and records compute from them.

    Records work on pieces of PIECE_BYTES, and on some sums of them, if they need gradients.
    """
    problem, nodes = experiment.problem, experiment.network.place.nodes
    shared = sum(distinct_rows(array).nbytes for array in arrays if is_shared(array))
    if not experiment.algorithm.one_row:
        return shared
    vectors = shared + COMMON * problem.d * problem.dtype.itemsize
    if experiment.config.record.training != "gradient":
        return vectors
    row = 8 * problem.d
    piece = min(max(PIECE_BYTES, row), nodes * row) * (1 + problem.dtype.itemsize / 8)
    return vectors + piece + SUMS * np.log2(nodes + 1) * row
