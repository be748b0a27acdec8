"""Adjacency lists: a line for each node, its name, perhaps with a colon, and those of its neighbours.

``a b c`` links a to b and to c. A link may be named by one of its ends or by both.
"""

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.topologies.formats.links import Collector, Given, Links, at_line, finite_number
from mpiqopt.topologies.formats.words import Line, Rows, words_of_lines


def read(given: Given) -> Links:
    """Read an adjacency list. Raises UsageError for a line that is none."""
    return links_of(words_of_lines(given.text()))


def links_of(table: Rows) -> Links:
    """Return the links of an adjacency list, which have no weights. Raises UsageError with the line that is none."""
    found = Collector()
    for line in table.lines:
        if line.data or not all(line.words):
            raise UsageError(at_line(line.number, "want names of nodes"))
        first, *others = line.words
        found.node(first)
        for other in others:
            found.link(first, other, line=line.number)
    return found.links(None, said={"format": f"adjlist, separated {table.separated}"})


def fits(lines: list[Line], other: bool) -> bool:
    """Return True if lines may be an adjacency list: one line per node, which names others once, one of them two.

    other: True if the lines may be links with weights, too. Then every third and later word has to be a node. Without
    that, and if no line is too long for a link, every node has to have its line: a third word may be a wrong weight.
    """
    rows = [line.words for line in lines]
    longest = max(map(len, rows))
    firsts = {words[0] for words in rows}
    if longest < 3 or len(firsts) < len(rows) or any(len(set(words)) < len(words) or not all(words) for words in rows):
        return False
    names = {word for words in rows for word in words}
    if _are_measured(names):
        return False
    beyond = {word for words in rows for word in words[2:]}
    if other:
        return beyond <= firsts | {word for words in rows for word in words[1:2]}
    return longest > 3 or names <= firsts


def _are_measured(names: set[str]) -> bool:
    """Return True if all are numbers, and not all of them whole: a table, not names."""
    numbers = [finite_number(name) for name in names]
    return not any(np.isnan(numbers)) and not all(value.is_integer() for value in numbers)
