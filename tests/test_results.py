"""The result file as users open it, and the tables and figures made of it."""

import h5py
import numpy as np
import pytest
import xarray
from tools.methods import GENERAL

from mpiqopt.cli import main
from mpiqopt.results.layout import QUANTITIES


@pytest.fixture
def result(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"name": "synthetic", "task": "classification", "samples": 90, "features": 7, "test_fraction": 0.1}
    assert main(["run", config(data=data, record={"every": 7, "per_node": True}), "-q"]) == 0
    return tmp_path / "small.h5"


def test_layout(result):
    with h5py.File(result) as file:
        assert file["iteration"][()].tolist() == [0, 7, 14, 21, 28, 35, 40]
        for name in QUANTITIES.keys() & file.keys():
            assert file[name].shape == (7,)
            assert file[name].maxshape == (None,)
            assert file[name].dtype == QUANTITIES[name].dtype
            assert file[name].attrs["units"]
            assert file[name].dims[0][0] == file["record"]
        assert {"accuracy", "criterion", "error"} <= file.keys()
        assert np.all(np.diff(file["time"][()]) > 0)
        assert file["final/x"].shape == (8, 7)
        assert file["topology/edges"].shape == (8, 2)
        assert np.allclose(file["topology/weights"], 1 / 3)
        assert file.attrs["config"] == (result.with_suffix(".toml")).read_text()
        about = {name: file.attrs[name] for name in ("status", "ranks", "mpi_library", "stop_reason")}
        assert about == {
            "status": "finished",
            "ranks": 1,
            "mpi_library": "none (one process)",
            "stop_reason": "iterations: 40 done",
        }
        assert file.attrs["created"].startswith("20")
        assert file.attrs["mpiqopt_version"]


def test_overrides_are_in_the_stored_config(config, tmp_path, monkeypatch):
    import tomllib

    monkeypatch.chdir(tmp_path)
    arguments = ["--set", "run.iterations=5", "--set", "algorithm.step_size=0.25", "--set", "data.split=iid"]
    assert main(["run", config(), "-q", *arguments]) == 0
    with h5py.File("small.h5") as file:
        stored = tomllib.loads(file.attrs["config"])
    assert stored["run"]["iterations"] == 5
    assert stored["algorithm"]["step_size"] == 0.25
    assert stored["data"]["split"] == "iid"


def test_xarray_opens_it(result):
    with xarray.open_dataset(result, engine="h5netcdf") as records:
        assert records.sizes["record"] == 7
        assert records.objective.attrs["units"] == "1"
        assert records.time.dtype == np.float64
        by_bytes = records.set_coords("bytes").swap_dims(record="bytes").objective
        assert float(by_bytes[-1]) == float(records.objective[-1])
    with xarray.open_dataset(result, engine="h5netcdf", group="final") as final:
        assert final.x.dims == ("node", "coordinate")
        assert final.x.shape == (8, 7)
    with xarray.open_dataset(result, engine="h5netcdf", group="topology") as topology:
        assert topology.edges.dims == ("edge", "end")


def test_metrics_are_what_they_are_called(result):
    """From /final/x alone, by NumPy: objective, stationarity, consensus, criterion, error at the last record."""
    from mpiqopt.config.parse import load
    from mpiqopt.run.assembly import assemble
    from mpiqopt.transport.serial import SerialTransport

    experiment = assemble(load(str(result.with_suffix(".toml"))), SerialTransport())
    shares = experiment.shares
    sizes, a = shares.sizes, shares.features
    b = 2 * shares.targets - 1

    def gradient(x):
        slopes = -b * a.T / (1 + np.exp(b * (a @ x)))
        parts = np.split(slopes, np.cumsum(sizes)[:-1], axis=1)
        return np.mean([part.mean(axis=1) for part in parts], axis=0) + 0.1 * x

    with h5py.File(result) as file:
        last = {name: file[name][-1] for name in QUANTITIES.keys() & file.keys()}
        x = file["final/x"][()]
    mean = x.mean(axis=0)
    losses = np.split(np.logaddexp(0, -b * (a @ mean)), np.cumsum(sizes)[:-1])
    consensus = np.mean(np.sum((x - mean) ** 2, axis=1))
    assert last["objective"] == pytest.approx(np.mean([part.mean() for part in losses]) + 0.05 * mean @ mean, rel=1e-12)
    assert last["stationarity"] == pytest.approx(np.sum(gradient(mean) ** 2), rel=1e-6)
    assert last["consensus"] == pytest.approx(consensus, rel=1e-6)
    criterion = np.mean([np.sum(gradient(row) ** 2) for row in x]) + experiment.constants.lipschitz**2 * consensus
    assert last["criterion"] == pytest.approx(criterion, rel=1e-6)
    assert last["error"] == pytest.approx(np.sum((mean - shares.solution) ** 2), rel=1e-12)
    right = (shares.test_features @ mean > 0) == (shares.test_targets > 0)
    assert last["accuracy"] == right.mean()
    assert last["rounds"] == 80
    assert last["bytes"] == 80 * 16 * 7 * 8
    assert last["mpi_bytes"] == 0
    assert last["samples"] == pytest.approx(41 * sizes.mean())


def test_float32_halves_the_bytes(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", config(run={"iterations": 3, "dtype": "float32"}), "-q"]) == 0
    with h5py.File("small.h5") as file:
        assert file["bytes"][-1] == 6 * 16 * 7 * 4
        assert file["final/x"].dtype == np.float32


def test_start_from_an_earlier_result(result, config, tmp_path):
    path = config(
        "second.toml",
        run={"iterations": 0, "start": "small.h5"},
        data={"name": "synthetic", "task": "classification", "samples": 90, "features": 7, "test_fraction": 0.1},
    )
    assert main(["run", path, "-q"]) == 0
    with h5py.File("second.h5") as second, h5py.File(result) as first:
        assert np.allclose(second["final/x"], first["final/x"][()].mean(axis=0), atol=1e-15)
        assert second["objective"][0] == pytest.approx(first["objective"][-1], rel=1e-13)


def test_show(result, capsys):
    assert main(["show", str(result)]) == 0
    out = capsys.readouterr().out
    for word in ("gradient-tracking, ring 8", "stationarity", "finished (iterations: 40 done); 7 records; 1 rank"):
        assert word in out


def test_plot_of_several_files(result, config, tmp_path, capsys):
    from matplotlib.image import imread

    assert main(["run", config("other.toml", algorithm={"name": "dgd"}), "-q"]) == 0
    assert main(["plot", "small.h5", "other.h5", "-o", "a.png"]) == 0
    image = imread("a.png")
    assert image.shape[0] > 500
    assert image.std() > 0.05
    assert main(["plot", "small.h5", "-o", "a.pdf"]) == 0
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_topology_prints_and_draws(config, capsys, tmp_path, monkeypatch):
    from matplotlib.image import imread

    monkeypatch.chdir(tmp_path)
    assert main(["topology", config(), "-o", "graph.png"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for fact in ("nodes 8", "degree 2", "diameter 4", "lambda = |W - J| 0.804738", "2 plain, 2 Chebyshev"):
        assert fact in out
    assert imread("graph.png").std() > 0.02


def test_check_predicts_what_a_run_counts(config, capsys, tmp_path, monkeypatch):
    """The resolved config can be run, and rounds and bytes come out as predicted."""
    from mpiqopt.analysis.estimate import bytes_per_iteration
    from mpiqopt.config.parse import load
    from mpiqopt.run.assembly import assemble
    from mpiqopt.transport.serial import SerialTransport

    monkeypatch.chdir(tmp_path)
    for name in GENERAL:
        algorithm = {"name": name, **({"batch_size": 2} if name in ("proxgt-sa", "proxgt-sr-o") else {})}
        algorithm |= {"large_batch_size": 4, "epoch_length": 3} if name == "proxgt-sr-o" else {}
        algorithm |= {"step_size": 0.01} if name == "sign-sgd" else {}
        path = config(algorithm=algorithm, run={"iterations": 4})
        assert main(["check", path, "--ranks", "2"]) == 0
        out = capsys.readouterr().out
        words, experiment = " ".join(out.split()), assemble(load(path), SerialTransport())
        packs = experiment.algorithm.variable_traffic
        assert f"rounds per iteration {experiment.algorithm.rounds()} #" in words or packs
        assert ("a round of collect about" in words) == packs
        payload, _ = bytes_per_iteration(experiment, 2)
        (tmp_path / "resolved.toml").write_text(out)
        for run in (path, "resolved.toml"):
            assert main(["run", run, "-q", "-o", "a.h5", "--overwrite"]) == 0
            with h5py.File("a.h5") as file:
                assert file["bytes"][-1] == 4 * payload or packs


def test_progress_is_plain_lines_off_a_terminal(monkeypatch):
    import io

    from mpiqopt.run import progress

    class Values:
        stationarity, consensus = 1e-3, 1e-5

    stream = io.StringIO()
    monkeypatch.setattr(progress, "PLAIN", 0.0)
    lines = progress.Progress(100, stream=stream)
    for iteration in (0, 10, 20):
        lines.update(iteration, Values)
    lines.close()
    text = stream.getvalue()
    assert "\r" not in text
    assert "iteration 20/100  stationarity 1.000e-03" in text
    assert text.count("\n") >= 2


def test_progress_is_one_live_line_on_a_terminal(monkeypatch):
    import io

    from mpiqopt.run import progress

    class Values:
        stationarity, consensus = 1e-3, 1e-5

    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "LIVE", 0.0)
    line = progress.Progress(100, stream=stream)
    for iteration in (0, 10, 20):
        line.update(iteration, Values)
    line.close()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().count("\r") == 4
    assert " left" in stream.getvalue()


def test_plots_of_runs_without_positive_values(config, tmp_path, monkeypatch):
    """One node has no consensus error to draw on a logarithmic axis, and a run may diverge."""
    monkeypatch.chdir(tmp_path)
    assert main(["run", config("one.toml", topology={"name": "ring", "nodes": 1}), "-q"]) == 0
    diverging = config(
        "diverging.toml", algorithm={"name": "dgd", "step_size": 1e200}, problem={"name": "least-squares"}
    )
    assert main(["run", diverging, "-q"]) == 1
    assert main(["plot", "one.h5", "-o", "one.png"]) == 0
    assert main(["plot", "one.h5", "diverging.h5", "-o", "both.png"]) == 0


def test_setting_a_name_drops_the_keys_of_the_other(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = config(
        algorithm={"name": "proxgt-sa", "batch_size": 3, "step_size": 0.1}, regularizer={"name": "l1", "weight": 0.1}
    )
    changes = ["--set", "algorithm.name=nids", "--set", "regularizer.name=zero"]
    assert main(["run", path, "-q", *changes]) == 0
    with h5py.File("small.h5") as file:
        assert file.attrs["config"].count("step_size = 0.1") == 1
        assert "weight" not in file.attrs["config"]


def test_help_without_a_command(capsys):
    assert main([]) == 2
    out = capsys.readouterr().out
    assert "Usage: mpiqopt" in out
    assert out.count("\n") > 10


def test_a_short_run_leaves_a_small_file(result):
    """Seven records of 15 quantities are 840 bytes, and HDF5 needs some 60 kB beside them."""
    assert result.stat().st_size < 72_000


def written(path, records: int):
    """A result file with so many records, as a run writes it."""
    from mpiqopt.results.reader import ATTRIBUTES
    from mpiqopt.results.writer import Writer
    from mpiqopt.topologies.lattices import Ring
    from mpiqopt.topologies.topology import Topology

    ring = Topology("ring", tuple(Ring(nodes=2).cycle()))
    config = '[topology]\nname = "ring"\n[algorithm]\nname = "dgd"'
    attributes = {name: kind() for name, kind in ATTRIBUTES.items()} | {"config": config, "status": "running"}
    writer = Writer.create(path, attributes, ring)
    for i in range(records):
        values = {name: i + 1 for name, quantity in QUANTITIES.items() if not quantity.optional}
        writer.append(values | {"iteration": i, "accuracy": None})
    return writer


@pytest.mark.parametrize("records", [1, 16, 1024, 1025, 20_000])
def test_chunks_grow_with_the_records(records, tmp_path):
    """Short runs leave small files, long ones do not crumble, and nothing is lost on the way."""
    written(tmp_path / "a.h5", records).finish("finished", "", np.zeros((2, 3)), "")
    with h5py.File(tmp_path / "a.h5") as file:
        for name in ("iteration", "objective", "bytes"):
            assert file[name][()].tolist() == [i + (name != "iteration") for i in range(records)]
            assert records / file[name].chunks[0] <= 64
            assert file[name].chunks[0] <= max(16, records / 8)
            assert file[name].maxshape == (None,)
            assert file[name].dims[0][0] == file["record"]
            assert file[name].attrs["units"] == QUANTITIES[name].units
        assert "accuracy" not in file
    size = (tmp_path / "a.h5").stat().st_size
    assert size < 60_000 + 1.5 * 8 * records * sum(not quantity.optional for quantity in QUANTITIES.values())
    with xarray.open_dataset(tmp_path / "a.h5", engine="h5netcdf") as opened:
        assert opened.sizes["record"] == records


def test_files_in_the_older_format_are_gone_on_with(tmp_path):
    """As earlier versions wrote them: in the oldest format of HDF5, chunks of 1024 from the start."""
    from mpiqopt.results.writer import Writer

    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["record"] = np.zeros(0, np.int8)
        del file["record"]
        record = file.create_dataset("record", (30,), "int8", maxshape=(None,), chunks=(1024,))
        record.make_scale()
        for name in ("iteration", "objective"):
            file.create_dataset(name, data=np.arange(30.0), maxshape=(None,), chunks=(1024,))
            file[name].dims[0].attach_scale(record)
    writer = Writer.resume(path, {"status": "running", "run_id": "1234"}, 9)
    for i in range(10, 100_000):
        writer.append({"iteration": i, "objective": float(i)})
    writer.finish("finished", "", np.zeros((2, 3)), "")
    with h5py.File(path) as file:
        assert np.array_equal(file["objective"], np.arange(100_000))
        assert file["objective"].chunks == (8192,)


def test_the_file_is_whole_whenever_it_is_opened(tmp_path):
    """Between publications, too, and with chunks that have just grown."""
    path, seen = tmp_path / "a.h5", 0
    writer = written(path, 500)
    for i in range(500, 20_000, 500):
        for k in range(i, i + 500):
            writer.append({name: k for name, quantity in QUANTITIES.items() if not quantity.optional})
        writer.publish()
        with h5py.File(path) as file:
            assert len(file["iteration"]) == len(file["objective"]) == i + 500
            assert file["iteration"][-1] == i + 499
            seen += 1
    assert seen == 39


def test_the_resolved_config_is_stored_and_runs(result, tmp_path):
    """Every key of every table, defaults included; the text as given stays beside it."""
    import tomllib

    from mpiqopt.config.parse import load

    with h5py.File(result) as file:
        given, text = tomllib.loads(file.attrs["config"]), file.attrs["config_resolved"]
        stored = {name: file[name][()] for name in ("objective", "bytes")}
    resolved = tomllib.loads(text)
    assert resolved == load(str(result.with_suffix(".toml"))).resolved()
    assert "checkpoint" not in given
    assert resolved["checkpoint"]["every_seconds"] == 60.0
    assert resolved["topology"] == {"name": "ring", "nodes": 8, "seed": 0, "weights": "metropolis"}
    (tmp_path / "again.toml").write_text(text)
    assert main(["run", str(tmp_path / "again.toml"), "-q"]) == 0
    with h5py.File("again.h5") as file:
        for name, values in stored.items():
            assert np.array_equal(file[name], values)


def test_plots_of_long_runs_keep_the_extremes(tmp_path, monkeypatch):
    """A million records become some thousand points: first, last, peaks and troughs, and gaps where nothing is."""
    from matplotlib.figure import Figure

    from mpiqopt.analysis.plots import PIECES, visible_points

    values = np.sin(np.arange(1_000_000) / 1e5) + 2
    values[123_456], values[777_777], values[400_000:500_000] = 1e9, 1e-9, np.nan
    kept = visible_points(values)
    assert len(kept) <= 2 * PIECES + 2
    assert {0, 123_456, 777_777, 999_999} <= set(kept.tolist())
    assert np.isnan(values[kept]).sum() > PIECES // 20
    assert np.array_equal(visible_points(values[: 2 * PIECES]), np.arange(2 * PIECES))

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.extend(self.axes))
    written(tmp_path / "a.h5", 30_000).finish("finished", "", np.zeros((2, 3)), "")
    assert main(["plot", str(tmp_path / "a.h5"), "-o", str(tmp_path / "a.png")]) == 0
    lengths = [len(line.get_xdata()) for axes in drawn for line in axes.lines]
    assert len(lengths) == 12
    assert max(lengths) <= 2 * PIECES + 2
