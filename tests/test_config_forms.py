"""Configs as people write them: numbers in other forms, a byte-order mark, a result file; all wrong keys at once."""

import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.data_files import write
from tools.refusals import refused

from mpiqopt.cli import main


def resolved(capsys) -> dict:
    return tomllib.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("run.iterations=1e4", 10_000),
        ("run.iterations=1E2", 100),
        ("run.iterations=20.0", 20),
        ("run.seed=007", 7),
        ("run.seed=+7", 7),
        ("algorithm.step_size=.1", 0.1),
        ("algorithm.step_size=+.5e-1", 0.05),
        ("algorithm.step_size=1.", 1.0),
        ("algorithm.step_size= 2 ", 2.0),
        ("record.per_node=True", True),
        ("record.per_node=False", False),
        ("record.per_node=true", True),
        ("algorithm.step_size=auto", None),
        ("run.start=normal", "normal"),
    ],
)
def test_numbers_on_the_command_line_as_people_type_them(word, value, config, capsys):
    assert main(["check", config(), "--set", word]) == 0
    table, _, key = word.partition("=")[0].partition(".")
    found = resolved(capsys)[table][key]
    assert value is None or (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("run.iterations=1,000", "run.iterations = '1,000': want a valid integer"),
        ("run.iterations=1.5", "run.iterations = 1.5: want a valid integer"),
        ("run.iterations=True", "run.iterations = True: want a valid integer"),
        ("algorithm.step_size=1/3", "algorithm.step_size = '1/3': want a valid number or 'auto'"),
        ("record.per_node=yes", "record.per_node = 'yes': want a valid boolean (true or false)"),
        ("run.seed=" + 5000 * "9", "run.seed = '999"),
        ("run.seed=1\nrun.iterations=3", "run.seed = '1\\nrun.iterations=3': want a valid integer"),
        ("run.start=\udcff", "--set run.start=\\udcff: not UTF-8"),
        ("run.seed=" + 9000 * "[", "too deep to be read"),
    ],
)
def test_what_cannot_be_meant_says_what_to_type(word, said, config, capsys, tmp_path):
    assert said in refused(capsys, tmp_path, "check", config(), "--set", word)


def test_integers_of_a_config_may_be_written_as_floats(tmp_path, config, capsys):
    text = Path(config()).read_text().replace("iterations = 40", "iterations = 1e2")
    write(tmp_path / "e.toml", text.replace("nodes = 8", "nodes = 4.0"))
    assert main(["check", str(tmp_path / "e.toml")]) == 0
    tables = resolved(capsys)
    assert (tables["run"]["iterations"], tables["topology"]["nodes"]) == (100, 4)


def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path, config, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = Path(config()).read_text()
    write(tmp_path / "bom.toml", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert main(["run", "bom.toml", "-q"]) == 0
    with h5py.File("bom.h5") as file:
        assert file.attrs["config"] == text


def test_every_wrong_key_is_listed(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = {
        "run": {"iterations": -1, "sed": 3},
        "topology": {"name": "ring", "nodes": 0},
        "algorithm": {"name": "gradient-traking"},
    }
    config("a.toml", **tables, colour={"red": 1}, record={"every": "x"})
    said = refused(capsys, tmp_path, "check", "a.toml")
    assert "6 wrong keys: colour, run.sed, run.iterations, record.every, topology.nodes, algorithm.name;" in said
    config("b.toml", run={"iterations": -1}, record={"every": 0})
    assert refused(capsys, tmp_path, "check", "b.toml") == (
        "mpiqopt: b.toml: run.iterations = -1: want greater than or equal to 0; record.every = 0: want greater than or "
        "equal to 1\n"
    )


def test_more_wrong_keys_than_a_line_holds_are_counted(config, capsys, tmp_path):
    wrong = {f"no_such_key_{i}": i for i in range(40)}
    said = refused(capsys, tmp_path, "check", config(run=wrong))
    assert "40 wrong keys: run.no_such_key_0, " in said


@pytest.fixture
def result(tmp_path, config, monkeypatch) -> str:
    """A result file in another folder than its config, which names a data file beside it."""
    monkeypatch.chdir(tmp_path)
    stream = np.random.default_rng(0)
    (tmp_path / "configs").mkdir()
    np.savez(tmp_path / "configs" / "data.npz", X=stream.standard_normal((40, 3)), y=np.arange(40) % 2)
    config("configs/c.toml", data={"name": "npz", "path": "data.npz"})
    assert main(["run", "configs/c.toml", "-q", "-o", "results/a.h5", "--set", "run.iterations=7"]) == 0
    return "results/a.h5"


def test_a_result_file_is_the_config_that_it_was_run_with(result, tmp_path, capsys):
    """Its paths are those of the config, and the run is the same to the bit."""
    assert main(["run", result, "-q", "-o", "again.h5"]) == 0
    with h5py.File(result) as old, h5py.File("again.h5") as new:
        assert new.attrs["config"] == old.attrs["config"]
        np.testing.assert_array_equal(new["objective"][()], old["objective"][()])
    assert main(["check", result, "--set", "run.seed=5"]) == 0
    assert resolved(capsys)["run"] | {"seed": 5, "iterations": 7} == tomllib.loads(
        "seed = 5\niterations = 7\ntolerance_on = 'nodes'\ndtype = 'float64'\ndevice = 'auto'\n"
        "transport = 'auto'\nstart = 'zero'"
    )
    assert main(["topology", result]) == 0
    assert "ring" in capsys.readouterr().out


def test_a_result_file_can_be_run_on_by_itself(result, capsys):
    assert main(["run", result, "-q", "-o", result, "--resume", "--set", "run.iterations=12"]) == 0
    with h5py.File(result) as file:
        assert file["iteration"][-1] == 12


def test_paths_of_a_result_whose_configs_are_gone_are_beside_it(result, tmp_path, capsys):
    (tmp_path / "configs").rename(tmp_path / "moved")
    assert "data.npz: no such file" in refused(capsys, tmp_path, "check", result)
    (tmp_path / "moved" / "data.npz").rename(tmp_path / "results" / "data.npz")
    assert main(["check", result]) == 0


def test_a_file_of_another_kind_is_no_config(tmp_path, capsys):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones(3)
    assert "not a result file of mpiqopt" in refused(capsys, tmp_path, "check", tmp_path / "other.h5")
    write(tmp_path / "cut.h5", (tmp_path / "other.h5").read_bytes()[:100])
    assert "cut.h5" in refused(capsys, tmp_path, "check", tmp_path / "cut.h5")
