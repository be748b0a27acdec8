"""A graph from a file, read by networkx."""

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field
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

    path: Annotated[str, Field(description="the graph's file, relative to the config file")]
    nodes: Annotated[int | None, Field(ge=1, description="if given, the file must have so many nodes")] = None
    weights: Annotated[
        Weights | Literal["file"], Field(description="as for other graphs, or file: edge attribute weight is w_ij")
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
        try:
            graph = _load(self.path, self.directed)
        except OSError as error:
            raise UsageError(f"topology.path = {self.path}: {error.strerror}") from error
        except Exception as error:
            raise UsageError(f"topology.path = {self.path}: not readable as a graph: {error}") from error
        if graph.is_directed() and not self.directed:
            raise UsageError(
                f"topology.path = {self.path}: the graph is directed; set topology.directed = true, with a method for "
                "directed graphs, or give an undirected one"
            )
        if graph.number_of_nodes() == 0:
            raise UsageError(f"topology.path = {self.path}: the graph has no nodes")
        number = {name: i for i, name in enumerate(_in_order(graph))}
        links = {}
        for a, b, value in graph.edges(data=True):
            ends = (number[a], number[b])
            if a != b:
                links[ends if self.directed else tuple(sorted(ends))] = float(value.get("weight", "nan"))
        edges = np.array(sorted(links), np.int64).reshape(-1, 2)
        return len(number), edges, np.array([links[edge] for edge in sorted(links)])


def _load(path: str, directed: bool):
    """The networkx graph of a file. directed: edge lists are arcs, and undirected edges count both ways."""
    graph = _parsed(path, directed)
    return graph.to_directed() if directed and not graph.is_directed() else graph


def _parsed(path: str, directed: bool):
    import networkx

    kind = networkx.DiGraph if directed else networkx.Graph
    if path.endswith(".graphml"):
        return networkx.read_graphml(path)
    if path.endswith(".json"):
        with open(path) as file:
            return networkx.adjacency_graph(json.load(file), directed, multigraph=False)
    with open(path) as file:
        text = [line.split("#")[0] for line in file]
    if any("{" in line for line in text):  # what networkx.write_edgelist writes by default
        return networkx.parse_edgelist(text, create_using=kind, data=True)
    lines = [line.replace(",", " ").split() for line in text]
    graph = kind()
    for words in filter(None, lines):
        if len(words) == 1:
            graph.add_node(words[0])
        elif len(words) == 2:
            graph.add_edge(*words)
        else:
            graph.add_edge(*words[:2], weight=float(words[2]))
    return graph


def _in_order(graph) -> list:
    try:
        return sorted(graph, key=float)
    except (TypeError, ValueError):
        return sorted(graph, key=str)
