"""Checkpoints: the whole state of a run in one file beside the result file, FILE.checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.network.network import Network
from mpiqopt.network.traffic import Traffic
from mpiqopt.placement.shared_rows import distinct_rows, is_shared, shared_rows
from mpiqopt.results import files
from mpiqopt.transport.agreement import agreed_from_rank_0

# The state's numbers are attributes with this prefix; its arrays are datasets.
NUMBER = "state."
# Attribute of arrays that are stored as (1, ...): ``shared_rows``, the same at all nodes.
ONE_ROW = "one row for all nodes"
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


def checkpoint_path(result: Path) -> Path:
    """Return the path of the checkpoint that belongs to a result file: FILE.checkpoint."""
    return result.with_name(result.name + ".checkpoint")


def save_checkpoint(
    result: Path, state: Any, progress: dict[str, Any], counters: dict[str, np.ndarray], network: Network, durable: bool
) -> OSError | None:
    """Write the rows of all nodes on rank 0, collective; the file replaces the last checkpoint in one step.

    Of ``shared_rows`` one is written, and none is gathered. No rank but the first needs to see the file.

    Parameters
    ----------
    result : path of the result file
    state : the algorithm's NamedTuple
    progress : the values of PROGRESS that the network does not count, by name; ``derived`` as a dictionary
    counters : arrays (hosted,) by name, among them ``evaluations``
    network : whose traffic is saved, too
    durable : True to wait until the file is on the disk, as in ``files.open_replacement``

    Returns
    -------
    OSError or None
        What went wrong on rank 0, where the last checkpoint stays then.
    """
    values, totals = {**_arrays(state), **counters}, network.counters()
    if network.transport.rank:
        for value in values.values():
            _all_rows(value, network)
        return None
    import json  # on rank 0 alone

    numbers = {NUMBER + k: v for k, v in flat_state(state).items() if not isinstance(v, np.ndarray)}
    waiting = iter(values.items())
    try:
        with files.open_replacement(checkpoint_path(result), progress["run_id"], durable) as file:
            file.attrs.update({**progress, "derived": json.dumps(progress["derived"]), **totals, **numbers})
            for name, value in waiting:
                file[name] = _all_rows(value, network)
                if is_shared(value):
                    file[name].attrs[ONE_ROW] = True
    except files.UNREADABLE as error:
        for _, value in waiting:  # the other ranks wait for this
            _all_rows(value, network)
        return error if isinstance(error, OSError) else OSError(str(error))
    return None


def _all_rows(value: np.ndarray, network: Network) -> np.ndarray | None:
    """Return the rows of all nodes on rank 0, collective; of shared rows the one row that each rank has."""
    if is_shared(value):
        return distinct_rows(value)
    return network.transport.gather(value, network.place.counts)


def read_progress(result: Path) -> dict[str, Any] | None:
    """Return the values of PROGRESS in a result file's checkpoint, None if there is none. Raises UsageError if broken.

    ``derived`` is a dictionary again.
    """
    import json  # on rank 0 alone

    path = checkpoint_path(result)
    if not path.exists():
        return None
    try:
        with files.open_sealed(path) as file:
            found = files.read_attributes(file, PROGRESS)
        found["derived"] = dict(json.loads(found["derived"]))
    except files.UNREADABLE as error:
        raise _broken(path, str(error)) from error
    return found


def restore_checkpoint(
    result: Path, progress: dict[str, Any], state: Any, counters: dict[str, np.ndarray], network: Network
) -> Any:
    """Return the saved state on whatever ranks there are now, collective.

    Parameters
    ----------
    result : path of the result file
    progress : what ``read_progress`` found on rank 0
    state : an initial state, whose form the saved one must have
    counters : arrays (hosted,) by name, which are overwritten
    network : whose traffic is set

    Raises
    ------
    AgreedError
        If the file holds another state.
    """
    place, transport = network.place, network.transport
    arrays, fields = _arrays(state), flat_state(state)
    numbers = {NUMBER + name: type(np.asarray(fields[name]).item()) for name in fields if name not in arrays}
    forms = {name: _stored_form(own, place.nodes) for name, own in {**arrays, **counters}.items()}
    saved = _Saved(checkpoint_path(result), transport.rank == 0)
    agreed_from_rank_0(transport, lambda: saved.require(forms, numbers))
    values = {name: _own_rows(saved.rows(name), own, network) for name, own in arrays.items()}
    for name, own in counters.items():
        transport.scatter(saved.rows(name), place.counts, own)
    network.traffic.restore(Traffic(progress["rounds"], progress["bytes"], progress["mpi_bytes"]))
    return _shaped(state, {**values, **{name: progress[NUMBER + name] for name in fields if name not in arrays}})


def _stored_form(own: np.ndarray, nodes: int) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type in a checkpoint of what is ``own``, (hosted, ...), on a rank."""
    return (1 if is_shared(own) else nodes, *own.shape[1:]), own.dtype


def _own_rows(rows: np.ndarray | None, like: np.ndarray, network: Network) -> np.ndarray:
    """Return the hosted nodes' part of ``rows``, which rank 0 has read, in the form of ``like``; collective."""
    if is_shared(like):
        row = np.empty(like.shape[1:], like.dtype) if rows is None else np.array(rows[0])
        return shared_rows(network.transport.broadcast(row), len(like))
    own = np.empty_like(like)
    network.transport.scatter(rows, network.place.counts, own)
    return own


class _Saved:
    """Reads the arrays of a checkpoint on rank 0; other ranks see nothing. here: True on rank 0."""

    def __init__(self, path: Path, here: bool):
        self.path, self.here = path, here

    def require(self, forms: dict[str, tuple[tuple[int, ...], np.dtype]], numbers: dict[str, type]) -> None:
        """Raise UsageError unless all of a state is there: arrays of these shapes and types, and numbers."""
        try:
            with files.open_sealed(self.path) as file:
                files.read_attributes(file, numbers)
                shapes = {name: (file[name].shape, file[name].dtype) for name in forms if name in file}
        except files.UNREADABLE as error:
            raise _broken(self.path, str(error)) from error
        for name, want in forms.items():
            if name not in shapes:
                raise _broken(self.path, f"it lacks {name}")
            if shapes[name] != want:
                raise _broken(self.path, f"its {name} is {_words(*shapes[name])}, not {_words(*want)}")

    def rows(self, name: str) -> np.ndarray | None:
        """Return the rows of all nodes, or the one that they share, on rank 0, None elsewhere."""
        import h5py  # on rank 0 alone

        if not self.here:
            return None
        with h5py.File(self.path, locking=False) as file:  # whose seal was checked
            return file[name][()]


def _words(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return f"{' x '.join(map(str, shape))} {dtype}"


def _broken(path: Path, why: str) -> UsageError:
    """Return the error for a file that cannot be gone on with; those of older versions get it, too."""
    return UsageError(
        f"{path}: {why}: not a checkpoint that this version and config can go on from; say --overwrite to start afresh"
    )


def flat_state(state: Any, prefix: str = "") -> dict[str, Any]:
    """Return the fields of a NamedTuple by name, those of a NamedTuple in it as outer.inner; empty tuples are left out.

    >>> from typing import NamedTuple
    >>> Pair = NamedTuple("Pair", [("a", int), ("b", object)])
    >>> flat_state(Pair(1, Pair(2, ())))
    {'a': 1, 'b.a': 2}
    """
    fields: dict[str, Any] = {}
    for name, value in state._asdict().items():
        if hasattr(value, "_asdict"):
            fields |= flat_state(value, f"{prefix}{name}.")
        elif not isinstance(value, tuple):
            fields[prefix + name] = value
    return fields


def _shaped(like: Any, values: dict[str, Any], prefix: str = "") -> Any:
    """Return a NamedTuple like ``like`` with the values of ``flat_state``."""
    fields = {
        name: _shaped(value, values, f"{prefix}{name}.")
        if hasattr(value, "_asdict")
        else values.get(prefix + name, value)
        for name, value in like._asdict().items()
    }
    return type(like)(**fields)


def _arrays(state: Any) -> dict[str, np.ndarray]:
    return {name: value for name, value in flat_state(state).items() if isinstance(value, np.ndarray)}
