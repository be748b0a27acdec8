"""Topologies from lines of a config, and the links of graphs by name."""

import networkx
import numpy as np

from mpiqopt.config.parse import parse
from mpiqopt.registry import family_members
from mpiqopt.topologies.graph import Digraph, Made
from mpiqopt.topologies.mixing import simple_edges
from mpiqopt.topologies.topology import Topology

BASE = '[data]\nname = "synthetic"\n[problem]\nname = "least-squares"\n[algorithm]\nname = "dgd"\n'

DIGRAPHS = {name for name, cls in family_members("topology").items() if issubclass(cls, Digraph)}


def topology(text: str) -> Topology:
    return parse(BASE + text, "test.toml").topology()


def edge_array(graph: networkx.Graph) -> np.ndarray:
    return simple_edges(np.array(list(graph.edges), np.int64))


def links(made: Made) -> set[tuple[str, str]]:
    """Pairs of names that are linked, the smaller first."""
    return {tuple(sorted(made.names[end] for end in arc)) for arc in made.cycle[0].arcs().tolist()}


def pairs(*words: str) -> set[tuple[str, str]]:
    return {tuple(sorted(word.split("-"))) for word in words}


RING = pairs("0-1", "1-2", "2-3", "0-3")
