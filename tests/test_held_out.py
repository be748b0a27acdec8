"""The loss of held-out samples: what it is, for every problem, and the same on any number of ranks."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.sparse import csr_array

from mpiqopt import registry
from mpiqopt.cli import main
from mpiqopt.config.parse import parse
from mpiqopt.data import shares
from mpiqopt.data.source import Source, Table, source_table
from mpiqopt.errors import UsageError
from mpiqopt.placement.placement import Placement
from mpiqopt.problems.held_out import HeldOut
from mpiqopt.registry import find_member
from mpiqopt.run.assembly import assemble
from mpiqopt.transport.serial import SerialTransport

HUBER = Path(__file__).parent.parent / "docs/examples/huber.py"


@dataclass(frozen=True, kw_only=True)
class Apart(Source):
    """A source whose held-out samples are a table of their own."""

    table: Table
    apart: Table | None = field(default=None)

    def open(self, seed: int) -> Table:
        return self.table

    def held_out(self, table: Table) -> Table | None:
        return self.apart


@pytest.fixture(autouse=True)
def huber_plugin(monkeypatch):
    """A loss in NumPy, forgotten after the test."""
    monkeypatch.setattr(registry, "plugins", {})
    registry.load_plugin(str(HUBER))
    yield
    for path in [*registry.plugins]:
        registry._forget(path)


def experiment(problem: str, data: str, **keys):
    text = f"""
    data = {{{data}}}
    problem = {{name = "{problem}", l2 = 0.3}}
    topology = {{name = "ring", nodes = 5}}
    algorithm.name = "prox-dgd"
    """
    return assemble(parse(text, "t.toml", tuple(f"{k}={v}" for k, v in keys.items())), SerialTransport())


def logistic(rows, targets, x):
    return np.logaddexp(0, -np.where(targets == 1, 1, -1) * (rows @ x))


def softmax(rows, targets, x):
    scores = rows @ x.reshape(-1, rows.shape[1]).T
    return np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(rows)), targets.astype(int)]


def huber(rows, targets, x):
    error = np.abs(rows @ x - targets)
    return np.where(error <= 1, error**2 / 2, error - 0.5)


CLASSES = 'name = "synthetic", task = "classification", samples = 70, features = 6, classes = {}, test_fraction = 0.3'
NUMBERS = 'name = "synthetic", samples = 70, features = 6, test_fraction = 0.3'
PHI = {
    "logistic": (CLASSES.format(2), logistic),
    "softmax": (CLASSES.format(3), softmax),
    "least-squares": (NUMBERS, lambda rows, targets, x: (rows @ x - targets) ** 2 / 2),
    "mean": (NUMBERS, lambda rows, targets, x: np.sum((rows - x) ** 2, axis=1) / 2),
    "huber": (NUMBERS, huber),
}


@pytest.mark.parametrize("problem", PHI)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_is_the_mean_loss_at_the_mean_iterate(problem, dtype):
    """Of samples, not of nodes; without l2 and h; by NumPy from the samples alone."""
    data, phi = PHI[problem]
    made = experiment(problem, data, **{"run.dtype": dtype, "regularizer.name": "l1", "regularizer.weight": 0.1})
    x = np.random.default_rng(0).standard_normal((5, made.problem.d)).astype(dtype)
    found = made.evaluate(x)
    held = made.shares
    assert len(held.test_targets) == held.held_out == 21
    expected = phi(held.test_features.astype(float), held.test_targets, x.astype(float).mean(axis=0)).mean()
    assert found.test_loss == pytest.approx(expected, rel=1e-12 if dtype == "float64" else 1e-5)
    assert (found.accuracy is not None) == (problem in ("logistic", "softmax"))


def test_nothing_is_measured_where_nothing_is_held_out():
    made = experiment("least-squares", 'name = "synthetic", samples = 70')
    found = made.evaluate(made.start)
    assert made.problem.held_out is None
    assert (found.test_loss, found.accuracy) == (None, None)


@pytest.mark.parametrize("samples", [1, 3, 7])
def test_there_may_be_fewer_samples_than_nodes(samples):
    made = experiment("softmax", CLASSES.format(3).replace("0.3", f"{samples / 70}"))
    x = np.random.default_rng(0).standard_normal((5, made.problem.d))
    expected = softmax(made.shares.test_features, made.shares.test_targets, x.mean(axis=0)).mean()
    assert made.evaluate(x).test_loss == pytest.approx(expected, rel=1e-12)
    assert made.shares.held_out == samples
    assert np.diff(made.shares.test_offsets).tolist() == np.diff(np.arange(6) * samples // 5).tolist()


@pytest.mark.parametrize("problem", PHI)
def test_ranks_may_have_none_of_them(problem):
    """Two samples at seven nodes on seven ranks: sums over all ranks are those of one."""
    made = experiment(problem, PHI[problem][0].replace("0.3", f"{2 / 70}"), **{"topology.nodes": "7"})
    x = np.random.default_rng(0).standard_normal(made.problem.d)
    whole = made.problem.held_out
    parts = [
        HeldOut(made.problem.loss, shares.cut_shares(made.shares, Placement(7, 7, rank)), made.problem.outputs, x.dtype)
        for rank in range(7)
    ]
    assert np.array_equal(np.concatenate([part.losses(x) for part in parts]), whole.losses(x))
    assert np.count_nonzero(whole.losses(x)) == 2
    if made.problem.has_accuracy:
        assert sum(part.correct(x) for part in parts) == whole.correct(x)


ROWS = np.random.default_rng(3).standard_normal((40, 4)) * [1, 10, 100, 0.1] + [5, 0, 0, 0]
LABELS = np.arange(40.0) % 3
TEXT = """
data = {name = "iris", scale = "standard", intercept = true}
problem.name = "softmax"
topology = {name = "ring", nodes = 4}
algorithm.name = "dgd"
"""


def with_file(train: Table, apart: Table, **keys):
    config = parse(TEXT, "t.toml")
    return config._replace(data=Apart(table=train, apart=apart, scale="standard", intercept=True, **keys))


def test_a_table_of_its_own_is_scaled_as_the_training_samples_are():
    train, test = source_table("a", ROWS[:30], LABELS[:30]), source_table("b", ROWS[30:], LABELS[30:])
    held = assemble(with_file(train, test), SerialTransport()).shares
    scaled = (ROWS[30:] - ROWS[:30].mean(axis=0)) / ROWS[:30].std(axis=0)
    assert held.sizes.sum() == 30
    assert np.allclose(held.test_features, np.column_stack([scaled, np.ones(10)]), rtol=1e-10, atol=1e-12)
    assert held.test_targets.tolist() == LABELS[30:].tolist()
    parts = [
        shares.load_shares(Apart(table=train, apart=test), train, Placement(4, 3, rank), 0).test_targets
        for rank in range(3)
    ]
    assert np.concatenate(parts).tolist() == LABELS[30:].tolist()


@pytest.mark.parametrize("sparse", [(True, True), (True, False), (False, True)])
def test_tables_may_be_sparse_each_for_itself(sparse):
    """The test samples are stored, and so scaled, as the training samples are."""
    parts = ROWS * (np.abs(ROWS) > 0.05)
    tables = [
        source_table(name, csr_array(rows) if is_sparse else rows, labels)
        for name, is_sparse, rows, labels in zip(
            "ab", sparse, (parts[:30], parts[30:]), (LABELS[:30], LABELS[30:]), strict=True
        )
    ]
    made = assemble(with_file(*tables), SerialTransport())
    whole = np.ones((10, 5))
    centre = 0 if sparse[0] else parts[:30].mean(axis=0)
    whole[:, :4] = (parts[30:] - centre) / parts[:30].std(axis=0)
    x = np.random.default_rng(0).standard_normal((4, made.problem.d))
    assert made.evaluate(x).test_loss == pytest.approx(softmax(whole, LABELS[30:], x.mean(axis=0)).mean(), rel=1e-9)


WRONG = {
    "another label": (
        source_table("b.csv", ROWS[30:], np.r_[LABELS[31:], 7]),
        {},
        "b.csv: sample 9 has the label 7, which no training sample has",
    ),
    "another word": (
        replace(source_table("b.csv", ROWS[30:], LABELS[30:] + 1), words=("x", "y", "z", "no")),
        {},
        "b.csv: sample 2 has the label no, which no training sample has",
    ),
    "other features": (source_table("b.csv", ROWS[:, :3], LABELS), {}, "b.csv: 3 features, and 4 in a"),
    "nothing": (source_table("b.csv", ROWS[:0], LABELS[:0]), {}, "b.csv: no data (0 samples, 4 features)"),
    "no number": (
        source_table("b.csv", ROWS[30:], np.r_[LABELS[31:], np.nan]),
        {},
        "b.csv: the target of sample 9 is nan",
    ),
    "no feature": (
        source_table("b.csv", ROWS[30:] * np.inf, LABELS[30:]),
        {},
        "b.csv: sample 0 has a feature that is",
    ),
    "both": (
        source_table("b.csv", ROWS[30:], LABELS[30:]),
        {"test_fraction": 0.2},
        "data.test_fraction = 0.2: b.csv is held out already; want one of the two",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_table_that_does_not_fit_is_refused(case):
    apart, keys, said = WRONG[case]
    with np.errstate(all="ignore"), pytest.raises(UsageError) as raised:
        assemble(with_file(source_table("a", ROWS[:30], LABELS[:30]), apart, **keys), SerialTransport())
    assert said in str(raised.value)


def test_numbers_to_predict_may_be_any():
    """Only classes have to be known."""
    config = with_file(source_table("a", ROWS[:30], LABELS[:30]), source_table("b", ROWS[30:], LABELS[30:] + 0.5))
    config = config._replace(problem=find_member("problem", "least-squares")())
    assert assemble(config, SerialTransport()).problem.held_out.total == 10


def test_labels_that_only_held_out_samples_have_are_said(config, capsys, tmp_path):
    """They were classes before the samples were divided, and stay so."""
    np.savez(tmp_path / "d.npz", X=ROWS, y=np.r_[np.zeros(20), np.arange(20.0)])
    path = config(data={"name": "npz", "path": "d.npz", "test_fraction": 0.5}, problem={"name": "softmax"})
    assert main(["check", path]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "held out" in line)
    assert "20, " in line
    assert "labels of which no training sample has" in line


CASE = {
    "run": {"iterations": 20},
    "data": {"name": "synthetic", "samples": 64, "test_fraction": 0.5},
    "problem": {"name": "least-squares"},
    "topology": {"name": "ring", "nodes": 4},
    "algorithm": {"name": "dgd"},
}


def test_files_tables_and_figures_have_it(config, capsys, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.chdir(tmp_path)
    assert main(["run", config("c.toml", **CASE)]) == 0
    assert ", test loss 0.1" in capsys.readouterr().err
    assert main(["run", config("d.toml", **CASE | {"data": {"name": "synthetic"}}), "-q"]) == 0
    with h5py.File("c.h5") as file, h5py.File("d.h5") as other:
        assert file["test_loss"].shape == (3,)
        assert file["test_loss"][-1] < file["test_loss"][0]
        assert "test_loss" not in other
    capsys.readouterr()
    assert main(["show", "c.h5"]) == 0
    assert "test loss" in capsys.readouterr().out
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: figures.append(self))
    for files in (["c.h5"], ["c.h5", "d.h5"]):
        main(["plot", *files, "-o", "a.png"])
    drawn = [[axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] for figure in figures]
    assert drawn[0] == [*drawn[1], "loss of held-out samples"]


def test_records_of_an_earlier_version_lack_it(config, tmp_path, monkeypatch):
    """They are NaN in a file that goes on, not 0."""
    monkeypatch.chdir(tmp_path)
    path = config("c.toml", **CASE)
    assert main(["run", path, "-q"]) == 0
    with h5py.File("c.h5", "a") as file:
        del file["test_loss"], file["data"]
    assert main(["run", path, "-q", "--resume", "--set", "run.iterations=40"]) == 0
    with h5py.File("c.h5") as file:
        assert np.isnan(file["test_loss"][()]).tolist() == [True] * 3 + [False] * 2
        assert file["data/samples"].shape == (4,)


@pytest.mark.mpi
@pytest.mark.parametrize("data", ["digits", "synthetic"])
def test_ranks_measure_the_same_bits(data, config, mpiqopt, tmp_path):
    """With a held-out sample at some nodes only; small data are handed out, and large ones read by each rank."""
    keys = {"test_fraction": 0.01} if data == "digits" else {"samples": 4100, "features": 520, "test_fraction": 0.1}
    tables = {
        "run": {"iterations": 20},
        "data": {"name": data, "split": "dirichlet", **keys}
        | ({"task": "classification", "classes": 3, "label_noise": 0.1} if data == "synthetic" else {}),
        "problem": {"name": "softmax"},
        "topology": {"name": "ring", "nodes": 23},
        "algorithm": {"name": "dgd", "step_size": 1e-4},
    }
    path = config(**tables)
    for ranks in (1, 3):
        result = mpiqopt("run", path, "-q", "-o", f"{ranks}.h5", ranks=ranks)
        assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / "1.h5") as one, h5py.File(tmp_path / "3.h5") as other:
        for name in ("objective", "test_loss", "accuracy", "data/samples", "data/counts", "final/x"):
            assert one[name][()].tobytes() == other[name][()].tobytes(), name
        assert dict(one["data"].attrs) == dict(other["data"].attrs)
