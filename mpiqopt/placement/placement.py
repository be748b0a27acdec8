"""Which nodes a rank hosts, which rows it needs from others, and its rows of W."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt._gossip import Mixer
from mpiqopt.arithmetic.distinct import distinct_values
from mpiqopt.topologies.mixing import Mixing


@dataclass(frozen=True)
class Placement:
    """Nodes in contiguous blocks: rank r hosts nodes floor(r n / ranks) .. floor((r + 1) n / ranks) - 1.

    nodes: n, of the whole network; ranks: how many there are; rank: this one.

    >>> [Placement(10, 3, rank).counts[rank] for rank in range(3)]
    [3, 3, 4]
    """

    nodes: int
    ranks: int = 1
    rank: int = 0

    @property
    def bounds(self) -> np.ndarray:
        """Return the first node of each rank, and n at the end: int64 (ranks + 1,)."""
        return np.arange(self.ranks + 1) * self.nodes // self.ranks

    @property
    def counts(self) -> list[int]:
        """Return how many nodes each rank hosts."""
        return np.diff(self.bounds).tolist()

    @property
    def first(self) -> int:
        """Return the first hosted node."""
        return self.rank * self.nodes // self.ranks

    @property
    def last(self) -> int:
        """Return the node after the last hosted one."""
        return (self.rank + 1) * self.nodes // self.ranks

    @property
    def hosted(self) -> int:
        """Return how many nodes this rank hosts."""
        return self.last - self.first


class ExchangePlan(NamedTuple):
    """One gossip round seen from one rank, planned once per mixing matrix.

    Ghost rows are sorted by node id, so what one rank sends is one contiguous piece at the receiver, and each
    row goes once to each rank that needs it. ``sources`` and ``targets`` are (rank, number of rows); the rows
    for the targets, one after the other, are ``outgoing`` (positions among the hosted rows).
    ``links`` counts messages from node to node over the whole network, ``rows_moved`` those between ranks.
    """

    mixer: Mixer
    ghosts: np.ndarray
    sources: tuple[tuple[int, int], ...]
    targets: tuple[tuple[int, int], ...]
    outgoing: np.ndarray
    links: int
    rows_moved: int


def plan_exchange(mixing: Mixing, place: Placement) -> ExchangePlan:
    """Return all that a rank needs to know to compute its rows of W X: computed without communication.

    mixing: the whole matrix W, the same on all ranks; place: which nodes this rank hosts.
    """
    bounds, rank, nodes = place.bounds, place.rank, place.nodes
    low, high = mixing.starts[place.first], mixing.starts[place.last]
    columns = mixing.columns[low:high]
    away = (columns < place.first) | (columns >= place.last)
    ghosts = distinct_values(columns[away])
    local = np.where(away, place.hosted + np.searchsorted(ghosts, columns), columns - place.first)
    mixer = Mixer(
        mixing.starts[place.first : place.last + 1] - low, local, mixing.weights[low:high].copy(), len(ghosts)
    )

    rows, links = mixing.rows(), mixing.links()
    owner = np.repeat(np.arange(place.ranks), np.diff(bounds))
    reader, writer = owner[rows], owner[mixing.columns]
    crossing = reader != writer
    # each (reading rank, node) once, sorted by rank and then by node
    wanted = distinct_values(reader[crossing] * nodes + mixing.columns[crossing])
    mine = wanted[owner[wanted % nodes] == rank]
    return ExchangePlan(
        mixer=mixer,
        ghosts=ghosts,
        sources=_tally(owner[ghosts]),
        targets=_tally(mine // nodes),
        outgoing=mine % nodes - place.first,
        links=int(links.sum()),
        rows_moved=len(wanted),
    )


def _tally(ranks: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return each rank that occurs and how often, ascending."""
    counts = np.bincount(ranks)
    return tuple((int(rank), int(counts[rank])) for rank in np.flatnonzero(counts))
