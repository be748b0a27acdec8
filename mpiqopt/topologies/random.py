"""Random graphs, drawn by networkx from ``topology.seed``."""

from dataclasses import dataclass
from math import log, pi, sqrt
from typing import Annotated

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.registry import register
from mpiqopt.topologies.graph import Graph


def edge_array(graph) -> np.ndarray:
    """Edges of a networkx graph on 0 .. n-1."""
    return np.array(list(graph.edges()), np.int64).reshape(-1, 2)


@register("topology", "erdos-renyi")
@dataclass(frozen=True, kw_only=True)
class ErdosRenyi(Graph):
    """Every pair is linked with the same probability, independently."""

    probability: Annotated[
        float | None,
        Field(gt=0, le=1, description="of a link; by default 2 log(n+2)/n, which is connected as a rule"),
    ] = None

    def edges(self) -> np.ndarray:
        import networkx

        probability = self.probability or min(1.0, 2 * log(self.nodes + 2) / self.nodes)
        return edge_array(networkx.fast_gnp_random_graph(self.nodes, probability, seed=self.seed))


@register("topology", "random-regular")
@dataclass(frozen=True, kw_only=True)
class RandomRegular(Graph):
    """Drawn uniformly (asymptotically) from the graphs in which every node has the same degree."""

    degree: Annotated[int, Field(ge=1, description="links of every node; degree * nodes is even")] = 4

    def edges(self) -> np.ndarray:
        import networkx

        if self.degree >= self.nodes or self.degree * self.nodes % 2:
            raise UsageError(
                f"topology.degree = {self.degree}: want a degree below topology.nodes = {self.nodes} with degree * "
                "nodes even"
            )
        return edge_array(networkx.random_regular_graph(self.degree, self.nodes, seed=self.seed))


@register("topology", "geometric")
@dataclass(frozen=True, kw_only=True)
class Geometric(Graph):
    """Nodes uniform in the unit square, linked when they are near."""

    radius: Annotated[
        float | None,
        Field(
            gt=0,
            description="largest distance of a link; by default sqrt(4 log(n)/(pi n)), which is connected as a rule",
        ),
    ] = None

    def edges(self) -> np.ndarray:
        import networkx

        radius = self.radius or sqrt(4 * log(max(self.nodes, 2)) / (pi * self.nodes))
        return edge_array(networkx.random_geometric_graph(self.nodes, radius, seed=self.seed))
