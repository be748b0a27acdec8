"""Rules that divide samples in proportions drawn from a Dirichlet distribution: of labels, of nodes, of devices."""

from heapq import heapify, heapreplace

import numpy as np

from mpiqopt.data.division import Division, code_labels, divide_by_owner, shuffle_by_label
from mpiqopt.memory import require_memory

# Of Dirichlet distributions: beyond it proportions are equal to the last bit, and sums of gamma variables overflow.
LARGEST_ALPHA = 1e100


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
    return divide_by_owner(_nobody_empty(owner, nodes, stream), nodes)


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
    for members in shuffle_by_label(code_labels(targets)[1], stream):
        parts = np.cumsum(_proportions(alphas, stream))
        places = (np.arange(len(members)) + stream.random()) / len(members)
        # libm's last bits are in the proportions, but hardly ever (1e-13) decide over a sample
        owner[members] = np.minimum(np.searchsorted(parts, places, side="right"), len(alphas) - 1)
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
    codes = code_labels(targets)[1]
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
    owner[np.concatenate(shuffle_by_label(codes, stream))] = turns[np.argsort(label, kind="stable")]
    return divide_by_owner(owner, nodes)


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


def _proportions(alphas: np.ndarray, stream: np.random.Generator, size: int | None = None) -> np.ndarray:
    return stream.dirichlet(np.minimum(alphas, LARGEST_ALPHA), size)
