"""How runs end: what they were to reach, what they have reached, and numbers that are of no use any more."""

import re

import h5py
import numpy as np
import pytest
from tools.experiments import assembled

from mpiqopt.analysis.trend import trend_in_words
from mpiqopt.cli import main
from mpiqopt.config.parse import load
from mpiqopt.run.ending import Ending
from mpiqopt.run.metrics import Metrics

LEAST_SQUARES = {"name": "least-squares"}
REGRESSION = {"name": "synthetic", "samples": 160, "features": 5}


@pytest.fixture
def run(config, tmp_path, monkeypatch, capsys):
    """Exit status, what was said and the result's columns and stop_reason, of a config with tables changed."""
    monkeypatch.chdir(tmp_path)

    def start(**changes):
        status = main(["run", config(**changes), "--overwrite"])
        with h5py.File(tmp_path / "small.h5") as file:
            columns = {name: file[name][()] for name in file if isinstance(file[name], h5py.Dataset)}
            return status, capsys.readouterr().err, columns, file.attrs["stop_reason"]

    return start


# Targets


def test_tolerance_counts_nodes_that_are_apart(run):
    """A ring of 32 sorted by label, K = 1: the mean alone was at 1e-3 when the paper's criterion was still 5.8."""
    tables = {
        "data": {"name": "breast-cancer", "scale": "standard", "split": "by-label"},
        "topology": {"name": "ring", "nodes": 32},
        "algorithm": {"name": "proxgt-sr-e", "batch_size": "all", "gossip_rounds": 1},
        "record": {"every": 5, "per_node": True},
    }
    ends = {}
    for on in ("nodes", "mean"):
        status, _, columns, reason = run(run={"iterations": 20_000, "tolerance": 1e-3, "tolerance_on": on}, **tables)
        assert status == 0
        assert reason == f"tolerance: stationarity{' + L^2 consensus' * (on == 'nodes')} <= 0.001"
        assert columns["stationarity"][-1] <= 1e-3
        ends[on] = columns["criterion"][-1], columns["iteration"][-1]
    assert ends["nodes"][0] < 4e-3  # (1/n) sum |s(x_i)|^2 + L^2 consensus is at most 2 stationarity + 3 L^2 consensus
    assert ends["mean"][0] > 10 * ends["nodes"][0]
    assert ends["mean"][1] < ends["nodes"][1]


@pytest.mark.parametrize("name", ["centralized-prox-gradient", "ftqc-dgd"])
def test_one_point_for_all_nodes_needs_no_consensus(run, name):
    """And no L where the step is given."""
    _, _, columns, reason = run(run={"iterations": 500, "tolerance": 1e-3}, algorithm={"name": name, "step_size": 1.0})
    assert reason == "tolerance: stationarity <= 0.001"
    assert np.all(columns["consensus"] == 0)


def test_accuracy_is_a_target(run):
    data = {"name": "digits", "scale": "unit-rows", "test_fraction": 0.2}
    tables = {"data": data, "problem": {"name": "softmax"}, "record": {"every": 1}}
    status, _, columns, reason = run(run={"iterations": 500, "stop_accuracy": 0.8}, **tables)
    assert status == 0
    assert columns["accuracy"][-1] >= 0.8 > columns["accuracy"][-2]
    assert reason.startswith("accuracy: 0.8")


def test_a_gap_is_a_target(run):
    optimum = float(run(run={"iterations": 3000})[2]["objective"][-1])
    targets = {"iterations": 3000, "stop_gap": 1e-6, "optimum": optimum}
    status, _, columns, reason = run(run=targets, record={"every": 1})
    assert status == 0
    assert columns["objective"][-1] - optimum <= 1e-6 < columns["objective"][-2] - optimum
    assert reason.startswith("gap: objective - ")


def test_bytes_are_a_target(run):
    """8 nodes x 2 links x 2 exchanges x 7 numbers x 8 bytes an iteration."""
    status, _, columns, reason = run(run={"iterations": 500, "stop_bytes": 20_000}, record={"every": 1})
    assert status == 0
    assert columns["bytes"][-1] == 12 * 1792 >= 20_000 > columns["bytes"][-2]
    assert reason.startswith("bytes: 21504")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run": {"stop_accuracy": 0.9}}, "run.stop_accuracy = 0.9: wants data.test_fraction > 0"),
        ({"run": {"stop_gap": 0.1}}, "run.stop_gap = 0.1: wants run.optimum, too"),
        ({"run": {"optimum": 0.1}}, "run.optimum = 0.1: wants run.stop_gap, too"),
        ({"run": {"tolerance": 0.1, "tolerance_on": "all"}}, "run.tolerance_on = 'all'"),
    ],
)
def test_targets_that_cannot_be_reached(config, capsys, tmp_path, monkeypatch, changes, said):
    monkeypatch.chdir(tmp_path)
    assert main(["run", config(**changes)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "small.h5").exists()


def test_what_was_not_reached_is_said(run):
    targets = {"iterations": 100, "tolerance": 1e-30, "stop_gap": 1e-30, "optimum": -1.0}
    status, said, columns, reason = run(run=targets)
    assert status == 0
    assert reason.startswith("iterations: 100 done; tolerance 1e-30 not reached (stationarity + L^2 consensus = ")
    assert "; gap 1e-30 not reached (1." in reason
    assert reason in said
    found = re.search(r"in the second half: stationarity falls tenfold in ([\d.e+]+) iterations, consensus falls", said)
    middle = len(columns["iteration"]) // 2
    decades = np.log10(columns["stationarity"][middle] / columns["stationarity"][-1])
    assert float(found[1]) == pytest.approx(50 / decades, rel=0.01)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, 1e-1, 1e-2], "falls tenfold in 50 iterations"),
        ([1, 1e-2, 1e-2], "falls no more"),
        ([1, 1e-2, 1], "rises"),
        ([1, 0, 0], "is 0"),
        ([0, 0, 1e-3], "rises"),
    ],
)
def test_trends(values, words):
    assert trend_in_words(np.array([0, 50, 100]), np.array(values, float)) == words


def test_a_run_of_nothing_ends(run):
    assert run(run={"iterations": 0})[0] == 0


# Divergence


def test_finite_numbers_of_no_use_are_a_divergence(run):
    """The objective is 1e6 times its start long before it overflows."""
    tables = {"problem": LEAST_SQUARES, "data": REGRESSION, "record": {"every": 1}}
    status, said, columns, reason = run(algorithm={"name": "dgd", "step_size": 1.5}, run={"iterations": 400}, **tables)
    assert status == 1
    assert re.search(
        r"diverged at iteration \d+: the objective is [\d.e+]+, was [\d.e+]+ at the start, and rises", reason
    )
    assert "try a smaller algorithm.step_size" in said
    assert 1e6 < columns["objective"][-1] / columns["objective"][0] < 1e9
    assert np.all(np.isfinite(columns["objective"]))


def test_unscaled_data_are_named_first(run):
    """breast-cancer has features of sizes .05 to 4000."""
    tables = {"data": {"name": "breast-cancer"}, "problem": LEAST_SQUARES}
    status, said, _, _ = run(algorithm={"name": "gradient-tracking", "step_size": 0.1}, **tables)
    assert status == 1
    assert "features are of very unequal size, up to 4.25e+03: try data.scale = 'standard', or a smaller" in said


def test_nodes_that_run_apart_are_a_divergence(run):
    """On a torus of 16 gradient tracking bears 2/(9L) for one Hessian; the mean of nodes is not touched by 1/(2L)."""
    folder_data = {"name": "npz", "path": "same.npz", "split": "contiguous"}
    draw = np.random.default_rng(0)
    rows = np.linalg.qr(draw.standard_normal((8, 3)))[0] * np.sqrt(8)
    np.savez("same.npz", X=np.tile(rows, (16, 1)), y=draw.standard_normal(128))
    status, said, columns, reason = run(
        algorithm={"name": "gradient-tracking", "step_size": 0.5},
        topology={"name": "torus", "nodes": 16},
        data=folder_data,
        problem=LEAST_SQUARES,
        run={"iterations": 3000},
    )
    assert status == 1
    assert "nodes are ever further apart, their own objectives" in reason
    assert columns["objective"][-1] < columns["objective"][0]
    assert columns["consensus"][-1] < 1e20
    assert "step_size" in said


def ending() -> Ending:
    return Ending(assembled({"name": "ring", "nodes": 4}, LEAST_SQUARES, {"name": "dgd"}, None, REGRESSION))


def metrics(objective: float, consensus: float = 0.0) -> Metrics:
    return Metrics(objective, 1.0, consensus, 1, 0.0, None, None, None, None)


def test_a_large_objective_that_falls_is_no_divergence():
    """Only rising counts, and what is 1e6 times the start."""
    watch = ending()
    x, scale = watch.experiment.start, watch.scale
    assert watch.of(x, metrics(scale), 0, 0) is None
    assert watch.of(x, metrics(3e6 * scale), 1, 0)[0] == "diverged"
    watch = ending()
    assert watch.of(x, metrics(9e5 * scale), 1, 0) is None
    assert watch.of(x, metrics(9e5 * scale), 2, 0) is None
    watch.watched = watch.watched._replace(objective=4e6 * scale)
    assert watch.of(x, metrics(3e6 * scale), 3, 0) is None


def test_what_is_watched_survives_an_interruption(config, tmp_path, monkeypatch):
    """Node's objectives are looked at again when consensus has grown tenfold, whoever looked before."""
    watch = ending()
    watch.of(watch.experiment.start, metrics(1.0, 0.5), 1, 0)
    assert watch.watched == (1.0, 0.5)
    again = Ending(watch.experiment, watch.watched)
    again.of(watch.experiment.start, metrics(0.9, 4.9), 2, 0)
    assert again.watched == (0.9, 0.5)


# Starts


@pytest.mark.parametrize("name", ["nids", "gradient-tracking", "dgd", "extra", "proxgt-sr-e"])
def test_a_start_for_each_node(config, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(1).standard_normal((8, 7))
    np.save("start.npy", rows)
    path = config(run={"iterations": 0, "start": "start.npy"}, algorithm={"name": name})
    assert main(["run", path, "-q", "--overwrite"]) == 0
    with h5py.File("small.h5") as file:
        np.testing.assert_array_equal(file["final/x"][()], rows)
    path = config(run={"iterations": 3000, "start": "start.npy", "tolerance": 1e-16}, algorithm={"name": name})
    assert main(["run", path, "-q", "--overwrite"]) == 0
    with h5py.File("small.h5") as file:
        assert file.attrs["stop_reason"].startswith("iterations" if name == "dgd" else "tolerance")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((8, 6)), "is 8 x 6, want 7 numbers or 8 x 7"),
        (np.zeros(3), "is 3, want 7 numbers or 8 x 7"),
        (np.full(7, np.nan), "holds numbers that are not finite"),
        (np.array(["a"]), "numbers of type <U1"),
    ],
)
def test_wrong_starts(config, tmp_path, monkeypatch, capsys, array, said):
    monkeypatch.chdir(tmp_path)
    np.save("start.npy", array)
    assert main(["run", config(run={"start": "start.npy"})]) == 2
    assert f"run.start = 'start.npy': {said}" in capsys.readouterr().err.replace(
        "want auto, zero, normal, a result file or a .npy file: ", ""
    )


def test_nodes_that_share_a_point_start_together(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("start.npy", np.zeros((8, 7)))
    assert main(["run", config(run={"start": "start.npy"}, algorithm={"name": "sgd"})]) == 2
    assert "nodes of 'sgd' share one point" in capsys.readouterr().err
    assert load(config(run={"start": "start.npy"})).start_file.endswith("start.npy")
