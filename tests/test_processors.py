"""Kernels for several instruction sets: which run, what is said where none can, and whole runs on older processors."""

import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from tools.commands import environment

from mpiqopt import kernels
from mpiqopt._processor import LEVELS, lacking
from mpiqopt.errors import UsageError

EMULATOR = shutil.which("qemu-x86_64")
# what emulated processors have: Nehalem (2008) has SSE 4.2, Haswell (2013) AVX2
EMULATED = {"Nehalem": "v2", "Haswell": "v3"}


@pytest.fixture
def unset(monkeypatch):
    """The level is asked for anew, with no variable set."""
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    kernels.level.cache_clear()
    yield monkeypatch
    kernels.level.cache_clear()


def without(*features: str):
    """``lacking`` of a processor without some features."""
    needed = {"v2": ["sse4.2"], "v3": ["sse4.2", "avx2"], "v4": ["sse4.2", "avx2", "avx512f"], "march": ["gfni"]}
    return lambda level: [feature for feature in needed[level] if feature in features]


def test_the_best_level_that_the_processor_has_runs(unset):
    assert kernels.level() == max(k for k, level in enumerate(LEVELS) if not lacking(level))


@pytest.mark.parametrize(("missing", "best"), [((), "v4"), (("avx512f",), "v3"), (("avx512f", "avx2"), "v2")])
def test_a_lesser_processor_runs_a_lesser_level(unset, missing, best):
    unset.setattr(kernels, "LEVELS", ("v2", "v3", "v4"))
    unset.setattr(kernels, "lacking", without(*missing))
    assert kernels.kernel_names([kernels.level()]) == best


def test_a_level_can_be_forced(unset):
    unset.setenv(kernels.VARIABLE, LEVELS[0])
    assert kernels.level() == 0


@pytest.mark.parametrize(
    ("levels", "march", "variable", "line"),
    [
        (("v2", "v3", "v4"), "", "v3", "MPIQOPT_KERNELS = 'v3': this processor lacks avx2; leave the variable out"),
        (("v2", "v3", "v4"), "", "avx", "MPIQOPT_KERNELS = 'avx': want one of v2, v3, v4"),
        (("v2", "v3", "v4"), "", "", "this processor lacks sse4.2, which the kernels of v2 need; build with"),
        (("march",), "native", "", "the kernels were built with MPIQOPT_MARCH=native, and this processor lacks gfni;"),
    ],
)
def test_what_cannot_run_is_said(unset, levels, march, variable, line):
    unset.setenv(kernels.VARIABLE, variable)
    unset.setattr(kernels, "LEVELS", levels)
    unset.setattr(kernels, "MARCH", march)
    unset.setattr(kernels, "lacking", without("avx2", *([] if variable else ["sse4.2", "gfni"])))
    with pytest.raises(UsageError) as raised:
        kernels.level()
    assert str(raised.value).startswith(line)


def test_a_wrong_level_is_one_line(mpiqopt, config):
    for arguments in (["run", config()], ["doctor"]):
        run = mpiqopt(*arguments, MPIQOPT_KERNELS="avx2")
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr.splitlines() == [f"mpiqopt: MPIQOPT_KERNELS = 'avx2': want one of {', '.join(LEVELS)}"]


def test_levels_of_a_mixed_cluster_are_all_named():
    assert kernels.kernel_names([1, 0, 1]) == (
        f"{LEVELS[0]}, {LEVELS[1]}" if len(LEVELS) > 1 else kernels.kernel_names([0])
    )


def test_the_result_says_which_kernels_ran(mpiqopt, config, tmp_path):
    assert mpiqopt("run", config(), "-o", "a.h5", MPIQOPT_KERNELS=LEVELS[0]).returncode == 0
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["kernels"] == kernels.kernel_names([0])


@pytest.mark.slow
@pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64 (Debian: qemu-user)")
@pytest.mark.skipif("v2" not in LEVELS, reason="the kernels were built for one processor")
@pytest.mark.parametrize("name", EMULATED)
def test_an_older_processor_gives_the_same_bits(mpiqopt, config, tmp_path, name):
    """No instruction that it lacks is run, and nothing comes out otherwise."""
    path = config(algorithm={"name": "prox-lead"}, compressor={"name": "eden", "bits": 2})
    assert mpiqopt("run", path, "-q", "-o", "here.h5").returncode == 0
    command = [EMULATOR, "-cpu", name, sys.executable, "-m", "mpiqopt", "run", path, "-q", "-o", "there.h5"]
    for _ in range(2):  # the emulator dies by itself once in some hundred runs; what is lacking is so each time
        run = subprocess.run(
            [*command, "--overwrite"], cwd=tmp_path, env={**environment(), "PYTHONFAULTHANDLER": "1"},
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        if run.returncode >= 0:
            break
    assert run.returncode == 0, run.stderr
    with h5py.File(tmp_path / "here.h5") as here, h5py.File(tmp_path / "there.h5") as there:
        assert there.attrs["kernels"] == EMULATED[name]
        for column in ("objective", "stationarity", "consensus", "final/x"):
            np.testing.assert_array_equal(there[column][()], here[column][()])
