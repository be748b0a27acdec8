"""What devices trained of the network, and what that saved: logged, written, read, printed and drawn."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from matplotlib.figure import Figure
from matplotlib.image import imread
from tools import clients

from mpiqopt.analysis.clients import count_outcomes, rounds_used
from mpiqopt.analysis.partial_training import ROUNDS, TOTALS, block_parts, saved_parts, width_parts
from mpiqopt.cli import main
from mpiqopt.config.parse import parse
from mpiqopt.emulation.devices import DeviceClass, Devices, group_devices, name_devices
from mpiqopt.federation.deadline import LOST, ROLLED_BACK, USED
from mpiqopt.problems.client_log import COLUMNS, OPTIONAL, ClientLog
from mpiqopt.results.layout import CLIENT_QUANTITIES, DEVICE_FACTS, OUTCOMES
from mpiqopt.results.reader import read_result
from mpiqopt.results.writer import Writer

CONFIG = """
[run]
iterations = 3
[data]
name = "iris"
test_fraction = 0.2
[problem]
name = "softmax"
[topology]
name = "star"
nodes = 6
[algorithm]
name = "fedavg"
step_size = 0.1
[[devices]]
share = 2
[[devices]]
time = 0.5
upload = [0.5, 1.0]
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_outcomes_have_the_same_numbers_everywhere():
    assert (OUTCOMES[USED], OUTCOMES[LOST], OUTCOMES[ROLLED_BACK]) == ("used", "lost", "rolled_back")
    optional = [name for name, quantity in CLIENT_QUANTITIES.items() if quantity.optional]
    assert (list(COLUMNS), list(OPTIONAL)) == (list(CLIENT_QUANTITIES), optional)
    for name, (dtype, _) in COLUMNS.items():
        assert np.dtype(dtype) == CLIENT_QUANTITIES[name].dtype


def test_the_log_has_windows_only_of_methods_that_hand_them_over():
    log = ClientLog(hosted=2)
    log.add(0, {"sampled": np.array([1, 0])})
    assert not {*log.take()[1]} & {*OPTIONAL}
    log.add(1, {"sampled": np.array([1, 0]), "window_first": np.array([3, -1]), "window_last": np.array([5, -1])})
    log.add(2, {"sampled": np.array([0, 0])})
    columns = log.take()[1]
    assert {*columns} & {*OPTIONAL} == {"window_first", "window_last"}
    assert columns["window_first"].tolist() == [[3, -1], [-1, -1]]
    assert columns["window_first"].dtype == np.int16


def test_what_was_handed_over_is_read_back(here):
    result = read_result(clients.write_partial("a.h5"), rounds=CLIENT_QUANTITIES, totals=TOTALS)
    handed = clients.partial_columns(0, 30)
    assert result.clients.rounds.keys() == handed.keys() == CLIENT_QUANTITIES.keys()
    for name, values in handed.items():
        assert np.array_equal(result.clients.rounds[name], values, equal_nan=True), name
    assert (result.clients.classes, result.clients.whole_bytes) == (2, 400)
    for name, values in clients.LIMITS.items():
        assert result.clients.facts[name].tolist() == values.tolist()
    assert result.clients.facts.keys() == {*DEVICE_FACTS}
    assert "device" not in result.axes
    for name in TOTALS:
        values = handed[name].astype(float)
        known = np.nan_to_num(values) > 0
        assert np.array_equal(result.clients.totals[name][0], known.sum(axis=0))
        assert result.clients.totals[name][1] == pytest.approx(np.where(known, values, 0).sum(axis=0), rel=1e-14)


def test_totals_do_not_depend_on_the_pieces_that_are_read(here, monkeypatch):
    path = clients.write_partial("a.h5")
    whole = read_result(path, totals=TOTALS).clients.totals
    monkeypatch.setattr("mpiqopt.results.reader.PIECE", 70)  # three rounds of 20 clients
    pieces = read_result(path, totals=TOTALS).clients.totals
    for name in TOTALS:
        assert pieces[name] == pytest.approx(whole[name], rel=1e-14)


def test_a_resumed_run_has_the_rows_of_an_uninterrupted_one(here):
    whole = read_result(clients.write_partial("whole.h5"), rounds=CLIENT_QUANTITIES).clients.rounds
    writer = clients.create(Path("resumed.h5"))
    writer.devices(clients.devices(), clients.LIMITS)
    for first in range(0, 20, 5):
        writer.clients(first, clients.partial_columns(first, 5))
    writer.append(clients.record(20))
    writer.publish()
    writer = Writer.resume(Path("resumed.h5"), clients.attributes(), 10)
    for first in range(10, 30, 5):
        writer.clients(first, clients.partial_columns(first, 5))
    clients.finish(writer)
    for name, values in read_result("resumed.h5", rounds=CLIENT_QUANTITIES).clients.rounds.items():
        assert np.array_equal(values, whole[name], equal_nan=True), name


def test_xarray_opens_it(here):
    path = clients.write_partial("a.h5")
    with xarray.open_dataset(path, engine="h5netcdf") as records:
        assert float(records.device_accuracy.isel(device=1)[-1]) == clients.record(30)["device_accuracy"][1]
    with xarray.open_dataset(path, engine="h5netcdf", group="clients") as rounds:
        assert rounds.window_first.dims == ("round", "client")
        assert rounds.device.attrs["upload_low"].tolist() == [1.0, 0.5]
        assert rounds.attrs["whole_bytes"] == 400
        assert rounds.sampled.attrs["flag_meanings"].split() == list(OUTCOMES)
        first = rounds.window_first.where(rounds.window_first >= 0).groupby("device").mean(...)
        assert first[0] == 0
        assert 3 < first[1] < 4


def test_savings_are_those_of_the_columns(here):
    """Of messages that were sent, and of trainings whatever became of them."""
    handed, device = clients.partial_columns(0, 30), clients.devices()
    found = saved_parts(read_result(clients.write_partial("a.h5"), totals=TOTALS).clients)
    assert list(found) == ["bytes up", "bytes down", "device time", "peak memory"]
    sent = handed["up_bytes"] > 0
    for k, clients_of in enumerate((device == 0, device == 1, device >= 0)):
        up = handed["up_bytes"][:, clients_of].sum() / (400 * sent[:, clients_of].sum())
        assert found["bytes up"][k] == pytest.approx(1 - up)
        assert found["device time"][k] == pytest.approx(1 - np.nanmean(handed["time_share"][:, clients_of]))
        assert found["peak memory"][k] == pytest.approx(1 - np.nanmean(handed["memory_share"][:, clients_of]))
    assert found["bytes down"].tolist() == [0, 0, 0]


def test_nothing_is_saved_by_methods_that_train_and_send_everything(here):
    result = read_result(clients.write("a.h5"), totals=TOTALS)
    assert result.clients.whole_bytes is None
    assert saved_parts(result.clients) == {}


def test_blocks_and_widths_are_counted_by_class_of_devices():
    first = np.array([[0, -1, 2], [1, 2, -1]])
    last = np.array([[0, -1, 2], [2, 2, -1]])
    parts = block_parts(first, last, np.array([0, 1, 1]), 3)
    assert np.array_equal(parts, [[0.5, 0, np.nan], [0.5, 0, np.nan], [0.5, 1, np.nan]], equal_nan=True)
    widths, parts = width_parts(np.array([[1.0, np.nan], [0.5, 0.25]]), np.array([0, 1]), 2)
    assert (widths.tolist(), parts.tolist()) == ([1.0, 0.5, 0.25], [[0.5, 0], [0.5, 0], [0, 1]])
    nobody = np.full((2, 3), -1)
    assert block_parts(nobody, nobody, np.array([0, 1, 1]), 2).shape == (0, 2)


def test_show_prints_it_by_class_of_devices(here, capsys, monkeypatch):
    path, handed = clients.write_partial("a.h5", 30), clients.partial_columns(0, 30)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["show", path]) == 0
    out = capsys.readouterr().out
    outcomes = count_outcomes(handed["sampled"])
    assert f"{outcomes[LOST].sum()} lost, {outcomes[ROLLED_BACK].sum()} rolled back" in out
    assert "1 of 30 rounds, after which the held-out loss had jumped" in out
    accuracy = clients.record(30)["device_accuracy"]
    assert f"classes of devices differ by {accuracy[0] - accuracy[1]:.4f} in accuracy" in out
    used = np.bincount(clients.devices(), rounds_used(outcomes))
    rows = [[cell.strip() for cell in line.split("│")] for line in out.splitlines() if "│" in line]
    weak = next(row for row in rows if row[:4] == ["1", "0.33", "0.33", "0.5 to 1"])
    assert weak[4:7] == ["7", f"{used[1] / 7:.2f}", f"{100 * used[1] / used.sum():.1f}"]
    saved = saved_parts(read_result(path, totals=TOTALS).clients)
    assert ["1", *(f"{100 * parts[1]:.1f}" for parts in saved.values())] in rows
    assert ["0", "100.0", "0.0"] in rows  # a block that only strong devices train
    assert ["5", "100.0", "100.0"] in rows
    assert f"{100 * saved['bytes up'][-1]:.1f} % of bytes up" in out


def test_show_fits_in_a_terminal(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.delenv("LINES", raising=False)
    assert main(["show", clients.write_partial("a.h5")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 71


def test_figures_show_blocks_widths_and_savings_by_class_of_devices(here, monkeypatch):
    drawn, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **b: (drawn.append(self), save(self, *a, **b)))
    path = clients.write_partial("a.h5")
    narrow = clients.write_partial("b.h5", lacks=("window_first", "window_last"))
    assert main(["plot", "--clients", path, narrow, "-o", "a.png"]) == 0
    assert imread("a.png").std() > 0.05
    trained = [each for each in drawn[0].axes if each.get_title().strip() == "blocks or widths trained"]
    saved = next(each for each in drawn[0].axes if each.get_title().strip() == "saved")
    result = read_result(path, rounds=ROUNDS, totals=TOTALS).clients
    parts = block_parts(result.rounds["window_first"], result.rounds["window_last"], result.device, 2)
    heights = [bar.get_height() for bar in trained[0].patches]
    assert heights == pytest.approx(100 * parts.T.ravel())  # six of each class
    assert [bar.get_height() for bar in trained[1].patches] == [100, 0, 0, 100]
    assert [bar.get_height() for bar in saved.patches] == pytest.approx(
        [100 * each[k] for k in (0, 1) for each in saved_parts(result).values()]
    )
    legend = drawn[0].axes[0].get_legend()
    assert legend.get_title().get_text() == "time / memory / upload"
    assert [text.get_text() for text in legend.texts][1] == "0.33 / 0.33 / 0.5 to 1 (7 clients)"


def test_devices_are_the_tables_or_else_the_slowdowns():
    slowdowns = np.array([1.0, 2.0, 3.0, 5.0])
    alike = group_devices(Devices([DeviceClass(time=0.5)], 4, 0), slowdowns)
    assert (alike.size, alike.facts.keys()) == (4, {"slowdown"})
    tables = [DeviceClass(), DeviceClass(time=0.5, memory=[0.25, 0.75])]
    groups = group_devices(Devices(tables, 4, 0), slowdowns)
    assert groups.classes.tolist() == [0, 0, 1, 1]
    assert groups.facts["slowdown"].tolist() == [1.5, 4.0]
    assert (groups.facts["memory_low"][1], groups.facts["memory_high"][1]) == (0.25, 0.75)
    assert name_devices(groups.facts) == ["slowdown 1.5", "time 0.5, memory 0.25 to 0.75, slowdown 4"]


def test_a_run_writes_its_classes_of_devices_and_the_size_of_a_message(here, capsys):
    Path("fed.toml").write_text(CONFIG)
    assert main(["run", "fed.toml", "-q", "-o", "fed.h5"]) == 0
    with h5py.File("fed.h5") as file:
        assert file["clients/device"][()].tolist() == [0, 0, 0, 0, 1, 1]
        assert file["clients/device"].attrs["time_low"].tolist() == [1.0, 0.5]
        assert file["clients"].attrs["whole_bytes"] == file["clients/up_bytes"][0, 0] == 8 * file["final/x"].shape[1]
        assert file["device_accuracy"].shape[1] == 2
        at_client = file["client_accuracy"][()]
        assert file["device_accuracy"][-1] == pytest.approx([at_client[-1, :4].mean(), at_client[-1, 4:].mean()])
        assert not {*OPTIONAL} & {*file["clients"]}
    assert parse(CONFIG, "fed.toml").devices == read_devices("fed.h5")
    capsys.readouterr()
    assert main(["check", "fed.toml"]) == 0
    assert "2: 4 of full strength; 2 of time 0.5, upload 0.5 to 1" in " ".join(capsys.readouterr().out.split())


def read_devices(path: str) -> tuple[DeviceClass, ...]:
    """The classes of the config that a result file has."""
    return tuple(DeviceClass(**table) for table in read_result(path).resolved["devices"])
