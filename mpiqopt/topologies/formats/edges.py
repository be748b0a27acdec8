"""Edge lists: a line for each link, its two ends and, if it has one, its weight.

A header is found by what columns of ends are usually called, or by words above numbers. A line with a single word is a
node without links.
"""

import ast
from typing import NamedTuple

import numpy as np

from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.topologies.formats.links import Given, Links, at_line, finite_number, is_whole, weight_of_link
from mpiqopt.topologies.formats.words import Line, Rows, words_of_lines

# what the columns of the two ends are called, in small letters without blanks and underscores
ENDS = {
    "source": "target",
    "from": "to",
    "src": "dst",
    "fromnode": "tonode",
    "fromnodeid": "tonodeid",
    "sourceid": "targetid",
    "node1": "node2",
    "id1": "id2",
    "start": "end",
    "u": "v",
    "i": "j",
}
WEIGHTS = ("weight", "weights", "w")


class Columns(NamedTuple):
    """Say which words of a line are the ends of a link, and which its weight, by their places from 0 on.

    header: the line that says so, if there is one; known: True if its words are among those of ENDS.
    """

    source: int
    target: int
    weight: int | None
    header: Line | None = None
    known: bool = False


def read(given: Given) -> Links:
    """Read an edge list. Raises UsageError with the line that is none."""
    return links_of(words_of_lines(given.text()))


def links_of(table: Rows) -> Links:
    """Return the links of an edge list. Raises UsageError with the line that is none."""
    columns = columns_of(table.lines)
    lines = table.lines[columns.header is not None :]
    _require_words(lines, columns)
    # in the order of the file, which decides between names of the same number
    places = {name: i for i, name in enumerate(dict.fromkeys(name for line in lines for name in _names(line, columns)))}
    linked = [line for line in lines if len(line.words) > 1]
    ends = np.array([places[line.words[column]] for line in linked for column in columns[:2]], np.int64).reshape(-1, 2)
    numbers = np.array([line.number for line in linked], np.int64)
    return Links(tuple(places), ends, _weights(linked, columns), numbers, None, said=_said(table, columns))


def _require_words(lines: list[Line], columns: Columns) -> None:
    """Raise UsageError for a line that names neither the ends of a link nor one node."""
    least = max(columns.source, columns.target)
    for line in lines:
        if 1 < len(line.words) <= least:
            raise UsageError(at_line(line.number, f"{len(line.words)} words, want {least + 1} or more"))
        if not all(_names(line, columns)) or not line.words:
            raise UsageError(at_line(line.number, "the name of a node is empty"))


def _names(line: Line, columns: Columns) -> list[str]:
    """Return the two ends of a link, or the node that stands alone."""
    words = line.words
    return words if len(words) == 1 else [words[columns.source], words[columns.target]]


def _weights(lines: list[Line], columns: Columns) -> np.ndarray:
    """Return the weights of links, float64 (E,), NaN where none is given. Raises UsageError for what is no number."""
    given = [_given(line, columns.weight) for line in lines]
    if not any(weight is not None for weight in given):
        return np.full(len(lines), np.nan)
    weights = np.empty(len(lines))
    for k, (line, weight) in enumerate(zip(lines, given, strict=True)):
        a, b = _names(line, columns)
        weights[k] = weight_of_link(a, b, weight, line.number)
    return weights


def _given(line: Line, column: int | None) -> object:
    """Return what a line gives as its weight, None where it gives none."""
    if not line.data:
        return (line.words[column] or None) if column is not None and column < len(line.words) else None
    try:
        return ast.literal_eval(line.data).get("weight")
    except (ValueError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError):  # the last two: too deep
        message = f"{quote_in_error(line.data)}: want attributes such as {{'weight': 0.5}}"
        raise UsageError(at_line(line.number, message)) from None


def columns_of(lines: list[Line]) -> Columns:
    """Return where ends and weights stand: as a header says, else first, second and third.

    >>> from mpiqopt.topologies.formats.words import words_of_lines
    >>> columns_of(words_of_lines("weight,source,target\\n0.5,a,b\\n0.5,b,c").lines)[:3]
    (1, 2, 0)
    """
    if len(lines) < 2 or lines[0].data:
        return Columns(0, 1, 2)
    head, rest = lines[0], lines[1:]
    # pandas names no column of the index, R leaves the place of its name out, too
    unnamed = len(head.words) in (3, 4) and not head.words[0]
    short = len(head.words) > 1 and {len(line.words) for line in rest} == {len(head.words) + 1}
    columns = _by_name([""] * short + head.words)
    if columns is None and not unnamed and not _is_header(head, rest):
        return Columns(0, 1, 2)
    columns = columns or Columns(int(unnamed), 1 + unnamed, 2 + unnamed)
    names = {line.words[column] for line in rest for column in columns[:2] if column < len(line.words)}
    if names.intersection(head.words):  # nodes, not names of columns
        return Columns(0, 1, 2)
    return columns._replace(header=head)


def _by_name(words: list[str]) -> Columns | None:
    """Return the columns whose names say that they are ends and weight; None if no two do."""
    plain = ["".join(c for c in word.lower() if c.isalnum()) for word in words]
    for source, target in ENDS.items():
        if plain.count(source) == plain.count(target) == 1:
            weight = next((plain.index(name) for name in WEIGHTS if name in plain), None)
            ends = plain.index(source), plain.index(target)
            if weight is None and len(plain) - (plain[0] == "") == 3 and ends == (len(plain) - 3, len(plain) - 2):
                weight = len(plain) - 1  # whatever it is called
            return Columns(*ends, weight, known=True)
    return None


def _is_header(head: Line, rest: list[Line]) -> bool:
    """Return True for words above numbers: nodes that are numbers, or at least weights."""
    if len(head.words) not in (2, 3) or any(not np.isnan(finite_number(word)) for word in head.words):
        return False
    if all(_are_numbers(line.words[:2]) for line in rest):
        return True
    return len(head.words) == 3 and all(len(line.words) == 3 and _are_numbers(line.words[2:]) for line in rest)


def _are_numbers(words: list[str]) -> bool:
    return not any(np.isnan(finite_number(word)) for word in words)


def may_be_counts(lines: list[Line]) -> bool:
    """Return True if the first line may be no link but the numbers of nodes and links that follow: "5 4"."""
    head, rest = lines[0], lines[1:]
    if not rest or len(head.words) not in (2, 3) or not all(is_whole(word) for word in head.words):
        return False
    if int(head.words[-1]) != len(rest):
        return False
    names = {word for line in rest for word in line.words[:2]}
    return {int(word) for word in head.words[:-1]} == {len(names)}


def _said(table: Rows, columns: Columns) -> dict[str, str]:
    """Return how the list was understood, for ``Links.said``."""
    said = {"format": f"edges, separated {table.separated}"}
    if columns.header is not None:
        said["header"] = f"line {columns.header.number}: {', '.join(columns.header.words)}"
        said["columns"] = ", ".join(
            f"{name} {column + 1}"
            for name, column in zip(("source", "target", "weight"), columns[:3], strict=True)
            if column is not None
        )
    return said
