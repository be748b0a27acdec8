"""From a table to the samples of the hosted nodes: held-out part, split, loading, checks and scaling."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mpiqopt.data.source import Source, Table
from mpiqopt.distinct import distinct
from mpiqopt.errors import UsageError
from mpiqopt.placement import Placement
from mpiqopt.streams import generator

# of features: squares of larger ones overflow, and with them norms, means and the smoothness of the loss
LARGEST = 1e150


@dataclass(frozen=True)
class Shares:
    """The samples of the nodes that a rank hosts, node after node, and its part of the held-out samples.

    features: (M, d) or CSR; targets: float64 (M,); offsets: int64 (hosted + 1,). sizes: samples of every node of the
    network. labels: the distinct targets over all ranks, sorted (more than 1000 are not listed: numbers to predict).
    names, words and read are those of the ``Table``.
    """

    where: str
    features: Any
    targets: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray | None
    test_features: Any
    test_targets: np.ndarray
    has_test: bool = False
    solution: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    words: tuple[str, ...] | None = None
    read: dict[str, str] = field(default_factory=dict)


def split(source: Source, targets: np.ndarray, nodes: int, seed: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Which samples each node holds: positions (m,) or None for "in file order", and bounds int64 (nodes + 1,).

    Node i holds order[bounds[i]:bounds[i+1]].
    """
    samples = len(targets)
    require_enough(samples, nodes)
    bounds = np.arange(nodes + 1) * samples // nodes
    if source.split == "contiguous":
        return None, bounds
    stream = generator(seed, "split")
    if source.split == "iid":
        return stream.permutation(samples), bounds
    if source.split == "by-label":
        return np.argsort(targets, kind="stable"), bounds
    owner = _dirichlet_owners(targets, nodes, source.alpha, stream)
    return np.argsort(owner, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=nodes))])


def require_enough(samples: int, nodes: int) -> None:
    """Raise UsageError unless there is a sample for every node."""
    if samples < nodes:
        raise UsageError(f"data: {samples} samples for topology.nodes = {nodes} nodes; want at least one for each")


def _dirichlet_owners(targets: np.ndarray, nodes: int, alpha: float, stream: "np.random.Generator") -> np.ndarray:
    """A node for every sample; each label's samples are shared out in Dirichlet(alpha) proportions."""
    owner = np.empty(len(targets), np.int64)
    for label in distinct(targets):
        members = stream.permutation(np.flatnonzero(targets == label))
        # libm's last bits are in the proportions, but hardly ever (1e-13) decide over a sample
        cuts = np.floor(np.cumsum(stream.dirichlet(np.full(nodes, alpha))) * len(members) + 1e-9)
        owner[members] = np.searchsorted(cuts[:-1], np.arange(len(members)), side="right")
    counts = np.bincount(owner, minlength=nodes)
    for node in np.flatnonzero(counts == 0):  # nobody is left without a sample: take one from the richest
        richest = int(np.argmax(counts))
        owner[np.flatnonzero(owner == richest)[0]] = node
        counts[richest] -= 1
        counts[node] = 1
    return owner


def load(source: Source, table: Table, place: Placement, seed: int) -> Shares:
    """The samples of the nodes that ``place`` hosts. Raises UsageError for unusable data."""
    if table.samples == 0 or table.features == 0:
        raise UsageError(f"{table.where}: no data ({table.samples} samples, {table.features} features)")
    bad = np.flatnonzero(~np.isfinite(table.targets))
    if len(bad):
        raise UsageError(f"{table.where}: the target of sample {bad[0]} is {table.targets[bad[0]]}")
    test = round(source.test_fraction * table.samples)
    if source.test_fraction and not 0 < test < table.samples:
        raise UsageError(f"data.test_fraction = {source.test_fraction}: holds out {test} of {table.samples} samples")
    chosen = np.sort(generator(seed, "test").permutation(table.samples)[:test])
    kept = np.delete(np.arange(table.samples), chosen) if test else None
    targets = table.targets if kept is None else table.targets[kept]
    order, bounds = split(source, targets, place.nodes, seed)
    own = slice(int(bounds[place.first]), int(bounds[place.last]))
    index = own if order is None else order[own]
    labels = distinct(table.targets)
    mine = chosen[place.rank * test // place.ranks : (place.rank + 1) * test // place.ranks]
    return Shares(
        where=table.where,
        features=_read(table, index if kept is None else kept[index]),
        targets=targets[index],
        offsets=bounds[place.first : place.last + 1] - bounds[place.first],
        sizes=np.diff(bounds),
        labels=labels if len(labels) <= 1000 else None,
        test_features=_read(table, mine),
        test_targets=table.targets[mine],
        has_test=test > 0,
        solution=table.solution,
        names=table.names,
        words=table.words,
        read=table.read,
    )


def cut(whole: Shares, place: Placement) -> Shares:
    """One rank's part of the shares of all nodes, as ``load`` would have read it."""
    first, last = whole.offsets[[place.first, place.last]].tolist()
    own, test = slice(first, last), len(whole.test_targets)
    held_out = slice(place.rank * test // place.ranks, (place.rank + 1) * test // place.ranks)
    return replace(
        whole,
        features=whole.features[own],
        targets=whole.targets[own],
        offsets=whole.offsets[place.first : place.last + 1] - first,
        test_features=whole.test_features[held_out],
        test_targets=whole.test_targets[held_out],
    )


def _read(table: Table, which: slice | np.ndarray):
    """Rows in the wanted order; sources are asked in ascending order, as HDF5 must be."""
    order = None if isinstance(which, slice) else np.argsort(which, kind="stable")
    try:
        rows = table.rows(which if order is None else which[order])
    except (OSError, ValueError) as error:
        raise UsageError(f"{table.where}: not readable: {' '.join(str(error).split())}") from error
    if order is not None and not np.array_equal(order, np.arange(len(order))):
        rows = rows[np.argsort(order, kind="stable")]
    largest = magnitude(rows)
    if not largest <= LARGEST:
        first = np.arange(table.samples)[which][_first_bad_row(rows)]
        found = f"of {largest:g}, want at most {LARGEST:g}" if np.isfinite(largest) else "that is NaN or infinite"
        raise UsageError(f"{table.where}: sample {first} has a feature {found}")
    if not isinstance(rows, np.ndarray):
        return rows.astype(np.float64)
    # a view would keep the rows of all nodes in memory
    view = isinstance(rows.base, np.ndarray) and rows.base.size > rows.size
    return np.array(rows, np.float64, order="C") if view else np.ascontiguousarray(rows, np.float64)


def magnitude(rows) -> float:
    """The largest magnitude of the numbers in rows, dense or sparse; NaN if one is. Makes no copy."""
    values = rows if isinstance(rows, np.ndarray) else rows.data
    return max(abs(float(values.min())), abs(float(values.max()))) if values.size else 0.0


def _first_bad_row(rows) -> int:
    if isinstance(rows, np.ndarray):
        return next(i for i, row in enumerate(rows) if not magnitude(row) <= LARGEST)
    bad = np.flatnonzero(~(np.abs(rows.data.astype(np.float64)) <= LARGEST))
    return int(np.searchsorted(rows.indptr, bad[0], side="right") - 1)


def scale(shares: Shares, source: Source, mean: Callable[[np.ndarray], np.ndarray], dtype) -> Shares:
    """Scale the features as ``data.scale`` says, append the intercept, and round to the run's type.

    mean: average of one float64 row per hosted node over all nodes, the same bits on any number of ranks.
    """
    train, test = shares.features, shares.test_features
    if source.scale == "standard":
        centre, deviation = _moments(shares, mean)
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
    return replace(shares, features=train, test_features=test, solution=solution, names=names)


def _moments(shares: Shares, mean: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature over the training samples; constant features get deviation 1."""
    per_node = shares.sizes.sum() / len(shares.sizes)
    centre = mean(_node_sums(shares, lambda rows: rows)) / per_node
    dense = isinstance(shares.features, np.ndarray)
    if dense:
        variance = mean(_node_sums(shares, lambda rows: _squared_differences(rows, centre))) / per_node
    else:
        variance = mean(_node_sums(shares, lambda rows: rows.multiply(rows).tocsr())) / per_node - centre * centre
    deviation = np.sqrt(np.maximum(variance, 0))
    deviation[deviation <= 1e-12 * np.maximum(np.abs(centre), 1)] = 1.0
    return (centre if dense else np.zeros_like(centre)), deviation


def _squared_differences(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    differences = rows - centre
    return np.square(differences, out=differences)


def _node_sums(shares: Shares, of: Callable) -> np.ndarray:
    ends = zip(shares.offsets[:-1], shares.offsets[1:], strict=True)
    return np.array([np.asarray(of(shares.features[a:b]).sum(axis=0)).ravel() for a, b in ends])


def _standardised(rows, centre: np.ndarray, deviation: np.ndarray):
    if isinstance(rows, np.ndarray):
        rows = rows if rows.flags.writeable else rows.copy()
        rows -= centre
        rows /= deviation
        return rows
    scaled = rows.copy()
    scaled.data = scaled.data / deviation[scaled.indices]
    return scaled


def _unit_rows(rows):
    if isinstance(rows, np.ndarray):
        norms = np.sqrt(np.add.reduce(rows * rows, axis=1))
        return rows / np.where(norms > 0, norms, 1)[:, None]
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    scaled = rows.copy()
    scaled.data = rows.data / np.repeat(np.where(norms > 0, norms, 1), np.diff(rows.indptr))
    return scaled


def _with_ones(rows):
    ones = np.ones((rows.shape[0], 1), rows.dtype)
    if isinstance(rows, np.ndarray):
        return np.ascontiguousarray(np.concatenate([rows, ones], axis=1))
    from scipy.sparse import hstack

    return hstack([rows, ones], format="csr")
