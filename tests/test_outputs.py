"""Nothing is lost of a result file: who writes it, what --resume takes, flipped bits, full disks, longer runs."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from conftest import TIMEOUT, command, environment

from mpiqopt.errors import UsageError
from mpiqopt.results import files, lock
from mpiqopt.results.layout import REPRODUCIBLE
from mpiqopt.results.lock import Lock

ENDLESS = {"run": {"iterations": 10**9}, "record": {"every": 1000}}


def records(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][()] for name in (*REPRODUCIBLE, "final/x") if name in file}


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert np.array_equal(values, other[name]), name


def refused(result: subprocess.CompletedProcess) -> str:
    """The one line of a refusal."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) <= 300  # pytest's folders are long
    return result.stderr


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


@pytest.mark.parametrize("changed", ["data", "graph.edges", "start.npy", "plug-in mine.py"])
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


# Who writes it


def test_a_second_run_is_told_who_writes_the_file(mpiqopt, config, tmp_path):
    path = config(**ENDLESS)
    job = subprocess.Popen(command("run", path, "-q"), cwd=tmp_path, env=environment())
    while not (tmp_path / "small.h5").exists():
        assert job.poll() is None
        time.sleep(0.01)
    for flag in ("--overwrite", "--resume"):
        line = refused(mpiqopt("run", path, flag))
        assert f"process {job.pid} on {os.uname().nodename}" in line
    job.terminate()
    assert job.wait(TIMEOUT) == 75
    assert not (tmp_path / "small.h5.lock").exists()
    assert mpiqopt("run", path, "--resume", "--time-limit", "0.3").returncode == 75


def test_show_tells_a_killed_run_from_one_at_work(mpiqopt, config, tmp_path):
    path = config(**ENDLESS)
    job = subprocess.Popen(command("run", path, "-q"), cwd=tmp_path, env=environment())
    while not (tmp_path / "small.h5").exists():
        assert job.poll() is None
        time.sleep(0.01)
    assert "running" in mpiqopt("show", "small.h5").stdout
    job.kill()
    job.wait()
    assert "interrupted" in mpiqopt("show", "small.h5").stdout
    assert mpiqopt("run", path, "--resume", "--time-limit", "0.3").returncode == 75


def test_of_runs_that_start_at_once_one_wins(config, tmp_path):
    path = config(**ENDLESS)
    for i in range(3):
        words = command("run", path, "-q", "--time-limit", "1", "-o", f"{i}.h5")
        jobs = [subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE) for _ in range(3)]
        assert sorted(job.wait(TIMEOUT) for job in jobs) == [2, 2, 75]
        assert sorted(path.name for path in tmp_path.glob(f"{i}.h5*")) == [f"{i}.h5", f"{i}.h5.checkpoint"]
        assert len(records(tmp_path / f"{i}.h5")["iteration"]) > 0


def holder(path: Path, **changes) -> bytes:
    """What a lock file says of another run."""
    content = json.dumps({**json.loads(lock._myself()), **changes}).encode()
    path.write_bytes(content)
    return content


def test_the_lock_of_a_run_that_is_gone_is_taken(tmp_path):
    """The process is gone, or another one has its number now."""
    for changes in ({"pid": 2**22 + 1}, {"started": "1"}):
        holder(tmp_path / "a.h5.lock", **changes)
        mine = Lock.take(tmp_path / "a.h5")
        with pytest.raises(UsageError, match=f"process {os.getpid()} on"):
            Lock.take(tmp_path / "a.h5")
        mine.release()
        assert list(tmp_path.iterdir()) == []


def test_the_lock_of_another_machine_counts_while_somebody_touches_it(tmp_path, monkeypatch):
    """Clocks are not compared, changes are."""
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.4)
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.02)
    path, notes = tmp_path / "a.h5.lock", []
    holder(path, host="node7", machine="another kernel")
    toucher = subprocess.Popen(
        [sys.executable, "-c", "import os, sys, time\nwhile 1: os.utime(sys.argv[1]); time.sleep(0.02)", path]
    )
    try:
        time.sleep(0.5)
        with pytest.raises(UsageError, match=r"on node7 since .* is writing it"):
            Lock.take(tmp_path / "a.h5", notes.append)
    finally:
        toucher.kill()
        toucher.wait()
    Lock.take(tmp_path / "a.h5", notes.append).release()
    assert len(notes) == 2
    assert "node7" in notes[0]


def test_a_lock_that_another_run_has_taken_is_not_deleted(tmp_path):
    mine = Lock.take(tmp_path / "a.h5")
    other = holder(mine.path, pid=1)
    assert not mine.is_ours()
    mine.release()
    assert mine.path.read_bytes() == other


def test_a_run_that_has_lost_its_lock_ends(config, tmp_path):
    """It was suspended, and another one was started meanwhile."""
    path = config(**ENDLESS)
    job = subprocess.Popen(
        command("run", path, "-q"), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "small.h5").exists():
        assert job.poll() is None
        time.sleep(0.01)
    holder(tmp_path / "small.h5.lock", pid=1)
    _, said = job.communicate(timeout=TIMEOUT)
    assert job.returncode == 75
    assert "stopped: small.h5.lock was taken by another run" in said
    assert (tmp_path / "small.h5.lock").exists()


def test_folders_are_made_for_a_result_only(mpiqopt, config, tmp_path):
    path = config(data={"name": "csv", "path": "none.csv"})
    assert mpiqopt("run", path, "-o", "new/folder/a.h5").returncode == 2
    assert not (tmp_path / "new").exists()
    assert mpiqopt("run", config(), "-o", "new/folder/a.h5").returncode == 0
    assert sorted(file.name for file in (tmp_path / "new/folder").iterdir()) == ["a.h5", "a.h5.checkpoint"]


def test_without_hard_links_a_lock_is_taken_too(tmp_path, monkeypatch):
    def no_links(*names):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    mine = Lock.take(tmp_path / "a.h5")
    with pytest.raises(UsageError):
        Lock.take(tmp_path / "a.h5")
    mine.release()
    assert list(tmp_path.iterdir()) == []


def test_what_killed_runs_have_left_is_cleared_and_nothing_else(mpiqopt, config, tmp_path):
    left = [".part", ".0123abcd.part", ".checkpoint.0123abcd.part"]
    kept = [".old.part", "x.0123abcd.part", ".checkpoint.part.h5"]
    for end in left + kept:
        (tmp_path / f"small.h5{end}").touch()
    assert mpiqopt("run", config()).returncode == 0
    assert not any((tmp_path / f"small.h5{end}").exists() for end in left)
    assert all((tmp_path / f"small.h5{end}").exists() for end in kept)


# Flipped bits


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A folder with a run that was stopped."""
    import tomli_w

    folder = tmp_path_factory.mktemp("stopped")
    tables = {
        **ENDLESS,
        "data": {"name": "synthetic", "samples": 60, "features": 5},
        "problem": {"name": "least-squares"},
        "topology": {"name": "ring", "nodes": 4},
        "algorithm": {"name": "gradient-tracking"},
    }
    (folder / "small.toml").write_text(tomli_w.dumps(tables))
    job = subprocess.run(command("run", "small.toml", "-q", "--time-limit", "0.3"), cwd=folder, env=environment())
    assert job.returncode == 75
    return folder


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("name", ["small.h5", "small.h5.checkpoint"])
def test_a_flipped_bit_is_an_error_and_never_another_number(name, stopped, tmp_path):
    """Anywhere, also in the seal."""
    content = (stopped / name).read_bytes()
    path = tmp_path / name
    for bit in np.random.default_rng(0).integers(8 * len(content), size=300):
        path.write_bytes(flipped(content, int(bit)))
        with pytest.raises(OSError, match="damaged"), files.reading(path):
            pass
        with pytest.raises(OSError, match="damaged"):
            files.into_memory(path)


@pytest.mark.parametrize("count", [1, 30, 1000])
def test_zeros_over_the_end_are_an_error(count, stopped, tmp_path):
    """HDF5's own checksum of a chunk of zeros is zero."""
    content = (stopped / "small.h5").read_bytes()
    for end in (bytes(count), b""):
        (tmp_path / "small.h5").write_bytes(content[:-count] + end)
        with pytest.raises(OSError, match=r"damaged|truncated"), files.reading(tmp_path / "small.h5"):
            pass


def test_damage_is_told_in_one_line(mpiqopt, stopped, tmp_path):
    for name, commands in (
        ("small.h5", [("show", "small.h5"), ("plot", "small.h5", "-o", "a.png"), ("run", "small.toml", "--resume")]),
        ("small.h5.checkpoint", [("run", "small.toml", "--resume")]),
    ):
        shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
        content = (stopped / name).read_bytes()
        (tmp_path / name).write_bytes(flipped(content, 8 * 3000 + 1))
        for words in commands:
            assert f"{name}: " in refused(mpiqopt(*words))
            assert (tmp_path / name).read_bytes() == flipped(content, 8 * 3000 + 1)


def test_other_readers_check_too_and_do_not_mind_the_seal(stopped, tmp_path):
    with h5py.File(stopped / "small.h5") as file:
        stored = [name for name in (*REPRODUCIBLE, "final/x", "topology/edges") if name in file]
        assert all(file[name].fletcher32 for name in stored)
        expected = file["objective"][()]
    with xarray.open_dataset(stopped / "small.h5", engine="h5netcdf") as run:
        assert np.array_equal(run.objective, expected)
    copy = tmp_path / "small.h5"
    shutil.copy(stopped / "small.h5", copy)
    with h5py.File(copy, "r+") as file:  # a user's own note takes the seal away
        file.attrs["note"] = "good one"
    with files.reading(copy) as file:
        assert np.array_equal(file["objective"], expected)
        assert file.attrs["note"] == "good one"


def test_files_without_a_seal_are_gone_on_with(mpiqopt, stopped, tmp_path):
    """As earlier versions wrote them."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    for name in ("small.h5", "small.h5.checkpoint"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: -files.SEAL_BYTES])
    with h5py.File(tmp_path / "small.h5", "r+") as file:
        del file.attrs["fingerprints"]
    assert mpiqopt("run", "small.toml", "--resume", "--time-limit", "0.3").returncode == 75


# Where files lie


def test_resume_works_while_a_notebook_has_the_file_open(mpiqopt, stopped, tmp_path):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    before = records(tmp_path / "small.h5")["iteration"][-1]
    with h5py.File(tmp_path / "small.h5"), h5py.File(tmp_path / "small.h5.checkpoint"):
        assert mpiqopt("run", "small.toml", "--resume", "--time-limit", "0.5").returncode == 75
    assert records(tmp_path / "small.h5")["iteration"][-1] > before


def test_permissions_stay(mpiqopt, stopped, tmp_path):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    for name in ("small.h5", "small.h5.checkpoint"):
        (tmp_path / name).chmod(0o440)
    assert mpiqopt("run", "small.toml", "--resume", "--time-limit", "0.5").returncode == 75
    for name in ("small.h5", "small.h5.checkpoint"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o440


def test_links_are_followed(mpiqopt, config, tmp_path):
    path = config(**ENDLESS)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "small.h5").symlink_to("scratch/big.h5")
    for flag in ("--resume", "--resume", "--overwrite"):
        assert mpiqopt("run", path, flag, "--time-limit", "0.3").returncode == 75
    assert (tmp_path / "small.h5").is_symlink()
    assert sorted(file.name for file in (tmp_path / "scratch").iterdir()) == ["big.h5", "big.h5.checkpoint"]


NO_LOCKS = """
#include <errno.h>
#include <stdlib.h>
int flock(int fd, int how) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""


@pytest.mark.parametrize("number", [37, *(pytest.param(n, marks=pytest.mark.slow) for n in (95, 524))])
def test_file_systems_without_locks_do(number, mpiqopt, config, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    library = tmp_path / "noflock.so"
    (tmp_path / "noflock.c").write_text(NO_LOCKS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "noflock.c"], check=True, timeout=TIMEOUT)
    variables = {"LD_PRELOAD": str(library), "FLOCK_ERRNO": str(number)}
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["X"], file["y"] = np.random.default_rng(0).standard_normal((50, 3)), np.arange(50.0)
    path = config(
        **ENDLESS,
        data={"name": "hdf5", "path": "data.h5"},
        problem={"name": "least-squares"},
        checkpoint={"every_seconds": 0.1},
    )
    for _ in range(2):
        assert mpiqopt("run", path, "--resume", "--time-limit", "0.5", **variables).returncode == 75
    assert mpiqopt("show", "small.h5", **variables).returncode == 0
    assert mpiqopt("plot", "small.h5", "-o", "a.png", **variables).returncode == 0
    assert mpiqopt("run", path, "-o", "b.h5", "--set", "run.start=small.h5", "--time-limit", "0.3").returncode == 75
    assert not list(tmp_path.glob("*.part"))


def test_a_full_disk_loses_nothing(config, tmp_path):
    """Files may have 70 kB at most: the run goes on, says so once, and its file stays as it was when that did."""
    path = config(**ENDLESS | {"record": {"every": 1}}, checkpoint={"every_seconds": 0.1})
    job = subprocess.run(
        command("run", path, "--time-limit", "2"),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000)),
    )
    assert job.returncode == 75, job.stderr
    assert job.stderr.count("small.h5: cannot write (File too large); going on, and trying again") == 1
    assert "stopped: time limit of 2 s, but the file cannot be written; iteration" in job.stderr
    whole = records(tmp_path / "small.h5")["iteration"]
    assert len(whole) > 0
    assert sorted(file.name for file in tmp_path.glob("small.h5*")) == ["small.h5", "small.h5.checkpoint"]
    with h5py.File(tmp_path / "small.h5.checkpoint") as file:
        assert file.attrs["last_record"] <= whole[-1]
    resumed = subprocess.run(
        command("run", path, "-q", "--resume", "--time-limit", "0.5"), cwd=tmp_path, env=environment()
    )
    assert resumed.returncode == 75
    assert len(records(tmp_path / "small.h5")["iteration"]) > len(whole)
