"""HDF5 files that are never half written: a file is built in memory and takes its name's place in one step.

Whoever opens the name gets a whole file, whether it is being written, was killed or is finished. A plain h5py file
that is killed while it is being changed may not open again.
"""

import itertools
import os
from contextlib import suppress
from pathlib import Path

import h5py

from mpiqopt.errors import UsageError

_numbers = itertools.count()


def in_memory() -> h5py.File:
    """A new HDF5 file that exists in memory only."""
    # HDF5 tells open files apart by name, those in memory too
    return h5py.File(f"in memory {next(_numbers)}", "w", driver="core", backing_store=False)


def into_memory(path: Path) -> h5py.File:
    """A copy of the file at ``path`` in memory; changes stay there until they are published."""
    return h5py.File(path, "r+", driver="core", backing_store=False)


def publish(file: h5py.File, path: Path, durable: bool = False) -> None:
    """Make the file's present content the content of ``path``. durable: also against a crash of the machine."""
    file.flush()
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(part, "wb") as out:
            out.write(file.id.get_file_image())
            if durable:
                out.flush()
                os.fsync(out.fileno())
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def require_writable(path: Path) -> None:
    """Raise UsageError unless a file can be made at ``path`` (folders on the way too). Leaves nothing behind."""
    if path.is_dir():
        raise UsageError(f"-o {path}: is a folder; want the name of a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    probe = folder / (path.name + ".part")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"-o {path}: cannot write there: {error.strerror or error}") from error
