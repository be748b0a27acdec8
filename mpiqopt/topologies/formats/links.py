"""What a file says of a graph, whatever its format: ``Links``, what readers make them with, and numbers in texts."""

import re
from collections.abc import Hashable, Iterable
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.files.textfiles import decode_textfile
from mpiqopt.memory import memory

EUROPEAN = re.compile(r"[+-]?[0-9]*,[0-9]+")
# bytes of a node with its name, at least
NODE = 200


class Given(NamedTuple):
    """Give a reader the bytes of a file, decompressed. encoding: ``topology.encoding``; where: for messages."""

    content: bytes
    encoding: str | None
    where: str
    weighted: bool = False  # True with topology.weights = "file"

    def text(self) -> str:
        """Return the file as text. Raises UsageError for bytes that are none."""
        return decode_textfile(self.content, self.encoding, self.where, "topology.encoding")


class Links(NamedTuple):
    """Keep the nodes and links of a file as it names them: perhaps repeated, in both directions, and with loops.

    Attributes
    ----------
    keys:
        what tells nodes apart, in the order of the file
    ends:
        int64 (E, 2), places in ``keys``; of arcs (from, to)
    weights:
        float64 (E,), NaN where none is given
    lines:
        int64 (E,), of the file, 0 where that is not known
    directed:
        True if links are arcs, False if not, None if the file does not tell
    labels:
        names that nodes have in addition to their keys
    matrix:
        True if the links are all entries of a matrix that are not 0, those of its diagonal, too
    said:
        how the file was understood, a few words by subject: {"format": "graphml"}
    """

    keys: tuple[Hashable, ...]
    ends: np.ndarray
    weights: np.ndarray
    lines: np.ndarray
    directed: bool | None
    labels: tuple[str, ...] | None = None
    matrix: bool = False
    said: dict[str, str] = {}

    def arc(self, link: int) -> str:
        """Return a link as messages name it, after its line: "line 3: edge (a, b)"."""
        a, b = (self.keys[end] for end in self.ends[link].tolist())
        return at_line(int(self.lines[link]), f"edge ({a}, {b})")


class Collector:
    """Collect nodes and links as a reader meets them.

    >>> found = Collector(["a"])
    >>> found.link("a", "b", "0,5", line=3)
    >>> links = found.links(directed=False)
    >>> links.keys, links.ends.tolist(), links.weights.tolist(), links.arc(0)
    (('a', 'b'), [[0, 1]], [0.5], 'line 3: edge (a, b)')
    """

    def __init__(self, keys: Iterable[Hashable] = ()) -> None:
        self._places: dict[Hashable, int] = {}
        self._ends: list[int] = []
        self._weights: list[float] = []
        self._lines: list[int] = []
        for key in keys:
            self.node(key)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._places

    def node(self, key: Hashable) -> int:
        """Return the place of a node, which is new if it was not there."""
        return self._places.setdefault(key, len(self._places))

    def link(self, a: Hashable, b: Hashable, given: Any = None, line: int = 0) -> None:
        """Add a link a -> b, and its ends if they are new.

        given: the weight as the file has it, None without; line: of the file, 0 if that is not known. Raises UsageError
        for a weight that is no finite number.
        """
        self._ends += (self.node(a), self.node(b))
        self._weights.append(weight_of_link(a, b, given, line))
        self._lines.append(line)

    def links(self, directed: bool | None, **more: Any) -> Links:
        """Return all that was met. more: fields of ``Links``."""
        ends = np.array(self._ends, np.int64).reshape(-1, 2)
        return Links(tuple(self._places), ends, np.array(self._weights), np.array(self._lines), directed, **more)


def at_line(line: int, message: str) -> str:
    """Return a message after the line of the file that it is about, if that is known (not 0)."""
    return f"line {line}: {message}" if line else message


def finite_number(given: Any) -> float:
    """Return a finite number that a file gives, NaN for all else; 0,5 is one half.

    >>> finite_number("0,5"), finite_number("1e-3"), finite_number("a")
    (0.5, 0.001, nan)
    """
    if (
        isinstance(given, str)
        and "," in given
        and given.count(",") == 1
        and given.replace(",", "").lstrip("+-").isdecimal()
    ):
        given = given.replace(",", ".")
    try:
        value = float(given)
    except (TypeError, ValueError, OverflowError):
        return np.nan
    return value if isfinite(value) else np.nan


def is_whole(word: str) -> bool:
    """Return True for digits of a number that an int64 can be."""
    return word.isdecimal() and len(word) < 19


def weight_of_link(a: Any, b: Any, given: Any, line: int) -> float:
    """Return the weight of the link from a to b, NaN where none is given. Raises UsageError for what is no number."""
    if given is None:
        return np.nan
    value = finite_number(given)
    if value != value:
        raise UsageError(
            at_line(line, f"the weight of edge ({a}, {b}) is {quote_in_error(given)}, want a finite number")
        )
    return value


def labels_of_linked_nodes(labels: Iterable[Any]) -> tuple[str, ...] | None:
    """Return the names that nodes have in addition to their ids if all have one and no two the same, else None."""
    words = [str(label).strip() if isinstance(label, str | int | float) else "" for label in labels]
    return tuple(words) if all(words) and len(set(words)) == len(words) else None


def require_nodes(count: int) -> None:
    """Raise UsageError for a file that says that it has more nodes than this machine can store."""
    if NODE * count > memory():
        raise UsageError(f"the file says that it has {count} nodes: more than memory can hold")


def links_of_networkx(graph: Any) -> Links:
    """Return the links of a networkx graph of any kind, with labels of nodes and weights as far as given."""
    found = Collector(graph)
    for a, b, weight in graph.edges(data="weight"):
        found.link(a, b, weight)
    labels = labels_of_linked_nodes(graph.nodes[node].get("label") for node in graph)
    return found.links(graph.is_directed(), labels=labels)
