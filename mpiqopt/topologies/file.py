"""A graph from a file: edge lists are read here, GraphML and JSON by networkx."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from mpiqopt.errors import UsageError, quoted
from mpiqopt.field import Field, only
from mpiqopt.inputs import require_file
from mpiqopt.names import in_order
from mpiqopt.registry import register
from mpiqopt.topologies.graph import Graph, Weights
from mpiqopt.topologies.mixing import Mixing, column_stochastic, from_edges, with_diagonal


@register("topology", "file")
@dataclass(frozen=True, kw_only=True)
class File(Graph):
    """Edge list (``.edges``, ``.edgelist``, ``.txt``), GraphML (``.graphml``) or adjacency JSON (``.json``).

    Node names may be anything; they are numbered in sorted order (as numbers where all are numbers).
    With ``weights = "file"`` the edge attribute ``weight`` (in an edge list the third column) is w_ij, and the
    diagonal makes the rows sum to 1.

    With ``directed = true`` the links of the file are arcs: a line "a b" of an edge list is a -> b (an undirected
    GraphML or JSON graph has both arcs of every edge). Then w_ij = 1/(1 + outdegree_j) for every arc j -> i and for
    i = j, and only methods for directed graphs can use it, unless rows of W happen to sum to 1 too.
    """

    drawn = False

    path: Annotated[str, Field(description="the graph's file, relative to the config file")]
    nodes: Annotated[int | None, Field(ge=1, description="if given, the file must have so many nodes")] = None
    weights: Annotated[
        Weights | Literal["file"],
        Field(
            description="as for other graphs, or file: edge attribute weight is w_ij", needs=(only("directed", False),)
        ),
    ] = "metropolis"
    directed: Annotated[bool, Field(description="read arcs (from, to); their weights are 1/(1 + outdegree)")] = False

    def __post_init__(self):
        if self.directed and self.weights != "metropolis":
            raise UsageError(
                f"topology.weights = {self.weights!r}: with topology.directed = true weights are 1/(1 + outdegree); "
                "leave weights out"
            )

    def edges(self) -> np.ndarray:
        return self._read()[1]

    def cycle(self) -> list[Mixing]:
        nodes, edges, weights = self._read()
        if self.nodes not in (None, nodes):
            raise UsageError(f"topology.nodes = {self.nodes}: {self.path} has {nodes} nodes")
        if self.directed:
            return [column_stochastic(nodes, edges)]
        if self.weights != "file":
            return [from_edges(nodes, edges, self.weights)]
        missing = np.flatnonzero(np.isnan(weights))
        if len(missing):
            raise UsageError(f"{self.path}: edge {tuple(edges[missing[0]].tolist())} has no weight (weights = 'file')")
        return [with_diagonal(nodes, edges, weights)]

    def _read(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Number of nodes, edges or arcs (E, 2) and weights (E,), NaN where the file has none."""
        require_file(self.path, f"topology.path = {self.path}")
        try:
            graph = _load(self.path, self.directed)
        except OSError as error:
            raise UsageError(f"topology.path = {self.path}: {error.strerror}") from error
        except Exception as error:
            raise UsageError(f"topology.path = {self.path}: not readable as a graph: {error}") from error
        if graph.directed and not self.directed:
            raise UsageError(
                f"topology.path = {self.path}: the graph is directed; set topology.directed = true, with a method for "
                "directed graphs, or give an undirected one"
            )
        if not graph.names:
            raise UsageError(f"topology.path = {self.path}: the graph has no nodes")
        number = {name: i for i, name in enumerate(in_order(graph.names))}
        ends = np.array([number[name] for name in graph.ends], np.int64).reshape(-1, 2)
        return len(number), *_simple(len(number), ends if self.directed else np.sort(ends, axis=1), graph.weights)


class _Links(NamedTuple):
    """names: of all nodes, in any order; ends: those of the links, in pairs; weights: (E,), NaN where none is given."""

    names: Collection
    ends: list
    weights: np.ndarray
    directed: bool


def _simple(nodes: int, ends: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each link (a, b) once, sorted, with the weight that it was given last; loops dropped."""
    keys = ends @ [nodes, 1]
    order = np.lexsort((~np.isnan(weights), keys))  # stable: of those with a weight the last one comes last
    order = order[np.diff(keys[order], append=-1) != 0]
    order = order[ends[order, 0] != ends[order, 1]]
    return ends[order], weights[order]


def _load(path: str, directed: bool) -> _Links:
    """The links of a file. directed: edge lists are arcs, and undirected edges count both ways."""
    if path.endswith((".graphml", ".json")):
        return _by_networkx(_parsed(path, directed), directed)
    with open(path) as file:
        text = [line.split("#")[0] for line in file]
    if any("{" in line for line in text):  # what networkx.write_edgelist writes by default
        import networkx

        kind = networkx.DiGraph if directed else networkx.Graph
        return _by_networkx(networkx.parse_edgelist(text, create_using=kind, data=True), directed)
    return _listed([line.replace(",", " ").split() for line in text], directed)


def _listed(lines: list[list[str]], directed: bool) -> _Links:
    """Lines of a node alone, the two ends of a link, or these and its weight."""
    links = [words for words in lines if len(words) > 1]
    ends = [word for words in links for word in words[:2]]
    weights = np.array([_weight(*words[:3]) for words in links])
    # in the order of the file, which decides between names of the same number
    return _Links(dict.fromkeys(word for words in lines for word in words[:2]), ends, weights, directed)


def _parsed(path: str, directed: bool):
    import networkx

    if path.endswith(".graphml"):
        return networkx.read_graphml(path)
    with open(path) as file:
        return networkx.adjacency_graph(json.load(file), directed, multigraph=False)


def _by_networkx(graph, directed: bool) -> _Links:
    if directed and not graph.is_directed():
        graph = graph.to_directed()
    links = list(graph.edges(data="weight"))
    ends = [end for link in links for end in link[:2]]
    return _Links(graph, ends, np.array([_weight(*link) for link in links]), graph.is_directed())


def _weight(a: Any, b: Any, given: Any = None) -> float:
    """That of a link as a number, NaN where none is given. Raises ValueError."""
    if given is None:
        return np.nan
    try:
        weight = float(given)
    except (TypeError, ValueError, OverflowError):
        weight = np.nan
    if not isfinite(weight):
        raise ValueError(f"the weight of edge ({a}, {b}) is {quoted(given)}, want a finite number")
    return weight
