"""Sources, splits, loading of the hosted rows alone, scaling."""

import hashlib

import numpy as np
import pytest
from tools.data_files import write_samples

from mpiqopt.config.parse import parse
from mpiqopt.data import shares
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.run.assembly import assemble
from mpiqopt.transport.serial import SerialTransport


def source(name: str, **keys):
    return find_member("data", name)(**keys)


def load(src, nodes: int, ranks: int = 1, rank: int = 0, seed: int = 0) -> shares.Shares:
    return shares.load_shares(src, src.open(seed), Placement(nodes, ranks, rank), seed)


@pytest.mark.parametrize("name", ["digits", "breast-cancer", "iris", "wine", "diabetes"])
def test_bundled_data_are_scikit_learns(name):
    from sklearn import datasets

    keys = {"scaled": False} if name == "diabetes" else {}
    features, targets = getattr(datasets, f"load_{name.replace('-', '_')}")(return_X_y=True, **keys)
    held = load(source(name), 4)
    assert np.array_equal(held.features, features)
    assert np.array_equal(held.targets, targets)


@pytest.fixture
def samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = np.where(rng.random((53, 6)) < 0.4, rng.standard_normal((53, 6)).round(3), 0)
    features[0, 5] = 1.0
    return features, rng.integers(0, 2, 53).astype(float)


@pytest.mark.parametrize("kind", ["csv", "libsvm", "npz", "sparse npz", "hdf5", "parquet"])
@pytest.mark.parametrize("split", ["contiguous", "iid", "by-label", "dirichlet"])
def test_ranks_load_the_rows_of_their_nodes(kind, split, samples, tmp_path):
    """Three ranks together hold what one holds, node by node, and sparse stays sparse."""
    path = write_samples(kind, tmp_path / f"data.{kind.split()[-1]}", *samples)
    src = source(kind.split()[-1], path=path, split=split, test_fraction=0.1)
    whole = load(src, 7, seed=5)
    parts = [load(src, 7, 3, rank, seed=5) for rank in range(3)]
    dense = isinstance(whole.features, np.ndarray)
    assert dense == (kind not in ("libsvm", "sparse npz"))
    for name in ("features", "test_features"):
        rows = [getattr(part, name) if dense else getattr(part, name).toarray() for part in parts]
        expected = getattr(whole, name) if dense else getattr(whole, name).toarray()
        assert np.array_equal(np.concatenate(rows), expected)
    assert np.array_equal(np.concatenate([part.targets for part in parts]), whole.targets)
    assert np.array_equal(np.concatenate([np.diff(part.offsets) for part in parts]), whole.sizes)
    together = np.concatenate(
        [
            whole.features if dense else whole.features.toarray(),
            np.asarray(whole.test_features if dense else whole.test_features.toarray()),
        ]
    )
    assert np.array_equal(np.sort(together.sum(axis=1)), np.sort(samples[0].sum(axis=1)))
    assert len(whole.test_targets) == 5


def test_hdf5_reads_only_its_rows(samples, tmp_path, monkeypatch):
    path = write_samples("hdf5", tmp_path / "data.h5", *samples)
    table = source("hdf5", path=path).open(0)
    asked = []
    read = table.rows
    watched = type(table)(table.where, table.targets, table.features, lambda which: asked.append(which) or read(which))
    shares.load_shares(source("hdf5", path=path), watched, Placement(7, 3, 1), 0)
    assert asked[0] == slice(2 * 53 // 7, 4 * 53 // 7)


def test_contiguous_split_is_the_documented_one(samples, tmp_path):
    held = load(source("npz", path=write_samples("npz", tmp_path / "d.npz", *samples)), 7)
    for i in range(7):
        a, b = i * 53 // 7, (i + 1) * 53 // 7
        assert np.array_equal(held.features[held.offsets[i] : held.offsets[i + 1]], samples[0][a:b])


def experiment(text: str, **overrides):
    return assemble(
        parse(text, "test.toml", tuple(f"{k.replace('__', '.')}={v}" for k, v in overrides.items())),
        SerialTransport(),
    )


SMALL = """
data.name = "wine"
problem.name = "softmax"
topology = {name = "ring", nodes = 5}
algorithm.name = "dgd"
"""


def test_standard_scaling_uses_the_training_samples():
    raw, scaled = (
        experiment(SMALL, data__test_fraction=0.3),
        experiment(SMALL, data__test_fraction=0.3, data__scale='"standard"', data__intercept="true"),
    )
    centre, deviation = raw.shares.features.mean(axis=0), raw.shares.features.std(axis=0)
    for part in ("features", "test_features"):
        expected = (getattr(raw.shares, part) - centre) / deviation
        assert np.allclose(getattr(scaled.shares, part)[:, :-1], expected, rtol=1e-10, atol=1e-10)
        assert np.all(getattr(scaled.shares, part)[:, -1] == 1)


def test_unit_rows():
    rows = experiment(SMALL, data__scale='"unit-rows"').shares.features
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-15)


@pytest.mark.parametrize("scale", ["standard", "unit-rows"])
def test_scaling_keeps_sparse_data_sparse(scale, samples, tmp_path):
    """Standard scaling of sparse data divides by the deviation and does not centre."""
    path = write_samples("libsvm", tmp_path / "d.libsvm", *samples)
    keys = {
        "data__name": '"libsvm"',
        "data__path": f'"{path}"',
        "problem__name": '"logistic"',
        "data__scale": f'"{scale}"',
    }
    held = experiment(SMALL, **keys, data__intercept="true").shares
    assert not isinstance(held.features, np.ndarray)
    by = samples[0].std(axis=0) if scale == "standard" else np.linalg.norm(samples[0], axis=1, keepdims=True)
    by = np.where(by > 0, by, 1)
    assert np.allclose(held.features.toarray()[:, :-1], samples[0] / by, rtol=1e-12)


def test_synthetic_data_do_not_depend_on_who_draws_them():
    src = source("synthetic", samples=3000, features=5)
    whole = load(src, 6, seed=9)
    parts = [load(src, 6, 3, rank, seed=9) for rank in range(3)]
    assert np.array_equal(np.concatenate([part.features for part in parts]), whole.features)
    assert not np.array_equal(load(src, 6, seed=10).features, whole.features)


def test_synthetic_regression_has_a_known_solution():
    """Without noise the planted parameter solves least squares exactly; its density is as asked."""
    held = load(source("synthetic", samples=300, features=40, noise=0.0, density=0.25), 3)
    assert np.allclose(held.features @ held.solution, held.targets, atol=1e-12)
    assert 2 <= np.count_nonzero(held.solution) <= 20


def test_synthetic_classes_follow_the_planted_scores():
    """20,000 draws: the mean log-likelihood ratio against chance is positive, and all classes occur."""
    src = source("synthetic", samples=20_000, features=8, task="classification", classes=3)
    held = load(src, 2)
    scores = held.features @ held.solution.reshape(3, 8).T
    probability = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    frequency = np.array([(held.targets == c).mean() for c in range(3)])
    assert np.allclose(frequency, probability.mean(axis=0), atol=0.015)  # 4 standard deviations
    hits = probability[np.arange(len(scores)), held.targets.astype(int)]
    assert hits.mean() == pytest.approx((probability**2).sum(axis=1).mean(), abs=0.01)


def test_csv_target_by_name_and_number(samples, tmp_path):
    path = write_samples("csv", tmp_path / "d.csv", *samples)
    by_name, by_number = (load(source("csv", path=path, target=target), 3) for target in ("b", 1))
    assert np.array_equal(by_name.targets, samples[0][:, 1])
    assert np.array_equal(by_name.features, by_number.features)


def test_labels_may_be_words(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.ones((4, 2)), y=np.array(["yes", "no", "no", "yes"]))
    assert load(source("npz", path=str(tmp_path / "d.npz")), 2).targets.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_labels_are_told_apart_before_rounding(dtype, tmp_path):
    """0.1 and 0.3 are no float32 numbers."""
    np.savez(tmp_path / "d.npz", X=np.ones((4, 2)), y=np.array([0.1, 0.3, 0.3, 0.1]))
    keys = {"data__name": '"npz"', "data__path": f'"{tmp_path}/d.npz"', "problem__name": '"logistic"'}
    made = experiment(SMALL, **keys, topology__nodes=2, run__dtype=f'"{dtype}"')
    assert made.problem._targets.tolist() == [-1, 1, 1, -1]


def test_the_planted_solution_is_that_of_the_features_as_drawn():
    keys = {"data__name": '"synthetic"', "problem__name": '"least-squares"'}
    assert experiment(SMALL, **keys).evaluate.solution is not None
    assert experiment(SMALL, **keys, data__scale='"standard"').evaluate.solution is None


def test_a_batch_larger_than_the_data_is_the_data():
    made = experiment(SMALL)
    batch = made.streams.batch(0, 10**12)
    assert batch.counts.tolist() == made.shares.sizes.tolist()


def test_a_rank_keeps_only_its_rows(samples, tmp_path):
    held = load(source("npz", path=write_samples("npz", tmp_path / "d.npz", *samples)), 7, 7, 3)
    assert held.features.base is None or held.features.base.size == held.features.size


def test_float32_data_are_scaled_before_they_are_rounded(tmp_path):
    """A feature around 1e8 with a deviation of 1 has no float32 digits left unless it is centred first."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 2))
    np.savez(tmp_path / "d.npz", X=features + np.array([1e8, 0]), y=np.arange(40) % 2)
    keys = {"data__name": '"npz"', "data__path": f'"{tmp_path}/d.npz"', "data__scale": '"standard"'}
    rows = experiment(SMALL, **keys, run__dtype='"float32"').shares.features
    assert rows.dtype == np.float32
    assert np.allclose(rows, (features - features.mean(axis=0)) / features.std(axis=0), atol=1e-6)


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
def test_csv_dialects(mark, tmp_path):
    """Other delimiters, empty and comment lines, quoted numbers, a header of numbers that is said to be one."""
    lines = ["# made by hand", "0 1 2", '"1.5" 2 0', "", "   ", "3 4 1"]
    text = [line.replace(" ", mark) if line.strip() and line[0] != "#" else line for line in lines]
    (tmp_path / "d.csv").write_text("\n".join(text))
    table = source("csv", path=str(tmp_path / "d.csv"), header=True).open(0)
    assert table.rows(slice(0, 2)).tolist() == [[1.5, 2], [3, 4]]
    assert table.targets.tolist() == [0, 1]
    assert source("csv", path=str(tmp_path / "d.csv"), header=False).open(0).samples == 3


def test_wide_synthetic_data_are_drawn_in_pieces_with_the_same_bits():
    """A block of 1024 samples has 5 million numbers here; the checksum is that of blocks drawn at once."""
    table = source("synthetic", samples=1100, features=5001, task="classification", classes=3).open(3)
    bits = table.targets.tobytes() + table.rows(slice(1000, 1060)).tobytes() + table.solution.tobytes()
    assert hashlib.sha256(bits).hexdigest()[:16] == "1eef6e9f5f697d1b"
