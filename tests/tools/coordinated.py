"""Runs of coordinated methods that can be compared bit by bit, and the oracle of their averages."""

import math
import re
from dataclasses import asdict
from itertools import islice

import numpy as np
import pytest

from tools.dense.coordinated import ftqc_admm_variables, ftqc_dgd_variables
from tools.dense.objectives import Objective
from tools.experiments import assembled, states

DIRECTED_RING = {"name": "directed-ring", "nodes": 5}
GRAPHS = {
    "single": {"name": "ring", "nodes": 1},
    "path-2": {"name": "path", "nodes": 2},
    "directed-ring-2": {"name": "directed-ring", "nodes": 2},
    "star-5": {"name": "star", "nodes": 5},
    "directed-ring-5": DIRECTED_RING,
    "ring+star-5": [{"name": "ring", "nodes": 5}, {"name": "star", "nodes": 5}],
    "torus-16": {"name": "torus", "nodes": 16},
    "random-digraph-16": {"name": "random-digraph", "nodes": 16, "seed": 2},
}
COORDINATORS = ["ftqc", "integer-push-sum", "tree", "collect", "allreduce"]
COORDINATIONS = ["lock-step", "mailboxes"]
DTYPES = ["float64", "float32"]
DATA = {"name": "synthetic", "samples": 107, "features": 5, "task": "classification", "split": "dirichlet"}
NONE = {"name": "zero"}
L1 = {"name": "l1", "weight": 0.02}
POINTS = {"code": "points"}
ROUNDS = 25

coordinations = pytest.mark.parametrize("coordination", COORDINATIONS)
coordinators = pytest.mark.parametrize("coordinator", COORDINATORS)
graphs = pytest.mark.parametrize("graph", GRAPHS)


class Same(Objective):
    """The package's own gradients, in the run's precision: what is compared bit by bit is the recursion around them."""

    def __init__(self, experiment):
        super().__init__(experiment)
        self._problem = experiment.problem

    def grad(self, X, t=0, size="all"):
        return self._problem.grad(X, None if size == "all" else self._streams.batch(t, size))


def example(topology, algorithm: dict, regularizer=NONE, **run):
    """Logistic loss and unequal shares, from a start that is not zero; the step is no power of two.

    Averages are points of the grid, the paper's, unless ``algorithm`` says otherwise.
    """
    problem = {"name": "logistic", "l2": 0.05}
    run = {"seed": 4, "start": "normal", **run}
    code = POINTS if algorithm["name"].startswith("ftqc") else {}
    return assembled(topology, problem, {"step_size": 0.3, **code, **algorithm}, regularizer, DATA, **run)


def known(nodes: int, algorithm: dict, regularizer=NONE, **run) -> list[np.ndarray]:
    """What the recursion gives in the first rounds, variable by variable. It knows nothing of graphs.

    Asserts that it moves, so that there is something to compare.
    """
    experiment = example({"name": "ring", "nodes": nodes}, algorithm, regularizer, **run)
    settings = asdict(experiment.algorithm)
    variables = ftqc_admm_variables if algorithm["name"] == "ftqc-admm" else ftqc_dgd_variables
    trajectory = variables(experiment.start, Same(experiment), settings.pop("step_size"), **settings)
    columns = [np.array(column) for column in zip(*islice(trajectory, ROUNDS), strict=True)]
    assert len(np.unique(columns[0][:, 0], axis=0)) > ROUNDS / 4
    assert columns[0].dtype == run.get("dtype", "float64")
    return columns


def assert_known(columns: list[np.ndarray], graph: str, algorithm: dict, regularizer=NONE, **run) -> None:
    """The package's states on a graph have the bits of ``known``."""
    experiment = example(GRAPHS[graph], algorithm, regularizer, **run)
    rounds = list(islice(states(experiment), 1, ROUNDS + 1))
    names = ("x", "local", "z") if algorithm["name"] == "ftqc-admm" else ("x",)
    for name, column in zip(names, columns[:-1], strict=True):
        actual = np.array([getattr(state, name) for state in rounds])
        assert actual.dtype == column.dtype
        np.testing.assert_array_equal(actual, column, name)
    np.testing.assert_array_equal([state.grid.step for state in rounds], columns[-1], "Delta")


# The oracle


def whole(value: float, step: float, rounding: str) -> int:
    """Python's own rounding: exact integers of any size."""
    return math.floor(value / step) if rounding == "floor" else round(value / step)


def oracle(rows: np.ndarray, step: float, rounding: str = "floor") -> np.ndarray:
    """``exact_average`` once more, with Python's integers."""
    totals = [sum(whole(value, step, rounding) for value in column) for column in rows.T.tolist()]
    ends = [(total // len(rows), -(-total // len(rows))) for total in totals]
    return np.array([step * (low if rounding == "floor" else (low + high) / 2) for low, high in ends])


def coordinate(topology, coordinator: str, coordination: str, rows, step=1.0, rounding="floor", previous=0.0, extra=()):
    """One call of a coordinator of its own: the vector and the sums."""
    algorithm = {"name": "ftqc-dgd", "coordinator": coordinator, "coordination": coordination}
    problem, data = {"name": "mean"}, {"name": "synthetic", "samples": len(rows), "features": 1}
    network = assembled(topology, problem, {**algorithm, "step_size": 1.0}, None, data).network
    center = np.full(rows.shape[1], previous)
    columns = np.array(extra, np.int64).reshape(len(rows), -1)
    agreed = network.coordination.coordinator(coordinator, rounding, coordination == "mailboxes")
    result = agreed.coordinate(rows, center, step, 0, 0, columns)
    return result.vector, result.extra


def usable(error: str) -> float:
    """The step that a message of the range check names."""
    return float(re.search(r"a step of (\S+) can be used", error)[1])


ROUNDINGS = ["floor", "nearest"]
ZOOMS = [1.0, 0.97, "auto"]


RING = {"name": "ring", "nodes": 8}


SMALL = {"name": "synthetic", "task": "classification", "samples": 83, "features": 7}
MAILBOXES = {"coordination": "mailboxes"}
