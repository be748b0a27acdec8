"""Clients that train parts of a network on any number of ranks, interrupted and gone on with, and predicted bytes."""

import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.commands import TIMEOUT
from tools.interruption import interrupted
from tools.outputs import assert_same_clients
from tools.run_many import run_alone, run_on

from mpiqopt.analysis.estimate import bytes_per_iteration
from mpiqopt.config.parse import load
from mpiqopt.run.assembly import assemble
from mpiqopt.transport.serial import SerialTransport

pytestmark = [pytest.mark.torch, pytest.mark.mpi]
pytest.importorskip("torch")

NODES, ROUNDS = 9, 6
SLOW = {"gradient_seconds": 0.5, "slowdown": [1.0, 4.0, 1.0, 2.0, 1.0, 4.0, 1.0, 1.0, 2.0], "sleep": False}
SLOW |= {"delay": 0.1, "bandwidth": 1e5}
SAMPLED = {"clients_per_round": 6, "batch_size": 8, "local_steps": 2, "step_size": 0.1}
LATE = {**SAMPLED, "deadline": 1.5, "late": "apply", "drop_out": 0.1}
JUMPY = {"step_size": 1.0, "rollback": True, "rollback_threshold": 1.0}
QSGD, TOP_K = {"name": "qsgd", "block_size": 16}, {"name": "top-k", "fraction": 0.3}
MLP = {"model": "mlp", "options": {"hidden": [12, 8]}}
CNN = {"model": "cnn", "options": {"channels": [4, 6], "dense": [10], "norm": "batch"}}
DEVICES = [{}, {"time": 0.8, "upload": [0.5, 1.0]}, {"memory": 0.9, "upload": [0.45, 1.0]}]
# method, keys, compressor and network
CASES = {
    "windows": ("cocofl", LATE, QSGD, MLP),
    "convolutions": ("cocofl", {**SAMPLED, **JUMPY, "aggregation": "trainers"}, None, CNN),
    "float": ("cocofl", {**LATE, "frozen": "float", "frozen_after": "float", "two_way": True}, TOP_K, MLP),
    "widths": ("heterofl", LATE, TOP_K, CNN),
    "whole": ("fedavg-drop", {**LATE, "late": "discard"}, QSGD, MLP),
}


def tables(name: str, keys: dict, compressor: dict | None, network: dict) -> dict:
    """A config of a small network on digits."""
    return {
        "run": {"iterations": ROUNDS, "seed": 3, "start": "auto"},
        "data": {"name": "digits", "split": "dirichlet", "test_fraction": 0.7, "scale": "none"},
        "problem": {"name": "torch", **network},
        "topology": {"name": "ring", "nodes": NODES},
        "algorithm": {"name": name, **keys},
        "record": {"every": 3, "training": "none"},
        "emulate": SLOW,
        "devices": DEVICES,
        **({"compressor": compressor} if compressor else {}),
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, list[str]]:
    """Results of all cases in one process without MPI, and the configs."""
    return run_alone(tmp_path_factory.mktemp("alone"), {case: tables(*parts) for case, parts in CASES.items()})


@pytest.mark.parametrize("ranks", [3, *(pytest.param(ranks, marks=pytest.mark.slow) for ranks in (1, 2))])
def test_any_number_of_ranks_gives_the_same_bits_and_the_bytes_that_are_predicted(ranks, alone, tmp_path):
    """Of windows in 8 bits and in float and of widths, with coded messages, late updates and lost clients."""
    folder, paths = alone
    run_on(ranks, tmp_path / "results", paths)
    for path in paths:
        name = f"{Path(path).stem}.h5"
        assert_same_clients(folder / name, tmp_path / "results" / name)
        predicted = np.multiply(ROUNDS, bytes_per_iteration(assemble(load(path), SerialTransport()), ranks))
        with h5py.File(tmp_path / "results" / name) as file:
            assert predicted.tolist() == pytest.approx([file["bytes"][-1], file["mpi_bytes"][-1]], rel=1e-12)
            up, down = (int(file["clients"][column][()][:, 1:].sum()) for column in ("up_bytes", "down_bytes"))
            assert up + down == file["bytes"][-1]


def test_cases_have_late_and_lost_clients_and_steps_taken_back(alone):
    """Else the test above would show nothing of them."""
    seen = set()
    for case in CASES:
        with h5py.File(alone[0] / f"{case}.h5") as file:
            seen |= set(np.unique(file["clients/sampled"]).tolist())
    assert seen >= {0, 1, 3, 4, 5, 6}


@pytest.mark.slow
def test_a_killed_run_goes_on_with_other_ranks_to_the_same_bits(mpiqopt, config, tmp_path):
    """Scales, late windows under way, and errors that wait for the next message with their block: all of it."""
    long = tables("cocofl", LATE, QSGD, MLP)
    long["run"]["iterations"] = 40
    long |= {"record": {"every": 20, "training": "none"}, "checkpoint": {"every_seconds": 0.2}}
    path = config(**long)
    assert mpiqopt("run", path, "-q", "-o", "whole.h5").returncode == 0
    job = interrupted(tmp_path, 0)
    job.kill()
    assert job.wait(TIMEOUT) == -signal.SIGKILL
    with h5py.File(tmp_path / "small.h5") as file:
        assert len(file["clients/sampled"]) < 40
    assert mpiqopt("run", path, "-q", "--resume", ranks=2).returncode == 0
    assert_same_clients(tmp_path / "whole.h5", tmp_path / "small.h5")
