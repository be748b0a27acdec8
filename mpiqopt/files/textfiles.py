"""Files as people have them: compressed or not, and text in whatever encoding, as bytes or as text.

In all functions ``where`` is what messages call the file ("data.path = a.csv") and ``key`` the key of the config that
says its encoding ("data.encoding").
"""

import bz2
import codecs
import gzip
import lzma
import zlib
from pathlib import PurePath
from typing import Any, BinaryIO

from mpiqopt.errors import UsageError
from mpiqopt.files.inputs import require_input_file

# a compressed file is known by how it begins: names are often wrong
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
ENDINGS = (".gz", ".bz2", ".xz")
# what a library says of a damaged archive
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
# longest first: that of UTF-32 begins like that of UTF-16
MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# how files begin that are often taken for a text but are none, and what to do about it
OTHERS = {
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as text",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it, or use gzip, bzip2 or xz",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF file",
}
# Bytes at the begin that tell a text from numbers in binary, which nearly always have a zero byte among so many.
HEAD = 4096


def textfile_ending(path: str) -> str:
    """Return the ending of a file's name, in small letters and without that of its compression; "" if it has none.

    >>> textfile_ending("data/A.CSV.gz"), textfile_ending("graph.net"), textfile_ending("README")
    ('.csv', '.net', '')
    """
    name = PurePath(path).name.lower()
    for suffix in ENDINGS:
        name = name.removesuffix(suffix)
    return PurePath(name).suffix


def is_compressed_textfile(path: str) -> bool:
    """Return True if the content of a file is compressed, whatever its name. Raises OSError like ``open``."""
    with open(path, "rb") as file:
        return _opener(file.read(6)) is not None


def open_decompressed_textfile(path: str) -> BinaryIO:
    """Open a file to read its bytes, decompressed on the way. Raises OSError if it cannot be opened.

    Reading a damaged archive raises one of DAMAGED.
    """
    with open(path, "rb") as file:
        opener = _opener(file.read(6))
    return open(path, "rb") if opener is None else opener(path, "rb")


def _opener(begin: bytes) -> Any:
    """Return the ``open`` of a compression by how a file begins, None if it is not compressed."""
    return next((opener for mark, opener in COMPRESSED.items() if begin.startswith(mark)), None)


def read_decompressed_textfile(path: str, where: str) -> bytes:
    """Return all bytes of a file, decompressed. Raises UsageError if it is missing, no plain file or damaged."""
    require_input_file(path, where)
    try:
        with open_decompressed_textfile(path) as file:
            return file.read()
    except DAMAGED as error:
        raise UsageError(f"{where}: a damaged archive: {error}") from error
    except FileNotFoundError:
        raise UsageError(f"{where}: no such file") from None
    except (OSError, ValueError) as error:  # names with a NUL are no names
        raise UsageError(f"{where}: {getattr(error, 'strerror', None) or error}") from error


def require_no_other_textfile(head: bytes, where: str) -> None:
    """Raise UsageError, with the cure, for a file that is often taken for a text but is none. head: how it begins."""
    for mark, kind in OTHERS.items():
        if head.startswith(mark):
            raise UsageError(f"{where}: is no text but {kind}")


def textfile_encoding(head: bytes, given: str | None, where: str, key: str) -> str:
    """Return the encoding of a text: that of its byte order mark, else the given one, else UTF-8.

    head: how it begins, HEAD bytes or more; given: what the config says. Raises UsageError for what is no text.

    >>> [textfile_encoding(begin, None, "a.csv", "data.encoding") for begin in (b"a,b", b"\\xff\\xfea")]
    ['utf-8', 'utf-16']
    """
    require_no_other_textfile(head, where)
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if marked is not None:
        return marked
    if given is not None:
        return given
    if b"\0" in head[:HEAD]:
        wide = _wide(head[:HEAD])
        cure = f"; if it is UTF-16: {key} = {wide!r}" if wide else ""
        raise UsageError(f"{where}: is no text: bytes that are 0{cure}")
    return "utf-8"


def _wide(head: bytes) -> str:
    """Return which UTF-16 without a mark a text may be, "" if none: as far as it is English, every other byte is 0."""
    even, odd = head[::2], head[1::2]
    if odd.count(0) > len(odd) // 2 and not even.count(0):
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > len(even) // 2 and not odd.count(0) else ""


def decode_textfile(data: bytes, given: str | None, where: str, key: str, whole: bool = True) -> str:
    """Return bytes as text, in the encoding of ``textfile_encoding``.

    data, given: the bytes, and the encoding that the config says; whole: False if they are the beginning of a text,
    which may end amid a character. Raises UsageError that names the line and the cure.

    >>> decode_textfile(b"Z\\xc3", None, "a.csv", "data.encoding", whole=False)
    'Z'
    """
    encoding = textfile_encoding(data, given, where, key)
    try:
        b"".decode(encoding)  # some codecs are no encodings of text
        return codecs.getincrementaldecoder(encoding)().decode(data, whole)
    except LookupError:
        raise UsageError(f"{key} = {given!r}: Python knows no such encoding; for example 'latin-1', 'cp1252'") from None
    except UnicodeDecodeError as error:
        raise UsageError(undecodable_textfile(error, data, where, key)) from None


def undecodable_textfile(error: UnicodeDecodeError, data: bytes, where: str, key: str) -> str:
    """Return the message on bytes that are not of an encoding, with line and cure. data: up to them at least."""
    line = data.count(b"\n", 0, error.start) + 1
    cure = f"; say what it is, for example {key} = 'latin-1'" if error.encoding.startswith("utf") else ""
    return f"{where}: line {line} is not {error.encoding.upper()} (byte 0x{data[error.start]:02x}){cure}"


def read_textfile(path: str, given: str | None, where: str, key: str) -> str:
    """Return a file as text: ``read_decompressed_textfile``, ``decode_textfile``, and their errors."""
    return decode_textfile(read_decompressed_textfile(path, where), given, where, key)


def textfile_compression(path: str) -> str:
    """Return how a file is compressed, to append to the name of its format: ", gzip", or "". Raises OSError."""
    with open(path, "rb") as file:
        opener = _opener(file.read(6))
    return "" if opener is None else f", {opener.__module__.removeprefix('_').replace('lzma', 'xz')}"
