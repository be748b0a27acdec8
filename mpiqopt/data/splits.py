"""Rules by which samples are divided among nodes: index arithmetic on labels, numbers of nodes and random numbers.

Every rank computes the whole division from the targets of all samples, so nothing is communicated. ``docs/splits.md``
shows what the rules make of a data set.
"""

from collections.abc import Collection, Sequence

import numpy as np

from mpiqopt.arithmetic.rounding import exact_exponential
from mpiqopt.data.dirichlet_splits import dirichlet_split, inner_dirichlet_split, resource_dirichlet_split
from mpiqopt.data.division import Division, code_labels, divide_by_owner, shuffle_by_label
from mpiqopt.data.source import Source
from mpiqopt.errors import UsageError, clip_for_error_line, quote_in_error
from mpiqopt.files.names import sort_names

# splits that divide each class by itself
BY_CLASS = ("dirichlet", "inner-dirichlet", "resource-dirichlet", "pathological")
# Relative sizes of nodes 0, 1, ... by ``data.sizes``; those of "exponential" are divided by the largest, e^(n-1), which
# overflows from 711 nodes on.
WEIGHTS = {
    "linear": lambda i: i + 1.0,
    "square": lambda i: (i + 1.0) ** 2,
    "exponential": lambda i: np.array([exact_exponential(k) for k in i - i[-1]]),
}


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
        division = divide_by_owner(homes, nodes)
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
    labels, codes = code_labels(targets)
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
    for label, members in enumerate(shuffle_by_label(codes, stream)):
        own = stream.permutation(np.flatnonzero((given == label).any(axis=1)))
        owner[members] = np.repeat(own, np.diff(split_equally(len(members), len(own))))
    return divide_by_owner(owner, nodes)


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
