"""Nothing is lost of a result file: flipped bits, readers, links, file systems without locks, full disks."""

import resource
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from tools.commands import TIMEOUT, command, environment
from tools.outputs import ENDLESS, records, refused

from mpiqopt.results import files
from mpiqopt.results.layout import REPRODUCIBLE

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
        with pytest.raises(OSError, match="damaged"), files.open_sealed(path):
            pass
        with pytest.raises(OSError, match="damaged"):
            files.copy_into_memory(path)


@pytest.mark.parametrize("count", [1, 30, 1000])
def test_zeros_over_the_end_are_an_error(count, stopped, tmp_path):
    """HDF5's own checksum of a chunk of zeros is zero."""
    content = (stopped / "small.h5").read_bytes()
    for end in (bytes(count), b""):
        (tmp_path / "small.h5").write_bytes(content[:-count] + end)
        with pytest.raises(OSError, match=r"damaged|truncated"), files.open_sealed(tmp_path / "small.h5"):
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
    with files.open_sealed(copy) as file:
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
