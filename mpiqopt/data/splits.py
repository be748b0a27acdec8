"""Rules by which samples are divided among nodes: index arithmetic on labels, numbers of nodes and random numbers."""

from collections.abc import Collection, Sequence
from heapq import heapify, heapreplace
from typing import NamedTuple

import numpy as np

from mpiqopt.arithmetic.distinct import distinct
from mpiqopt.arithmetic.rounding import exponential
from mpiqopt.data.source import Source
from mpiqopt.errors import UsageError, clipped, quoted
from mpiqopt.files.names import in_order
from mpiqopt.memory import require_memory

# splits that divide each class by itself
BY_CLASS = ("dirichlet", "inner-dirichlet", "pathological")
# of Dirichlet distributions: beyond it proportions are equal to the last bit, and sums of gamma variables overflow
LARGEST_ALPHA = 1e100
WEIGHTS = {
    "linear": lambda i: i + 1.0,
    "square": lambda i: (i + 1.0) ** 2,
    "exponential": lambda i: np.array([exponential(k) for k in i - i[-1]]),
}


class Division(NamedTuple):
    """Which samples each node holds: node i has order[bounds[i]:bounds[i+1]].

    order: int64 (m,), or None for "in file order"; bounds: int64 (nodes + 1,).
    """

    order: np.ndarray | None
    bounds: np.ndarray


def divide(
    source: Source, targets: np.ndarray, homes: np.ndarray | None, nodes: int, stream: "np.random.Generator"
) -> Division:
    """Return the division that ``data.split`` asks for.

    targets: float64 (m,); homes: int64 (m,), the nodes that the data name, for "natural"; stream: what random numbers
    are taken from. Raises UsageError if a node would hold nothing, or numbers of the config do not fit the data.

    >>> from mpiqopt.data.synthetic import Synthetic
    >>> uneven = Synthetic(split="by-label", sizes=[1.0, 2.0])
    >>> divide(uneven, np.array([1.0, 0.0, 1.0]), None, 2, np.random.default_rng(0))
    Division(order=array([1, 0, 2]), bounds=array([0, 1, 3]))
    """
    split = source.split
    if split == "dirichlet":
        division = dirichlet(targets, nodes, source.alpha, stream)
    elif split == "pathological":
        division = pathological(targets, nodes, source.classes_per_node, stream)
    elif split == "natural":
        division = _of_owners(homes, nodes)
    else:
        bounds = bounds_of(source.sizes, len(targets), nodes)
        if split == "contiguous":
            division = Division(None, bounds)
        elif split == "iid":
            division = Division(stream.permutation(len(targets)), bounds)
        elif split == "by-label":
            division = Division(np.argsort(targets, kind="stable"), bounds)
        else:
            division = inner_dirichlet(targets, bounds, source.alpha, stream)
    empty = np.flatnonzero(np.diff(division.bounds) == 0)
    if len(empty):
        raise UsageError(f"{_key(source)}: node {empty[0]} of {nodes} would hold none of {len(targets)} samples")
    return division


def _key(source: Source) -> str:
    """The key that is to blame where a node holds nothing."""
    return f"data.sizes = {quoted(source.sizes)}" if source.sizes != "equal" else f"data.split = {source.split!r}"


def bounds_of(sizes: str | list[float], samples: int, nodes: int) -> np.ndarray:
    """Return where the nodes' parts of the samples begin and end, int64 (nodes + 1,), in proportion to the sizes.

    Raises UsageError unless a list has a number for each node.
    """
    if sizes == "equal":
        return equal_parts(samples, nodes)
    if isinstance(sizes, str):
        weights = WEIGHTS[sizes](np.arange(nodes, dtype=np.float64))
    elif len(sizes) != nodes:
        raise UsageError(f"data.sizes: {len(sizes)} numbers for topology.nodes = {nodes} nodes; want one for each")
    else:
        weights = np.array(sizes) / max(sizes)
    ends = np.cumsum(weights)
    # sums of fractions, and libm's last bits, decide over no sample
    return np.concatenate([[0], np.floor(ends / ends[-1] * samples + 1e-9).astype(np.int64)])


def equal_parts(count: int, among: int) -> np.ndarray:
    """Return where equal parts of so many things begin and end, int64 (among + 1,)."""
    return np.arange(among + 1) * count // among


def dirichlet(targets: np.ndarray, nodes: int, alpha: float, stream: "np.random.Generator") -> Division:
    """Share out each label's m samples in proportions p ~ Dirichlet(alpha); node i gets p_i m of them on average.

    By systematic sampling: sample j of a label goes to the node in whose part of [0, 1) (j + u)/m lies, u uniform. So
    each node gets floor or ceil of p_i m, up to where its part begins, and none is favoured by its number. Who would be
    left without a sample gets one of a node that has most.

    References: Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution", 2019.
    """
    owner = np.empty(len(targets), np.int64)
    for members in _by_label(_coded(targets)[1], stream):
        parts = np.cumsum(_proportions(nodes, alpha, stream))
        places = (np.arange(len(members)) + stream.random()) / len(members)
        # libm's last bits are in the proportions, but hardly ever (1e-13) decide over a sample
        owner[members] = np.minimum(np.searchsorted(parts, places, side="right"), nodes - 1)
    return _of_owners(_nobody_empty(owner, nodes, stream), nodes)


def _proportions(count: int, alpha: float, stream: "np.random.Generator", size: int | None = None) -> np.ndarray:
    return stream.dirichlet(np.full(count, min(alpha, LARGEST_ALPHA)), size)


def _by_label(codes: np.ndarray, stream: "np.random.Generator") -> list[np.ndarray]:
    """The samples of each label in random order."""
    shuffled = stream.permutation(len(codes))
    shuffled = shuffled[np.argsort(codes[shuffled], kind="stable")]
    return np.split(shuffled, np.cumsum(np.bincount(codes))[:-1])


def _coded(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels in ascending order, and of each sample the number of its own."""
    labels = distinct(targets)
    return labels, np.searchsorted(labels, targets)


def _nobody_empty(owner: np.ndarray, nodes: int, stream: "np.random.Generator") -> np.ndarray:
    """The owners, but nodes without a sample get one of those that have most, both at random: not by their numbers."""
    counts = np.bincount(owner, minlength=nodes)
    empty = stream.permutation(np.flatnonzero(counts == 0))
    if not len(empty):
        return owner
    members = stream.permutation(len(owner))
    members = members[np.argsort(owner[members], kind="stable")]
    starts = np.cumsum(counts) - counts
    richest = [*zip((-counts).tolist(), stream.random(nodes).tolist(), range(nodes), strict=True)]
    heapify(richest)
    for node in empty.tolist():
        count, chance, donor = richest[0]
        owner[members[starts[donor] - count - 1]] = node
        heapreplace(richest, (count + 1, chance, donor))
    return owner


def inner_dirichlet(targets: np.ndarray, bounds: np.ndarray, alpha: float, stream: "np.random.Generator") -> Division:
    """Fill nodes of given sizes, each with labels of its own proportions p ~ Dirichlet(alpha).

    Nodes take samples in turn, in random order, of labels drawn from their proportions; of labels that have run out
    none are drawn any more.

    References: Acar et al., "Federated learning based on dynamic regularization", ICLR 2021.
    """
    codes = _coded(targets)[1]
    left = np.bincount(codes)
    nodes, classes = len(bounds) - 1, len(left)
    require_memory(32.0 * nodes * classes, f"data.split = 'inner-dirichlet': {classes} labels of {nodes} nodes")
    proportions = _proportions(classes, alpha, stream, nodes)
    turns = stream.permutation(np.repeat(np.arange(nodes), np.diff(bounds)))
    label = np.full(len(turns), -1)
    waiting = np.arange(len(turns))
    while len(waiting):
        drawn = _labels(np.where(left > 0, proportions, 0), left, turns[waiting], stream.random(len(waiting)))
        asked = np.argsort(drawn, kind="stable")
        counts = np.bincount(drawn, minlength=classes)
        before = np.arange(len(drawn)) - (np.cumsum(counts) - counts)[drawn[asked]]  # how many asked for it earlier
        given = asked[before < left[drawn[asked]]]
        label[waiting[given]] = drawn[given]
        left = left - np.bincount(drawn[given], minlength=classes)
        waiting = waiting[label[waiting] < 0]
    owner = np.empty_like(turns)
    owner[np.concatenate(_by_label(codes, stream))] = turns[np.argsort(label, kind="stable")]
    return _of_owners(owner, nodes)


def _labels(weights: np.ndarray, left: np.ndarray, nodes: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """A label for each of ``nodes``, drawn with its row of weights; where these are 0 by how many samples are left."""
    weights[~weights.any(axis=1)] = left
    ends = np.cumsum(weights, axis=1)
    ends = ends / ends[:, -1:] + np.arange(len(ends))[:, None]
    found = np.searchsorted(ends.ravel(), nodes + chances, side="right") - nodes * len(left)
    return np.minimum(found, len(left) - 1)


def pathological(targets: np.ndarray, nodes: int, each: int, stream: "np.random.Generator") -> Division:
    """Give every node samples of exactly ``each`` labels; a label's samples are shared equally by those that hold it.

    All of C labels are held by floor or ceil of nodes * each / C nodes, those with most samples by more. Raises
    UsageError where that cannot be.

    References: McMahan et al., "Communication-efficient learning of deep networks from decentralized data", 2017.
    """
    labels, codes = _coded(targets)
    counts = np.bincount(codes)
    classes, key = len(counts), f"data.classes_per_node = {each}"
    if each > classes:
        raise UsageError(f"{key}: the data have {classes} labels; want at most as many")
    if nodes * each < classes:
        raise UsageError(
            f"{key}: {nodes} nodes hold {nodes * each} of {classes} labels; want {-(-classes // nodes)} or more"
        )
    holders = np.full(classes, nodes * each // classes)
    holders[np.lexsort((stream.random(classes), -counts))[: nodes * each % classes]] += 1
    for label in np.flatnonzero(counts < holders):
        raise UsageError(
            f"{key}: {counts[label]} training samples of label {labels[label]:g} are too few for the {holders[label]} "
            f"of {nodes} nodes that are to hold it"
        )
    held = _held(holders, nodes, each, stream)
    owner = np.empty(len(codes), np.int64)
    for label, members in enumerate(_by_label(codes, stream)):
        own = stream.permutation(np.flatnonzero((held == label).any(axis=1)))
        owner[members] = np.repeat(own, np.diff(equal_parts(len(members), len(own))))
    return _of_owners(owner, nodes)


def _held(holders: np.ndarray, nodes: int, each: int, stream: "np.random.Generator") -> np.ndarray:
    """The labels of each node, (nodes, each), all different, such that each has as many holders as it is to have.

    In random order nodes take the labels that lack most holders, at random among equals: so it always comes out.
    """
    held, lacking = np.empty((nodes, each), np.int64), holders.copy()
    for node in stream.permutation(nodes):
        held[node] = np.lexsort((stream.random(len(lacking)), -lacking))[:each]
        lacking[held[node]] -= 1
    return held


def homes_of(groups: Collection[str], nodes: int, names: Sequence[str] | None) -> dict[str, int]:
    """Return the node that each group of samples belongs to, by the name of the group.

    By the topology's names of nodes where they are the groups'; else groups are sorted as people count, and of g groups
    node i holds floor(i g/n) .. floor((i+1) g/n)-1. Raises UsageError for fewer groups than nodes, and where only some
    names are the same.
    """
    key, ordered = "data.split = 'natural'", in_order(groups)
    if len(ordered) < nodes:
        raise UsageError(f"{key}: the data name only {len(ordered)} nodes; want topology.nodes <= that, got {nodes}")
    common = set(ordered) & set(names or ())
    if names is None or not common:
        homes = np.repeat(np.arange(nodes), np.diff(equal_parts(len(ordered), nodes)))
        return dict(zip(ordered, homes.tolist(), strict=True))
    for strange in [name for name in ordered if name not in common]:
        same, other = clipped(min(common), 30), clipped(strange, 30)
        raise UsageError(
            f"{key}: topology and data both name {same!r}, but the topology has no {other!r}; want the same names, or "
            "all different ones"
        )
    return {name: number for number, name in enumerate(names)}


def _of_owners(owner: np.ndarray, nodes: int) -> Division:
    """The division that gives each sample to its owner."""
    counts = np.bincount(owner, minlength=nodes)
    return Division(np.argsort(owner, kind="stable"), np.concatenate([[0], np.cumsum(counts)]))
