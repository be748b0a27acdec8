"""Records of result files, and the line that refuses to write one."""

import subprocess
from pathlib import Path

import h5py
import numpy as np

from mpiqopt.results.layout import CLIENT_QUANTITIES, REPRODUCIBLE

# how often nodes act and what they send by mailboxes depends on time
BY_TIME = {"bytes", "steps", "votes", "frames", "frame_bytes"}
ENDLESS = {"run": {"iterations": 10**9}, "record": {"every": 1000}}


def records(path: Path) -> dict[str, np.ndarray]:
    """Return what is the same whenever a run is made: its records, and the final iterates."""
    with h5py.File(path) as file:
        return {name: file[name][()] for name in (*REPRODUCIBLE, "final/x") if name in file}


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert np.array_equal(values, other[name]), name


def assert_same_clients(one: Path, other: Path) -> None:
    """Records, iterates and what clients did: accuracies of classes without samples are NaN."""
    first, second = records(one), records(other)
    with h5py.File(one) as a, h5py.File(other) as b:
        for file, found in ((a, first), (b, second)):
            known = [name for name in CLIENT_QUANTITIES if f"clients/{name}" in file]
            found |= {f"clients/{name}": file["clients"][name][()] for name in known}
    assert first.keys() == second.keys() >= {"objective", "bytes", "final/x"}
    for name, values in first.items():
        assert np.array_equal(values, second[name], equal_nan=True), f"{one.stem}: {name}"


def refused(result: subprocess.CompletedProcess) -> str:
    """The one line of a refusal."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) <= 300  # pytest's folders are long
    return result.stderr
