"""From a table to the samples of the hosted nodes: held-out part, division, loading, checks and scaling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mpiqopt.arithmetic.distinct import distinct
from mpiqopt.data.source import Source, Table
from mpiqopt.data.splits import BY_CLASS, divide, equal_parts, homes_of
from mpiqopt.errors import UsageError, clipped
from mpiqopt.placement.placement import Placement
from mpiqopt.streams import generator

# of features: squares of larger ones overflow, and with them norms, means and the smoothness of the loss
LARGEST = 1e150
# labels that are listed
MOST_LABELS = 1000
# Targets of a problem without classes count as classes if so many samples share one on average (or if there are two).
SAMPLES_OF_A_CLASS = 10
# counts of labels of nodes that are made
MOST_COUNTS = 1 << 20


@dataclass(frozen=True)
class Shares:
    """The samples of the nodes that a rank hosts, node after node, and the held-out samples that are counted there.

    features: (M, d) or CSR; targets: float64 (M,); offsets: int64 (hosted + 1,). sizes: samples of every node of the
    network. labels: the distinct targets over all ranks, sorted (more than MOST_LABELS are not listed), of which words
    are the names. test_offsets: of the held-out samples, which belong to nodes in equal parts; held_out: how many there
    are on all ranks. classes: False if targets are numbers to predict. noisy: samples whose label data.label_noise has
    changed. groups: what the data call the samples of each node, for split = "natural"; on rank 0 alone.
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
    test_offsets: np.ndarray | None = None
    held_out: int = 0
    solution: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    words: tuple[str, ...] | None = None
    classes: bool = False
    noisy: int = 0
    groups: tuple[str, ...] = ()
    read: dict[str, str] = field(default_factory=dict)


def require_enough(samples: int, nodes: int) -> None:
    """Raise UsageError unless there is a sample for every node."""
    if samples < nodes:
        raise UsageError(f"data: {samples} samples for topology.nodes = {nodes} nodes; want at least one for each")


def load(
    source: Source,
    table: Table,
    place: Placement,
    seed: int,
    labelled: bool = False,
    names: Sequence[str] | None = None,
) -> Shares:
    """The samples of the nodes that ``place`` hosts. Raises UsageError for unusable data.

    labelled: True if the problem takes targets for classes, whatever they are; names: of the topology's nodes, if it
    has any.
    """
    _require_usable(table)
    labels = distinct(table.targets)
    classes = labelled or table.words is not None or _are_few(labels, table.samples)
    if not classes:
        _require_no_classes(source, table, labels)
    test, chosen = _held_out(source, table, seed)
    if labelled and test is not table:
        _require_known(test, labels)
    kept = np.delete(np.arange(table.samples), chosen) if test is table and len(chosen) else slice(None)
    targets = table.targets[kept]
    trained = _with_noise(source, table, labels, seed)[kept] if source.label_noise else targets
    homes, groups = _homes(source, table, place.nodes, names)
    homes = None if homes is None else homes[kept]
    order, bounds = divide(source, targets, homes, place.nodes, generator(seed, "split"))
    test_bounds = equal_parts(len(chosen), place.nodes)
    index, test_index = _own(order, bounds, place), _own(chosen if test is table else None, test_bounds, place)
    features = _read(table, index if isinstance(kept, slice) else kept[index])
    return Shares(
        where=table.where,
        features=features,
        targets=trained[index],
        offsets=_offsets(bounds, place),
        sizes=np.diff(bounds),
        labels=labels if len(labels) <= MOST_LABELS else None,
        test_features=_stored_as(features, _read(test, test_index)),
        test_targets=test.targets[test_index],
        test_offsets=_offsets(test_bounds, place),
        held_out=len(chosen),
        solution=table.solution,
        names=table.names,
        words=table.words,
        read=table.read,
        classes=classes,
        noisy=0 if trained is targets else int(np.count_nonzero(trained != targets)),
        groups=groups if place.rank == 0 else (),
    )


def _own(order: np.ndarray | None, bounds: np.ndarray, place: Placement) -> slice | np.ndarray:
    """The positions of the hosted nodes' samples; order: of all, None for "as they are"."""
    own = slice(int(bounds[place.first]), int(bounds[place.last]))
    return own if order is None else order[own]


def _offsets(bounds: np.ndarray, place: Placement) -> np.ndarray:
    """Where the parts of the hosted nodes begin and end among theirs."""
    return bounds[place.first : place.last + 1] - bounds[place.first]


def _require_usable(table: Table) -> None:
    """Raise UsageError for a table without samples or features, or with targets that are not finite."""
    if table.samples == 0 or table.features == 0:
        raise UsageError(f"{table.where}: no data ({table.samples} samples, {table.features} features)")
    bad = np.flatnonzero(~np.isfinite(table.targets))
    if len(bad):
        raise UsageError(f"{table.where}: the target of sample {bad[0]} is {table.targets[bad[0]]}")


def _are_few(labels: np.ndarray, samples: int) -> bool:
    """True if targets repeat as those of classes do, and numbers to predict seldom do."""
    return len(labels) <= max(2, samples // SAMPLES_OF_A_CLASS)


def _require_no_classes(source: Source, table: Table, labels: np.ndarray) -> None:
    """Raise UsageError if the config asks for what only classes have."""
    for key, value, is_asked in (
        ("split", repr(source.split), source.split in BY_CLASS),
        ("label_noise", f"{source.label_noise:g}", source.label_noise > 0),
    ):
        if is_asked:
            cure = ": want 'iid' or data.sizes" if key == "split" else ""
            raise UsageError(
                f"{table.where}: data.{key} = {value} wants classes, not numbers ({len(labels)} values){cure}"
            )


def _held_out(source: Source, table: Table, seed: int) -> tuple[Table, np.ndarray]:
    """The table of the held-out samples, and which of it they are, int64 in ascending order."""
    other = source.held_out(table)
    if other is None:
        test = round(source.test_fraction * table.samples)
        if source.test_fraction and not 0 < test < table.samples:
            raise UsageError(
                f"data.test_fraction = {source.test_fraction}: holds out {test} of {table.samples} samples"
            )
        chosen = generator(seed, "test").permutation(table.samples if test else 0)
        return table, np.sort(chosen[:test])
    if source.test_fraction:
        raise UsageError(
            f"data.test_fraction = {source.test_fraction}: {other.where} is held out already; want one of the two"
        )
    _require_usable(other)
    if other.features != table.features:
        raise UsageError(f"{other.where}: {other.features} features, and {table.features} in {table.where}")
    return other, np.arange(other.samples)


def _require_known(test: Table, labels: np.ndarray) -> None:
    """Raise UsageError if held-out samples have labels of no training sample."""
    nearest = labels[np.minimum(np.searchsorted(labels, test.targets), len(labels) - 1)]
    for sample in np.flatnonzero(nearest != test.targets)[:1]:
        target = test.targets[sample]
        label = f"{target:g}" if test.words is None else clipped(test.words[int(target)], 40)
        raise UsageError(f"{test.where}: sample {sample} has the label {label}, which no training sample has")


def _homes(
    source: Source, table: Table, nodes: int, names: Sequence[str] | None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The node (samples,) that each sample belongs to by the data, and what these call the nodes; of other splits none.

    Raises UsageError where the data do not say.
    """
    if source.split != "natural":
        return None, ()
    if table.groups is None:
        raise UsageError(f"{table.where}: data.split = 'natural': nothing here names the nodes that samples belong to")
    occurring = distinct(table.groups).tolist()
    homes = homes_of([table.group_names[group] for group in occurring], nodes, names)
    home = np.zeros(len(table.group_names), np.int64)
    home[occurring] = [homes[table.group_names[group]] for group in occurring]
    groups: list[list[str]] = [[] for _ in range(nodes)]
    for name, node in homes.items():
        groups[node].append(name)
    return home[table.groups], tuple(", ".join(own) for own in groups)


def _with_noise(source: Source, table: Table, labels: np.ndarray, seed: int) -> np.ndarray:
    """The targets of all samples, each replaced by another label with probability ``data.label_noise``.

    A sample's label does not depend on which others are held out.
    """
    if len(labels) < 2:
        raise UsageError(f"{table.where}: data.label_noise = {source.label_noise:g} wants two labels, got one")
    stream = generator(seed, "label")
    is_changed = stream.random(table.samples) < source.label_noise
    others = np.searchsorted(labels, table.targets) + stream.integers(1, len(labels), table.samples)
    return np.where(is_changed, labels[others % len(labels)], table.targets)


def cut(whole: Shares, place: Placement) -> Shares:
    """One rank's part of the shares of all nodes, as ``load`` would have read it."""
    own, test = (_own(None, bounds, place) for bounds in (whole.offsets, whole.test_offsets))
    return replace(
        whole,
        features=whole.features[own],
        targets=whole.targets[own],
        offsets=_offsets(whole.offsets, place),
        test_features=whole.test_features[test],
        test_targets=whole.test_targets[test],
        test_offsets=_offsets(whole.test_offsets, place),
        groups=whole.groups if place.rank == 0 else (),
    )


def label_counts(shares: Shares) -> np.ndarray | None:
    """How many samples of each label every hosted node has, int64 (hosted, labels).

    None, on all ranks, for numbers to predict, and where there are more than MOST_COUNTS counts in all.
    """
    labels, hosted = shares.labels, len(shares.offsets) - 1
    if not shares.classes or labels is None or len(labels) * len(shares.sizes) > MOST_COUNTS:
        return None
    node = np.repeat(np.arange(hosted), np.diff(shares.offsets))
    label = np.searchsorted(labels, shares.targets)
    return np.bincount(node * len(labels) + label, minlength=hosted * len(labels)).reshape(hosted, len(labels))


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


def _stored_as(other, rows):
    """The rows, dense or sparse as others are: so they are scaled alike."""
    if isinstance(other, np.ndarray) == isinstance(rows, np.ndarray):
        return rows
    if isinstance(other, np.ndarray):
        return rows.toarray()
    from scipy.sparse import csr_array

    return csr_array(rows)


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
