"""Synthetic clients in a result file, as an engine hands them to the writer."""

from pathlib import Path

import numpy as np
import tomli_w

from mpiqopt.results.layout import CLIENT_QUANTITIES, QUANTITIES
from mpiqopt.results.writer import Writer
from mpiqopt.topologies.hubs import Star
from mpiqopt.topologies.topology import Topology
from tools.trajectories import TABLES

COHORT = 5
# classes of samples
CLASSES = 4


def columns(first: int, count: int, clients: int = 20) -> dict[str, np.ndarray]:
    """Return rounds [first, first + count), drawn by their numbers, (count, clients) each."""
    rows = [_round(number, clients) for number in range(first, first + count)]
    return {name: np.array([row[name] for row in rows], quantity.dtype) for name, quantity in CLIENT_QUANTITIES.items()}


def _round(number: int, clients: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    drawn = np.zeros(clients, bool)
    drawn[rng.choice(clients, COHORT, replace=False)] = True
    return {
        "sampled": np.where(drawn, rng.integers(1, 5, clients), 0),
        "loss": np.where(drawn, rng.random(clients), np.nan),
        "accuracy": np.where(drawn, rng.random(clients), np.nan),
        "steps": drawn * rng.integers(1, 60, clients),
        "up_bytes": drawn * (1 << 40),
        "down_bytes": drawn * 400,
        "seconds": drawn * rng.random(clients),
    }


def record(iteration: int, clients: int = 20) -> dict:
    """Return the record after so many iterations: accuracies that rise, slow devices and late classes behind."""
    late = np.arange(CLASSES)
    at_class = (0.98 - 0.05 * late) * (1 - 0.9 * np.exp(-iteration / (3 + 4 * late)))
    at_client = at_class[np.arange(clients) % CLASSES] * np.where(devices(clients) == 1, 0.8, 1)
    groups = [at_client[devices(clients) == k].mean() for k in (0, 1)]
    always = {name: iteration for name, quantity in QUANTITIES.items() if not quantity.optional}
    return always | {
        "bytes": 1000 * iteration,
        "accuracy": at_class.mean(),
        "accuracy_spread": at_client.std(),
        "class_accuracy": at_class,
        "client_accuracy": at_client,
        "device_accuracy": np.array(groups),
    }


def devices(clients: int = 20) -> np.ndarray:
    """Return the class of devices of each client: every third is slow."""
    return (np.arange(clients) % 3 == 0).astype(int)


def attributes() -> dict:
    """Return what a file says of its run."""
    text = tomli_w.dumps(TABLES | {"topology": {"name": "star", "nodes": 20}, "algorithm": {"name": "fedavg"}})
    about = {"status": "running", "stop_reason": "", "ranks": 1, "mpi_library": "none", "created": "today"}
    return about | {"config": text, "config_resolved": text, "mpiqopt_version": "0", "run_id": "0123"}


def create(path: Path, clients: int = 20) -> Writer:
    """Return the writer of a new file."""
    return Writer.create(Path(path), attributes(), Topology("star", tuple(Star(nodes=clients).cycle())))


def start(path: Path, clients: int = 20) -> Writer:
    """Return the writer of a new file, which has the devices and the record at the start."""
    writer = create(path, clients)
    writer.devices(devices(clients), np.array([1.0, 4.0]))
    writer.append(record(0, clients))
    return writer


def go_on(writer: Writer, first: int, last: int, every: int = 5, clients: int = 20) -> None:
    """Hand over rounds [first, last) with a record after every fifth."""
    for begin in range(first, last, every):
        writer.clients(begin, columns(begin, every, clients))
        writer.append(record(begin + every, clients))


def finish(writer: Writer) -> None:
    """End a run."""
    assert writer.finish("finished", "iterations: done", np.zeros((20, 3)), "")


def write(path: Path, rounds: int = 30) -> str:
    """Write a file with so many rounds; returns its path."""
    writer = start(path)
    go_on(writer, 0, rounds)
    finish(writer)
    return str(path)
