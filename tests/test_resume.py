"""What --resume takes: the checkpoint, the files that a run was made from, more iterations than before."""

import json
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.commands import command, environment
from tools.outputs import ENDLESS, assert_equal, records, refused
from tools.representatives import slow

# What --resume takes


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_resume_without_the_checkpoint_leaves_the_records_alone(quiet, mpiqopt, config, tmp_path):
    path = config(**ENDLESS)
    assert mpiqopt("run", path, "--time-limit", "0.3").returncode == 75
    before = (tmp_path / "small.h5").read_bytes()
    (tmp_path / "small.h5.checkpoint").rename(tmp_path / "elsewhere")
    assert "--overwrite" in refused(mpiqopt("run", path, "--resume", *quiet))
    assert (tmp_path / "small.h5").read_bytes() == before
    (tmp_path / "elsewhere").rename(tmp_path / "small.h5.checkpoint")
    assert mpiqopt("run", path, "--resume", "--time-limit", "0.3").returncode == 75


def test_a_run_that_was_killed_at_once_can_be_gone_on_with(mpiqopt, config, tmp_path):
    """Its start is saved before its first record."""
    path = config(**ENDLESS, checkpoint={"every_seconds": 1000.0})
    job = subprocess.Popen(command("run", path, "-q"), cwd=tmp_path, env=environment())
    while not (tmp_path / "small.h5").exists():
        assert job.poll() is None
        time.sleep(0.005)
    job.kill()
    job.wait()
    assert mpiqopt("run", path, "--resume", "--time-limit", "0.3").returncode == 75


PLUGIN = """
from dataclasses import dataclass
from mpiqopt.algorithms.dgd import DGD
from mpiqopt.registry import register

@register("algorithm", "mine")
@dataclass(frozen=True, kw_only=True)
class Mine(DGD):
    pass
"""


def csv(seed: int) -> str:
    table = np.random.default_rng(seed).standard_normal((40, 4))
    return "\n".join(",".join(map(str, row)) for row in table)


def changed_inputs(folder: Path) -> dict[str, tuple[Path, bytes]]:
    """Files of a run, with other contents."""
    start = folder / "other.npy"
    np.save(start, np.ones(3))
    return {
        "data": (folder / "data.csv", csv(2).encode()),
        "graph.edges": (folder / "graph.edges", b"0 1\n1 2\n2 3\n3 0\n0 2\n"),
        "start.npy": (folder / "start.npy", start.read_bytes()),
        "plug-in mine.py": (folder / "mine.py", PLUGIN.replace("pass", "mine = 1").encode()),
    }


@pytest.mark.parametrize("changed", ["data", "plug-in mine.py", *slow("graph.edges", "start.npy")])
def test_resume_notices_that_what_the_run_was_made_from_has_changed(changed, mpiqopt, config, tmp_path):
    (tmp_path / "data.csv").write_text(csv(1))
    (tmp_path / "graph.edges").write_text("0 1\n1 2\n2 3\n3 0\n")
    (tmp_path / "mine.py").write_text(PLUGIN)
    np.save(tmp_path / "start.npy", np.zeros(3))
    path = config(
        run={"iterations": 10**9, "start": "start.npy"},
        data={"name": "csv", "path": "data.csv"},
        problem={"name": "least-squares"},
        topology={"name": "file", "path": "graph.edges"},
        algorithm={"name": "mine", "step_size": 0.01},
    )
    run = ("run", path, "--plugin", "mine.py", "--time-limit", "0.3", "--resume")
    for _ in range(2):
        assert mpiqopt(*run).returncode == 75
    before = (tmp_path / "small.h5").read_bytes()
    file, content = changed_inputs(tmp_path)[changed]
    good = file.read_bytes()
    file.write_bytes(content)
    line = refused(mpiqopt(*run))
    assert ("the data are not those" if changed == "data" else f"{changed} is not the file") in line
    assert (tmp_path / "small.h5").read_bytes() == before
    file.write_bytes(good)
    assert mpiqopt(*run).returncode == 75


@pytest.mark.mpi
def test_the_fingerprint_of_data_does_not_depend_on_ranks(mpiqopt, config, tmp_path):
    path = config(data={"name": "breast-cancer", "test_fraction": 0.2})
    for ranks in (0, 3):
        assert mpiqopt("run", path, "-o", f"{ranks}.h5", ranks=ranks).returncode == 0
    prints = [json.loads(h5py.File(tmp_path / f"{ranks}.h5").attrs["fingerprints"]) for ranks in (0, 3)]
    assert prints[0] == prints[1]
    assert set(prints[0]) == {"data"}


def test_a_state_of_another_shape_is_one_line(mpiqopt, config, tmp_path):
    path = config(**ENDLESS)
    assert mpiqopt("run", path, "--time-limit", "0.3").returncode == 75
    checkpoint = tmp_path / "small.h5.checkpoint"
    good = checkpoint.read_bytes()
    for spoil, word in (
        (lambda file: replace(file, "y", np.zeros((8, 3))), "its y is 8 x 3 float64, not 8 x 7 float64"),
        (lambda file: replace(file, "y", np.zeros((8, 7), np.float32)), "its y is 8 x 7 float32"),
        (lambda file: file.__delitem__("gradient"), "it lacks gradient"),
        (lambda file: file.attrs.__delitem__("state.t"), "it lacks state.t"),
        (lambda file: file.attrs.__delitem__("iteration"), "it lacks iteration"),
    ):
        checkpoint.write_bytes(good)
        with h5py.File(checkpoint, "r+") as file:
            spoil(file)
        line = refused(mpiqopt("run", path, "--resume"))
        assert word in line
        assert "--overwrite" in line


@pytest.fixture
def begun(mpiqopt, config, tmp_path) -> str:
    """The config of a run that has begun, small.h5, when "ftqc" was the default of a key that it does not give."""
    algorithm = {"name": "ftqc-dgd", "coordinator": "ftqc"}
    given = Path(config("given.toml", algorithm=algorithm, run={"iterations": 10}))
    for name, words in (("small", ()), ("whole", ("--set", "run.iterations=30"))):
        assert mpiqopt("run", given, "-o", f"{name}.h5", *words).returncode == 0
    path = config(algorithm={"name": "ftqc-dgd"}, run={"iterations": 10})
    with h5py.File(tmp_path / "small.h5", "r+") as file:
        file.attrs["config"] = Path(path).read_text()
    return path


def test_a_new_default_changes_no_run_that_has_begun(begun, mpiqopt, tmp_path):
    """Here the coordinator: resumed twice, and to the bits and bytes of a run that gives it."""
    for iterations in (20, 30):
        assert mpiqopt("run", begun, "--resume", "--set", f"run.iterations={iterations}").returncode == 0
    assert_equal(records(tmp_path / "small.h5"), records(tmp_path / "whole.h5"))
    with h5py.File(tmp_path / "small.h5") as file:
        assert 'coordinator = "ftqc"' in file.attrs["config_resolved"]
    assert mpiqopt("run", begun, "-o", "new.h5", "--set", "run.iterations=30").returncode == 0
    assert records(tmp_path / "new.h5")["bytes"][-1] < records(tmp_path / "whole.h5")["bytes"][-1]


def test_a_begun_run_does_not_go_on_with_another_value_than_its_default(begun, mpiqopt):
    more = ("--set", "run.iterations=20")
    said = refused(mpiqopt("run", begun, "--resume", *more, "--set", "algorithm.coordinator=collect"))
    assert "algorithm.coordinator = 'collect' (was 'ftqc'): --resume of small.h5 wants the config" in said
    assert mpiqopt("run", begun, "--resume", *more, "--set", "algorithm.coordinator=ftqc").returncode == 0


def test_a_result_file_as_a_config_has_the_defaults_of_its_run(begun, mpiqopt):
    for words, coordinator in ((), "ftqc"), (("--set", "algorithm.coordinator=collect"), "collect"):
        assert f'coordinator = "{coordinator}"' in mpiqopt("check", "small.h5", *words).stdout
    assert "coordinator" not in mpiqopt("check", "small.h5", "--set", "algorithm.name=dgd").stdout


def replace(file: h5py.File, name: str, values: np.ndarray) -> None:
    del file[name]
    file[name] = values


# Longer runs


def test_a_finished_run_is_extended_to_the_bits_of_one_that_was_longer_from_the_start(mpiqopt, config, tmp_path):
    path = config()
    assert mpiqopt("run", path, "--set", "run.iterations=90", "-o", "whole.h5").returncode == 0
    assert mpiqopt("run", path).returncode == 0
    again = mpiqopt("run", path, "--resume")
    assert again.returncode == 0
    assert "finished already (iterations: 40 done); to go on raise run.iterations" in again.stderr
    assert mpiqopt("run", path, "--resume", "--set", "run.iterations=30").returncode == 0  # done already
    for iterations in (60, 90):
        assert mpiqopt("run", path, "--resume", "--set", f"run.iterations={iterations}").returncode == 0
    assert_equal(records(tmp_path / "small.h5"), records(tmp_path / "whole.h5"))
    with h5py.File(tmp_path / "small.h5") as file:
        assert file.attrs["stop_reason"] == "iterations: 90 done"
        assert "iterations = 90" in file.attrs["config"]


def test_a_lower_tolerance_and_other_records_go_on_with_a_finished_run(mpiqopt, config, tmp_path):
    path = config(run={"iterations": 10_000, "tolerance": 1e-3})
    assert mpiqopt("run", path).returncode == 0
    short = records(tmp_path / "small.h5")["iteration"]
    assert mpiqopt("run", path, "--resume", "--set", "run.tolerance=1e-2").returncode == 0
    assert np.array_equal(records(tmp_path / "small.h5")["iteration"], short)
    extended = ("--resume", "--set", "run.tolerance=1e-9", "--set", "record.every=7")
    assert mpiqopt("run", path, *extended).returncode == 0
    now = records(tmp_path / "small.h5")["iteration"]
    assert np.array_equal(now[: len(short)], short)
    assert set(np.diff(now[len(short) :])) == {7}


def test_a_stopped_run_does_not_end_before_where_it_is(mpiqopt, config):
    path = config(**ENDLESS)
    assert mpiqopt("run", path, "--time-limit", "0.3").returncode == 75
    assert "run.iterations = 1: " in refused(mpiqopt("run", path, "--resume", "--set", "run.iterations=1"))
