"""What clients do, round by round, in the result file: written, gone on with, read, printed and drawn."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from matplotlib.figure import Figure
from matplotlib.image import imread
from tools import clients, trajectories

from mpiqopt.analysis.clients import count_outcomes, rounds_used
from mpiqopt.cli import main
from mpiqopt.results.layout import CLIENT_QUANTITIES, CLIENT_VECTORS, OUTCOMES
from mpiqopt.results.reader import read_result
from mpiqopt.results.writer import Writer

ROOT = Path(__file__).parent.parent
# of clients, whatever the method
ALWAYS = [name for name, quantity in CLIENT_QUANTITIES.items() if not quantity.optional]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(path: str) -> dict[str, np.ndarray]:
    """Every dataset of numbers."""
    found = {}

    def keep(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def assert_same(one: str, other: str) -> None:
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys() >= {f"clients/{name}" for name in ALWAYS}
    for name, values in first.items():
        assert np.array_equal(values, second[name], equal_nan=True), name


def test_what_was_handed_over_is_read_back(here):
    result = read_result(clients.write("a.h5", 30), rounds=CLIENT_QUANTITIES)
    for name, values in clients.columns(0, 30).items():
        assert result.clients.rounds[name].dtype == CLIENT_QUANTITIES[name].dtype
        assert np.array_equal(result.clients.rounds[name], values, equal_nan=True), name
    assert np.array_equal(result.clients.device, clients.devices())
    assert result.clients.facts["slowdown"].tolist() == result.axes["device"].tolist() == [1, 4]
    records = [clients.record(iteration) for iteration in range(0, 31, 5)]
    for name in (*CLIENT_VECTORS, "accuracy_spread"):
        wanted = np.array(
            [record[name] for record in records], (CLIENT_VECTORS.get(name) or CLIENT_QUANTITIES["loss"]).dtype
        )
        assert result.columns[name] == pytest.approx(wanted, rel=1e-6)  # some are stored in single precision
    assert read_result("a.h5").clients.rounds == {}


def test_the_layout_is_that_of_the_other_datasets(here):
    """Units, meaning, axes, checksums; compressed, in chunks of many rounds that a publication can afford."""
    with h5py.File(clients.write("a.h5")) as file:
        for name in ALWAYS:
            dataset, quantity = file["clients"][name], CLIENT_QUANTITIES[name]
            assert (dataset.shape, dataset.maxshape) == ((30, 20), (None, 20))
            assert (dataset.attrs["units"], dataset.attrs["long_name"]) == (quantity.units, quantity.meaning)
            assert (dataset.compression, dataset.shuffle, dataset.fletcher32) == ("gzip", True, True)
            assert 1 << 16 <= np.prod(dataset.chunks) * dataset.dtype.itemsize <= 1 << 20
            assert [axis[0].name for axis in dataset.dims] == ["/clients/round", "/clients/client"]
        for name, quantity in CLIENT_VECTORS.items():
            assert [axis[0].name for axis in file[name].dims] == ["/record", f"/{quantity.axis}"]
            assert file[name].fletcher32
        assert file["clients/device"].attrs["slowdown"].tolist() == [1, 4]


def test_xarray_opens_root_and_group(here):
    path = clients.write("a.h5")
    with xarray.open_dataset(path, engine="h5netcdf") as records:
        assert records.class_accuracy.dims == ("record", "class")
        assert records.client_accuracy.dims == ("record", "client")
        assert float(records.device_accuracy.sel(device=4.0)[-1]) == clients.record(30)["device_accuracy"][1]
    with xarray.open_dataset(path, engine="h5netcdf", group="clients") as rounds:
        assert rounds.sampled.dims == ("round", "client")
        assert rounds.sampled.attrs["flag_meanings"].split() == list(OUTCOMES)
        sent = rounds.groupby("device").sum().up_bytes.sum("round")
        assert int(sent.sum()) == 30 * clients.COHORT << 40  # more than 32 bits


@pytest.mark.parametrize("cut", [0, 10, 15, 25])
def test_a_resumed_run_has_the_rows_of_an_uninterrupted_one(cut, here):
    """A checkpoint at iteration 15 means that rounds 0 to 14 are done; what came after it is done again."""
    clients.write("whole.h5", 30)
    writer = clients.start(Path("resumed.h5"))
    clients.go_on(writer, 0, 25)
    writer.publish()
    writer.clients(25, clients.columns(25, 3))  # waits in memory when the process is killed
    writer = Writer.resume(Path("resumed.h5"), clients.attributes(), cut)
    writer.devices(clients.devices(), clients.SLOWDOWNS)
    clients.go_on(writer, cut, 30)
    clients.finish(writer)
    assert_same("whole.h5", "resumed.h5")


def test_rounds_may_be_taken_back_and_handed_over_again(here):
    """In the middle of what waits in memory, and of what is written."""
    clients.write("whole.h5", 30)
    writer = clients.start(Path("again.h5"))
    clients.go_on(writer, 0, 20)
    writer.cut(15)
    writer.clients(15, clients.columns(15, 4))
    writer.clients(17, clients.columns(17, 3))
    writer.append(clients.record(20))
    clients.go_on(writer, 20, 30)
    clients.finish(writer)
    assert_same("whole.h5", "again.h5")


def test_rounds_that_are_missing_are_an_error(here):
    writer = clients.start(Path("a.h5"))
    clients.go_on(writer, 0, 10)
    with pytest.raises(ValueError, match="rounds 10 to 11 of clients are missing"):
        writer.clients(12, clients.columns(12, 1))


def test_how_often_rounds_are_published_changes_nothing(here, monkeypatch):
    """With little memory for what waits, too; and a file of many publications is not much larger: 1.2 times here."""
    clients.write("whole.h5", 300)
    monkeypatch.setattr("mpiqopt.results.clients.BUFFERED", 1)
    writer = clients.start(Path("often.h5"))
    for first in range(0, 300, 5):
        clients.go_on(writer, first, first + 5)
        writer.publish()
        assert read_result("often.h5", rounds=["steps"]).clients.rounds["steps"].shape == (first + 5, 20)
    clients.finish(writer)
    assert_same("whole.h5", "often.h5")
    assert Path("often.h5").stat().st_size < 1.5 * Path("whole.h5").stat().st_size


def test_many_clients_have_chunks_of_bounded_size(here):
    """Records of 50,000 clients take 200 kB each: of 1000 such one chunk would be 200 MB."""
    writer = clients.start(Path("a.h5"), 50_000)
    writer.clients(0, clients.columns(0, 4, 50_000))
    clients.finish(writer)
    with h5py.File("a.h5") as file:
        assert file["client_accuracy"].chunks == (5, 50_000)
        assert file["clients/loss"].chunks == (1, 50_000)
        assert np.array_equal(file["clients/steps"], clients.columns(0, 4, 50_000)["steps"])


def test_classes_are_called_as_the_data_call_them(here, capsys):
    writer = clients.create(Path("a.h5"))
    group = writer.file.create_group("data")
    names = ["cat", "dog", "eel", "$x^2$"]
    group.create_dataset("class", data=names, dtype=h5py.string_dtype())
    writer.append(clients.record(5))
    clients.finish(writer)
    assert read_result("a.h5").axes["class"].tolist() == names
    with xarray.open_dataset("a.h5", engine="h5netcdf") as records:
        assert float(records.class_accuracy.sel({"class": "dog"})[0]) == clients.record(5)["class_accuracy"][1]
    assert main(["show", "a.h5"]) == main(["plot", "--clients", "a.h5", "-o", "a.png"]) == 0
    assert all(name in capsys.readouterr().out for name in names[:1])


def test_show_counts_who_took_part(here, capsys):
    path = clients.write("a.h5", 30)
    sampled = clients.columns(0, 30)["sampled"]
    used = rounds_used(count_outcomes(sampled))
    assert main(["show", path]) == 0
    out = capsys.readouterr().out
    assert "20 with 2 classes of devices; 30 rounds, 5 drawn in each on average" in out
    counts = [np.count_nonzero(sampled == outcome) for outcome in (1, 3, 2, 4)]
    assert "{} used, {} late and applied, {} late and discarded, {} left out".format(*counts) in out
    assert f"fewest {used.min()} (client {used.argmin()})" in out
    assert f"most {used.max()} (client {used.argmax()})" in out
    last = clients.record(30)
    assert f"spread {last['accuracy_spread']:.4f}" in out
    for value in (*last["class_accuracy"], *last["device_accuracy"], last["client_accuracy"].min()):
        assert f"{value:.4f}" in out


def test_show_fits_in_a_terminal(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("LINES", raising=False)
    assert main(["show", clients.write("a.h5", 30)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 61


def test_files_without_clients_are_shown_as_before(here, capsys):
    path = trajectories.write("old.h5", [1.0, 0.5])
    result = read_result(path, rounds=CLIENT_QUANTITIES)
    assert (result.clients, result.axes) == (None, {})
    assert main(["show", path]) == 0
    assert "client" not in capsys.readouterr().out
    assert main(["plot", "--clients", path, "-o", "a.png"]) == 2
    assert capsys.readouterr().err.endswith("old.h5: says nothing of clients, which methods with a server have\n")
    assert not Path("a.png").exists()


def test_two_kinds_of_figures_at_once_are_refused(here, capsys):
    assert main(["plot", "--data", "--clients", "a.h5", "-o", "a.png"]) == 2
    assert "say one of them" in capsys.readouterr().err


def test_figures_show_what_the_files_say(here, monkeypatch, capsys):
    """A row for each run; what one of them has not is said in its place and on standard error."""
    drawn, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **b: (drawn.append(self), save(self, *a, **b)))
    paths = [clients.write("a.h5", 30), str(here / "start.h5")]
    clients.finish(clients.start(Path(paths[1])))
    assert main(["plot", "--clients", *paths, "-o", "a.png"]) == 0
    assert "start.h5 did not record it" in capsys.readouterr().err
    assert imread("a.png").std() > 0.05
    axes = [each for each in drawn[0].axes if each.get_title()]
    assert [each.get_title().strip() for each in axes[:5]] == [
        *["accuracy by device"] * 2,
        *["accuracy of clients", "accuracy of classes", "participation"],
    ]
    fast, slow, overall = (line.get_ydata() for line in axes[0].lines)
    assert overall[-1] == clients.record(30)["accuracy"]
    assert [fast[-1], slow[-1]] == clients.record(30)["device_accuracy"].tolist()
    assert axes[1].lines[0].get_xdata().tolist() == [5000 * k for k in range(7)]
    used = rounds_used(count_outcomes(clients.columns(0, 30)["sampled"]))
    assert sum(bar.get_height() for bar in axes[4].patches) == len(used) == 20
    assert len({each.get_ylim() for each in (*axes[:3], *axes[5:8])}) == 1


@pytest.mark.parametrize("lacks", [*CLIENT_VECTORS, "accuracy"])
def test_any_of_the_accuracies_may_be_missing(lacks, here):
    writer = clients.create(Path("a.h5"))
    writer.devices(clients.devices(), clients.SLOWDOWNS)
    writer.append(clients.record(5) | {lacks: None})
    clients.finish(writer)
    assert main(["show", "a.h5"]) == main(["plot", "--clients", "a.h5", "-o", "a.png"]) == 0
    assert Path("a.png").stat().st_size > 10_000


def test_every_quantity_of_clients_is_explained():
    page = (ROOT / "docs" / "results.md").read_text()
    names = [*CLIENT_VECTORS, *(f"clients/{name}" for name in CLIENT_QUANTITIES), "clients/device"]
    assert [name for name in names if not re.search(rf"^\| .*`/{name}`.* \|", page, re.MULTILINE)] == []
