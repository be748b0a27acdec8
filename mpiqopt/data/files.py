"""Samples in files: LIBSVM, NPZ, HDF5 and CSV. Sparse files stay sparse."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from os.path import isfile
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import numpy as np

from mpiqopt.data.source import SMALL, Rows, Source, Table, in_memory, label_codes, quiet, require_numbers
from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.inputs import require_file
from mpiqopt.registry import register

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class FileSource(Source):
    path: Annotated[str, Field(description="the data file, relative to the config file")]

    def is_small(self) -> bool:
        return isfile(self.path) and Path(self.path).stat().st_size <= SMALL


def _one_line(read: Callable[..., T]) -> Callable[..., T]:
    """Turn whatever a reading library says into one line that names the file."""

    @wraps(read)
    def checked(self: FileSource, *arguments: int) -> T:
        require_file(self.path, f"data.path = {self.path}")
        if not isfile(self.path):
            raise UsageError(f"data.path = {self.path}: no such file")
        if Path(self.path).stat().st_size == 0:
            raise UsageError(f"data.path = {self.path}: the file is empty")
        try:
            with quiet():
                return read(self, *arguments)
        except (UsageError, MemoryError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(f"data.path = {self.path}: not readable as {self.name}: {reason}") from error

    return checked


@register("data", "libsvm")
@dataclass(frozen=True, kw_only=True)
class LibSVM(FileSource):
    """``label index:value ...`` per line, one-based indices (``.gz`` and ``.bz2`` too); read by scikit-learn, sparse.

    Rank 0 reads a file of up to 16 MB for all; of a larger one every rank reads all and keeps its own rows.
    """

    features: Annotated[int | None, Field(ge=1, description="number of features; by default the largest index")] = None

    @_one_line
    def open(self, seed: int) -> Table:
        from sklearn.datasets import load_svmlight_file

        features, labels = load_svmlight_file(self.path, n_features=self.features, zero_based="auto")
        return in_memory(self.path, features.tocsr(), labels)


@register("data", "npz")
@dataclass(frozen=True, kw_only=True)
class Npz(FileSource):
    """Arrays ``X`` (samples, d) and ``y``; or, sparse, ``y`` beside what scipy.sparse.save_npz writes for CSR."""

    @_one_line
    def count(self) -> int:
        with np.load(self.path, allow_pickle=False) as file:
            _require(self.path, ("y",), file)
            return len(file["y"])

    @_one_line
    def open(self, seed: int) -> Table:
        with np.load(self.path, allow_pickle=False) as file:
            _require(self.path, ("y",), file)
            labels = label_codes(file["y"])
            if "X" in file:
                return in_memory(self.path, file["X"], labels)
            _require(self.path, ("data", "indices", "indptr", "shape"), file)
            from scipy.sparse import csr_array

            rows = csr_array((file["data"], file["indices"], file["indptr"]), shape=tuple(file["shape"]))
            rows.check_format(full_check=True)  # indices outside the shape would be read and written by the kernels
            rows.sum_duplicates()
            return in_memory(self.path, rows, labels)


@register("data", "hdf5")
@dataclass(frozen=True, kw_only=True)
class Hdf5(FileSource):
    """Datasets ``X`` (samples, d) and ``y``.

    Rank 0 reads a file of up to 16 MB for all; of a larger one each rank reads the rows of the nodes that it hosts.
    """

    x_key: Annotated[str, Field(description="dataset of the features")] = "X"
    y_key: Annotated[str, Field(description="dataset of the targets")] = "y"

    @_one_line
    def count(self) -> int:
        import h5py

        with h5py.File(self.path, locking=False) as file:
            _require(self.path, (self.x_key,), file)
            return len(file[self.x_key])

    @_one_line
    def open(self, seed: int) -> Table:
        import h5py

        # without locks, which many file systems do not have
        with h5py.File(self.path, locking=False) as file:
            _require(self.path, (self.x_key, self.y_key), file)
            shape, targets = (
                file[self.x_key].shape,
                file[self.y_key].asstr() if (h5py.check_string_dtype(file[self.y_key].dtype)) else file[self.y_key],
            )
            require_numbers(self.path, file[self.x_key].dtype)
            targets = label_codes(targets[()])
        if len(shape) != 2 or targets.shape != shape[:1]:
            raise UsageError(
                f"{self.path}: want {self.x_key} (samples, d) and {self.y_key} (samples,), got {shape} and "
                f"{targets.shape}"
            )

        def rows(which: Rows) -> np.ndarray:
            with h5py.File(self.path, locking=False) as file:
                return file[self.x_key][which]

        return Table(self.path, targets, shape[1], rows)


@register("data", "csv")
@dataclass(frozen=True, kw_only=True)
class Csv(FileSource):
    """Numbers in columns, one sample a line; empty lines and lines that begin with # are passed over.

    Rank 0 reads a file of up to 16 MB for all; of a larger one every rank reads all and keeps its own rows.
    """

    target: Annotated[
        int | str, Field(description="the target's column: its number (negative from the end) or its header name")
    ] = -1
    delimiter: Annotated[
        str | None, Field(min_length=1, description="between columns; by default a comma, semicolon or tab, as found")
    ] = None
    header: Annotated[
        bool | None, Field(description="whether the first line names the columns; by default, if it is not numbers")
    ] = None

    @_one_line
    def count(self) -> int | None:
        return len(self._lines().below) if self.is_small() else None

    @_one_line
    def open(self, seed: int) -> Table:
        lines = self._lines()
        columns = np.loadtxt(lines.below, delimiter=lines.delimiter, quotechar='"', ndmin=2)
        target = self._column(lines.names, lines.header)
        return in_memory(self.path, np.delete(columns, target, axis=1), columns[:, target])

    def _lines(self) -> "_Lines":
        with open(self.path, encoding="utf-8-sig") as file:
            lines = [line for line in file if line.strip() and not line.startswith("#")]
        delimiter = self.delimiter or next((mark for mark in ",;\t" if mark in lines[0]), None)
        names = [word.strip().strip('"') for word in lines[0].split(delimiter)]
        header = not _are_numbers(names) if self.header is None else self.header
        if len(lines) == header:
            raise UsageError(f"data.path = {self.path}: no data below the header")
        return _Lines(names, header, delimiter, lines[header:])

    def _column(self, names: list[str], header: bool) -> int:
        if isinstance(self.target, int) and -len(names) <= self.target < len(names):
            return self.target % len(names)
        if header and self.target in names:
            return names.index(self.target)
        known = ", ".join(names) if header else f"0 .. {len(names) - 1} (the file has no header)"
        raise UsageError(f"data.target = {self.target!r}: {self.path} has no such column; columns: {known}")


class _Lines(NamedTuple):
    """Of a CSV file: words of the first line, whether it is a header, what is between columns, and lines of numbers."""

    names: list[str]
    header: bool
    delimiter: str | None
    below: list[str]


def _are_numbers(words: list[str]) -> bool:
    try:
        return len([float(word) for word in words]) > 0
    except ValueError:
        return False


def _require(path: str, keys: tuple[str, ...], file) -> None:
    for key in keys:
        if key not in file:
            raise UsageError(f"{path}: has no array {key!r}; it has: {', '.join(file) or 'nothing'}")
