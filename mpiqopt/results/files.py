"""HDF5 files that are never half written: built under another name or in memory, then renamed in one step.

Whoever opens the name gets a whole file, whether the run is at work, was killed or is finished. A plain h5py file that
is open for writing when its process is killed may not open again. Behind the HDF5 content, which ends where its
superblock says, stands a seal: the CRC-32 of all bytes before it, so that a flipped bit anywhere is an error and never
another number. HDF5 itself ignores what follows its content. Nothing here asks for a lock of the file system: many NFS
and Lustre mounts have none.
"""

import io
import itertools
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiqopt.errors import UsageError

if TYPE_CHECKING:
    import h5py

SEAL = b"\nmpiqopt crc32 %08x\n"
SEALED = re.compile(rb"\nmpiqopt crc32 ([0-9a-f]{8})\n")
SEAL_BYTES = len(SEAL % 0)
# How HDF5 files begin; at which byte, by version of the superblock, the address of their end stands (8 bytes, little
# endian; HDF5 File Format Specification, section II.A); and the bytes to read for it.
SIGNATURE = b"\x89HDF\r\n\x1a\n"
END_BY_VERSION = {0: 40, 1: 44, 2: 28, 3: 28}
SUPERBLOCK = 52
# bytes that are read at a time to check a seal
READ = 1 << 20
# What h5py raises for a file that is none, is broken, or lacks what is looked for: found with files of random bytes.
UNREADABLE = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError)
# h5py.h5f.FILE_IMAGE_OPEN_RW, which not all versions name
READ_WRITE = 1

_numbers = itertools.count()


def new_file_in_memory() -> "h5py.File":
    """Return a new HDF5 file that exists in memory only, until ``publish_file`` writes it."""
    import h5py

    # HDF5 tells open files apart by name, those in memory too. In newer formats (libver) datasets would take two kB
    # less each, but HDF5 1.14 makes images of them that do not open.
    return h5py.File(f"in memory {next(_numbers)}", "w", driver="core", backing_store=False)


def copy_into_memory(path: Path) -> "h5py.File":
    """Return a copy of the file at ``path`` in memory, to change, until ``publish_file`` writes it.

    The file may be read-only, and open elsewhere. Raises OSError if its seal is broken or it is no HDF5 file.
    """
    import h5py

    content = path.read_bytes()
    if len(content) > _end(content):
        _require_seal(content[-SEAL_BYTES:], zlib.crc32(memoryview(content)[:-SEAL_BYTES]))
    return h5py.File(h5py.h5f.open_file_image(content, flags=READ_WRITE))


@contextmanager
def open_sealed(path: Path) -> Iterator["h5py.File"]:
    """Open a file to read, after its seal was checked. Raises OSError if that is broken.

    A file with nothing behind its content is taken as it is: an early version wrote it, or another program has changed
    it, as HDF5 then cuts off what follows the content.
    """
    import h5py

    with open(path, "rb") as file:
        size, end = os.fstat(file.fileno()).st_size, _end(file.read(SUPERBLOCK))
        if size > end:
            file.seek(0)
            checksum = _checksum(file, size - SEAL_BYTES)
            _require_seal(file.read(), checksum)
    with h5py.File(path, locking=False) as file:
        yield file


def read_attributes(file: "h5py.File", wanted: dict[str, type]) -> dict[str, Any]:
    """Return all attributes of a file as Python values, by name.

    wanted: types of those that have to be there. Raises ValueError for one that is missing or of another type, and for
    integers of 2^62 and more.
    """
    found = {name: value.item() if hasattr(value, "item") else value for name, value in file.attrs.items()}
    for name, kind in wanted.items():
        if name not in found:
            raise ValueError(f"it lacks {name}")
        # sums of two counters stay int64
        if type(found[name]) is not kind or (kind is int and abs(found[name]) >= 2**62):
            raise ValueError(f"its {name} is {found[name]!r:.40}")
    return found


def _checksum(file: io.BufferedReader | io.FileIO, size: int) -> int:
    """Return the CRC-32 of the next ``size`` bytes of a file, which are read piece by piece."""
    value = 0
    while size > 0 and (piece := file.read(min(READ, size))):
        value = zlib.crc32(piece, value)
        size -= len(piece)
    return value


def _end(content: bytes) -> int:
    """Return where the content of an HDF5 file ends, by its superblock; 0 if that says nothing."""
    at = END_BY_VERSION.get(content[8]) if content[:8] == SIGNATURE and len(content) >= SUPERBLOCK else None
    return 0 if at is None else int.from_bytes(content[at : at + 8], "little")


def _require_seal(seal: bytes, checksum: int) -> None:
    """Raise OSError unless the last bytes of a file are the seal of a checksum."""
    found = SEALED.fullmatch(seal)
    if not found:
        raise OSError("not an HDF5 file, or damaged: its checksum is not there")
    if int(found[1], 16) != checksum:
        raise OSError(f"damaged: its checksum is {checksum:08x} where {found[1].decode()} was written")


def follow_link(path: Path) -> Path:
    """Return where a link leads; any other path as it is. So a link to an output stays, and its target changes."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def part_path(path: Path, run_id: str) -> Path:
    """Return the name under which a run writes a file before it takes its place: in the same folder, to be renamed."""
    return path.with_name(f"{path.name}.{run_id[:8]}.part")


def clear_parts(path: Path) -> None:
    """Delete what killed runs have left of the file at ``path`` and of its checkpoint."""
    name = re.compile(re.escape(path.name) + r"(\.checkpoint)?(\.[0-9a-f]{8})?\.part")
    with suppress(OSError):
        for part in path.parent.iterdir():
            if name.fullmatch(part.name):
                part.unlink()


def publish_file(file: "h5py.File", path: Path, run_id: str, durable: bool = False) -> None:
    """Make the present content of a file in memory the content of ``path``, in one step.

    run_id: of the run, part of the name that is written first; durable: wait until it is on the disk, so that it is
    there even if the machine crashes. Raises OSError if it cannot be written; the old content then stays.
    """
    file.flush()
    image = file.id.get_file_image()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _taking_the_place_of(path, run_id, durable) as part:
        part.write(image)
        part.write(SEAL % zlib.crc32(image))


@contextmanager
def open_replacement(path: Path, run_id: str, durable: bool) -> Iterator["h5py.File"]:
    """Open a new HDF5 file that takes the place of ``path`` at the end, in one step.

    For files that are too large to be built in memory, such as checkpoints. run_id, durable: as for ``publish_file``.
    Raises OSError at the end if anything could not be written: HDF5 itself does not survive a full disk.

    >>> with open_replacement(Path("a.h5"), "0123abcd", durable=False) as file:
    ...     file.attrs["answer"] = 42
    >>> with open_sealed(Path("a.h5")) as file:
    ...     read_attributes(file, {"answer": int})
    {'answer': 42}
    """
    import h5py

    with _taking_the_place_of(path, run_id, durable) as part:
        try:
            with h5py.File(part, "w") as file:
                yield file
        except UNREADABLE:
            part.require_written()  # which says why
            raise
        part.require_written()
        part.seek(0)
        checksum = _checksum(part, os.fstat(part.fileno()).st_size)
        part.write(SEAL % checksum)


class _Part(io.FileIO):
    """Be a file whose ``write`` never fails: the first error is kept, and raised by ``require_written``.

    HDF5 writes through it, and may end the process when a write fails while it closes a file.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write bytes as far as possible, and return how many there were."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest):
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = self.error or error
        return size

    def require_written(self) -> None:
        """Raise the first OSError of a write, if there was one."""
        if self.error is not None:
            raise self.error


@contextmanager
def _taking_the_place_of(path: Path, run_id: str, durable: bool) -> Iterator[_Part]:
    """Yield a file for what becomes the content of ``path``, whose permissions stay; deleted if an exception comes."""
    path = follow_link(path)
    name = part_path(path, run_id)
    try:
        with _Part(name, "w+") as part:
            yield part
            part.require_written()
            if durable:
                os.fsync(part.fileno())
        with suppress(OSError):  # there is none yet, or it is another user's
            name.chmod(path.stat().st_mode & 0o7777)
        os.replace(name, path)
        if durable:
            _sync(path.parent)
    except BaseException:
        with suppress(OSError):
            name.unlink()
        raise


def _sync(folder: Path) -> None:
    """Wait until names in a folder are on the disk: those of files are no part of the files."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def require_no_folder(path: Path) -> None:
    """Raise UsageError if an output is a folder. path: of ``-o``."""
    if os.path.isdir(path):  # raises nothing, such as for names that are too long
        raise UsageError(f"-o {path}: is a folder; want the name of a file")


def require_writable(path: Path) -> None:
    """Raise UsageError unless a file can be made at ``path`` (folders on the way, too).

    Looked at before a run begins, by making a file and deleting it: permissions alone do not tell of a file system that
    is mounted read-only or full.
    """
    require_no_folder(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"-o {path}: is no plain file")
    try:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        probe = part_path(folder / path.name, f"{os.getpid():08x}")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"-o {path}: cannot write there: {error.strerror or error}") from error
