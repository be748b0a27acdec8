"""Coordinated averages give the same bits on any number of ranks, resumed runs too, and count their bytes."""

import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.commands import TIMEOUT
from tools.coordinated import COORDINATORS, L1, MAILBOXES, NONE, POINTS, RING, SMALL
from tools.interruption import interrupted, iteration_saved
from tools.outputs import BY_TIME, records
from tools.representatives import slow
from tools.run_many import run_on

from mpiqopt.results.layout import QUANTITIES, REPRODUCIBLE

PAPER = {"coordinator": "ftqc", **POINTS}
ALWAYS = {name for name, quantity in QUANTITIES.items() if not quantity.optional}


def configs(folder: Path) -> list[str]:
    """What differs in kind: coordinators, ways to coordinate, codes, graphs, float32, batches, absent nodes, d = 1."""
    import tomli_w

    paths = []

    def write(name: str, algorithm: dict, regularizer=NONE, topology=RING, data=SMALL, **run) -> None:
        tables = {
            "run": {"iterations": 3, "start": "normal", "seed": 5, **run},
            "data": data,
            "problem": {"name": "logistic", "l2": 0.1},
            "regularizer": regularizer,
            "topology": topology,
            "algorithm": algorithm,
            "record": {"every": 2},
        }
        paths.append(str(folder / f"{name}.toml"))
        Path(paths[-1]).write_text(tomli_w.dumps(tables))

    digraph = {"name": "random-digraph", "nodes": 9}
    for coordinator in COORDINATORS:
        write(f"dgd-{coordinator}", {"name": "ftqc-dgd", "coordinator": coordinator})
        if coordinator != "allreduce":
            # what pieces leave with nodes depends on time by mailboxes, what points are does not
            mailed = {"name": "ftqc-dgd", "coordinator": coordinator, **MAILBOXES}
            write(f"mailed-{coordinator}", mailed | (POINTS if coordinator == "ftqc" else {}), topology=digraph)
    admm = {"name": "ftqc-admm", "local_steps": 3, "batch_size": 4, "activation": "bernoulli"}
    write("admm", admm, L1, digraph)
    write("mailed-admm", {**admm, **MAILBOXES, "coordinator": "tree"}, L1)
    write("points-allreduce", {"name": "ftqc-dgd", "coordinator": "allreduce", **POINTS})
    write("points", {**admm, **PAPER}, L1, digraph)
    write("mailed-points", {**admm, **PAPER, **MAILBOXES}, L1)
    fast = {"coordinator": "integer-push-sum", "rounding": "nearest", "zoom": 0.9, **POINTS}
    write("nearest", {**admm, **fast}, L1, dtype="float32")
    prox = {"name": "coordinated-prox-gradient"}
    accelerated = {**prox, "accelerated": True}
    write("prox-accelerated", accelerated, L1, digraph)
    write("prox-tree", {**accelerated, "coordinator": "tree"}, {"name": "group-l1"}, dtype="float32")
    recursive = {"estimator": "sr-e", "batch_size": 2, "epoch_length": 2, "coordinator": "integer-push-sum"}
    write("mailed-prox", {**prox, **recursive, **MAILBOXES}, L1, digraph)
    write("d-1", {"name": "ftqc-dgd"}, topology={"name": "star", "nodes": 8}, data={**SMALL, "features": 1})
    return paths


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, list[str]]:
    """Results of all configs in one process without MPI, and the configs."""
    folder = tmp_path_factory.mktemp("alone")
    paths = configs(folder)
    run_on(0, folder / "results", paths)
    return folder / "results", paths


def reproducible(path: Path) -> dict[str, np.ndarray]:
    """What is the same on any number of ranks; what mailboxes send when is not."""
    quantities = records(path)
    with h5py.File(path) as file:
        if "mailboxes" in file.attrs["config"]:
            assert file["bytes"][-1] > 0
            return {name: values for name, values in quantities.items() if name not in BY_TIME}
    return quantities


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [4, *slow(1, 2, 3, 8)])
def test_any_number_of_ranks_gives_the_same_bits(ranks, alone, tmp_path):
    """Records and final iterates; recorded bytes too, in lock-step."""
    folder, paths = alone
    run_on(ranks, tmp_path / "results", paths)
    for path in paths:
        name = f"{Path(path).stem}.h5"
        one, many = reproducible(folder / name), reproducible(tmp_path / "results" / name)
        assert one.keys() == many.keys() >= ALWAYS.intersection(REPRODUCIBLE) - {"bytes"}
        for quantity, values in one.items():
            assert np.array_equal(values, many[quantity]), f"{name}: {quantity}"
        with h5py.File(tmp_path / "results" / name) as file:
            assert file.attrs["ranks"] == ranks
            assert (file["mpi_bytes"][-1] > 0) == (ranks > 1)


def test_bytes_are_recorded(alone):
    """In every round; an all-reduce, which needs no graph, is counted as 2 (n - 1) messages of 7 int64.

    Of points 8: how many nodes joined is summed, too.
    """
    folder, paths = alone
    for path in paths:
        with h5py.File(folder / f"{Path(path).stem}.h5") as file:
            spent, rounds = file["bytes"][()], file["rounds"][()]
            nodes = file["topology"].attrs["nodes"]
            assert rounds.tolist() == file["iteration"][()].tolist() == [0, 2, 3]
            assert spent[0] == 0
            assert np.all(np.diff(spent) > 0)
            if "allreduce" in path:
                width = 8 if "points" in path else 7
                assert spent.tolist() == (rounds * 2 * (nodes - 1) * 8 * width).tolist()


LONG = {
    "run": {"iterations": 3000, "seed": 3},
    "data": {"name": "synthetic", "task": "classification", "samples": 200, "features": 9},
    "regularizer": {"name": "l1", "weight": 0.01},
    "record": {"every": 100},
    "checkpoint": {"every_seconds": 0.2},
}


def part(folder: Path, ranks: int, begin: int, *extra: str) -> int:
    """Go on from iteration ``begin`` until the checkpoint holds a later one and a signal comes; where it ended."""
    job, end = interrupted(folder, ranks, *extra), time.monotonic() + TIMEOUT
    while iteration_saved(folder) == begin:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGUSR1)  # the launchers of both libraries pass it on to the ranks
    assert job.wait(TIMEOUT) == 75
    return iteration_saved(folder)


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize(
    "algorithm",
    [
        {"name": "ftqc-admm", "batch_size": 5, "activation": "bernoulli", "local_steps": 2, "coordinator": "ftqc"},
        {"name": "ftqc-admm", "batch_size": 5, "coordinator": "integer-push-sum", "zoom": 0.999, **MAILBOXES},
        {"name": "ftqc-admm", "batch_size": 5, "activation": "bernoulli", **PAPER},
        {"name": "coordinated-prox-gradient", "accelerated": True},
        {"name": "coordinated-prox-gradient", "estimator": "sr-e", "coordinator": "tree"},
    ],
    ids=["lock-step", "mailboxes", "points", "accelerated", "recursive"],
)
def test_resume_on_other_numbers_of_ranks_gives_the_same_bits(algorithm, mpiqopt, config, tmp_path):
    """Two ranks until a signal, three until another, then one process: as if nothing had been."""
    iterations = 3000 if algorithm["name"] == "ftqc-admm" else 30_000  # without votes they take a tenth of the time
    path = config(**{**LONG, "run": {**LONG["run"], "iterations": iterations}}, algorithm=algorithm)
    assert mpiqopt("run", path, "-q", "-o", "whole.h5").returncode == 0
    first = part(tmp_path, 2, 0)
    second = part(tmp_path, 3, first, "--resume")
    assert 0 < first < second < iterations / 2
    assert mpiqopt("run", path, "-q", "--resume").returncode == 0
    whole, parts = reproducible(tmp_path / "whole.h5"), reproducible(tmp_path / "small.h5")
    assert whole.keys() == parts.keys()
    for quantity, values in whole.items():
        assert np.array_equal(values, parts[quantity]), quantity
