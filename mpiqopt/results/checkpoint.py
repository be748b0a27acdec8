"""Checkpoints: the whole state of a run in one file beside the result file, FILE.checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.network import Network
from mpiqopt.results import files

# The state's numbers are attributes with this prefix; its arrays are datasets.
NUMBER = "state."


def path_of(result: Path) -> Path:
    return result.with_name(result.name + ".checkpoint")


def save(result: Path, state: Any, progress: dict[str, Any], counters: dict[str, np.ndarray], network: Network) -> None:
    """Collective: rank 0 writes the rows of all nodes; the file replaces the last checkpoint in one step.

    state: the algorithm's NamedTuple; progress: what else there is to know, numbers and strings; counters: arrays
    (hosted,), among them ``evaluations``. No rank but the first needs to see the file.
    """
    place, transport = network.place, network.transport
    part = files.part_of(path_of(result))
    file = _open(part, "w") if transport.rank == 0 else None
    totals = network.counters()
    for name, value in {**_arrays(state), **counters}.items():
        gathered = transport.gather(value, place.counts)
        if file is not None:
            file[name] = gathered
    if file is not None:
        numbers = {NUMBER + k: v for k, v in flat(state).items() if not isinstance(v, np.ndarray)}
        file.attrs.update({**progress, **totals, **numbers})
        file.close()
        files.replace_durably(part, path_of(result))


def read_progress(result: Path) -> dict[str, Any] | None:
    """The attributes of the checkpoint of a result file; None if there is none. Raises UsageError if it is broken."""
    path = path_of(result)
    if not path.exists():
        return None
    try:
        with _open(path) as file:
            if "run_id" not in file.attrs or "evaluations" not in file:
                raise OSError("it lacks run_id and evaluations")
            return {name: value.item() if hasattr(value, "item") else value for name, value in file.attrs.items()}
    except OSError as error:
        raise UsageError(f"{path}: not a readable checkpoint ({error}); delete it to start afresh") from error


def restore(
    result: Path, progress: dict[str, Any], state: Any, counters: dict[str, np.ndarray], network: Network
) -> Any:
    """Collective: the saved state, shaped as ``state``, on whatever ranks there are now.

    progress: what ``read_progress`` found on rank 0. Sets ``counters`` and those of ``network``.
    """
    place, transport = network.place, network.transport
    values = {name: np.empty_like(value) for name, value in _arrays(state).items()}
    file = _open(path_of(result)) if transport.rank == 0 else None
    for name, own in {**values, **counters}.items():
        transport.scatter(None if file is None else file[name][()], place.counts, own)
    if file is not None:
        file.close()
    for name in ("rounds", "bytes", "mpi_bytes"):
        setattr(network, name, progress[name])
    numbers = {name: progress[NUMBER + name] for name in flat(state) if name not in values}
    return _shaped(state, {**values, **numbers})


def _open(path: Path, mode: str = "r"):
    import h5py  # on rank 0 alone

    return h5py.File(path, mode)


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """The fields of a NamedTuple by name; those of a NamedTuple in it as outer.inner. Empty tuples are left out."""
    fields = {}
    for name, value in state._asdict().items():
        if hasattr(value, "_asdict"):
            fields |= flat(value, f"{prefix}{name}.")
        elif not isinstance(value, tuple):
            fields[prefix + name] = value
    return fields


def _shaped(like: Any, values: dict[str, Any], prefix: str = "") -> Any:
    """The reverse of ``flat``."""
    fields = {
        name: _shaped(value, values, f"{prefix}{name}.")
        if hasattr(value, "_asdict")
        else values.get(prefix + name, value)
        for name, value in like._asdict().items()
    }
    return type(like)(**fields)


def _arrays(state: Any) -> dict[str, np.ndarray]:
    return {name: value for name, value in flat(state).items() if isinstance(value, np.ndarray)}
