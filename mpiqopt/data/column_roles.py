"""What the columns of a table are called and what each is for: feature, target, node of a sample, or index of rows."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.errors import UsageError, clip_for_error_line, quote_in_error

# Below so many samples a first feature 0, 1, 2, ... may be chance; from here on it is reported as a likely index.
NO_CHANCE = 10
# characters of a column's name in a line that says more than that
SHORT = 40


class Heads(NamedTuple):
    """Describe the columns of a table before they are read.

    names: one per column, "" where one has none; None if the table has no header. kinds: one per column, "number",
    "word", "bool" or "empty", by the first lines or the schema. row_names: True if the first column holds names of rows
    by convention of the format, as R writes them below a header that is one name short.

    >>> heads = Heads(("", "age", "sex"), ("number", "number", "word"))
    >>> heads.label(1), heads.name(0)
    ("column 2 ('age')", 'column 1')
    """

    names: tuple[str, ...] | None
    kinds: tuple[str, ...]
    row_names: bool = False

    def label(self, column: int) -> str:
        """Return what messages call a column: its number, from 1 on, and its name if it has one."""
        name = self.names[column] if self.names else ""
        return f"column {column + 1}" + (f" ({clip_for_error_line(quote_in_error(name), SHORT)})" if name else "")

    def name(self, column: int) -> str:
        """Return the name of a feature, "column 3" where it has none."""
        return (self.names[column] if self.names else "") or f"column {column + 1}"

    def key(self, column: int) -> str:
        """Return what a config may say for a column: its name if that is short and its own, else its number."""
        names = self.names or ()
        name = names[column] if names else ""
        return quote_in_error(name) if 0 < len(name) < SHORT // 2 and names.count(name) == 1 else str(column)


class Roles(NamedTuple):
    """Say what each column is for, by numbers from 0 on.

    categories: those of the features that are coded one-hot; by: the column that names the node of each sample, for
    ``split = "natural"``; index: a first column without a name that is left out because it counts or names the rows.
    """

    target: int
    features: tuple[int, ...]
    categories: frozenset[int]
    by: int | None
    index: int | None  # type: ignore[assignment]  # hides tuple.index

    @property
    def used(self) -> list[int]:
        """Return the columns that samples are made of: target, features, and ``by`` where there is one."""
        return [self.target, *self.features, *([] if self.by is None else [self.by])]

    def words(self, kinds: Sequence[str]) -> set[int]:
        """Return the used columns that are read as words; the others are read as numbers. kinds: as in ``Heads``."""
        return {j for j in self.used if kinds[j] in ("word", "bool") or j in self.categories or j == self.by}


class Content:
    """Give the columns of one file, read, as numbers or as words. Each format derives its own."""

    samples: int

    @abstractmethod
    def numbers(self, column: int) -> np.ndarray:
        """Return a column as float64 (m,), NaN where a value is missing."""

    @abstractmethod
    def words(self, column: int) -> Any:
        """Return a column as a pandas Series (m,) of strings, some of them missing."""

    @abstractmethod
    def place(self, row: int, column: int) -> str:
        """Return where a value stands, and the value if it is known: "line 7, column 2: 'b'"."""


class Terms(NamedTuple):
    """Keep what a test file is read by, from the training file: ``Table.terms``.

    categories: the words that were coded one-hot; fills: what gaps were filled with (None if they were not), a number
    for each column of numbers that the feature became. Both by the feature's column in the training file.
    """

    heads: Heads
    roles: Roles
    categories: dict[int, tuple[str, ...]]
    fills: dict[int, list[float] | None]


def unnamed_index(heads: Heads) -> int | None:
    """Return 0 if the first column has no name where others have one, as an index that pandas or R wrote, else None."""
    return 0 if heads.row_names or (heads.names and heads.names[0] == "" and any(heads.names)) else None


def require_index(heads: Heads, roles: Roles, content: Content, where: str) -> None:
    """Raise UsageError unless the column that is left out counts the rows or names them: it may be a feature."""
    if roles.index is None:
        return
    if heads.row_names or heads.kinds[0] == "word":
        if content.words(0).is_unique:
            return
        if heads.row_names and heads.names:
            names, columns = len(heads.names) - 1, len(heads.names)
            raise UsageError(f"{where}: {names} names, {columns} columns, of which the first names no rows: it repeats")
    elif heads.kinds[0] == "number" and _counts_rows(content.numbers(0)):
        return
    raise UsageError(f"{where}: column 1 has no name and does not count: say data.ignore = [0], or list data.features")


def may_be_index(heads: Heads, content: Content) -> bool:
    """Return True if the first column counts so many samples that it is no chance."""
    return heads.kinds[0] == "number" and content.samples >= NO_CHANCE and _counts_rows(content.numbers(0))


def _counts_rows(values: np.ndarray) -> bool:
    """Return True for 0, 1, 2, ... or 1, 2, 3, ..., as an index does."""
    return len(values) > 0 and values[0] in (0, 1) and np.array_equal(values, np.arange(len(values)) + values[0])
