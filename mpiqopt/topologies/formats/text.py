"""Texts whose names do not say what they are: edge lists, adjacency lists, matrices or METIS.

All are tried. A text that fits one is read as that; one that fits several or none is refused, with the format to say.
"""

from collections.abc import Callable
from typing import TypeVar

from mpiqopt.errors import UsageError
from mpiqopt.topologies.formats import adjlist, edges, matrix, metis
from mpiqopt.topologies.formats.links import Collector, Given, Links, at_line
from mpiqopt.topologies.formats.words import Rows, words_of_lines

T = TypeVar("T")
READINGS = {"edges": "an edge list", "matrix": "a matrix", "adjlist": "an adjacency list", "metis": "METIS"}


def read(given: Given) -> Links:
    """Read what the text can be, if that is one thing only.

    Raises UsageError that names all formats that it fits, or says why it fits none.
    """
    table = words_of_lines(given.text())
    if not table.lines:
        return Collector().links(None)
    found = _readings(given, table)
    if len(found) > 1:
        said, keys = " and ".join(READINGS[name] for name in found), " or ".join(repr(name) for name in found)
        raise UsageError(f"fits {said}: say topology.format = {keys}")
    if not found:
        raise UsageError(_why_none(table))
    if "edges" in found and edges.may_be_counts(table.lines):
        head = table.lines[0]
        raise UsageError(
            at_line(
                head.number, f"{' '.join(head.words)} is a link, or numbers of nodes and links: say topology.format = "
            )
            + "'edges' for a link, else begin the line with #"
        )
    (links,) = found.values()
    return links


def _readings(given: Given, table: Rows) -> dict[str, Links]:
    """Return the links by each format that the text fits; an adjacency list does not fit weights = "file".

    Clear signs come first: names above and at the left of numbers, columns with the names of ends, colons. A matrix
    that fits something else, too, counts only if its numbers look like one.
    """
    lines, columns = table.lines, edges.columns_of(table.lines)
    if matrix.is_labelled(lines):  # first: nodes called I and J are no header
        return {"matrix": matrix.links_of(table)}
    if columns.known or any(line.data for line in lines):
        return {"edges": edges.links_of(table)}
    if table.colons:
        return {"adjlist": adjlist.links_of(table)}
    tried = {"matrix": _tried(matrix.links_of, table), "metis": _tried(metis.read, given)}
    if columns.header is not None or max(len(line.words) for line in lines) <= 3:
        tried["edges"] = _tried(edges.links_of, table)
    if not given.weighted and adjlist.fits(lines, tried.get("edges") is not None):
        tried["adjlist"] = adjlist.links_of(table)
    found = {name: links for name, links in tried.items() if links is not None}
    doubted = "matrix" in found and (len(found) > 1 or matrix.labels_may_be_entries(lines))
    if doubted and not matrix.may_be_matrix(found["matrix"]):
        del found["matrix"]
    return found


def _tried(read: Callable[[T], Links], source: T) -> Links | None:
    """Return what a reader makes of a text, None if it refuses it."""
    try:
        return read(source)
    except UsageError:
        return None


def _why_none(table: Rows) -> str:
    """Say what keeps the text from being a matrix or an edge list, or that it is neither."""
    lines = table.lines
    longest = max(lines, key=lambda line: len(line.words))
    if len(longest.words) > 3 and len(lines) != len(longest.words):
        return at_line(
            longest.number,
            f"{len(longest.words)} words fit no edge list, and the lines no matrix or adjacency list; say "
            "topology.format",
        )
    try:
        (matrix if len(longest.words) > 3 else edges).links_of(table)
    except UsageError as error:
        return f"{error}; for an adjacency list say topology.format = 'adjlist'"
    return "the lines fit no edge list, matrix or adjacency list; say topology.format"
