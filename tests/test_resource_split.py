"""Labels that go with the strength of devices: the split resource-dirichlet."""

import numpy as np
from tools.divisions import counts, three_classes

from mpiqopt.data.dirichlet_splits import resource_dirichlet_split
from mpiqopt.data.splits import split_bounds
from mpiqopt.streams import random_stream

RARE = np.repeat(np.arange(100.0), 4)


def of_devices(alpha: float, devices: np.ndarray, seed: int) -> np.ndarray:
    """Samples of each of ten labels at each class of devices, whose nodes have equal sizes."""
    targets = np.repeat(np.arange(10.0), 300)
    bounds = split_bounds("equal", len(targets), len(devices))
    found = counts(resource_dirichlet_split(targets, devices, bounds, alpha, random_stream(seed, "split")), targets)
    assert np.array_equal(found.sum(axis=1), np.diff(bounds))
    return np.array([found[devices == k].sum(axis=0) for k in range(devices[-1] + 1)])


def test_labels_go_with_classes_of_devices_as_alpha_says():
    """For small alpha most of a label is at one class of devices, for large alpha all have the same labels."""
    devices = three_classes(30)
    largest = [np.mean([of_devices(alpha, devices, seed).max(axis=0) for seed in range(40)]) for alpha in (0.1, 1e6)]
    assert largest[0] > 200  # of 300
    assert 100 <= largest[1] <= 102


def test_nodes_of_a_class_of_devices_have_the_same_labels():
    """But for the nodes at its borders; in the mean over classes and labels within the noise of a shuffle."""
    targets, devices = np.repeat(np.arange(5.0), 1200), three_classes(12)
    bounds = split_bounds("equal", 6000, 12)
    found = counts(resource_dirichlet_split(targets, devices, bounds, 1.0, random_stream(4, "split")), targets)
    drawn = np.linalg.norm(found[:, None] - found[None], axis=2)
    same = [drawn[i, i + 1] for i in range(11) if i % 4 in (1,)]  # the two in the middle of each class
    other = [drawn[i, i + 4] for i in (1, 2, 5, 6)]
    assert max(same) < 60
    assert min(other) > 2 * max(same)


def test_a_class_of_devices_draws_by_its_share_in_the_mean():
    """Ours: with a_k = alpha K n_k/n a class of few devices has not as many samples of its own as a large one."""
    devices = np.repeat([0, 1], [9, 3])
    first = [
        resource_dirichlet_split(RARE, devices, split_bounds("equal", 400, 12), 1e8, random_stream(s, "split"))
        for s in range(3)
    ]
    for found in first:
        labels = counts(found, RARE)
        assert labels[:9].sum(axis=0).tolist() == [3] * 100
        assert labels[9:].sum(axis=0).tolist() == [1] * 100
