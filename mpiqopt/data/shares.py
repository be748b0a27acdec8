"""From a table to the samples of the hosted nodes: held-out part, wrong labels, division, loading and checks.

Every rank does the same with the targets of all samples, which it has, and reads the features of its own samples only,
so the result does not depend on the number of ranks. Of a small source rank 0 does it for all nodes and sends every
rank its part (``cut_shares``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mpiqopt.arithmetic.distinct import distinct_values
from mpiqopt.data.augmentation import Augmentation
from mpiqopt.data.shapes import with_shape
from mpiqopt.data.source import Features, Source, Table
from mpiqopt.data.splits import BY_CLASS, split_equally, split_homes, split_samples
from mpiqopt.errors import UsageError, clip_for_error_line
from mpiqopt.placement.placement import Placement
from mpiqopt.streams import random_stream

# of features: squares of larger ones overflow, and with them norms, means and the smoothness of the loss
LARGEST = 1e150
# labels whose numbers are stored in result files and listed by check
MOST_LABELS = 1000
# Targets of a problem without classes count as classes if so many samples share one on average (or if there are two).
SAMPLES_OF_A_CLASS = 10
# Counts of samples by node and label are made up to so many: 8 MB on rank 0.
MOST_COUNTS = 1 << 20


@dataclass(frozen=True)
class Shares:
    """Contain the samples of the nodes that a rank hosts, node after node, and its part of the held-out samples.

    Hosted node i has the M_i training samples ``features[offsets[i]:offsets[i + 1]]``. Held-out samples belong to the
    nodes in equal parts only so that ranks share the work of evaluating them.

    Attributes
    ----------
    features, targets:
        (M, d), dense or CSR, float64 until they are scaled (but see ``load_shares``); float64 (M,)
    offsets:
        int64 (hosted + 1,), where the hosted nodes' samples begin and end
    sizes:
        int64 (n,), samples of every node of the network
    labels:
        the distinct targets over all ranks, sorted; None if there are more than MOST_LABELS
    test_features, test_targets, test_offsets:
        the same of the held-out samples that are evaluated here
    held_out:
        number of held-out samples on all ranks
    classes:
        False if targets are numbers to predict
    noisy:
        number of samples on all ranks whose label ``data.label_noise`` has changed
    groups:
        n names, what the data call the samples of each node, for ``split = "natural"``; on rank 0 alone
    augmentation:
        how images are changed that clients train on; None for not at all
    where, solution, names, words, read, shape, vocabulary:
        as in ``Table``; the shape is that of ``data.shape`` where it is given, and None where ``data.intercept`` has
        appended a feature
    """

    where: str
    features: Features
    targets: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray | None
    test_features: Features
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
    shape: tuple[int, ...] | None = None
    vocabulary: str | None = None
    augmentation: Augmentation | None = None


def require_sample_for_each_node(samples: int, nodes: int) -> None:
    """Raise UsageError unless there is a sample for every node. samples, nodes: how many there are."""
    if samples < nodes:
        raise UsageError(f"data: {samples} samples for topology.nodes = {nodes} nodes; want at least one for each")


def load_shares(
    source: Source,
    table: Table,
    place: Placement,
    seed: int,
    labelled: bool = False,
    names: Sequence[str] | None = None,
    dtype: np.dtype | str = "float64",
    devices: np.ndarray | None = None,
) -> Shares:
    """Return the samples of the nodes that ``place`` hosts.

    Parameters
    ----------
    source:
        whose keys say what is held out, how samples are divided, and how many labels are wrong
    table:
        what the source has opened
    place:
        which nodes this rank hosts
    seed:
        what everything drawn follows from
    labelled:
        True if the problem takes targets for classes, whatever they are; else they are classes if they are words, or if
        so few values occur that each repeats
    names:
        of the topology's nodes, if it has any, for ``split = "natural"``
    dtype:
        of the run: if it is float32, images and texts whose numbers fit in float32 are never made float64, which would
        take twice the memory
    devices:
        int64 (nodes,), the class of devices of each node, for ``split = "resource-dirichlet"``

    Raises
    ------
    UsageError
        for data that cannot be used: none, not finite, a node without samples, or keys that do not fit them
    """
    _require_usable(table)
    table = with_shape(source, table)
    labels = distinct_values(table.targets)
    classes = labelled or table.words is not None or _are_few(labels, table.samples)
    if not classes:
        _require_no_classes(source, table, labels)
    test, chosen = _held_out(source, table, seed)
    if labelled and test is not table and table.vocabulary is None:
        _require_known(test, labels)
    kept = np.delete(np.arange(table.samples), chosen) if test is table and len(chosen) else slice(None)
    targets = table.targets[kept]
    trained = _with_noise(source, table, labels, seed)[kept] if source.label_noise else targets
    homes, groups = _homes(source, table, place.nodes, names)
    homes = None if homes is None else homes[kept]
    order, bounds = split_samples(source, targets, homes, place.nodes, random_stream(seed, "split"), devices)
    test_bounds = split_equally(len(chosen), place.nodes)
    index, test_index = _own(order, bounds, place), _own(chosen if test is table else None, test_bounds, place)
    features = _read(table, index if isinstance(kept, slice) else kept[index], dtype)
    return Shares(
        **_told(table),
        features=features,
        targets=trained[index],
        offsets=_offsets(bounds, place),
        sizes=np.diff(bounds),
        labels=labels if len(labels) <= MOST_LABELS else None,
        test_features=_stored_as(features, _read(test, test_index, dtype)),
        test_targets=test.targets[test_index],
        test_offsets=_offsets(test_bounds, place),
        held_out=len(chosen),
        classes=classes,
        noisy=0 if trained is targets else int(np.count_nonzero(trained != targets)),
        groups=groups if place.rank == 0 else (),
        augmentation=Augmentation(tuple(source.augment), source.augment_pixels) if source.augment else None,
    )


def _told(table: Table) -> dict[str, Any]:
    """Return what shares take over from the table as it is."""
    names = ("where", "solution", "names", "words", "read", "shape", "vocabulary")
    return {name: getattr(table, name) for name in names}


def _own(order: np.ndarray | None, bounds: np.ndarray, place: Placement) -> slice | np.ndarray:
    """Return the numbers of the hosted nodes' samples. order, bounds: as in ``Division``."""
    own = slice(int(bounds[place.first]), int(bounds[place.last]))
    return own if order is None else order[own]


def _offsets(bounds: np.ndarray, place: Placement) -> np.ndarray:
    """Return where the samples of each hosted node begin and end among theirs, int64 (hosted + 1,)."""
    return bounds[place.first : place.last + 1] - bounds[place.first]


def _require_usable(table: Table) -> None:
    """Raise UsageError for a table without samples or features, or with targets that are not finite."""
    if table.samples == 0 or table.features == 0:
        raise UsageError(f"{table.where}: no data ({table.samples} samples, {table.features} features)")
    bad = np.flatnonzero(~np.isfinite(table.targets))
    if len(bad):
        raise UsageError(f"{table.where}: the target of sample {bad[0]} is {table.targets[bad[0]]}")


def _are_few(labels: np.ndarray, samples: int) -> bool:
    """Return True if targets repeat as those of classes do, and numbers to predict seldom do."""
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
    """Return the table of the held-out samples, and which of it they are, int64 in ascending order."""
    other = source.held_out(table)
    if other is None:
        test = round(source.test_fraction * table.samples)
        if source.test_fraction and not 0 < test < table.samples:
            raise UsageError(
                f"data.test_fraction = {source.test_fraction}: holds out {test} of {table.samples} samples"
            )
        chosen = random_stream(seed, "test").permutation(table.samples if test else 0)
        return table, np.sort(chosen[:test])
    if source.test_fraction:
        raise UsageError(
            f"data.test_fraction = {source.test_fraction}: {other.where} is held out already; want one of the two"
        )
    _require_usable(other)
    if other.features != table.features:
        raise UsageError(f"{other.where}: {other.features} features, and {table.features} in {table.where}")
    if with_shape(source, other).shape != table.shape:
        raise UsageError(f"{other.where}: samples of shape {other.shape}, and {table.shape} in {table.where}")
    return other, np.arange(other.samples)


def _require_known(test: Table, labels: np.ndarray) -> None:
    """Raise UsageError if held-out samples have labels of no training sample."""
    nearest = labels[np.minimum(np.searchsorted(labels, test.targets), len(labels) - 1)]
    for sample in np.flatnonzero(nearest != test.targets)[:1]:
        target = test.targets[sample]
        label = f"{target:g}" if test.words is None else clip_for_error_line(test.words[int(target)], 40)
        raise UsageError(f"{test.where}: sample {sample} has the label {label}, which no training sample has")


def _homes(
    source: Source, table: Table, nodes: int, names: Sequence[str] | None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the node of each sample by the data, int64 (m,), and what the data call each node; (None, ()) without.

    names: of the topology's nodes. Raises UsageError where ``split = "natural"`` and the data name no groups.
    """
    if source.split != "natural":
        return None, ()
    if table.groups is None:
        raise UsageError(f"{table.where}: data.split = 'natural': nothing here names the nodes that samples belong to")
    occurring = distinct_values(table.groups).tolist()
    homes = split_homes([table.group_names[group] for group in occurring], nodes, names)
    home = np.zeros(len(table.group_names), np.int64)
    home[occurring] = [homes[table.group_names[group]] for group in occurring]
    groups: list[list[str]] = [[] for _ in range(nodes)]
    for name, node in homes.items():
        groups[node].append(name)
    return home[table.groups], tuple(", ".join(own) for own in groups)


def _with_noise(source: Source, table: Table, labels: np.ndarray, seed: int) -> np.ndarray:
    """Return the targets of all samples, each replaced by another label with probability ``data.label_noise``.

    Numbers are drawn for all samples, so that a sample's label does not depend on which others are held out.
    """
    if len(labels) < 2:
        raise UsageError(f"{table.where}: data.label_noise = {source.label_noise:g} wants two labels, got one")
    stream = random_stream(seed, "label")
    is_changed = stream.random(table.samples) < source.label_noise
    others = np.searchsorted(labels, table.targets) + stream.integers(1, len(labels), table.samples)
    return np.where(is_changed, labels[others % len(labels)], table.targets)


def cut_shares(whole: Shares, place: Placement) -> Shares:
    """Return one rank's part of the shares of all nodes, as ``load_shares`` would have read it there."""
    test_offsets = whole.test_offsets
    assert test_offsets is not None  # ``load_shares`` sets them
    own, test = (_own(None, bounds, place) for bounds in (whole.offsets, test_offsets))
    return replace(
        whole,
        features=whole.features[own],
        targets=whole.targets[own],
        offsets=_offsets(whole.offsets, place),
        test_features=whole.test_features[test],
        test_targets=whole.test_targets[test],
        test_offsets=_offsets(test_offsets, place),
        groups=whole.groups if place.rank == 0 else (),
    )


def label_counts(shares: Shares) -> np.ndarray | None:
    """Return how many samples of each label every hosted node has, int64 (hosted, labels).

    None, on all ranks alike, for numbers to predict and where there would be more than MOST_COUNTS counts in all.
    """
    labels, hosted = shares.labels, len(shares.offsets) - 1
    if not shares.classes or labels is None or len(labels) * len(shares.sizes) > MOST_COUNTS:
        return None
    node = np.repeat(np.arange(hosted), np.diff(shares.offsets))
    label = np.searchsorted(labels, shares.targets)
    return np.bincount(node * len(labels) + label, minlength=hosted * len(labels)).reshape(hosted, len(labels))


def _read(table: Table, which: slice | np.ndarray, dtype: np.dtype | str) -> Features:
    """Return rows in the wanted order, float64 or ``_type_of``; sources are asked in ascending order, as HDF5 must be.

    dtype: of the run.
    """
    order = None if isinstance(which, slice) else np.argsort(which, kind="stable")
    try:
        rows = table.rows(which if isinstance(which, slice) else which[order])
    except (OSError, ValueError) as error:
        raise UsageError(f"{table.where}: not readable: {' '.join(str(error).split())}") from error
    if order is not None and not np.array_equal(order, np.arange(len(order))):
        rows = rows[np.argsort(order, kind="stable")]
    largest = largest_magnitude_of_shares(rows)
    if not largest <= LARGEST:
        first = np.arange(table.samples)[which][_first_bad_row(rows)]
        found = f"of {largest:g}, want at most {LARGEST:g}" if np.isfinite(largest) else "that is NaN or infinite"
        raise UsageError(f"{table.where}: sample {first} has a feature {found}")
    if not isinstance(rows, np.ndarray):
        return rows.astype(np.float64)
    # a view would keep the rows of all nodes in memory
    view = isinstance(rows.base, np.ndarray) and rows.base.size > rows.size
    kept = _type_of(table, rows.dtype, dtype)
    return np.array(rows, kept, order="C") if view else np.ascontiguousarray(rows, kept)


def _type_of(table: Table, rows: np.dtype, dtype: np.dtype | str) -> type[np.floating]:
    """Return the type of loaded rows: float32 for images and texts that float32 represents, in a run of float32.

    rows, dtype: of the rows as read, and of the run. Other samples are float64 until they are scaled.
    """
    is_short = table.shape is not None and np.dtype(dtype) == np.float32 and np.can_cast(rows, np.float32)
    return np.float32 if is_short else np.float64


def _stored_as(other: Features, rows: Features) -> Features:
    """Return the rows, dense or sparse as others are, so that both are scaled alike."""
    if isinstance(other, np.ndarray) == isinstance(rows, np.ndarray):
        return rows
    if isinstance(other, np.ndarray):
        return rows.toarray()
    from scipy.sparse import csr_array

    return csr_array(rows)


def largest_magnitude_of_shares(rows: Features) -> float:
    """Return max |a_ij| of rows, dense or sparse; NaN if a number is NaN, 0 if there are none. Makes no copy."""
    values = rows if isinstance(rows, np.ndarray) else rows.data
    return max(abs(float(values.min())), abs(float(values.max()))) if values.size else 0.0


def _first_bad_row(rows: Features) -> int:
    if isinstance(rows, np.ndarray):
        return next(i for i, row in enumerate(rows) if not largest_magnitude_of_shares(row) <= LARGEST)
    bad = np.flatnonzero(~(np.abs(rows.data.astype(np.float64)) <= LARGEST))
    return int(np.searchsorted(rows.indptr, bad[0], side="right") - 1)
