"""Promises of a loss: a gradient that is that of its value, over all samples of a node and over batches.

On nodes with 5, 1, 9 and 70 samples of normal numbers, with every kind of targets that the loss takes.

>>> from mpiqopt.problems.logistic import Logistic
>>> gradient_is_that_of_the_value(Logistic(l2=0.1)) is None  # holds
True
"""

from collections.abc import Iterator

import numpy as np

from mpiqopt.contracts.contract import promise, promise_equal
from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.problems.loss import Loss
from mpiqopt.problems.problem import Problem
from mpiqopt.regularizers.zero import Zero
from mpiqopt.streams import Batch

SIZES = np.array([5, 1, 9, 70])
FEATURES = 7
M = int(SIZES.sum())
TARGETS = {
    "numbers": np.random.default_rng(1).standard_normal(M),
    "two labels": np.arange(M) % 2.0,
    "three labels": np.arange(M) % 3.0,
}


def example_shares(targets: np.ndarray, dtype: str = "float64", sparse: bool = False, d: int = FEATURES) -> Shares:
    """Return four nodes' samples with these targets.

    Parameters
    ----------
    targets: float64 (85,). dtype: of the features. sparse: True for SciPy's CSR array with 40 % of the entries.
    d: features.
    """
    rng = np.random.default_rng(0)
    features = (rng.standard_normal((M, d)) * (rng.random((M, d)) < (0.4 if sparse else 1.1))).astype(dtype)
    if sparse:
        from scipy.sparse import csr_array

        features = csr_array(features)
    return Shares(
        where="test",
        features=features,
        targets=targets.copy(),  # a wrong loss may change them
        offsets=np.concatenate([[0], np.cumsum(SIZES)]),
        sizes=SIZES,
        labels=np.unique(targets),
        test_features=features[:0],
        test_targets=targets[:0],
    )


def _problems(loss: Loss, dtype: str = "float64", sparse: bool = False) -> Iterator[tuple[str, Problem]]:
    """Yield a problem for every kind of targets that the loss does not refuse; it has to take one."""
    refused = []
    for kind, targets in TARGETS.items():
        try:
            made = Problem(loss, example_shares(targets, dtype, sparse), Zero(), dtype)
        except UsageError as error:
            refused.append(str(error))
            continue
        yield kind, made
    if len(refused) == len(TARGETS):
        raise UsageError(f"no kind of targets is taken: {refused[0]}")


def _points(f: Problem, seed: int = 2) -> np.ndarray:
    """Return a normal point for each node, (4, d); near the start of a loss that draws one, as networks do."""
    normal = np.random.default_rng(seed).standard_normal((len(SIZES), f.d))
    return (f.start(seed) + 0.1 * normal if f.loss.draws_start else normal).astype(f.dtype)


def _require_near(found: np.ndarray, wanted: np.ndarray, most: float, what: str) -> None:
    """Raise Broken unless values agree to ``most`` of the largest of them."""
    error = np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())
    promise(error <= most, f"{what}: relative error {error:.2g}, want at most {most:.2g}")


def node_returns_value_and_gradient(loss: Loss) -> str | None:
    """Check that node(features, targets, x) returns a number and a gradient of the shape of x.

    Only of losses written in NumPy, at the node with most samples.
    """
    if loss.kernel:
        return "not claimed: compiled"
    if type(loss).make_evaluator is not Loss.make_evaluator:
        return "not claimed: evaluated by make_evaluator()"
    for kind, f in _problems(loss):
        own, x = example_shares(TARGETS[kind]), _points(f)[3]
        rows = slice(own.offsets[3], own.offsets[4])
        found = loss.node(own.features[rows], f.loss.targets(own.targets, own)[rows], x)
        promise(
            isinstance(found, tuple) and len(found) == 2, f"node() returns a {type(found).__name__}, want two values"
        )
        value, gradient = found
        promise(np.ndim(value) == 0, f"node() returns a value of shape {np.shape(value)}, want a number ({kind})")
        promise(
            isinstance(gradient, np.ndarray) and gradient.shape == x.shape,
            f"node() returns a gradient of shape {np.shape(gradient)}, want {x.shape} ({kind})",
        )
    return None


def gradient_is_that_of_the_value(loss: Loss) -> None:
    """Check gradients against central differences of the values, along eight directions.

    To 1e-6 of the largest; ``grad`` and ``value_and_grad`` have to agree to the bit.
    """
    for kind, f in _problems(loss):
        x = _points(f)
        gradient = f.value_and_grad(x)[1]
        promise_equal(f.grad(x), gradient, f"grad() and value_and_grad() ({kind})")
        for direction in np.random.default_rng(3).standard_normal((8, f.d)):
            ends = [f.value_and_grad(x + step * direction)[0] for step in (1e-6, -1e-6)]
            slopes = (ends[0] - ends[1]) / 2e-6
            _require_near(gradient @ direction, slopes, 1e-6, f"gradient against finite differences ({kind})")


def points_and_data_are_left_alone(loss: Loss) -> None:
    """Check that evaluations change nothing, and give the same bits again.

    Rows of x are the iterates of the method.
    """
    for kind, f in _problems(loss):
        x = _points(f)
        before, first = x.copy(), f.value_and_grad(x)
        promise_equal(x, before, f"x after an evaluation ({kind})")
        for one, other in zip(first, f.value_and_grad(x), strict=True):
            promise_equal(other, one, f"a second evaluation ({kind})")


def common_point_is_equal_rows(loss: Loss) -> None:
    """Check that one point for all nodes, x (1, d), gives what equal rows (nodes, d) give."""
    for kind, f in _problems(loss):
        x = _points(f)[:1]
        for common, own in zip(f.value_and_grad(x), f.value_and_grad(np.repeat(x, len(SIZES), axis=0)), strict=True):
            promise_equal(common, own, f"a common point ({kind})")


def batches_are_means_over_samples(loss: Loss) -> None:
    """Check that the gradient of a batch is the mean of those of its samples, counted as often as they are drawn.

    A batch of all samples has to give the full gradient.
    """
    index, counts = np.array([[4, 0, 0], [0, 0, 0], [8, 8, 1], [69, 3, 64]]), np.array([3, 1, 2, 3])
    for kind, f in _problems(loss):
        x = _points(f)
        ones = np.ones_like(counts)
        single = np.array([f.grad(x, Batch(np.ascontiguousarray(index[:, k : k + 1]), ones)) for k in range(3)])
        weights = np.arange(3)[:, None] < counts
        wanted = (single * weights[:, :, None]).sum(axis=0) / counts[:, None]
        _require_near(f.grad(x, Batch(index, counts)), wanted, 1e-12, f"gradient of a batch ({kind})")
        all_of_70 = Batch(np.arange(70) % SIZES[:, None], SIZES)
        _require_near(f.grad(x, all_of_70), f.grad(x), 1e-12, f"gradient of a batch of all samples ({kind})")


def curvature_bounds_the_hessian(loss: Loss) -> str | None:
    """Check v^T H v <= curvature |A v|^2/m + (identity_curvature + l2 + 2 nonconvex) |v|^2.

    H v is a difference of gradients. Of a parameter with several outputs |A v|^2 is summed over them. Automatic step
    sizes rely on the bound.
    """
    if loss.curvature is None:
        return "not claimed: curvature = None"
    bound = loss.identity_curvature + loss.l2 + 2 * loss.nonconvex
    for kind, f in _problems(loss):
        features = example_shares(TARGETS[kind]).features
        for seed in range(8):
            x, v = _points(f, seed), _points(f, seed + 100)[0]
            ends = [f.value_and_grad(x + step * v)[1] for step in (1e-5, -1e-5)]
            squares = np.sum((features @ v.reshape(-1, FEATURES).T) ** 2, axis=1)
            means = np.add.reduceat(squares, np.cumsum(SIZES) - SIZES) / SIZES
            found, most = (ends[0] - ends[1]) @ v / 2e-5, loss.curvature * means + bound * (v @ v)
            worst = int(np.argmax(found - most))
            promise(
                found[worst] <= most[worst] * (1 + 1e-6) + 1e-6,
                f"v^T H v = {found[worst]:.6g} at node {worst}, want at most {most[worst]:.6g} ({kind})",
            )
    return None


def single_precision_agrees(loss: Loss) -> None:
    """Check that float32 gives what float64 does up to a few roundings, in float32."""
    for (kind, double), (_, single) in zip(_problems(loss), _problems(loss, "float32"), strict=True):
        x = _points(single)
        wanted, found = double.value_and_grad(x.astype(np.float64)), single.value_and_grad(x)
        promise(single.grad(x).dtype == np.float32, f"gradient is {single.grad(x).dtype} for float32 ({kind})")
        for name, one, other in zip(("value", "gradient"), wanted, found, strict=True):
            _require_near(other, one, 1e-4, f"{name} in float32 ({kind})")


def sparse_rows_are_as_good(loss: Loss) -> None:
    """Check that features in SciPy's CSR arrays give what the same numbers in a NumPy array give, to 1e-12."""
    for kind, f in _problems(loss, sparse=True):
        sparse = example_shares(TARGETS[kind], sparse=True)
        full = Shares(**{**vars(sparse), "features": sparse.features.toarray()})
        dense, x = Problem(loss, full, Zero()), _points(f)
        for name, one, other in zip(("value", "gradient"), dense.value_and_grad(x), f.value_and_grad(x), strict=True):
            _require_near(other, one, 1e-12, f"{name} of sparse rows ({kind})")


CHECKS = (
    node_returns_value_and_gradient,
    gradient_is_that_of_the_value,
    points_and_data_are_left_alone,
    common_point_is_equal_rows,
    batches_are_means_over_samples,
    curvature_bounds_the_hessian,
    single_precision_agrees,
    sparse_rows_are_as_good,
)
