"""Losses, gradients and smoothness constants against plain NumPy and finite differences; proxes by optimality."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from mpiqopt import streams
from mpiqopt.data.shares import Shares
from mpiqopt.problems.evaluators import NodeByNode
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import family_members, find_member
from mpiqopt.streams import Batch, Streams

LOSSES = [name for name in family_members("problem") if name != "torch"]  # networks: tests/test_networks.py
SIZES = np.array([5, 1, 9, 70])  # fewer and more samples than a block of the kernel


def held(loss: str, d: int, sparse: bool = False, dtype=np.float64, seed: int = 0) -> Shares:
    rng = np.random.default_rng(seed)
    m = SIZES.sum()
    features = rng.standard_normal((m, d)) * (rng.random((m, d)) < (0.4 if sparse else 1.1))
    targets = {
        "least-squares": rng.standard_normal(m),
        "logistic": np.arange(m) % 2,
        "softmax": np.arange(m) % 3,
        "mean": np.zeros(m),
    }[loss]
    features = features.astype(dtype)
    return Shares(
        where="test",
        features=csr_array(features) if sparse else features,
        targets=targets.astype(dtype),
        offsets=np.concatenate([[0], np.cumsum(SIZES)]),
        sizes=SIZES,
        labels=np.unique(targets),
        test_features=features[:0],
        test_targets=targets[:0],
    )


def problem(loss: str, d: int = 7, sparse: bool = False, dtype=np.float64, **keys) -> Problem:
    return Problem(
        find_member("problem", loss)(**keys), held(loss, d, sparse, dtype), find_member("regularizer", "zero")(), dtype
    )


def plain_loss(loss: str, shares: Shares, node: int, x: np.ndarray, rows=None) -> float:
    """The mean of the losses as in textbooks, by NumPy."""
    own = np.arange(shares.offsets[node], shares.offsets[node + 1])
    own = own if rows is None else own[rows]
    features = shares.features if isinstance(shares.features, np.ndarray) else shares.features.toarray()
    a, b = features[own].astype(np.float64), shares.targets[own].astype(np.float64)
    if loss == "least-squares":
        return 0.5 * np.mean((a @ x - b) ** 2)
    if loss == "logistic":
        return np.mean(np.logaddexp(0, -(2 * b - 1) * (a @ x)))
    if loss == "mean":
        return 0.5 * np.mean(np.sum((x - a) ** 2, axis=1))
    scores = a @ x.reshape(3, -1).T
    return np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(b)), b.astype(int)])


CASES = [(loss, d, sparse) for loss in LOSSES for d in (1, 3, 8, 12, 29) for sparse in (False, True)]


@pytest.mark.parametrize(("loss", "d", "sparse"), CASES)
def test_values_and_gradients(loss, d, sparse):
    """Values to rounding; gradients by central differences, whose own error is about 1e-9 here."""
    f = problem(loss, d, sparse, l2=0.3, nonconvex=0.2)
    shares = held(loss, d, sparse)
    x = np.random.default_rng(2).standard_normal((4, f.d))
    values, gradients = f.value_and_grad(x)
    assert np.array_equal(gradients, f.grad(x))
    smooth = lambda point: 0.15 * point @ point + 0.2 * np.sum(point**2 / (1 + point**2))  # noqa: E731
    for node in range(4):
        assert values[node] == pytest.approx(plain_loss(loss, shares, node, x[node]) + smooth(x[node]), rel=1e-13)
        for k in range(f.d):
            step = np.zeros(f.d)
            step[k] = 1e-6
            ends = [plain_loss(loss, shares, node, x[node] + s) + smooth(x[node] + s) for s in (step, -step)]
            assert gradients[node, k] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sparse", [False, True])
def test_batches_are_means_over_the_named_samples(loss, sparse):
    """Every node alone: the gradient over a batch is the full gradient of a node that has those samples."""
    f = problem(loss, sparse=sparse, l2=0.1)
    x = np.random.default_rng(4).standard_normal((4, f.d))
    index = np.array([[4, 0, 0], [0, 9, 9], [8, 8, 1], [69, 3, 64]])
    counts = np.array([3, 1, 2, 3])
    gradients = f.grad(x, Batch(index, counts))
    shares = held(loss, 7, sparse)
    for node in range(4):
        rows = index[node, : counts[node]]
        for k in range(f.d):
            step = np.zeros(f.d)
            step[k] = 1e-6
            ends = [plain_loss(loss, shares, node, x[node] + s, rows) for s in (step, -step)]
            assert gradients[node, k] - 0.1 * x[node, k] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)
    assert f.evaluations.tolist() == [3, 1, 2, 3]


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_agrees_with_float64(loss):
    """To a few roundings of float32, eps = 1.2e-7."""
    x = np.random.default_rng(5).standard_normal((4, problem(loss).d))
    double, single = problem(loss, l2=0.1), problem(loss, dtype=np.float32, l2=0.1)
    expected, got = double.value_and_grad(x), single.value_and_grad(x.astype(np.float32))
    assert got[1].dtype == np.float32
    for a, b in zip(expected, got, strict=True):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_large_margins_neither_overflow_nor_vanish(loss):
    """Scores of +-1e4 and 1e300: the loss is the margin, the gradient its sign."""
    f = problem(loss)
    for size in (1e4, 1e300):
        values, gradients = f.value_and_grad(np.full((4, f.d), size) * np.sign(np.arange(f.d) - 3))
        assert np.all(np.isfinite(values))
        assert np.all(np.isfinite(gradients))
        assert values.max() > size / 100


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("together", [1 << 16, 10])
def test_smoothness_constant_is_the_curvature_bound(loss, sparse, together, monkeypatch):
    """c/m lambda_max(A^T A) + l2 + 2 nonconvex, of all nodes at once and one by one; against the SVD."""
    monkeypatch.setattr("mpiqopt.problems.problem.NUMBERS_TOGETHER", together)
    f = problem(loss, sparse=sparse, l2=0.2, nonconvex=0.3)
    shares = held(loss, 7, sparse)
    features = shares.features if not sparse else shares.features.toarray()
    for node, bound in enumerate(f.lipschitz()):
        a = features[shares.offsets[node] : shares.offsets[node + 1]]
        assert bound == pytest.approx(
            f.loss.curvature * np.linalg.norm(a, 2) ** 2 / len(a) + f.loss.identity_curvature + 0.8, rel=1e-11
        )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_numpy_path_agrees_with_the_compiled_one(loss):
    """What a plugin without a kernel goes through."""
    cls = find_member("problem", loss)
    shares = held(loss, 6)

    class Plain(cls):
        def node(self, features, targets, x):
            part = Problem(cls(), self._one(features, targets), find_member("regularizer", "zero")())
            values, gradients = part.value_and_grad(x[None])
            return values[0], gradients[0]

        @staticmethod
        def _one(features, targets):
            raw = (targets > 0).astype(float) if loss == "logistic" else targets
            fields = {"features": np.ascontiguousarray(features), "targets": raw, "sizes": np.array([len(raw)])}
            return Shares(**{**vars(shares), **fields, "offsets": np.array([0, len(raw)])})

    f = problem(loss, 6, l2=0.2, nonconvex=0.1)
    plain = NodeByNode(Plain(l2=0.2, nonconvex=0.1), shares, f._targets)
    x = np.random.default_rng(6).standard_normal((4, f.d))
    values, gradients = np.empty(4), np.empty((4, f.d))
    plain.evaluate(x, gradients, values)
    for a, b in zip(f.value_and_grad(x), (values, gradients), strict=True):
        assert np.allclose(a, b, rtol=1e-12, atol=1e-14)
    batch = Batch(np.array([[0, 4], [0, 0], [3, 3], [60, 2]]), np.array([2, 1, 2, 2]))
    plain.evaluate(x, gradients, index=batch.index, counts=batch.counts)
    assert np.allclose(f.grad(x, batch), gradients, rtol=1e-12, atol=1e-14)


def test_accuracy_counts_right_classes():
    shares = held("softmax", 2)
    test = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [1.0, 0.1]])
    fields = {
        "test_features": test,
        "test_targets": np.array([0.0, 1, 2, 1]),
        "test_offsets": np.array([0, 1, 1, 2, 4]),
    }
    shares = Shares(**{**vars(shares), **fields, "held_out": 4})
    f = Problem(find_member("problem", "softmax")(), shares, find_member("regularizer", "zero")())
    x = np.array([[1.0, 0], [0, 1], [0, 0]]).ravel()
    assert (f.held_out.correct(x), f.held_out.total) == (3, 4)


def test_l1_prox_gives_exact_zeros():
    z = find_member("regularizer", "l1")(weight=1.0).prox(np.array([0.3, -0.3, 1.5]), 0.5)
    assert z.tolist() == [0.0, 0.0, 1.0]


def test_batches_are_philox():
    """Word j of node i in iteration t is NumPy's Philox under the documented counter and key, scaled to the range."""
    sizes = np.array([10, 1000, 3, 5, 17])
    batch = Streams(seed=123, first=40, sizes=sizes).batch(step=7, size=6)
    for i, size in enumerate(sizes.tolist()):
        if size <= 6:
            assert batch.counts[i] == size
            assert batch.index[i, :size].tolist() == list(range(size))
            continue
        words = np.random.Philox(counter=[0, 7, 40 + i, streams.PURPOSES["batch"]], key=[123, 0]).random_raw(6)
        assert batch.counts[i] == 6
        assert batch.index[i].tolist() == [int(word) * size >> 64 for word in words.tolist()]


def test_batches_are_uniform():
    """Chi-square with 99 degrees of freedom, 200,000 draws: below its 99.9 % quantile, 149; seeds fixed."""
    drawn = Streams(0, 0, np.full(20, 100)).batch(0, 99).index
    counts = np.zeros(100)
    source = Streams(0, 0, np.full(20, 100))
    for step in range(102):
        counts += np.bincount(source.batch(step, 99).index.ravel(), minlength=100)
    expected = counts.sum() / 100
    assert np.sum((counts - expected) ** 2 / expected) < 149
    assert len({tuple(row) for row in drawn.tolist()}) == 20


def test_generators_of_different_keys_differ():
    first = [
        streams.random_stream(seed, purpose, key).random()
        for seed in (0, 1)
        for purpose in streams.PURPOSES
        for key in (0, 1)
    ]
    assert len(set(first)) == len(first)
    assert streams.random_stream(5, "split").random() == streams.random_stream(5, "split").random()
