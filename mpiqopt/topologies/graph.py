"""What a graph in the config is: a frozen dataclass whose fields are the keys of ``[topology]``."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field, only
from mpiqopt.memory import require_memory
from mpiqopt.topologies.mixing import Mixing, column_stochastic, from_edges

# bytes of a link while W is made, at least: two entries
LINK = 100
Weights = Literal["metropolis", "lazy-metropolis", "uniform", "fdla"]


class Made(NamedTuple):
    """A graph as it is used: its mixing matrices, and the names of its nodes and how its file was understood.

    read: a few words by subject, such as {"format": "graphml"}; nothing for graphs that come from no file.
    """

    cycle: list[Mixing]
    names: tuple[str, ...] | None = None
    read: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class AnyGraph(ABC):
    """A network on nodes 0 .. nodes-1."""

    name: ClassVar[str]  # that it is registered under
    drawn: ClassVar[bool] = True  # from the seed

    nodes: Annotated[int, Field(ge=1, description="number of network nodes")] = 8
    seed: Annotated[
        int,
        Field(
            ge=0,
            lt=2**128,
            description="seed of a random graph",
            needs=(only("drawn", True, "this graph is not random"),),
        ),
    ] = 0

    @abstractmethod
    def cycle(self) -> list[Mixing]:
        """The mixing matrices, used in turn by gossip round: one of them unless the graph varies in time."""

    def make(self) -> Made:
        """Return the matrices, with what is known of the nodes. Raises UsageError."""
        return Made(self.cycle())

    def size(self) -> float:
        """Return about how many links there will be, where that can be told."""
        return self.nodes or 0

    def require_memory(self) -> None:
        """Raise MemoryError before the graph is made if it is too large for this machine."""
        require_memory(LINK * self.size(), f"the graph {self.name!r} of topology.nodes = {self.nodes}: its links")

    def require_links(self, links: np.ndarray, method: str) -> np.ndarray:
        """Return pairs of nodes as an array. Raises UsageError unless they are pairs of numbers of nodes that exist.

        method: what has returned them, for the message.
        """
        where = f"topology.name = {getattr(self, 'name', type(self).__name__)!r}: {method}()"
        try:
            pairs = np.asarray(links)
        except ValueError:
            raise UsageError(f"{where} returns rows of different lengths, want pairs of nodes") from None
        if pairs.size == 0:
            return np.empty((0, 2), np.int64)
        if pairs.dtype.kind == "f" and np.array_equal(pairs, np.rint(pairs)):
            pairs = pairs.astype(np.int64)
        if pairs.dtype.kind not in "iu" or pairs.ndim != 2 or pairs.shape[1] != 2:
            raise UsageError(f"{where} returns {pairs.dtype} {pairs.shape}, want integers (links, 2): pairs of nodes")
        low, high = int(pairs.min()), int(pairs.max())
        if low < 0 or high >= self.nodes:
            missing = low if low < 0 else high
            raise UsageError(
                f"{where} links node {missing}, want 0 to {self.nodes - 1} (topology.nodes = {self.nodes})"
            )
        return pairs


@dataclass(frozen=True, kw_only=True)
class Graph(AnyGraph):
    """An undirected graph, with symmetric weights whose rows sum to 1."""

    weighted: ClassVar[bool] = True  # as ``weights`` says

    weights: Annotated[
        Weights,
        Field(
            description="mixing weights: metropolis w_ij = 1/(1 + max(deg_i, deg_j)), lazy-metropolis (I + W)/2 of "
            "them, uniform w_ij = 1/(1 + largest degree), fdla those of the smallest |W - J|, some of which may be "
            "negative (Xiao and Boyd 2004; at most 64 nodes)",
            needs=(only("weighted", True, "its weights are fixed"),),
        ),
    ] = "metropolis"

    @abstractmethod
    def edges(self) -> np.ndarray:
        """Edges as int64 (E, 2), in any order and direction; repetitions and loops are dropped."""

    def cycle(self) -> list[Mixing]:
        return [from_edges(self.nodes, self.require_links(self.edges(), "edges"), self.weights)]


@dataclass(frozen=True, kw_only=True)
class Digraph(AnyGraph):
    """A directed graph. w_ij = 1/(1 + outdegree_j) for every arc j -> i and for i = j: columns sum to 1."""

    @abstractmethod
    def arcs(self) -> np.ndarray:
        """Arcs as int64 rows (from, to), in any order; repetitions and loops are dropped."""

    def cycle(self) -> list[Mixing]:
        return [column_stochastic(self.nodes, self.require_links(self.arcs(), "arcs"))]
