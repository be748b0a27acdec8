"""Pajek's networks: vertices with numbers and quoted names, then edges, arcs, lists of these, or a matrix.

``*vertices 2``, ``1 "a"``, ``2 "b"``, ``*edges``, ``1 2 0.5``. Not by networkx, which makes one node of two with the
same name, and arcs of edges where a file has both.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.topologies.formats.links import (
    Collector,
    Given,
    Links,
    at_line,
    finite_number,
    is_whole,
    labels_of_linked_nodes,
    require_nodes,
)
from mpiqopt.topologies.formats.words import editor_lines

WORDS = re.compile(r'"([^"]*)"|(\S+)')
LINKS = ("edges", "arcs", "edgeslist", "arcslist", "matrix")


class Section(NamedTuple):
    """Keep what follows a line such as "*vertices 4": numbers and words of lines.

    line: of the heading; name: its word in small letters, without the "*"; size: the word behind it, or "".
    """

    line: int
    name: str
    size: str
    rows: list[tuple[int, list[str]]]


def read(given: Given) -> Links:
    """Read a Pajek file. Raises UsageError with the line that does not fit."""
    vertices, *others = _sections(given.text())
    if vertices.name != "vertices" or not is_whole(vertices.size):
        raise UsageError(
            at_line(vertices.line, f"want *vertices and their number, got *{vertices.name} {vertices.size}")
        )
    count = int(vertices.size)
    require_nodes(count)
    labels = {_node(words[0], count, line): words[1] for line, words in vertices.rows if len(words) > 1}
    directed = any(section.name in ("arcs", "arcslist", "matrix") for section in others)
    found = Collector(range(1, count + 1))
    for section in others:
        if section.name not in LINKS:
            raise UsageError(at_line(section.line, f"*{section.name[:30]}, want one network with *{', *'.join(LINKS)}"))
        for line, a, b, weight in _links(section, count):
            found.link(a, b, weight, line)
            if directed and section.name.startswith("edges"):
                found.link(b, a, weight, line)
    names = labels_of_linked_nodes(labels.get(node) for node in range(1, count + 1))
    return found.links(directed, labels=names, said={"format": "pajek"})


def _sections(text: str) -> list[Section]:
    """Return the sections but for *network, which says a name. Raises UsageError if there are none."""
    found: list[Section] = []
    for line, row in enumerate(editor_lines(text), 1):
        words = [inside or plain for inside, plain in WORDS.findall(row)]
        if not words or words[0].startswith("%"):
            continue
        if words[0].startswith("*"):
            found.append(Section(line, words[0][1:].lower(), " ".join(words[1:2]), []))
        elif not found:
            raise UsageError(at_line(line, f"{quote_in_error(words[0])}, want *vertices and their number first"))
        else:
            found[-1].rows.append((line, words))
    found = [section for section in found if section.name != "network"]
    if not found:
        raise UsageError("want *vertices and their number")
    return found


def _links(section: Section, count: int) -> Iterator[tuple[int, int, int, str | None]]:
    """Yield line, ends and weight (None without) of each link of a section. count: vertices that there are."""
    if section.name == "matrix" and [len(words) for _, words in section.rows] != [count] * count:
        raise UsageError(at_line(section.line, f"want {count} rows of {count} numbers, as there are vertices"))
    for row, (line, words) in enumerate(section.rows, 1):
        if section.name == "matrix":
            yield from ((line, row, column, word) for column, word in enumerate(words, 1) if finite_number(word) != 0)
            continue
        if len(words) < 2:
            raise UsageError(at_line(line, f"{len(words)} word, want two vertices"))
        a, b = (_node(word, count, line) for word in words[:2])
        if section.name.endswith("list"):
            yield from ((line, a, _node(word, count, line), None) for word in words[1:])
        else:
            yield line, a, b, words[2] if len(words) > 2 else None


def _node(word: str, count: int, line: int) -> int:
    """Return the number of a vertex. Raises UsageError for what is none of 1 to ``count``."""
    if not (is_whole(word) and 1 <= int(word) <= count):
        raise UsageError(at_line(line, f"{quote_in_error(word)} is no vertex, want 1 to {count}"))
    return int(word)
