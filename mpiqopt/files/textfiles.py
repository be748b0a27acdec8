"""Files as people have them: compressed or not, and text in whatever encoding, as bytes or as text."""

import bz2
import codecs
import gzip
import lzma
import zlib
from pathlib import PurePath
from typing import BinaryIO

from mpiqopt.errors import UsageError
from mpiqopt.files.inputs import require_file

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
# files that are neither text nor read as one, and what to do about it
OTHERS = {
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as text",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it, or use gzip, bzip2 or xz",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF file",
}
# how many bytes tell a text from numbers in binary
HEAD = 4096


def ending(path: str) -> str:
    """Return the ending of a file's name, in small letters and without that of its compression: ".csv" of A.CSV.gz."""
    name = PurePath(path).name.lower()
    for suffix in ENDINGS:
        name = name.removesuffix(suffix)
    return PurePath(name).suffix


def is_compressed(path: str) -> bool:
    """Return True if the content of a file is compressed, whatever its name. Raises OSError."""
    with open(path, "rb") as file:
        return _opener(file.read(6)) is not None


def opened(path: str) -> BinaryIO:
    """Open a file whose bytes are those of the text: decompressed as they are read. Raises OSError."""
    with open(path, "rb") as file:
        opener = _opener(file.read(6))
    return open(path, "rb") if opener is None else opener(path, "rb")


def _opener(begin: bytes):
    return next((opener for mark, opener in COMPRESSED.items() if begin.startswith(mark)), None)


def content(path: str, where: str) -> bytes:
    """Return all bytes of a file, decompressed. where: what messages call it. Raises UsageError."""
    require_file(path, where)
    try:
        with opened(path) as file:
            return file.read()
    except DAMAGED as error:
        raise UsageError(f"{where}: a damaged archive: {error}") from error
    except FileNotFoundError:
        raise UsageError(f"{where}: no such file") from None
    except (OSError, ValueError) as error:  # names with a NUL are no names
        raise UsageError(f"{where}: {getattr(error, 'strerror', None) or error}") from error


def require_no_other(head: bytes, where: str) -> None:
    """Raise UsageError for a file of another kind that is often taken for a text. head: how it begins."""
    for mark, kind in OTHERS.items():
        if head.startswith(mark):
            raise UsageError(f"{where}: is no text but {kind}")


def encoding_of(head: bytes, given: str | None, where: str, key: str) -> str:
    """Return the encoding of a text that begins so: that of its byte order mark, the given one, or UTF-8.

    key: of the config, that says the encoding. Raises UsageError for what is no text.
    """
    require_no_other(head, where)
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
    """UTF-16 without a mark has zeros in every other byte, as far as it is English; "" if it has not."""
    even, odd = head[::2], head[1::2]
    if odd.count(0) > len(odd) // 2 and not even.count(0):
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > len(even) // 2 and not odd.count(0) else ""


def decoded(data: bytes, given: str | None, where: str, key: str, whole: bool = True) -> str:
    """Return bytes as text, as ``encoding_of`` says. Raises UsageError that names the line and the cure.

    whole: False if they are the beginning of a text, that may end amid a character.
    """
    encoding = encoding_of(data, given, where, key)
    try:
        b"".decode(encoding)  # some codecs are no encodings of text
        return codecs.getincrementaldecoder(encoding)().decode(data, whole)
    except LookupError:
        raise UsageError(f"{key} = {given!r}: Python knows no such encoding; for example 'latin-1', 'cp1252'") from None
    except UnicodeDecodeError as error:
        raise UsageError(undecodable(error, data, where, key)) from None


def undecodable(error: UnicodeDecodeError, data: bytes, where: str, key: str) -> str:
    """Return the line on bytes that are not of an encoding. data: up to them at least."""
    line = data.count(b"\n", 0, error.start) + 1
    cure = f"; say what it is, for example {key} = 'latin-1'" if error.encoding.startswith("utf") else ""
    return f"{where}: line {line} is not {error.encoding.upper()} (byte 0x{data[error.start]:02x}){cure}"


def text(path: str, given: str | None, where: str, key: str) -> str:
    """Return a file as text: ``content``, ``decoded``."""
    return decoded(content(path, where), given, where, key)


def compression(path: str) -> str:
    """Return how a file is compressed, for a list of what is said of it: ", gzip", or "". Raises OSError."""
    with open(path, "rb") as file:
        opener = _opener(file.read(6))
    return "" if opener is None else f", {opener.__module__.removeprefix('_').replace('lzma', 'xz')}"
