"""Input files: rank 0 reads small ones for all ranks, and no rank may find another file at the same path.

Nodes of a cluster may have file systems of their own. A rank that finds a file there that is not rank 0's would train
on other data, or plug-ins, than the result file says.
"""

import stat
import zlib
from collections.abc import Iterable
from os.path import isfile  # Path.is_file raises errors for names that are too long and folders that are closed
from pathlib import Path
from typing import NamedTuple

from mpiqopt.errors import UsageError


class Input(NamedTuple):
    """Describe a file as rank 0 has it.

    size: in bytes; changed: time of the last change, ns; checksum: CRC-32 of the content, None for data files, which
    may be large and which ranks read themselves.
    """

    path: str
    size: int
    changed: int
    checksum: int | None


def require_input_file(path: str | Path, where: str | None = None) -> None:
    """Raise UsageError for a folder, pipe, socket or device, which may be read for ever.

    where: what messages call it, by default its path. A file that is missing passes: whoever opens it says so.
    """
    try:
        kind = stat.S_IFMT(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return
    if kind != stat.S_IFREG:
        found = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}.get(kind, "a device")
        raise UsageError(f"{where or path}: is {found}, not a file")


def examine_inputs(paths: Iterable[str], data: Iterable[str] = ()) -> tuple[Input, ...]:
    """Return what there is at some paths; files that are missing are left out.

    paths: of files whose content counts; data: of those of which size and time are enough.
    """
    whole = [(path, zlib.crc32(Path(path).read_bytes())) for path in paths if isfile(path)]
    return tuple(
        Input(path, Path(path).stat().st_size, Path(path).stat().st_mtime_ns, checksum)
        for path, checksum in [*whole, *((path, None) for path in data if isfile(path))]
    )


def require_same_inputs(inputs: Iterable[Input], here: str) -> None:
    """Raise UsageError if another file is at the path of one of ``inputs`` on this rank; none at all is fine.

    inputs: what ``examine_inputs`` found on rank 0; here: what messages call this rank. A file is not opened if its
    size and time of change are those of rank 0's, as on a file system that all share: thousands of ranks would ask for
    it at once.
    """
    for given in inputs:
        try:
            found = Path(given.path).stat()
        except OSError:
            continue
        if (found.st_size, found.st_mtime_ns) == (given.size, given.changed):
            continue
        if found.st_size != given.size or not _may_have(given.path, given.checksum):
            raise UsageError(f"{given.path}: {here} holds another file there than rank 0")


def _may_have(path: str, checksum: int | None) -> bool:
    """Return True if a file has that checksum, or if nobody can tell."""
    try:
        return checksum is None or zlib.crc32(Path(path).read_bytes()) == checksum
    except OSError:
        return True
