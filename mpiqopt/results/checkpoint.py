"""Checkpoints: the whole state of a run in one file beside the result file, FILE.checkpoint."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.network import Network
from mpiqopt.placement import Placement
from mpiqopt.results import files


def path_of(result: Path) -> Path:
    return result.with_name(result.name + ".checkpoint")


def save(result: Path, state: Any, progress: dict[str, float], evaluations: np.ndarray, network: Network) -> None:
    """Collective: rank 0 writes the rows of all nodes; the file replaces the last checkpoint in one step.

    state: the algorithm's NamedTuple; progress: iteration and time; evaluations: int64 (hosted,).
    """
    place, transport = network.place, network.transport
    counts = np.diff(place.bounds).tolist()
    file = files.in_memory() if transport.rank == 0 else None
    rows = {f"state/{name}": value for name, value in state._asdict().items() if isinstance(value, np.ndarray)}
    for name, value in {**rows, "evaluations": evaluations}.items():
        gathered = transport.gather(value, counts)
        if file is not None:
            file[name] = gathered
    if file is not None:
        numbers = {k: v for k, v in state._asdict().items() if not isinstance(v, np.ndarray)}
        file.require_group("state").attrs.update(numbers)
        file.attrs.update(
            {**progress, "rounds": network.rounds, "bytes": network.bytes, "mpi_bytes": network.mpi_bytes}
        )
        files.publish(file, path_of(result), durable=True)
        file.close()


class Saved:
    """A checkpoint on disk; each rank reads the rows of the nodes that it hosts, whatever ranks wrote it."""

    def __init__(self, result: Path):
        self.path = path_of(result)
        try:
            with h5py.File(self.path) as file:
                self.progress = {name: file.attrs[name].item() for name in file.attrs}
        except (OSError, KeyError) as error:
            raise UsageError(f"{self.path}: not a readable checkpoint ({error}); delete it to start afresh") from error

    def restore(self, state: Any, evaluations: np.ndarray, network: Network) -> Any:
        """The saved state, shaped as ``state``; sets the counters in ``evaluations`` and ``network``."""
        place: Placement = network.place
        hosted = slice(place.first, place.last)
        with h5py.File(self.path) as file:
            evaluations[:] = file["evaluations"][hosted]
            values = {
                name: file["state"][name][hosted] if isinstance(value, np.ndarray) else file["state"].attrs[name].item()
                for name, value in state._asdict().items()
            }
        for name in ("rounds", "bytes", "mpi_bytes"):
            setattr(network, name, self.progress[name])
        return type(state)(**values)
