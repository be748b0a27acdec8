"""A topology in one file: a ring whose nodes are all linked to node 0."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.registry import register
from mpiqopt.topologies.graph import Graph


@register("topology", "wheel")
@dataclass(frozen=True, kw_only=True)
class Wheel(Graph):
    """Node 0 in the middle, the others on a circle around it."""

    def edges(self) -> np.ndarray:
        rim = np.arange(1, self.nodes)
        spokes = np.stack([np.zeros_like(rim), rim], axis=1)
        return np.concatenate([spokes, np.stack([rim, np.roll(rim, -1)], axis=1)])
