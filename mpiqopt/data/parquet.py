"""Parquet files, read by pyarrow, which is an extra."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from mpiqopt.data.column_roles import Content, Heads
from mpiqopt.data.columns import Columns
from mpiqopt.data.source import Table
from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.registry import register


@register("data", "parquet")
@dataclass(frozen=True, kw_only=True)
class Parquet(Columns):
    """A table in Parquet format (``pip install mpiqopt[parquet]``); columns of numbers, words and truth values.

    The index of a pandas table is no column. Rank 0 reads a file of up to 16 MB for all; of a larger one every rank
    reads all and keeps its own rows.
    """

    def count(self) -> int | None:
        """Return the number of rows by the file's metadata; None where some may be dropped."""
        if self.missing == "drop":
            return None
        with self.reading() as where:
            return _library(where).ParquetFile(self.path).metadata.num_rows

    def table(self, path: str, where: str, like: Table | None) -> Table:
        """Return the table of a file, of which only the used columns are read."""
        file = _library(where).ParquetFile(path)
        schema = file.schema_arrow
        index = _index(schema)
        names = tuple(name for name in schema.names if name not in index)
        heads = Heads(
            names, tuple(_kind(schema.field(name).type) if schema.names.count(name) == 1 else "word" for name in names)
        )
        roles = self.roles(heads, where) if like is None else self.roles_of_test(heads, like.terms, where)
        if like is None:
            self.require_numbers(heads, roles, where, heads.label)
        else:
            heads = self.heads_of_test(heads, roles, like.terms)
        return self.make_table(path, where, heads, roles, _Frame(file, heads), {"format": "parquet"}, like)


def _library(where: str) -> Any:
    """Return the module pyarrow.parquet. Raises UsageError, with the cure, if it is not installed."""
    if find_spec("pyarrow") is None:
        raise UsageError(f"{where}: Parquet is read by pyarrow, which is not here: pip install pyarrow")
    from pyarrow import parquet

    return parquet


def _index(schema: Any) -> set[str]:
    """Return the columns that are the index of a pandas table, by what pandas writes into the schema."""
    described = schema.pandas_metadata or {}
    return {name for name in described.get("index_columns", ()) if isinstance(name, str)}


def _kind(given: Any) -> str:
    """Return what a column of an Arrow type is, as in ``Heads.kinds``; a dictionary is what its values are."""
    from pyarrow import types

    if types.is_dictionary(given):
        given = given.value_type
    if types.is_boolean(given):
        return "bool"
    if types.is_integer(given) or types.is_floating(given) or types.is_decimal(given):
        return "number"
    return "empty" if types.is_null(given) else "word"


class _Frame(Content):
    """Read the columns of a Parquet file, each when it is first asked for, as a pyarrow ChunkedArray."""

    def __init__(self, file: Any, heads: Heads) -> None:
        self._file, self._heads = file, heads
        self._read: dict[int, Any] = {}
        self.samples = file.metadata.num_rows

    def _column(self, column: int) -> Any:
        if column not in self._read:
            self._read[column] = self._file.read(columns=[(self._heads.names or ())[column]]).column(0)
        return self._read[column]

    def numbers(self, column: int) -> np.ndarray:
        """Return a column as float64 (m,); decimals and integers of any size are rounded, null is NaN."""
        return self._column(column).to_pandas().to_numpy(np.float64, na_value=np.nan)

    def words(self, column: int) -> Any:
        """Return a column as a pandas Series of strings; null stays missing."""
        values = self._column(column).to_pandas()
        return values.astype(str).where(values.notna())

    def place(self, row: int, column: int) -> str:
        """Return row, column and value: Parquet has no lines."""
        return f"row {row + 1}, {self._heads.label(column)}: {quote_in_error(self._column(column)[row].as_py())}"
