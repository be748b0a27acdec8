"""Runs whose rounds wait for a quorum of the nodes: exact all the same, and silent nodes hold nobody up."""

import os
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest
from tools.commands import TIMEOUT, command, environment
from tools.dense.objectives import Objective
from tools.experiments import after, assembled
from tools.interruption import descendants
from tools.ranks_of_runs import is_rank, wait_for_records

DATA = {"name": "synthetic", "samples": 203, "features": 6, "task": "classification", "split": "dirichlet"}
PROBLEMS = {
    "logistic": ({"name": "logistic", "l2": 0.1}, None, DATA),
    "l1": ({"name": "logistic", "l2": 0.1}, {"name": "l1", "weight": 0.02}, DATA),
    "least-squares": ({"name": "least-squares", "l2": 0.1}, None, {"name": "synthetic", "samples": 203, "features": 6}),
}
GRAPHS = {
    "ring": {"name": "ring", "nodes": 10},
    "directed-ring": {"name": "directed-ring", "nodes": 7},
    "digraph": {"name": "random-digraph", "nodes": 10, "seed": 2},
}
QUORUM = {"coordinator": "collect", "coordination": "mailboxes", "quorum": 0.8, "patience": 0.3}
BAD_LINKS = {"delay": 0.0005, "delay_distribution": "pareto", "loss": 0.05}


def distance(experiment, iterations: int) -> float:
    """How far from the optimum the nodes, which all have the same, are in the end."""
    try:
        x = after(experiment, iterations).x
    finally:
        experiment.close()
    assert np.all(x == x[0])
    return float(np.linalg.norm(x[0] - Objective(experiment).minimiser()))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("quorum", [1.0, 0.8])
def test_it_is_exact(problem, graph, quorum):
    """To 1e-10, the accuracy of the certified optimum; frames are lost and overtake each other."""
    loss, regularizer, data = PROBLEMS[problem]
    settings = {"name": "coordinated-prox-gradient", **QUORUM, "quorum": quorum}
    if quorum == 1:
        del settings["patience"]
    experiment = assembled(GRAPHS[graph], loss, settings, regularizer, data, emulate=BAD_LINKS, seed=1)
    assert distance(experiment, 250) < 1e-10


@pytest.mark.parametrize("graph", ["ring", "digraph"])
def test_it_is_exact_in_asynchronous_execution(graph):
    """Node 1 trains ten times longer than the others, which do not wait for it."""
    settings = {"name": "ftqc-dgd", "coordinator": "collect", "execution": "asynchronous", "quorum": 0.9}
    emulate = {"gradient_seconds": 0.0002, "slowdown": [1.0, 10.0, *8 * [1.0]]}
    experiment = assembled(GRAPHS[graph], PROBLEMS["logistic"][0], settings, None, DATA, emulate=emulate, seed=1)
    assert distance(experiment, 1500) < 1e-10


@pytest.mark.parametrize("node", [0, 4])
def test_a_silent_node_holds_nobody_up(node):
    """It is silent for a second, while rounds take a few milliseconds; one rank hosts all nodes here."""
    settings = {"name": "ftqc-dgd", **QUORUM, "patience": 0.1}
    emulate = {**BAD_LINKS, "silent": [[node, 0.2, 1.0]]}
    experiment = assembled(GRAPHS["digraph"], PROBLEMS["logistic"][0], settings, None, DATA, emulate=emulate, seed=1)
    assert distance(experiment, 400) < 1e-10


def test_steps_are_shorter_where_nodes_are_late():
    """1 where all are there; else .9/(1/2 + age) of a step of 1/L."""
    settings = {"name": "ftqc-dgd", **QUORUM, "max_staleness": 5}
    algorithm = assembled(GRAPHS["ring"], PROBLEMS["logistic"][0], settings, None, DATA).algorithm
    known = algorithm.innovations(10, np.zeros(7))
    assert algorithm.step_share(known) == 1
    assert algorithm.step_share(known._replace(age=1.0)) == pytest.approx(0.6)
    assert algorithm.step_share(known._replace(age=5.0)) == pytest.approx(0.9 / 5.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm.quorum": 0.5}, ["algorithm.quorum", "0.5"]),
        ({"algorithm.quorum": 1.2}, ["algorithm.quorum", "1.2"]),
        ({"algorithm.quorum": 0.9, "algorithm.coordination": "lock-step"}, ["quorum = 0.9", "want coordination"]),
        ({"algorithm.quorum": 0.9, "algorithm.code": "points"}, ["quorum = 0.9", "want code = 'innovations'"]),
        ({"algorithm.quorum": 0.9, "algorithm.name": "ftqc-admm"}, ["quorum = 0.9", "all nodes"]),
        ({"algorithm.quorum": 0.9, "algorithm.coordinator": "tree"}, ["quorum", "collect"]),
        ({"algorithm.max_staleness": 0}, ["algorithm.max_staleness", "0"]),
        ({"algorithm.patience": 0}, ["algorithm.patience", "0"]),
        ({"emulate.silent": [[10, 0, 1]]}, ["emulate.silent: 10", "nodes 0 to 9"]),
        ({"emulate.silent": [[1.5, 0, 1]]}, ["emulate.silent: 1.5"]),
        ({"emulate.silent": [[1, 0, 1], [1, 2, 1]]}, ["emulate.silent: 1", "each once"]),
        ({"emulate.silent": [[1, 0]]}, ["emulate.silent"]),
        (
            {"algorithm.coordination": "lock-step", "algorithm.quorum": 1.0, "emulate.silent": [[1, 0, 1]]},
            ["mailboxes"],
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(changes, words, mpiqopt, config):
    path = config(topology=GRAPHS["ring"], algorithm={"name": "ftqc-dgd", "coordinator": "collect"})
    sets = {"algorithm.coordination": "mailboxes", **changes}
    options = [word for key, value in sets.items() for word in ("--set", f"{key}={value!r}".replace("'", '"'))]
    result = mpiqopt("run", path, "-q", *options)
    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines[0]


LONG = {
    "run": {"iterations": 1_000_000, "seed": 1},
    "record": {"every": 10},
    "checkpoint": {"every_seconds": 0.2},
    "data": DATA,
    "problem": {"name": "logistic", "l2": 0.1},
    "topology": GRAPHS["digraph"],
    "algorithm": {"name": "ftqc-dgd", **QUORUM},
}


@pytest.mark.mpi
@pytest.mark.parametrize("transport", ["window", "two-sided"])
@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_process_ends_the_job_everywhere_and_the_run_can_go_on(victim, transport, mpiqopt, config, tmp_path):
    path = config(**LONG)
    started = command("run", str(path), "-q", "-o", "a.h5", "--set", f"run.transport={transport}", ranks=3)
    job = subprocess.Popen(started, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    try:
        wait_for_records(tmp_path / "a.h5", job)
        time.sleep(0.5)  # for a checkpoint
        ranks = [pid for pid in descendants(job.pid) if is_rank(pid)]
        assert len(ranks) == 3
        begun = time.monotonic()
        os.kill(sorted(ranks)[victim], signal.SIGKILL)
        assert job.wait(TIMEOUT) not in (0, 2, 75)
        assert time.monotonic() - begun < 10
    finally:
        job.terminate()
        job.wait(TIMEOUT)
    with h5py.File(tmp_path / "a.h5") as file:
        done = int(file["iteration"][-1])
    end = str(max(done + 50, 300))
    extra = ("--set", f"run.iterations={end}", "--set", f"run.transport={transport}")
    resumed = mpiqopt("run", path, "-q", "-o", "a.h5", "--resume", *extra, ranks=2)
    assert resumed.returncode == 0, resumed.stderr
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["status"] == "finished"
        assert file["objective"][-1] - file["objective"][()].min() < 1e-12


@pytest.mark.mpi
@pytest.mark.parametrize("transport", ["window", "two-sided"])
def test_a_stopped_process_holds_nobody_up(transport, config, tmp_path):
    """One that hosts the author stands still for two seconds, between two records; the run ends as if nothing were.

    A quorum of 6 of 10 is left. All meet at the records, and see each other's results there.
    """
    path = config(**{**LONG, "run": {"iterations": 3000, "seed": 1}, "record": {"every": 1000}})
    settings = ["--set", "algorithm.quorum=0.6", "--set", f"run.transport={transport}"]
    started = command("run", str(path), "-q", "-o", "a.h5", *settings, ranks=3)
    job = subprocess.Popen(started, cwd=tmp_path, env=environment())
    try:
        while not (tmp_path / "a.h5").exists() and job.poll() is None:
            time.sleep(0.05)
        ranks = sorted(pid for pid in descendants(job.pid) if is_rank(pid))
        assert len(ranks) == 3
        os.kill(ranks[0], signal.SIGSTOP)
        time.sleep(2)
        os.kill(ranks[0], signal.SIGCONT)
        assert job.wait(TIMEOUT) == 0
    finally:
        job.terminate()
        job.wait(TIMEOUT)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["objective"][-1] - file["objective"][()].min() < 1e-12
        assert np.all(file["final/x"][()] == file["final/x"][0])


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize("transport", ["window", "two-sided"])
def test_thousands_of_rounds_with_all_that_can_go_wrong(transport, mpiqopt, config, tmp_path):
    """Frames are late, lost and overtake each other, a node is slow, and four are silent, the author first."""
    path = config(
        **{
            **LONG,
            "run": {"iterations": 2000, "seed": 3},
            "record": {"every": 500},
            "algorithm": {"name": "ftqc-dgd", **QUORUM, "quorum": 0.7, "execution": "asynchronous"},
            "emulate": {
                **BAD_LINKS,
                "gradient_seconds": 0.0005,
                "slowdown": [1.0, 10.0, *8 * [1.0]],
                "silent": [[0, 2, 1], [4, 5, 1], [5, 8, 1], [7, 11, 1]],
            },
        }
    )
    result = mpiqopt("run", path, "-q", "-o", "a.h5", "--set", f"run.transport={transport}", ranks=3)
    assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.all(file["final/x"][()] == file["final/x"][0])
        assert file["objective"][-1] - file["objective"][()].min() < 1e-12
