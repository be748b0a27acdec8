"""HDF5 files that are never half written: a file is built in memory and takes its name's place in one step.

Whoever opens the name gets a whole file, whether it is being written, was killed or is finished. A plain h5py file
that is killed while it is being changed may not open again.
"""

import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mpiqopt.errors import UsageError

if TYPE_CHECKING:
    import h5py

_numbers = itertools.count()


def in_memory() -> "h5py.File":
    """A new HDF5 file that exists in memory only."""
    import h5py

    # HDF5 tells open files apart by name, those in memory too. In newer formats (libver) datasets would take two kB
    # less each, but HDF5 1.14 makes images of them that do not open.
    return h5py.File(f"in memory {next(_numbers)}", "w", driver="core", backing_store=False)


def into_memory(path: Path) -> "h5py.File":
    """A copy of the file at ``path`` in memory; changes stay there until they are published."""
    import h5py

    return h5py.File(path, "r+", driver="core", backing_store=False)


def part_of(path: Path) -> Path:
    """The name under which a file is written before it takes its place."""
    return path.with_name(path.name + ".part")


def publish(file: "h5py.File", path: Path, durable: bool = False) -> None:
    """Make the present content of a file in memory the content of ``path``. durable: also if the machine crashes."""
    file.flush()
    part = part_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.write_bytes(file.id.get_file_image())
        if durable:
            replace_durably(part, path)
        else:
            os.replace(part, path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def replace_durably(part: Path, path: Path) -> None:
    """Give a written file its name when its content, and then the name, are safe on the disk."""
    _sync(part)
    os.replace(part, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def require_writable(path: Path) -> None:
    """Raise UsageError unless a file can be made at ``path`` (folders on the way too). Leaves nothing behind."""
    if path.is_dir():
        raise UsageError(f"-o {path}: is a folder; want the name of a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    probe = part_of(folder / path.name)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"-o {path}: cannot write there: {error.strerror or error}") from error
