"""The base of all graphs: a frozen dataclass whose fields are the keys of ``[topology]``, and that gives W."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field, only
from mpiqopt.memory import require_memory
from mpiqopt.topologies.mixing import Mixing, column_stochastic_mixing, mixing_from_edges

# bytes of a link while W is made, at least: two entries
LINK = 100
Weights = Literal["metropolis", "lazy-metropolis", "uniform", "fdla"]


class Made(NamedTuple):
    """Keep a graph as it is used: its mixing matrices, the names of its nodes, and how its file was understood.

    cycle: matrices (n, n), used in turn by gossip round; names: n of them, where a file has some; read: a few words by
    subject, such as {"format": "graphml"}, {} for graphs that come from no file.
    """

    cycle: list[Mixing]
    names: tuple[str, ...] | None = None
    read: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class AnyGraph(ABC):
    """Be a network on nodes 0 .. nodes-1: the base of every ``topology.name``.

    Most parts derive from ``Graph`` or ``Digraph``, and say only which links there are. One that varies in time defines
    ``cycle`` itself.
    """

    name: ClassVar[str]  # that it is registered under
    drawn: ClassVar[bool] = True  # True if links depend on the seed

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
        """Return the mixing matrices (n, n), used in turn by gossip round: one unless the graph varies in time.

        Raises UsageError, with the key that is to blame, for a graph that there is not.
        """

    def make(self) -> Made:
        """Return the matrices, with what is known of the nodes. Raises UsageError like ``cycle``."""
        return Made(self.cycle())

    def size(self) -> float:
        """Return about how many links there will be, as far as that is known before: by default the nodes."""
        return self.nodes or 0

    def require_memory(self) -> None:
        """Raise MemoryError before the graph is made if it is too large for this machine."""
        require_memory(LINK * self.size(), f"the graph {self.name!r} of topology.nodes = {self.nodes}: its links")

    def require_links(self, links: np.ndarray, method: str) -> np.ndarray:
        """Return pairs of nodes as integers (E, 2). Raises UsageError unless they are numbers of nodes that exist.

        links: what ``edges`` or ``arcs`` of a derived class, perhaps a plug-in's, has returned; method: which of them.
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
    """Be an undirected graph, with symmetric weights whose rows sum to 1: W = W^T, W 1 = 1.

    The fields of a derived class are the keys of ``[topology]``; it has to define ``edges``.

    Examples
    --------
    Node 0 is linked to all others, of which each gets the weight 1/(1 + 2):

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Hub(Graph):
    ...     def edges(self):
    ...         return np.array([[0, leaf] for leaf in range(1, self.nodes)])
    >>> (W,) = Hub(nodes=3).cycle()
    >>> W.dense().round(2).tolist()
    [[0.33, 0.33, 0.33], [0.33, 0.67, 0.0], [0.33, 0.0, 0.67]]

    With ``@register("topology", "hub")`` above the class, a config may say ``topology.name = "hub"``, ``nodes = 3``.
    """

    weighted: ClassVar[bool] = True  # True if the key ``weights`` counts

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
        """Return the edges as int64 (E, 2), in any order and direction; repetitions and loops are dropped.

        Raises UsageError, with the key that is to blame, for a graph that there is not.
        """

    def cycle(self) -> list[Mixing]:
        """Return the one matrix with weights of the kind that ``weights`` says, ``mixing_from_edges``."""
        return [mixing_from_edges(self.nodes, self.require_links(self.edges(), "edges"), self.weights)]


@dataclass(frozen=True, kw_only=True)
class Digraph(AnyGraph):
    """Be a directed graph, w_ij = 1/(1 + outdegree_j) for every arc j -> i and for i = j: columns sum to 1.

    A derived class has to define ``arcs``. Rows sum to 1 only by chance, so only methods for directed graphs
    (push-sum and the like) can use it.
    """

    @abstractmethod
    def arcs(self) -> np.ndarray:
        """Return the arcs as int64 rows (from, to), (E, 2), in any order; repetitions and loops are dropped.

        Raises UsageError, with the key that is to blame, for a graph that there is not.
        """

    def cycle(self) -> list[Mixing]:
        """Return the one matrix, ``column_stochastic_mixing``."""
        return [column_stochastic_mixing(self.nodes, self.require_links(self.arcs(), "arcs"))]
