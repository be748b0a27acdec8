"""Square matrices: 0 where nodes are not linked, else 1 or a weight; with names above, beside, both or none."""

from collections.abc import Sequence

import numpy as np

from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.topologies.formats.links import Collector, Given, Links, at_line, finite_number
from mpiqopt.topologies.formats.words import Line, Rows, words_of_lines

# rows of mixing matrices sum to 1, as far as they are written with all digits
NEAR = 1e-9


def read(given: Given) -> Links:
    """Read a square matrix. Raises UsageError with the line that does not fit."""
    return links_of(words_of_lines(given.text()))


def links_of(table: Rows) -> Links:
    """Return the entries of a matrix that are not 0, as arcs row -> column.

    Raises UsageError with the line that does not fit.

    >>> found = links_of(words_of_lines("  a b\\na 0 1\\nb 1 0"))
    >>> found.keys, found.ends.tolist(), found.weights.tolist()
    (('a', 'b'), [[0, 1], [1, 0]], [1.0, 1.0])
    """
    if not table.lines:
        return Collector().links(True)
    above, beside = _names(table.lines)
    lines = table.lines[above is not None :]
    values = _values(lines, int(beside is not None))
    names = above or beside or tuple(map(str, range(len(values))))
    if len(set(names)) < len(names):
        raise UsageError("two rows of the matrix have the same name")
    said = {"format": f"matrix, separated {table.separated}"}
    if above is not None:
        said["header"] = f"line {table.lines[0].number}: names of nodes"
    rows_, columns = np.nonzero(values)
    return matrix_links(names, rows_, columns, values[rows_, columns], np.array([line.number for line in lines]), said)


def matrix_links(
    names: Sequence[str], rows: np.ndarray, columns: np.ndarray, values: np.ndarray, lines: np.ndarray, said: dict
) -> Links:
    """Return the entries of a matrix as arcs row -> column.

    Parameters
    ----------
    names:
        of the n nodes
    rows, columns, values:
        of the entries that are not 0, (E,) each
    lines:
        int64 (n,), of the file, for each row of the matrix
    said:
        how the file was understood
    """
    ends = np.stack([rows, columns], axis=1).astype(np.int64)
    return Links(tuple(names), ends, values.astype(np.float64), lines[rows], True, matrix=True, said=said)


def _names(lines: list[Line]) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the names above a matrix and those at the left of its rows, each None where there are none."""
    head, rest = lines[0].words, lines[1:]
    beside = tuple(line.words[0] for line in rest)
    size = len(rest)
    if size < 2:
        return None, None
    if all(len(line.words) == size + 1 for line in rest):
        # with a corner, which is no number (rows and columns of a symmetric matrix begin alike), or, as by R, without
        above = head[1:] if len(head) == size + 1 and np.isnan(finite_number(head[0])) else head
        if tuple(above) == beside:
            return beside, beside
    if len(head) == size and all(len(line.words) == size for line in rest):
        return tuple(head), None
    size = len(lines)
    if all(len(line.words) == size + 1 for line in lines):
        return None, tuple(line.words[0] for line in lines)
    return None, None


def _values(lines: list[Line], first: int) -> np.ndarray:
    """Return the numbers (n, n) of lines, from the word ``first`` on. Raises UsageError with the line that is wrong."""
    size = len(lines)
    if len(lines[0].words) - first != size:  # before there is space for a matrix of as many rows as a list has links
        raise UsageError(f"{size} lines of {len(lines[0].words) - first} numbers are no square matrix")
    values = np.empty((size, size))
    for row, line in zip(values, lines, strict=True):
        words = line.words[first:]
        if len(words) != size or line.data:
            raise UsageError(at_line(line.number, f"{len(words)} numbers, want {size}: the matrix has as many rows"))
        row[:] = _numbers(words)
        wrong = np.flatnonzero(~np.isfinite(row))
        if len(wrong):
            column = int(wrong[0])
            raise UsageError(
                at_line(line.number, f"column {column + 1 + first} is {quote_in_error(words[column])}, want a number")
            )
    return values


def _numbers(words: list[str]) -> list[float] | np.ndarray:
    """Return words as numbers, NaN for words that are none."""
    try:
        return np.array(words, np.float64)  # five times as fast
    except ValueError:
        return [finite_number(word) for word in words]


def is_labelled(lines: list[Line]) -> bool:
    """Return True if the same words stand above and at the left of numbers, and not all of them are numbers, too."""
    above, beside = _names(lines)
    if above is None or above != beside or not any(np.isnan(finite_number(name)) for name in above):
        return False
    return not any(np.isnan(finite_number(word)) for line in lines[1:] for word in line.words[1:])


def labels_may_be_entries(lines: list[Line]) -> bool:
    """Return True if names, above or at the left alone, are numbers: one more row or column of the matrix, perhaps."""
    above, beside = _names(lines)
    return (above is None) != (beside is None) and not any(
        np.isnan(finite_number(name)) for name in above or beside or ()
    )


def may_be_matrix(found: Links) -> bool:
    """Return True if somebody may have meant these numbers as a matrix: not those of links with weights.

    The diagonal is 0, or rows sum to 1, or entries are 0 and 1, or the same on both sides of the diagonal. [[0, 1],
    [1, 0]] is the same graph as a list of links.
    """
    size = len(found.keys)
    values = np.zeros((size, size))
    values[tuple(found.ends.T)] = found.weights
    sums_are_one = bool(np.all(np.abs(values.sum(axis=1) - 1) <= NEAR))
    if size < 3:
        return size > 1 and bool(values.trace()) and (sums_are_one or bool(np.all(values == 1)))
    binary = bool(np.all((values == 0) | (values == 1)))
    return not np.any(values.diagonal()) or sums_are_one or binary or np.array_equal(values, values.T)
