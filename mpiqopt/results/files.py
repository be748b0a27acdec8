"""HDF5 files that are never half written: a file is built in memory and takes its name's place in one step.

Whoever opens the name gets a whole file, whether it is being written, was killed or is finished. A plain h5py file
that is killed while it is being changed may not open again.
"""

import os
from contextlib import suppress
from pathlib import Path

import h5py

from mpiqopt.errors import UsageError


def in_memory(name: str, image: bytes | None = None) -> h5py.File:
    """A new HDF5 file that exists in memory only, or one that starts as a copy of ``image``."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(1 << 20, False)
    if image is None:
        return h5py.File(h5py.h5f.create(name.encode(), fapl=access))
    access.set_file_image(image)
    return h5py.File(h5py.h5f.open(name.encode(), h5py.h5f.ACC_RDWR, fapl=access))


def publish(file: h5py.File, path: Path, durable: bool = False) -> None:
    """Make the file's present content the content of ``path``. durable: also against a crash of the machine."""
    file.flush()
    part = path.with_name(path.name + ".part")
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
    """Raise UsageError unless a file can be made at ``path``. Leaves nothing behind."""
    part = path.with_name(path.name + ".part")
    if path.is_dir():
        raise UsageError(f"-o {path}: is a folder; want the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise UsageError(f"-o {path}: cannot write there: {error.strerror or error}") from error
