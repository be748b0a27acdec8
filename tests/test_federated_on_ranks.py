"""Federated methods on any number of ranks, interrupted and gone on with, and what `check` says of them before."""

import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import tomli_w
from tools.commands import TIMEOUT
from tools.interruption import descendants, interrupted
from tools.outputs import assert_same_clients
from tools.run_many import run_alone, run_on

from mpiqopt.analysis.estimate import bytes_per_iteration, estimate_run
from mpiqopt.analysis.server_cost import plan_rounds
from mpiqopt.config.parse import load
from mpiqopt.run.assembly import assemble
from mpiqopt.transport.serial import SerialTransport

NODES, ITERATIONS = 11, 12
SLOW = {"gradient_seconds": 0.5, "slowdown": [1.0, 4.0, 1.0, 2.0, 1.0, 4.0, 1.0, 1.0, 2.0, 1.0, 6.0], "sleep": False}
SLOW |= {"delay": 0.1, "delay_distribution": "exponential", "bandwidth": 1000.0}
SAMPLED = {"clients_per_round": 6, "batch_size": 4, "local_steps": 2}
LATE = {**SAMPLED, "deadline": 2.5, "late": "apply"}
QSGD, TOP_K = {"name": "qsgd", "block_size": 4}, {"name": "top-k", "fraction": 0.3, "block_size": 5}
DATA = {"name": "synthetic", "task": "classification", "samples": 140, "features": 6, "classes": 3}
# method, keys and compressor
CASES = {
    "fedavg": ("fedavg", {**SAMPLED, "weighting": "samples"}, None),
    "fedavg-late": ("fedavg", {**LATE, "two_way": True, "momentum": 0.8, "keep_optimizer": True}, QSGD),
    "fedavg-discarded": ("fedavg", {**LATE, "late": "discard", "min_clients": 3}, TOP_K),
    "fedprox": ("fedprox", {**LATE, "mu": 0.5}, TOP_K),
    "scaffold": ("scaffold", {**SAMPLED, "two_way": True}, QSGD),
    "scaffold-late": ("scaffold", LATE, TOP_K),
    "fedopt": ("fedopt", {**LATE, "outer_optimizer": "yogi"}, {"name": "one-bit"}),
    "diloco": ("diloco", {**SAMPLED, "step_size": 0.01}, {"name": "eden", "block_size": 8}),
    "local-sgd": ("local-sgd", SAMPLED, None),
    "fedavg-drop": ("fedavg-drop", {**LATE, "late": "discard"}, QSGD),
    "hierarchical": ("hierarchical-fedavg", {**LATE, "regions": 3, "global_every": 4, "two_way": True}, QSGD),
    "regions": ("hierarchical-fedavg", {**SAMPLED, "regions": 4, "global_every": 3, "weighting": "samples"}, None),
    "centralized": ("centralized", {"batch_size": 9, "optimizer": "adamw", "momentum": 0.9, "step_size": 0.01}, None),
}


def tables(name: str, keys: dict, compressor: dict | None) -> dict:
    optional = {"compressor": compressor} if compressor else {}
    if name == "hierarchical-fedavg":
        optional["emulate"] = {**SLOW, "region_bandwidth": 100.0}
    elif name != "centralized":
        optional["emulate"] = SLOW
    return {
        "run": {"iterations": ITERATIONS, "seed": 3, "start": "normal"},
        "data": {**DATA, "split": "dirichlet", "test_fraction": 0.2},
        "problem": {"name": "softmax", "l2": 0.05},
        "topology": {"name": "ring", "nodes": NODES},
        "algorithm": {"name": name, "step_size": 0.2, **keys},
        "record": {"every": 5},
        **optional,
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, list[str]]:
    """Results of all cases in one process without MPI, and the configs."""
    return run_alone(tmp_path_factory.mktemp("alone"), {case: tables(*parts) for case, parts in CASES.items()})


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, *(pytest.param(ranks, marks=pytest.mark.slow) for ranks in (1, 2, 8))])
def test_any_number_of_ranks_gives_the_same_bits_and_the_bytes_that_are_predicted(ranks, alone, tmp_path):
    """Of drawn clients, with coded messages, late updates and optimisers that clients keep."""
    folder, paths = alone
    run_on(ranks, tmp_path / "results", paths)
    for path in paths:
        name = f"{Path(path).stem}.h5"
        assert_same_clients(folder / name, tmp_path / "results" / name)
        predicted = np.multiply(ITERATIONS, bytes_per_iteration(assemble(load(path), SerialTransport()), ranks))
        with h5py.File(tmp_path / "results" / name) as file:
            assert predicted.tolist() == pytest.approx([file["bytes"][-1], file["mpi_bytes"][-1]], rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_what_is_planned_is_what_happens(case, alone):
    """Bytes, evaluations and emulated seconds of rounds that differ, before anything is run."""
    folder, paths = alone
    path = next(path for path in paths if Path(path).stem == case)
    experiment = assemble(load(path), SerialTransport())
    rounds = plan_rounds(experiment)
    assert len(rounds) == ITERATIONS
    payload, moved = bytes_per_iteration(experiment, 1)
    with h5py.File(folder / f"{case}.h5") as file:
        assert (ITERATIONS * payload, moved) == (pytest.approx(file["bytes"][-1], rel=1e-12), 0)
        assert sum(each.evaluations for each in rounds) == pytest.approx(NODES * file["samples"][-1], rel=1e-12)
        if "clients" in file:
            assert sum(each.seconds for each in rounds) == pytest.approx(file["emulated_time"][-1], rel=1e-12)
            sampled = file["clients/sampled"][()]
            late = np.isin(sampled, (2, 3)).sum(axis=1)
            assert [each.late for each in rounds] == late.tolist()
            assert [each.left_out for each in rounds] == (sampled == 4).sum(axis=1).tolist()
            assert (late.any() or (sampled == 4).any()) == ("deadline" in CASES[case][1])


def test_check_says_who_takes_part(alone):
    paths = {Path(path).stem: path for path in alone[1]}
    said = " ".join(estimate_run(load(paths["fedavg-discarded"])).split())
    rows = plan_rounds(assemble(load(paths["fedavg-discarded"]), SerialTransport()))
    late = np.mean([each.late for each in rows])
    assert f"clients per round {6 - late:.4g} of 11 train, {late:.3g} late" in said
    assert "local steps 2 of a client" in said
    assert "classes of devices 4: 6 of slowdown 1, 2 of slowdown 2, 2 of slowdown 4, 1 of slowdown 6" in said
    assert "emulated time" in said
    assert "coded message 72 B" in " ".join(estimate_run(load(paths["scaffold"])).split())  # 36 numbers
    assert "local steps" not in estimate_run(load(paths["centralized"]))


# Networks

NETWORK = {"name": "torch", "model": "mlp", "options": {"hidden": [8]}, "threads": 1}
NETWORKS = {
    "coded": ("fedavg", {**LATE, "two_way": True, "momentum": 0.9, "keep_optimizer": True}, QSGD, NETWORK),
    "adamw": ("diloco", {**SAMPLED, "step_size": 0.01}, None, NETWORK),
    "personal": ("fedavg", {**SAMPLED, "personal": []}, TOP_K, NETWORK),
    "control": ("scaffold", SAMPLED, QSGD, NETWORK),
    "statistics": ("fedopt", SAMPLED, None, {**NETWORK, "model": "resnet18", "options": {"width": 2}}),
}


@pytest.mark.torch
@pytest.mark.mpi
def test_networks_have_the_same_bits_on_three_ranks(tmp_path):
    pytest.importorskip("torch")
    paths = []
    for case, (name, keys, compressor, problem) in NETWORKS.items():
        config = tables(name, keys, compressor) | {"problem": problem}
        config["run"] |= {"start": "auto", "iterations": 5}
        config["data"] = {"name": "digits", "split": "dirichlet", "test_fraction": 0.8}
        if case == "personal":
            config["algorithm"]["personal"] = [last_layer(tmp_path, config)]
        paths.append(str(tmp_path / f"{case}.toml"))
        Path(paths[-1]).write_text(tomli_w.dumps(config))
    for ranks in (0, 3):
        run_on(ranks, tmp_path / f"on-{ranks}", paths)
    for case in NETWORKS:
        assert_same_clients(tmp_path / "on-0" / f"{case}.h5", tmp_path / "on-3" / f"{case}.h5")


def last_layer(folder: Path, config: dict) -> str:
    """The name of a network's last layer."""
    config = {**config, "algorithm": {**config["algorithm"], "personal": []}}
    (folder / "whole.toml").write_text(tomli_w.dumps(config))
    experiment = assemble(load(str(folder / "whole.toml")), SerialTransport())
    return list(experiment.problem.loss.parameter_slices(experiment.shares))[-1].rpartition(".")[0]


# Interruptions

LONG = tables("fedavg", {**LATE, "momentum": 0.9, "keep_optimizer": True, "two_way": True}, QSGD)
LONG["run"] |= {"iterations": 3000}
LONG |= {"record": {"every": 7}, "checkpoint": {"every_seconds": 0.2}}


@pytest.mark.slow
@pytest.mark.mpi
def test_a_killed_run_goes_on_with_other_ranks_to_the_same_bits(mpiqopt, config, tmp_path):
    """Who is drawn, late updates under way, errors, optimisers and the rows of clients: all of it."""
    path = config(**LONG)
    assert mpiqopt("run", path, "-q", "-o", "whole.h5").returncode == 0
    job = interrupted(tmp_path, 0)
    job.kill()
    assert job.wait(TIMEOUT) == -signal.SIGKILL
    with h5py.File(tmp_path / "small.h5") as file:
        assert 0 < len(file["clients/sampled"]) < 3000
    assert mpiqopt("run", path, "-q", "--resume", ranks=2).returncode == 0
    assert_same_clients(tmp_path / "whole.h5", tmp_path / "small.h5")
    with h5py.File(tmp_path / "small.h5") as file:
        assert set(np.unique(file["clients/sampled"])) == {0, 1, 3}


@pytest.mark.mpi
def test_a_killed_rank_ends_the_job_and_leaves_a_file_that_opens(config, tmp_path):
    """Within seconds."""
    config(**{**LONG, "run": {"iterations": 10**7}})
    job = interrupted(tmp_path, 3)
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(job.pid)}
    ranks = [pid for pid, words in commands.items() if b"mpiqopt" in words and b"mpiexec" not in words]
    os.kill(ranks[-1], signal.SIGKILL)
    began = time.monotonic()
    assert job.wait(TIMEOUT) not in (0, 2, 75)
    assert time.monotonic() - began < 20
    with h5py.File(tmp_path / "small.h5") as file:
        assert len(file["iteration"]) > 0
        assert file["clients/sampled"].shape[1] == NODES
