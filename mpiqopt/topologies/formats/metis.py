"""METIS (and Chaco): how many nodes and links, then a line for each node, the numbers from 1 on of its neighbours.

A third number says what else a line has: "1" weights behind the neighbours, "10" weights of the node in front, as many
as a fourth number says, "100" a size of the node. Weights and sizes of nodes are passed over. Source: Karypis, manual
of METIS 5, "Graph file".
"""

from collections.abc import Iterator

from mpiqopt.errors import UsageError
from mpiqopt.topologies.formats.links import Collector, Given, Links, at_line, is_whole
from mpiqopt.topologies.formats.words import editor_lines


def read(given: Given) -> Links:
    """Read a METIS file. Raises UsageError with the line that does not fit."""
    numbered = ((i, line.strip()) for i, line in enumerate(editor_lines(given.text()), 1))
    kept = (each for each in numbered if not each[1].startswith("%"))
    header = next((each for each in kept if each[1]), None)
    return _links(header, kept) if header else Collector().links(False)


def _links(header: tuple[int, str], following: Iterator[tuple[int, str]]) -> Links:
    """Return the links that follow a header. Raises UsageError for one that its other end does not name, too."""
    line, words = header[0], header[1].split()
    sizes = [_whole(word, line) for word in words]
    if not 2 <= len(sizes) <= 4:
        raise UsageError(at_line(line, f"{len(words)} words, want numbers of nodes and links, and perhaps a format"))
    nodes, count = sizes[:2]
    kinds = f"{words[2] if len(words) > 2 else '':0>3}"
    skipped = (kinds[0] == "1") + (kinds[1] == "1") * (sizes[3] if len(sizes) > 3 else 1)
    rows = list(following)
    while len(rows) > nodes and not rows[-1][1]:
        del rows[-1]
    if len(rows) != nodes:
        raise UsageError(at_line(line, f"{nodes} nodes, but {len(rows)} lines follow"))
    arcs = _arcs(rows, skipped, kinds[2] == "1")
    for (a, b), (weight, number) in arcs.items():
        if (b, a) not in arcs or arcs[b, a][0] != weight:
            back = "is not named there" if (b, a) not in arcs else f"has weight {arcs[b, a][0]} there, {weight} here"
            raise UsageError(at_line(number, f"node {a} names node {b}, but the link {back}"))
    if len(arcs) != 2 * count:
        raise UsageError(at_line(line, f"{count} links, but the lines that follow have {len(arcs) / 2:g}"))
    found = Collector(range(1, nodes + 1))
    for (a, b), (weight, number) in arcs.items():
        if a < b:
            found.link(a, b, weight, number)
    return found.links(False, said={"format": "metis"})


def _arcs(rows: list[tuple[int, str]], skipped: int, weighted: bool) -> dict[tuple[int, int], tuple]:
    """Return the weight (None where links have none) and the line of each arc, by its ends.

    rows: line and text of each node; skipped: words in front of the neighbours; weighted: True if weights follow these.
    """
    arcs = {}
    for node, (line, text) in enumerate(rows, 1):
        numbers = [_whole(word, line) for word in text.split()[skipped:]]
        others, weights = (numbers[::2], numbers[1::2]) if weighted else (numbers, [None] * len(numbers))
        if len(others) != len(weights):
            raise UsageError(at_line(line, "the last link has no weight"))
        for other, weight in zip(others, weights, strict=True):
            if not 1 <= other <= len(rows) or other == node:
                raise UsageError(at_line(line, f"node {node} has neighbour {other}, want another of 1 to {len(rows)}"))
            arcs[node, other] = weight, line
    return arcs


def _whole(word: str, line: int) -> int:
    """Return a whole number. Raises UsageError for other words."""
    if not is_whole(word):
        raise UsageError(at_line(line, f"{word[:20]!r}, want a whole number"))
    return int(word)
