"""Checkpoints: the whole state of a run in one file beside the result file, FILE.checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.network.network import Network
from mpiqopt.network.traffic import Traffic
from mpiqopt.results import files
from mpiqopt.transport.agreement import by_first

# The state's numbers are attributes with this prefix; its arrays are datasets.
NUMBER = "state."
# What every checkpoint says beside the state.
PROGRESS = {
    "run_id": str,
    "derived": str,
    "iteration": int,
    "last_record": int,
    "time": float,
    "codec_time": float,
    "watched_objective": float,
    "watched_looked": float,
    "rounds": int,
    "bytes": int,
    "mpi_bytes": int,
}


def path_of(result: Path) -> Path:
    return result.with_name(result.name + ".checkpoint")


def save(
    result: Path, state: Any, progress: dict[str, Any], counters: dict[str, np.ndarray], network: Network, durable: bool
) -> OSError | None:
    """Write the rows of all nodes on rank 0, collective; the file replaces the last checkpoint in one step.

    state: the algorithm's NamedTuple; progress: what else there is to know, numbers and strings; counters: arrays
    (hosted,), among them ``evaluations``; durable: as in ``files.writing``. No rank but the first needs to see the
    file. Returns what went wrong on rank 0, where the last checkpoint stays then.
    """
    place, transport = network.place, network.transport
    values, totals = {**_arrays(state), **counters}, network.counters()
    if transport.rank:
        for value in values.values():
            transport.gather(value, place.counts)
        return None
    import json  # on rank 0 alone

    numbers = {NUMBER + k: v for k, v in flat(state).items() if not isinstance(v, np.ndarray)}
    waiting = iter(values.items())
    try:
        with files.writing(path_of(result), progress["run_id"], durable) as file:
            file.attrs.update({**progress, "derived": json.dumps(progress["derived"]), **totals, **numbers})
            for name, value in waiting:
                file[name] = transport.gather(value, place.counts)
    except files.UNREADABLE as error:
        for _, value in waiting:  # the other ranks wait for this
            transport.gather(value, place.counts)
        return error if isinstance(error, OSError) else OSError(str(error))
    return None


def read_progress(result: Path) -> dict[str, Any] | None:
    """Return the attributes of the checkpoint of a result file; None if there is none. Raises UsageError if it is
    broken."""
    import json  # on rank 0 alone

    path = path_of(result)
    if not path.exists():
        return None
    try:
        with files.reading(path) as file:
            found = files.attributes(file, PROGRESS)
        found["derived"] = dict(json.loads(found["derived"]))
    except files.UNREADABLE as error:
        raise _broken(path, str(error)) from error
    return found


def restore(
    result: Path, progress: dict[str, Any], state: Any, counters: dict[str, np.ndarray], network: Network
) -> Any:
    """Return the saved state, shaped as ``state``, on whatever ranks there are now; collective.

    progress: what ``read_progress`` found on rank 0. Sets ``counters`` and those of ``network``. Raises AgreedError if
    the file holds another state.
    """
    place, transport = network.place, network.transport
    values = {name: np.empty_like(value) for name, value in _arrays(state).items()}
    wanted = {**values, **counters}
    saved = _Saved(path_of(result), transport.rank == 0)
    numbers = {name: type(np.asarray(value).item()) for name, value in flat(state).items() if name not in values}
    by_first(transport, lambda: saved.require(wanted, {NUMBER + k: kind for k, kind in numbers.items()}, place.nodes))
    for name, own in wanted.items():
        transport.scatter(saved.rows(name, own.dtype), place.counts, own)
    network.traffic.restore(Traffic(progress["rounds"], progress["bytes"], progress["mpi_bytes"]))
    return _shaped(state, {**values, **{name: progress[NUMBER + name] for name in numbers}})


class _Saved:
    """The arrays of a checkpoint, of which only rank 0 sees anything."""

    def __init__(self, path: Path, here: bool):
        self.path, self.here = path, here

    def require(self, wanted: dict[str, np.ndarray], numbers: dict[str, type], nodes: int) -> None:
        """Raise UsageError unless all of a state is there, in arrays of as many nodes as there are."""
        try:
            with files.reading(self.path) as file:
                files.attributes(file, numbers)
                shapes = {name: (file[name].shape, file[name].dtype) for name in wanted if name in file}
        except files.UNREADABLE as error:
            raise _broken(self.path, str(error)) from error
        for name, own in wanted.items():
            if name not in shapes:
                raise _broken(self.path, f"it lacks {name}")
            want = (nodes, *own.shape[1:]), own.dtype
            if shapes[name] != want:
                raise _broken(self.path, f"its {name} is {_words(*shapes[name])}, not {_words(*want)}")

    def rows(self, name: str, dtype: np.dtype) -> np.ndarray | None:
        import h5py  # on rank 0 alone

        if not self.here:
            return None
        with h5py.File(self.path, locking=False) as file:  # whose seal was checked
            return file[name][()]


def _words(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return f"{' x '.join(map(str, shape))} {dtype}"


def _broken(path: Path, why: str) -> UsageError:
    """Also what older versions have written is told so."""
    return UsageError(
        f"{path}: {why}: not a checkpoint that this version and config can go on from; say --overwrite to start afresh"
    )


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """The fields of a NamedTuple by name; those of a NamedTuple in it as outer.inner. Empty tuples are left out."""
    fields: dict[str, Any] = {}
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
