"""Vectors that all nodes know as one row of memory: states, checkpoints, records and the last iterates."""

import shutil
import tracemalloc

import h5py
import numpy as np
import pytest
import tomli_w
import xarray
from tools.experiments import after
from tools.interruption import interrupted, wait_until_nobody_writes
from tools.outputs import assert_equal, records, refused

from mpiqopt.analysis.memory import memory_per_rank
from mpiqopt.cli import main
from mpiqopt.config.parse import parse
from mpiqopt.placement.reduction import Reduction, partial_sums
from mpiqopt.placement.shared_rows import distinct_rows, is_shared, shared_rows
from mpiqopt.registry import load_plugin
from mpiqopt.results.final import write_final
from mpiqopt.results.reader import ATTRIBUTES, final_mean
from mpiqopt.results.writer import Writer
from mpiqopt.run import metrics
from mpiqopt.run.assembly import assemble
from mpiqopt.run.state import form_of
from mpiqopt.topologies.lattices import Ring
from mpiqopt.topologies.topology import topology_in_turn
from mpiqopt.transport.serial import SerialTransport

# Gradient descent with momentum at a server: point and momentum are one row for all, gradients a row for each node.
PLUGIN = """
from mpiqopt.placement.shared_rows import shared_rows

class Point(NamedTuple):
    x: np.ndarray
    momentum: np.ndarray
    gradients: np.ndarray
    t: int

@register("algorithm", "one-point")
@part
class OnePoint(Algorithm):
    common_point = True
    one_row = True
    server = True

    step_size: float = 0.5
    copies: bool = False

    def init(self, x, problem, network, rng):
        none = np.zeros(problem.d, problem.dtype)
        return Point(x, shared_rows(none, problem.hosted), np.zeros((problem.hosted, problem.d), problem.dtype), 0)

    def step(self, state, problem, network, rng):
        gradients = problem.grad(state.x)
        momentum = 0.5 * state.momentum[0] + network.server.mean(gradients)
        x = shared_rows(state.x[0] - self.step_size * momentum, problem.hosted)
        x = np.array(x, order="C") if self.copies and state.t == 2 else x
        return Point(x, shared_rows(momentum, problem.hosted), gradients, state.t + 1)
"""
ONE_POINT = {"name": "one-point"}
DATA = {"name": "synthetic", "task": "classification", "samples": 83, "features": 7, "test_fraction": 0.2}


@pytest.fixture
def one_point(plugin):
    """Write the plug-in and load it; returns the words that name it on the command line."""
    path = plugin(PLUGIN, "one_point.py")
    load_plugin(path)
    return "--plugin", path


# The form


@pytest.mark.parametrize("hosted", [1, 2, 5])
def test_shared_rows_are_told_from_others_whatever_is_hosted(hosted):
    """One node on a rank is told as many are: the form of a state must not depend on the placement."""
    vector = np.arange(4.0)
    rows = shared_rows(vector, hosted)
    assert rows.shape == (hosted, 4)
    assert np.shares_memory(rows, vector)
    assert is_shared(rows)
    assert is_shared(rows[:1])
    assert distinct_rows(rows).shape == (1, 4)
    own = [
        rows + 0,
        rows.copy(),
        rows.astype("f4"),
        np.empty_like(rows),
        np.zeros((hosted, 4)),
        np.zeros((9, 4))[:hosted],
    ]
    for other in own:
        assert not is_shared(other)
        assert distinct_rows(other) is other
    assert not is_shared(vector[None])
    assert form_of(rows)._replace(shape=()) == form_of(shared_rows(vector, 7))._replace(shape=())
    assert str(form_of(rows)) == f"float64 {hosted}x4 in one row for all"
    assert form_of(rows) != form_of(rows.copy())


def test_a_step_must_keep_one_row(config, mpiqopt, one_point):
    path = config(algorithm={**ONE_POINT, "copies": True}, record={"every": 1})
    line = refused(mpiqopt("run", path, *one_point))
    assert "x of the state is float64 8x7 after iteration" in line
    assert "was float64 8x7 in one row for all at the start" in line


def test_a_start_for_each_node_is_refused(config, mpiqopt, one_point, tmp_path):
    np.save(tmp_path / "start.npy", np.ones((8, 7)))
    line = refused(mpiqopt("run", config(algorithm=ONE_POINT, run={"start": "start.npy"}), *one_point))
    assert "nodes of 'one-point' share one point" in line


# Sums that grow


def pieces(rng: np.random.Generator, rows: np.ndarray) -> list[np.ndarray]:
    """Rows cut into pieces of 1 to 6 rows."""
    cuts = np.cumsum(rng.integers(1, 7, len(rows)))
    return [piece for piece in np.split(rows, cuts[cuts < len(rows)]) if len(piece)]


def test_sums_of_pieces_are_those_of_the_whole():
    """Blocks, their order and bits, for every range of nodes of networks of 1 to 24, and some of larger ones."""
    rng = np.random.default_rng(1)
    ranges = [(n, a, b) for n in range(1, 25) for a in range(n) for b in range(a + 1, n + 1)]
    ranges += [(1000, 0, 1000), (1000, 333, 666), (1023, 511, 1023), (1025, 1, 1025)]
    for nodes, first, last in ranges:
        rows = rng.standard_normal((last - first, 2)) * 10.0 ** rng.integers(-8, 8, (last - first, 1))
        reduction = Reduction(np.array([0, first, last, nodes]), rank=1)

        def overwritten(rows=rows):
            for piece in pieces(rng, rows):
                given = piece.copy()
                yield given
                given[:] = np.nan  # what is kept is kept elsewhere

        found = reduction.partial_sums_of_pieces(overwritten())
        blocks, sums = partial_sums(rows, first, nodes)
        assert np.array_equal(found, np.array(sums)), (nodes, first, last)
        assert blocks == reduction.blocks[1]


# Runs


def saved(folder) -> dict:
    """Shapes of the arrays in the checkpoint of small.h5."""
    with h5py.File(folder / "small.h5.checkpoint") as file:
        return {name: file[name].shape for name in file}


@pytest.mark.mpi
def test_runs_are_the_same_on_any_number_of_ranks(config, mpiqopt, one_point, tmp_path):
    """8 nodes on 1, 3 and 8 ranks; a checkpoint has one row of what is one, and goes on where more ranks are."""
    path = config(algorithm=ONE_POINT, data=DATA, run={"iterations": 60})
    assert mpiqopt("run", path, *one_point, "-o", "whole.h5").returncode == 0
    whole = records(tmp_path / "whole.h5")
    assert (whole["consensus"] == 0).all()
    assert whole["objective"][-1] < 0.99 * whole["objective"][0]
    for iterations, ranks in ((20, 3), (40, 8), (60, 0)):
        run = mpiqopt("run", path, *one_point, "--resume", "--set", f"run.iterations={iterations}", ranks=ranks)
        assert run.returncode == 0, run.stderr
        rows = {"x": (1, 7), "momentum": (1, 7), "gradients": (8, 7), "evaluations": (8,)}
        assert saved(tmp_path) == rows
    assert_equal(records(tmp_path / "small.h5"), whole)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 3])
def test_a_killed_run_goes_on_to_the_same_bits(ranks, config, mpiqopt, one_point, tmp_path):
    path = config(
        algorithm=ONE_POINT,
        data=DATA,
        run={"iterations": 10**9},
        record={"every": 50},
        checkpoint={"every_seconds": 0.05},
    )
    job = interrupted(tmp_path, ranks, *one_point)
    job.kill()
    job.wait()
    wait_until_nobody_writes(tmp_path / "small.h5")  # ranks may outlive their mpiexec
    last = saved_iteration(tmp_path) + 100
    assert mpiqopt("run", path, *one_point, "--resume", "--set", f"run.iterations={last}").returncode == 0
    assert mpiqopt("run", path, *one_point, "--set", f"run.iterations={last}", "-o", "whole.h5").returncode == 0
    assert_equal(records(tmp_path / "small.h5"), records(tmp_path / "whole.h5"))


def saved_iteration(folder) -> int:
    with h5py.File(folder / "small.h5.checkpoint") as file:
        return int(file.attrs["iteration"])


# Records


def large(nodes: int, features: int, training: str = "gradient", **algorithm):
    """A run with one sample at each node and many coordinates."""
    data = {"name": "synthetic", "samples": nodes, "features": features}
    tables = {
        "data": data,
        "problem": {"name": "least-squares"},
        "topology": {"name": "ring", "nodes": nodes},
        "algorithm": algorithm or ONE_POINT,
        "record": {"training": training},
        "run": {"start": "normal"},
    }
    return assemble(parse(tomli_w.dumps(tables), "test.toml"), SerialTransport())


@pytest.mark.parametrize("algorithm", [ONE_POINT, {"name": "dgd", "step_size": 0.1}])
def test_records_of_pieces_are_those_of_the_whole(algorithm, one_point, monkeypatch):
    """One node at a time, or three, to the bit; also for iterates that differ."""
    made = large(11, 30, **algorithm)
    x = after(made, 3).x
    whole = made.evaluate(x)
    assert (whole.consensus == 0) == is_shared(x)
    for nodes in (1, 3):
        monkeypatch.setattr(metrics, "PIECE_BYTES", nodes * 8 * 34)
        assert made.evaluate(x) == whole


def test_shared_rows_are_measured_as_copies_are(one_point):
    """But for the rounding of the mean: 11 equal rows need not have that row as their mean."""
    made = large(11, 30)
    x = after(made, 3).x
    shared, copies = made.evaluate(x), made.evaluate(x.copy())
    assert shared.objective == pytest.approx(copies.objective, rel=1e-14)
    assert shared.stationarity == pytest.approx(copies.stationarity, rel=1e-13)
    assert shared.consensus == 0
    assert copies.consensus < 1e-30
    assert np.isnan(made.evaluate(shared_rows(np.full(30, np.inf), 11)).consensus)


@pytest.mark.parametrize("training", ["gradient", "value", "none"])
def test_records_take_the_memory_of_some_rows(training, one_point, monkeypatch):
    """100 nodes x 40,000 coordinates are 32 MB in double precision: of these there is no array, nor one of each."""
    row = 8 * 40_000
    monkeypatch.setattr(metrics, "PIECE_BYTES", 3 * (row + 32))
    made = large(100, 40_000, training)
    evaluate = made.evaluate
    tracemalloc.start()
    try:
        measured = evaluate(made.start)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # gradients of a piece, columns of them, their sums in pairs, and log2(100) sums; else some vectors
    assert most < (30 if training == "gradient" else 10) * row
    assert np.isnan(measured.stationarity) == (training != "gradient")
    assert np.isnan(measured.objective) == (training == "none")


def test_training_none_and_value_leave_out_what_they_say(one_point):
    made = {training: large(11, 30, training) for training in ("gradient", "value", "none")}
    x = np.array(after(made["gradient"], 2).x[0])
    x[3:10] = 0
    found = {training: each.evaluate(shared_rows(x, 11)) for training, each in made.items()}
    assert found["value"].objective == found["gradient"].objective
    assert found["value"].nonzeros == found["none"].nonzeros == 23
    assert found["gradient"].nonzeros == 30
    for training in ("value", "none"):
        assert found[training].is_finite(training)
        assert not made[training].evaluate(shared_rows(np.full(30, np.inf), 11)).is_finite(training)


@pytest.mark.parametrize(
    ("run", "record", "said"),
    [
        ({"tolerance": 1e-3}, {"training": "value"}, "run.tolerance = 0.001: wants record.training = 'gradient', not"),
        ({"tolerance": 1e-3}, {"training": "none"}, "run.tolerance = 0.001: wants record.training = 'gradient', not"),
        (
            {"stop_gap": 0.1, "optimum": 0.0},
            {"training": "none"},
            "run.stop_gap = 0.1: wants record.training = 'gradient' or 'value', not 'none'",
        ),
        ({}, {"training": "none", "per_node": True}, "record.per_node = true: wants record.training = 'gradient', not"),
    ],
)
def test_ends_at_what_is_not_recorded_are_refused(run, record, said, config, capsys):
    assert main(["run", config(run=run, record=record)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("training", ["value", "none"])
def test_commands_cope_with_what_is_not_recorded(training, config, one_point, capsys, tmp_path):
    path = config(algorithm=ONE_POINT, data=DATA, record={"training": training}, run={"iterations": 30})
    assert main(["run", path, *one_point]) == 0
    said = capsys.readouterr().err
    assert "nan" not in said
    assert ("objective" in said) == (training == "value")
    assert "accuracy 0." in said
    with h5py.File("small.h5") as file:
        assert np.isnan(file["stationarity"]).all()
        assert np.isnan(file["objective"]).all() == (training == "none")
        assert np.isfinite(file["test_loss"]).all()
    assert main(["show", "small.h5"]) == 0
    shown = capsys.readouterr().out
    assert "stationarity" not in shown
    assert "test loss" in shown
    assert main(["plot", "small.h5", "-o", "a.png"]) == 0
    assert "no finite value above 0" in capsys.readouterr().err


@pytest.mark.parametrize("training", ["value", "none"])
def test_divergence_is_noticed_by_what_there_is(training, config, one_point, capsys):
    algorithm = {**ONE_POINT, "step_size": 1e9}
    data = {"name": "synthetic", "samples": 83, "features": 7}
    problem = {"name": "least-squares"}
    tables = {"algorithm": algorithm, "data": data, "problem": problem, "record": {"training": training}}
    assert main(["run", config(**tables), *one_point]) == 1
    assert "diverged at iteration" in capsys.readouterr().err


# The last iterates


def finished(path, x: np.ndarray, names: dict | None = None) -> None:
    """Write a result file with these last iterates."""
    config = '[algorithm]\nname = "dgd"\n[topology]\nname = "ring"'
    said = {name: kind() for name, kind in ATTRIBUTES.items()} | {"config": config}
    ring = topology_in_turn(["ring"], [Ring(nodes=len(x)).make()])
    writer = Writer.create(path, said, ring)
    writer.append({"iteration": 0, "objective": 0.5})
    assert writer.finish("finished", "", x, "", names)


def test_large_last_iterates_are_written_once(tmp_path):
    """25 nodes with 100,000 coordinates, 20 MB, in a file of one row; read where it is, and after it was moved."""
    vector = np.arange(100_000) / 7
    finished(tmp_path / "a.h5", shared_rows(vector, 25), {"node": [f"n{i}" for i in range(25)]})
    assert (tmp_path / "a.h5").stat().st_size < vector.nbytes + 100_000
    (tmp_path / "elsewhere").mkdir()
    for path in (tmp_path / "a.h5", tmp_path / "elsewhere" / "b.h5"):
        if not path.exists():
            shutil.move(tmp_path / "a.h5", path)
        with h5py.File(path) as file:
            assert file["final/x"].shape == (25, 100_000)
            assert (file["final/x"][()] == vector).all()
            assert np.array_equal(file["final/point"], vector)
        with xarray.open_dataset(path, engine="h5netcdf", group="final") as opened:
            assert opened.x.dims == ("node", "coordinate")
            assert opened.point.dims == ("coordinate",)
            assert opened.node_name[24] == "n24"
            assert np.array_equal(opened.x[24], vector)
        assert np.array_equal(final_mean(path), vector)


def test_a_file_with_one_row_is_gone_on_with(tmp_path):
    """It loses /final, and gets another one at its next end."""
    finished(tmp_path / "a.h5", shared_rows(np.ones(100_000), 25))
    writer = Writer.resume(tmp_path / "a.h5", {"status": "running", "run_id": "1234"}, 0)
    assert "final" not in writer.file
    writer.append({"iteration": 1, "objective": 0.25})
    writer.publish()
    assert writer.finish("finished", "", shared_rows(np.full(100_000, 2.0), 25), "")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["objective"][()].tolist() == [0.5, 0.25]
        assert (file["final/x"][()] == 2).all()


@pytest.mark.parametrize("x", [shared_rows(np.ones(100), 25), np.ones((25, 100_000)), shared_rows(np.ones(2), 2**20)])
def test_other_last_iterates_are_written_as_they_are(x, tmp_path):
    """Small ones, those that differ, and rows that are shorter than what maps them."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_final(file, x, {})
        assert "point" not in file["final"]
        assert not file["final/x"].is_virtual
        assert (file["final/x"][()] == 1).all()


# What check says


def test_memory_of_one_row_does_not_grow_with_the_nodes(one_point):
    """Beside the data the plug-in keeps a gradient for each node, dgd an iterate and what steps and records compute."""
    methods = ONE_POINT, {"name": "dgd", "step_size": 0.1}
    grown = [
        memory_per_rank(large(200, 20_000, **method), 1) - memory_per_rank(large(100, 20_000, **method), 1)
        for method in methods
    ]
    row = 8 * 20_000
    assert grown[0] > 100 * row
    assert grown[1] - grown[0] > 2 * 100 * row  # of the five of STEP; loading the data takes more than the method
