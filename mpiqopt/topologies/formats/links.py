"""What a file says of a graph, whatever its format, and numbers as people write them."""

import re
from collections.abc import Hashable, Iterable
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.errors import UsageError, quoted
from mpiqopt.files.textfiles import decoded
from mpiqopt.memory import memory

EUROPEAN = re.compile(r"[+-]?[0-9]*,[0-9]+")
# bytes of a node with its name, at least
NODE = 200


class Given(NamedTuple):
    """A file as a reader gets it: all its bytes, decompressed. where: what messages call it."""

    content: bytes
    encoding: str | None
    where: str
    weighted: bool = False  # weights = "file"

    def text(self) -> str:
        """Return the file as text. Raises UsageError."""
        return decoded(self.content, self.encoding, self.where, "topology.encoding")


class Links(NamedTuple):
    """The nodes and links of a file.

    keys: what tells nodes apart, in the order of the file. ends: int64 (E, 2), places in ``keys``. weights: float64
    (E,), NaN where none is given. lines: int64 (E,) of the file, 0 where that is not known. directed: True if links are
    arcs, False if not, None if the file does not tell. labels: names that nodes have beside their keys.
    matrix: the links are all entries of a matrix that are not 0, those of its diagonal, too. said: what was understood.
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
        return at(int(self.lines[link]), f"edge ({a}, {b})")


class Collector:
    """Nodes and links as a reader meets them."""

    def __init__(self, keys: Iterable[Hashable] = ()):
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
        """Add a link and the weight that the file gives it. Raises UsageError for a weight that is no number."""
        self._ends += (self.node(a), self.node(b))
        self._weights.append(weight_of(a, b, given, line))
        self._lines.append(line)

    def links(self, directed: bool | None, **more: Any) -> Links:
        """Return all that was met. more: fields of ``Links``."""
        ends = np.array(self._ends, np.int64).reshape(-1, 2)
        return Links(tuple(self._places), ends, np.array(self._weights), np.array(self._lines), directed, **more)


def at(line: int, message: str) -> str:
    """Return a message after the line of the file that it is about, if that is known (not 0)."""
    return f"line {line}: {message}" if line else message


def number(given: Any) -> float:
    """Return a finite number that a file gives, NaN for all else; 0,5 is one half."""
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
    """Return True for digits that an array can hold."""
    return word.isdecimal() and len(word) < 19


def weight_of(a: Any, b: Any, given: Any, line: int) -> float:
    """Return the weight of a link, NaN where none is given. Raises UsageError for what is no number."""
    if given is None:
        return np.nan
    value = number(given)
    if value != value:
        raise UsageError(at(line, f"the weight of edge ({a}, {b}) is {quoted(given)}, want a finite number"))
    return value


def unique_labels(labels: Iterable[Any]) -> tuple[str, ...] | None:
    """Return the names that nodes have beside their ids if all have one and no two the same, else None."""
    words = [str(label).strip() if isinstance(label, str | int | float) else "" for label in labels]
    return tuple(words) if all(words) and len(set(words)) == len(words) else None


def require_nodes(count: int) -> None:
    """Raise UsageError for a file that says that it has more nodes than this machine can store."""
    if NODE * count > memory():
        raise UsageError(f"the file says that it has {count} nodes: more than memory can hold")


def of_networkx(graph) -> Links:
    """Return the links of a networkx graph, whose nodes may have labels, and links weights."""
    found = Collector(graph)
    for a, b, weight in graph.edges(data="weight"):
        found.link(a, b, weight)
    labels = unique_labels(graph.nodes[node].get("label") for node in graph)
    return found.links(graph.is_directed(), labels=labels)
