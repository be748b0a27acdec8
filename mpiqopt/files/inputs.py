"""The files that rank 0 reads for all ranks. The others open none of them, but must not hold different ones there."""

import stat
import zlib
from collections.abc import Iterable
from os.path import isfile  # Path.is_file raises errors for names that are too long and folders that are closed
from pathlib import Path
from typing import NamedTuple

from mpiqopt.errors import UsageError


class Input(NamedTuple):
    """A file as rank 0 has it: bytes, time of the last change (ns) and checksum.

    checksum: None for data files, which may be large and which ranks read themselves.
    """

    path: str
    size: int
    changed: int
    checksum: int | None


def require_file(path: str | Path, where: str | None = None) -> None:
    """Raise UsageError unless ``path`` is a file. A fifo or a device, which may be read for ever, is none.

    where: what to call it, by default its path. A file that is missing is left to who opens it.
    """
    try:
        kind = stat.S_IFMT(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return
    if kind != stat.S_IFREG:
        found = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}.get(kind, "a device")
        raise UsageError(f"{where or path}: is {found}, not a file")


def examine(paths: Iterable[str], data: Iterable[str] = ()) -> tuple[Input, ...]:
    """What there is at ``paths`` and ``data``; files that are missing are left out."""
    whole = [(path, zlib.crc32(Path(path).read_bytes())) for path in paths if isfile(path)]
    return tuple(
        Input(path, Path(path).stat().st_size, Path(path).stat().st_mtime_ns, checksum)
        for path, checksum in [*whole, *((path, None) for path in data if isfile(path))]
    )


def require_same(inputs: Iterable[Input], here: str) -> None:
    """Raise UsageError if another file is at the path of one of ``inputs`` here; none at all is fine.

    A file is looked at, not opened, where its size and time of change are those of rank 0's, as on a file system that
    all share. here: how to call this rank.
    """
    for given in inputs:
        try:
            found = Path(given.path).stat()
        except OSError:
            continue
        if (found.st_size, found.st_mtime_ns) == (given.size, given.changed):
            continue
        if found.st_size != given.size or not _holds(given.path, given.checksum):
            raise UsageError(f"{given.path}: {here} holds another file there than rank 0")


def _holds(path: str, checksum: int | None) -> bool:
    """True if a file has that checksum, or if nobody can tell."""
    try:
        return checksum is None or zlib.crc32(Path(path).read_bytes()) == checksum
    except OSError:
        return True
