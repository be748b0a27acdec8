"""Result files with given trajectories, as a run writes them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tomli_w

from mpiqopt.results.layout import QUANTITIES
from mpiqopt.results.writer import Writer
from mpiqopt.topologies.lattices import Ring
from mpiqopt.topologies.topology import Topology

TABLES = {
    "run": {"seed": 0, "iterations": 100},
    "data": {"name": "digits", "split": "contiguous"},
    "problem": {"name": "logistic", "l2": 0.1},
    "topology": {"name": "ring", "nodes": 4},
    "algorithm": {"name": "dgd", "step_size": 0.1},
}


def write(path: Path, objective: Sequence[float], reason: str = "iterations: done", given=None, **columns) -> str:
    """Write a result file; returns its path.

    given: tables whose keys replace or extend those of TABLES; columns: other quantities than the objective, which they
    are by default.
    """
    tables = TABLES | {name: TABLES.get(name, {}) | table for name, table in (given or {}).items()}
    text = tomli_w.dumps(tables)
    about = {"status": "running", "stop_reason": "", "ranks": 1, "mpi_library": "none", "created": "today"}
    ring = Topology("ring", tuple(Ring(nodes=4).cycle()))
    texts = {"config": text, "config_resolved": text, "mpiqopt_version": "0", "run_id": "0123"}
    writer = Writer.create(Path(path), about | texts, ring)
    for i, value in enumerate(objective):
        record = {name: i for name, quantity in QUANTITIES.items() if not quantity.optional}
        record |= {"objective": value, "stationarity": value, "consensus": value}
        writer.append(record | {name: values[i] for name, values in columns.items()})
    writer.finish("finished", reason, np.zeros((4, 3)), "")
    return str(path)
