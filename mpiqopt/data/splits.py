"""Rules by which samples are divided among nodes: index arithmetic on labels, numbers of nodes and random numbers.

Every rank computes the whole division from the targets of all samples, so nothing is communicated. ``docs/splits.md``
shows what the rules make of a data set.
"""

from collections.abc import Collection, Sequence
from heapq import heapify, heapreplace
from typing import NamedTuple

import numpy as np

from mpiqopt.arithmetic.distinct import distinct_values
from mpiqopt.arithmetic.rounding import exact_exponential
from mpiqopt.data.source import Source
from mpiqopt.errors import UsageError, clip_for_error_line, quote_in_error
from mpiqopt.files.names import sort_names
from mpiqopt.memory import require_memory

# splits that divide each class by itself
BY_CLASS = ("dirichlet", "inner-dirichlet", "resource-dirichlet", "pathological")
# Of Dirichlet distributions: beyond it proportions are equal to the last bit, and sums of gamma variables overflow.
LARGEST_ALPHA = 1e100
# Relative sizes of nodes 0, 1, ... by ``data.sizes``; those of "exponential" are divided by the largest, e^(n-1), which
# overflows from 711 nodes on.
WEIGHTS = {
    "linear": lambda i: i + 1.0,
    "square": lambda i: (i + 1.0) ** 2,
    "exponential": lambda i: np.array([exact_exponential(k) for k in i - i[-1]]),
}


class Division(NamedTuple):
    """Say which samples each node has: node i has ``order[bounds[i]:bounds[i + 1]]``.

    order: int64 (m,), a permutation of the samples, or None for "in file order"; bounds: int64 (nodes + 1,), ascending
    from 0 to m.
    """

    order: np.ndarray | None
    bounds: np.ndarray


def split_samples(
    source: Source,
    targets: np.ndarray,
    homes: np.ndarray | None,
    nodes: int,
    stream: np.random.Generator,
    devices: np.ndarray | None = None,
) -> Division:
    """Return the division that ``data.split`` asks for.

    Parameters
    ----------
    source:
        whose keys split, sizes, alpha and classes_per_node count
    targets:
        float64 (m,), the labels of the training samples
    homes:
        int64 (m,), the node that the data name for each sample; for "natural" only
    nodes:
        n
    stream:
        what random numbers are taken from
    devices:
        int64 (nodes,), ascending: the class of devices of each node; for "resource-dirichlet" only

    Raises
    ------
    UsageError
        if a node would get nothing, or numbers of the config do not fit the data

    Examples
    --------
    Node 1 is to get twice as many samples as node 0, after sorting by label:

    >>> from mpiqopt.data.synthetic import Synthetic
    >>> uneven = Synthetic(split="by-label", sizes=[1.0, 2.0])
    >>> division = split_samples(uneven, np.array([1.0, 0.0, 1.0]), None, 2, np.random.default_rng(0))
    >>> division.order.tolist(), division.bounds.tolist()
    ([1, 0, 2], [0, 1, 3])
    """
    split = source.split
    if split == "dirichlet":
        division = dirichlet_split(targets, nodes, source.alpha, stream)
    elif split == "pathological":
        division = pathological_split(targets, nodes, source.classes_per_node, stream)
    elif split == "natural":
        assert homes is not None  # asked for where the split is natural
        division = _by_owner(homes, nodes)
    else:
        bounds = split_bounds(source.sizes, len(targets), nodes)
        if split == "contiguous":
            division = Division(None, bounds)
        elif split == "iid":
            division = Division(stream.permutation(len(targets)), bounds)
        elif split == "by-label":
            division = Division(np.argsort(targets, kind="stable"), bounds)
        elif split == "resource-dirichlet":
            division = resource_dirichlet_split(targets, _several(devices), bounds, source.alpha, stream)
        else:
            division = inner_dirichlet_split(targets, bounds, source.alpha, stream)
    empty = np.flatnonzero(np.diff(division.bounds) == 0)
    if len(empty):
        raise UsageError(f"{_key(source)}: node {empty[0]} of {nodes} would hold none of {len(targets)} samples")
    return division


def _several(devices: np.ndarray | None) -> np.ndarray:
    """Return the classes of devices. Raises UsageError if there are less than two."""
    if devices is None or devices[0] == devices[-1]:
        raise UsageError("data.split = 'resource-dirichlet': all devices are alike; want several tables [[devices]]")
    return devices


def _key(source: Source) -> str:
    """Return the key that is to blame where a node gets nothing."""
    return (
        f"data.sizes = {quote_in_error(source.sizes)}" if source.sizes != "equal" else f"data.split = {source.split!r}"
    )


def split_bounds(sizes: str | list[float], samples: int, nodes: int) -> np.ndarray:
    """Return where the nodes' parts of m samples begin and end: floor(m S_i/S_n), S_i the sum of the first i sizes.

    sizes: "equal", a key of WEIGHTS, or a positive number for each node. Returns int64 (nodes + 1,). Raises UsageError
    unless a list has a number for each node.

    >>> split_bounds("linear", 12, 3).tolist()
    [0, 2, 6, 12]
    """
    if sizes == "equal":
        return split_equally(samples, nodes)
    if isinstance(sizes, str):
        weights = WEIGHTS[sizes](np.arange(nodes, dtype=np.float64))
    elif len(sizes) != nodes:
        raise UsageError(f"data.sizes: {len(sizes)} numbers for topology.nodes = {nodes} nodes; want one for each")
    else:
        weights = np.array(sizes) / max(sizes)
    ends = np.cumsum(weights)
    # sums of fractions, and libm's last bits, decide over no sample
    return np.concatenate([[0], np.floor(ends / ends[-1] * samples + 1e-9).astype(np.int64)])


def split_equally(count: int, among: int) -> np.ndarray:
    """Return where equal parts of so many things begin and end, floor(i count/among), int64 (among + 1,)."""
    return np.arange(among + 1) * count // among


def dirichlet_split(targets: np.ndarray, nodes: int, alpha: float, stream: np.random.Generator) -> Division:
    """Share out each label's m samples in proportions p ~ Dirichlet(alpha, ..., alpha); node i gets p_i m on average.

    By systematic sampling: sample j of a label (in random order) goes to the node i with

        p_1 + ... + p_{i-1} <= (j + u)/m < p_1 + ... + p_i,   u uniform on [0, 1),

    so that a node gets floor or ceil of p_i m samples, and none is favoured by its number. A node that would be left
    without any sample gets one of a node that has most. For small alpha nearly all of a label is at one node, for large
    alpha all nodes have as much of it.

    Parameters
    ----------
    targets:
        float64 (m,), the labels of all samples
    nodes:
        n
    alpha:
        concentration, > 0
    stream:
        what random numbers are taken from

    References
    ----------
    Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution", arXiv:1909.06335, 2019; Yurochkin et
    al., "Bayesian nonparametric federated learning of neural networks", ICML 2019, for proportions of each label over
    the nodes. The systematic sampling is ours.
    """
    owner = _owners_of_labels(targets, np.full(nodes, alpha), stream)
    return _by_owner(_nobody_empty(owner, nodes, stream), nodes)


def resource_dirichlet_split(
    targets: np.ndarray, devices: np.ndarray, bounds: np.ndarray, alpha: float, stream: np.random.Generator
) -> Division:
    """Share out each label's samples among K classes of devices, in proportions p ~ Dirichlet(a_1, ..., a_K).

        a_k = alpha K n_k/n,   n_k of n nodes being of class k, so that classes of equal share have a_k = alpha

    Samples of a class of devices are shuffled, classes follow each other, and nodes take what they are to have from
    this queue. So for small alpha labels go with the strength of devices, while nodes have the sizes given; where a
    class of devices has drawn more or less samples than its nodes take, those at its border have some of both classes.

    Parameters
    ----------
    targets:
        float64 (m,), the labels of all samples
    devices:
        int64 (nodes,), the class of devices of each node, 0, 1, ..., K - 1 in ascending order
    bounds:
        int64 (nodes + 1,), as ``split_bounds`` returns them: what the sizes of nodes are
    alpha:
        concentration, > 0
    stream:
        what random numbers are taken from

    References
    ----------
    Pfeiffer, Rapp, Khalili and Henkel, "CoCoFL: communication- and computation-aware federated learning via partial NN
    freezing and quantization", TMLR 2023: resource-correlated non-iid data, for equal shares and sizes. Other shares
    and sizes, and the systematic sampling, are ours.
    """
    counts = np.bincount(devices)
    owner = _owners_of_labels(targets, alpha * len(counts) * counts / len(devices), stream)
    shuffled = stream.permutation(len(owner))
    return Division(shuffled[np.argsort(owner[shuffled], kind="stable")], bounds)


def _owners_of_labels(targets: np.ndarray, alphas: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """Return the owner of each sample, int64 (m,): of a label, owner i gets p_i m or so, p ~ Dirichlet(alphas)."""
    owner = np.empty(len(targets), np.int64)
    for members in _by_label(_coded(targets)[1], stream):
        parts = np.cumsum(_proportions(alphas, stream))
        places = (np.arange(len(members)) + stream.random()) / len(members)
        # libm's last bits are in the proportions, but hardly ever (1e-13) decide over a sample
        owner[members] = np.minimum(np.searchsorted(parts, places, side="right"), len(alphas) - 1)
    return owner


def _proportions(alphas: np.ndarray, stream: np.random.Generator, size: int | None = None) -> np.ndarray:
    return stream.dirichlet(np.minimum(alphas, LARGEST_ALPHA), size)


def _by_label(codes: np.ndarray, stream: np.random.Generator) -> list[np.ndarray]:
    """Return the samples of each label 0, 1, ... in random order."""
    shuffled = stream.permutation(len(codes))
    shuffled = shuffled[np.argsort(codes[shuffled], kind="stable")]
    return np.split(shuffled, np.cumsum(np.bincount(codes))[:-1])


def _coded(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels in ascending order, and the number of each sample's own among them, int64 (m,)."""
    labels = distinct_values(targets)
    return labels, np.searchsorted(labels, targets)


def _nobody_empty(owner: np.ndarray, nodes: int, stream: np.random.Generator) -> np.ndarray:
    """Return the owners (m,), changed so that nodes without a sample get one of a node that has most.

    Which of several equal nodes gives, and which sample, is drawn: node 0 is not the one to lose.
    """
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


def inner_dirichlet_split(
    targets: np.ndarray, bounds: np.ndarray, alpha: float, stream: np.random.Generator
) -> Division:
    """Fill nodes of given sizes, each with labels in proportions of its own, p_i ~ Dirichlet(alpha, ..., alpha).

    Turns are in random order, as many for a node as it gets samples. In its turn node i takes a sample of the label c
    with probability p_ic/sum_c' p_ic', over the labels c' that have not run out. All turns ask at once, and those that
    ask for more samples of a label than are left ask again: the same distribution, without a loop over samples.

    Parameters
    ----------
    targets:
        float64 (m,), the labels of all samples
    bounds:
        int64 (nodes + 1,), as ``split_bounds`` returns them: what the sizes of nodes are
    alpha:
        concentration, > 0
    stream:
        what random numbers are taken from

    Raises
    ------
    MemoryError
        if proportions of all labels at all nodes do not fit

    References
    ----------
    Acar et al., "Federated learning based on dynamic regularization", ICLR 2021: the proportions of each node.
    """
    codes = _coded(targets)[1]
    left = np.bincount(codes)
    nodes, classes = len(bounds) - 1, len(left)
    require_memory(32.0 * nodes * classes, f"data.split = 'inner-dirichlet': {classes} labels of {nodes} nodes")
    proportions = _proportions(np.full(classes, alpha), stream, nodes)
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
    return _by_owner(owner, nodes)


def _labels(weights: np.ndarray, left: np.ndarray, nodes: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Return a label for each of ``nodes`` (k,), drawn with its row of weights; where these are 0 with ``left``.

    weights: (n, C), overwritten; left: (C,), samples that are left of each label; chances: uniform numbers (k,). All
    rows are searched at once: row i of the cumulative sums is moved to [i, i + 1).
    """
    weights[~weights.any(axis=1)] = left
    ends = np.cumsum(weights, axis=1)
    ends = ends / ends[:, -1:] + np.arange(len(ends))[:, None]
    found = np.searchsorted(ends.ravel(), nodes + chances, side="right") - nodes * len(left)
    return np.minimum(found, len(left) - 1)


def pathological_split(targets: np.ndarray, nodes: int, each: int, stream: np.random.Generator) -> Division:
    """Give every node samples of exactly ``each`` labels; nodes of the same label share its samples equally.

    Each of C labels is given to floor or ceil of nodes * each / C nodes, to more of them if it has more samples.

    Parameters
    ----------
    targets:
        float64 (m,), the labels of all samples
    nodes:
        n
    each:
        labels of a node
    stream:
        what random numbers are taken from

    Raises
    ------
    UsageError
        if there are fewer labels than ``each``, or more than nodes can have, or a label has too few samples

    References
    ----------
    McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017, where
    each of 100 clients gets two shards of MNIST sorted by digit. Those may be of one digit; here labels differ.
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
    for label in np.flatnonzero(counts < holders).tolist():
        raise UsageError(
            f"{key}: {counts[label]} training samples of label {labels[label]:g} are too few for the {holders[label]} "
            f"of {nodes} nodes that are to hold it"
        )
    given = _labels_of_nodes(holders, nodes, each, stream)
    owner = np.empty(len(codes), np.int64)
    for label, members in enumerate(_by_label(codes, stream)):
        own = stream.permutation(np.flatnonzero((given == label).any(axis=1)))
        owner[members] = np.repeat(own, np.diff(split_equally(len(members), len(own))))
    return _by_owner(owner, nodes)


def _labels_of_nodes(holders: np.ndarray, nodes: int, each: int, stream: np.random.Generator) -> np.ndarray:
    """Return the labels of each node, (nodes, each), all different, such that label c is given to holders[c] nodes.

    In random order nodes take the labels that lack most nodes, at random among equals. That never runs into a dead end:
    numbers of lacking nodes differ by one at most before each turn, so no label is left for the same node twice.
    """
    given, lacking = np.empty((nodes, each), np.int64), holders.copy()
    for node in stream.permutation(nodes):
        given[node] = np.lexsort((stream.random(len(lacking)), -lacking))[:each]
        lacking[given[node]] -= 1
    return given


def split_homes(groups: Collection[str], nodes: int, names: Sequence[str] | None) -> dict[str, int]:
    """Return the node that each group of samples belongs to, by the name of the group.

    By the topology's names of nodes where they are the groups'; else groups are sorted as people count, and of g groups
    node i has floor(i g/n) .. floor((i+1) g/n)-1. Raises UsageError for fewer groups than nodes, and where only some
    names are the same.

    >>> split_homes(["n10", "n9", "n1"], 2, None)
    {'n1': 0, 'n9': 1, 'n10': 1}
    """
    key, ordered = "data.split = 'natural'", sort_names(groups)
    if len(ordered) < nodes:
        raise UsageError(f"{key}: the data name only {len(ordered)} nodes; want topology.nodes <= that, got {nodes}")
    common = set(ordered) & set(names or ())
    if names is None or not common:
        homes = np.repeat(np.arange(nodes), np.diff(split_equally(len(ordered), nodes)))
        return dict(zip(ordered, homes.tolist(), strict=True))
    for strange in [name for name in ordered if name not in common]:
        same, other = clip_for_error_line(min(common), 30), clip_for_error_line(strange, 30)
        raise UsageError(
            f"{key}: topology and data both name {same!r}, but the topology has no {other!r}; want the same names, or "
            "all different ones"
        )
    return {name: number for number, name in enumerate(names)}


def _by_owner(owner: np.ndarray, nodes: int) -> Division:
    """Return the division that gives each sample to its owner. owner: int64 (m,), the node of each sample."""
    counts = np.bincount(owner, minlength=nodes)
    return Division(np.argsort(owner, kind="stable"), np.concatenate([[0], np.cumsum(counts)]))
