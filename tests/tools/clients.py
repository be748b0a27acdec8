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
SLOWDOWNS = {"slowdown": np.array([1.0, 4.0])}
# of a class that can do everything, and a weak one
LIMITS = {"slowdown": np.ones(2)} | {
    f"{name}_{end}": np.array([1.0, limit])
    for name, limits in {"time": (0.33, 0.33), "memory": (0.33, 0.33), "upload": (0.5, 1.0)}.items()
    for end, limit in zip(("low", "high"), limits, strict=True)
}
# classes of samples
CLASSES = 4


def columns(first: int, count: int, clients: int = 20) -> dict[str, np.ndarray]:
    """Return rounds [first, first + count), drawn by their numbers, (count, clients) each."""
    return _arrays([_round(number, clients) for number in range(first, first + count)])


def partial_columns(first: int, count: int, clients: int = 20) -> dict[str, np.ndarray]:
    """Return the same rounds of a method that trains windows of blocks, which weak devices have at the end."""
    return _arrays([_partial_round(number, clients) for number in range(first, first + count)])


def _arrays(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows], CLIENT_QUANTITIES[name].dtype) for name in rows[0]}


def _partial_round(number: int, clients: int) -> dict[str, np.ndarray]:
    """A round of six blocks: strong devices train all, weak ones 3-5 or 4-5; some are lost, one round is undone."""
    plain, rng = _round(number, clients), np.random.default_rng(number + 1000)
    drawn, weak = (plain["sampled"] > 0) & (plain["sampled"] != 4), devices(clients) == 1
    plain["sampled"] = np.where(drawn & (rng.random(clients) < 0.1), 5, plain["sampled"])
    if number == 9:
        plain["sampled"] = np.where(plain["sampled"] == 1, 6, plain["sampled"])
    window_first = np.where(weak, rng.integers(3, 5, clients), 0)
    part = (6 - window_first) / 6
    return plain | {
        "up_bytes": np.where(drawn & (plain["sampled"] != 5), 400 * part, 0),
        "window_first": np.where(drawn, window_first, -1),
        "window_last": np.where(drawn, 5, -1),
        "width": np.where(drawn, np.where(weak, 0.5, 1.0), np.nan),
        "time_share": np.where(drawn, part, np.nan),
        "memory_share": np.where(drawn, np.sqrt(part), np.nan),
    }


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
    writer.devices(devices(clients), SLOWDOWNS)
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


def write_partial(path: Path, rounds: int = 30, lacks: tuple[str, ...] = ()) -> str:
    """Write a file of a method that trains parts of the network, with classes of devices by their limits.

    lacks: columns that the method does not have.
    """
    writer = create(path)
    writer.devices(devices(), LIMITS)
    writer.message_size(400, 20)
    writer.append(record(0))
    for first in range(0, rounds, 5):
        writer.clients(first, {k: v for k, v in partial_columns(first, 5).items() if k not in lacks})
        writer.append(record(first + 5))
    finish(writer)
    return str(path)
