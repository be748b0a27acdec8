"""The two files, of images and of labels, in which MNIST and its relatives are given away."""

from dataclasses import dataclass, replace
from math import prod
from typing import Annotated, BinaryIO

import numpy as np

from mpiqopt.data.files import FileSource, require_same_width_of_files
from mpiqopt.data.shapes import flat_samples, unit_pixels
from mpiqopt.data.source import SMALL, Rows, Table
from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.files.textfiles import open_decompressed_textfile, textfile_compression
from mpiqopt.registry import register

# the third byte of a file, and what its numbers are; all are big-endian
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@register("data", "idx")
@dataclass(frozen=True, kw_only=True)
class Idx(FileSource):
    """Images and labels in two files of the IDX format, as MNIST, Fashion-MNIST and EMNIST have it; also compressed.

    Bytes 0..255 are divided by 255; numbers of other types stay as they are. Images may be (m, h, w) or (m, c, h, w).
    """

    labels_path: Annotated[str, Field(description="the file of labels, relative to the config file")]
    test_labels_path: Annotated[
        str | None, Field(description="the file of the labels of test_path, relative to the config file")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.test_path is None) != (self.test_labels_path is None):
            given, other = sorted(("test_path", "test_labels_path"), key=lambda key: getattr(self, key) is None)
            raise UsageError(f"data.{given} = {getattr(self, given)}: wants data.{other}, the other file of the pair")

    def open(self, seed: int) -> Table:
        """Return the table of both files."""
        return self._labelled(super().open(seed), "labels_path")

    def held_out(self, table: Table) -> Table | None:
        """Return the table of the test pair, None without one."""
        images = super().held_out(table)
        return None if images is None else self._labelled(images, "test_labels_path")

    def count(self) -> int:
        """Return the number of images, from the header of their file."""
        with self.reading() as where, open_decompressed_textfile(self.path) as file:
            return _header(where, file)[1][0]

    def is_small(self) -> bool:
        """Return True if all images have at most 16 MB together, decompressed."""
        sizes = 0
        for key in ("path", "test_path"):
            if getattr(self, key) is not None:
                with self.reading(key) as where, open_decompressed_textfile(getattr(self, key)) as file:
                    dtype, dimensions = _header(where, file)
                    sizes += dtype.itemsize * prod(dimensions)
        return sizes <= SMALL

    def table(self, path: str, where: str, like: Table | None) -> Table:
        """Return the table of a file of images, whose targets are all 0."""
        images, shape = flat_samples(where, _array(where, path))
        if images.ndim != 2:
            raise UsageError(f"{where}: has shape {images.shape}; want images, (samples, height, width)")
        if like is not None:
            require_same_width_of_files(images.shape[1], like)

        def rows(which: Rows) -> np.ndarray:
            own = images[which]
            return unit_pixels(own) if own.dtype == np.uint8 else own.astype(own.dtype.newbyteorder("="))

        read = {"format": f"idx{textfile_compression(path)}", "shape": " x ".join(map(str, shape or images.shape[1:]))}
        return Table(path, np.zeros(len(images)), images.shape[1], rows, shape=shape, read=read)

    def _labelled(self, images: Table, key: str) -> Table:
        """Return the table with the labels of a file. key: of its path. Raises UsageError unless they are as many."""
        with self.reading(key) as where:
            labels = _array(where, getattr(self, key))
            if labels.shape != images.targets.shape:
                raise UsageError(f"{where}: has shape {labels.shape}; want {images.samples} labels, one for each image")
            return replace(images, targets=labels.astype(np.float64))


def _header(where: str, file: BinaryIO) -> tuple[np.dtype, tuple[int, ...]]:
    """Return type and dimensions of an array, and leave the file at its first number.

    Two bytes 0, one for the type, one for the number of dimensions, then these as big-endian 32-bit integers. Raises
    UsageError for a file that does not begin so.
    """
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] == 0:
        raise UsageError(f"{where}: is no IDX file: begins with bytes {magic.hex(' ') or 'none'}, want 00 00 08 03")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise UsageError(f"{where}: is cut off: ends amid its header of {magic[3]} dimensions")
    return np.dtype(TYPES[magic[2]]), tuple(np.frombuffer(sizes, ">u4").tolist())


def _array(where: str, path: str) -> np.ndarray:
    """Return the array of a file. Raises UsageError if it has more or fewer numbers than its header says."""
    with open_decompressed_textfile(path) as file:
        dtype, dimensions = _header(where, file)
        content = file.read()
    wanted = dtype.itemsize * prod(dimensions)
    if len(content) != wanted:
        wrong = "is cut off" if len(content) < wanted else "is too long"
        raise UsageError(f"{where}: {wrong}: {len(content)} bytes for {dimensions}; want {wanted} behind the header")
    return np.frombuffer(content, dtype).reshape(dimensions)
