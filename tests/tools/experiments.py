"""The package's objects and states for configs that are given table by table."""

from collections.abc import Iterator
from typing import Any

import networkx
import numpy as np
import tomli_w

from mpiqopt.config.parse import parse
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.transport.serial import SerialTransport

GRAPHS = {
    "ring-8": ({"name": "ring", "nodes": 8}, networkx.cycle_graph(8)),
    "grid-9": ({"name": "grid", "nodes": 9}, networkx.grid_2d_graph(3, 3)),
    "star-5": ({"name": "star", "nodes": 5}, networkx.star_graph(4)),
    "path-2": ({"name": "path", "nodes": 2}, networkx.path_graph(2)),
    "single": ({"name": "ring", "nodes": 1}, networkx.empty_graph(1)),
}


def assembled(
    topology, problem, algorithm, regularizer=None, data=None, compressor=None, emulate=None, devices=None, **run
) -> Experiment:
    """The package's objects for a config that is given table by table."""
    tables = {"run": run, "data": data, "problem": problem, "topology": topology, "algorithm": algorithm}
    if regularizer is not None:
        tables["regularizer"] = regularizer
    if compressor is not None:
        tables["compressor"] = compressor
    if emulate is not None:
        tables["emulate"] = emulate
    if devices is not None:
        tables["devices"] = devices
    return assemble(parse(tomli_w.dumps(tables), "test.toml"), SerialTransport())


def states(experiment: Experiment) -> Iterator[Any]:
    """The package's states: the initial one, then one after each iteration."""
    arguments = experiment.problem, experiment.network, experiment.streams
    state = experiment.algorithm.init(experiment.start, *arguments)
    while True:
        yield state
        state = experiment.algorithm.step(state, *arguments)


def after(experiment: Experiment, iterations: int) -> Any:
    """The package's state after so many iterations."""
    for _, state in zip(range(iterations + 1), states(experiment), strict=False):
        last = state
    return last


def arrays(state: Any) -> list[np.ndarray]:
    """The arrays and numbers of a state, those of nested memories too."""
    return [leaf for field in state for leaf in (arrays(field) if isinstance(field, tuple) else [field])]
