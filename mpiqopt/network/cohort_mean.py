"""Weighted means that are made while their rows come, and exchanged between ranks at the end, coded or not."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from mpiqopt.network.cohort import Cohort
from mpiqopt.network.served_blocks import ServedBlocks, exchange_columns
from mpiqopt.placement.placement import Placement
from mpiqopt.placement.reduction import Reduction, RunningSum
from mpiqopt.transport.transport import Transport


class CohortMean(ABC):
    """A mean that is made while its rows come: a row for each hosted member, in any order. See ``CohortServer.begin``.

    On one rank it stores at most log2(c) + 1 vectors if rows come in ascending order of nodes.

    Parameters
    ----------
    cohort : the members, weights and groups
    place, transport : as of ``CohortServer``
    d, dtype : of the vectors
    nbytes : of a message
    cuts : int64 (ranks + 1,), the first of the coordinates that each rank sums, and d
    """

    def __init__(
        self,
        cohort: Cohort,
        place: Placement,
        transport: Transport,
        d: int,
        dtype: np.dtype,
        nbytes: int,
        cuts: np.ndarray,
    ):
        self._cohort, self._place, self._transport = cohort, place, transport
        self.d, self.dtype, self.nbytes, self._cuts = d, dtype, nbytes, cuts
        self._first, last = np.searchsorted(cohort.members, [place.first, place.last]).tolist()
        self.hosted = cohort.members[self._first : last]
        self._trees = [RunningSum(size) for size in cohort.sizes.tolist()]
        self._added = np.zeros(len(self.hosted), bool)
        self.echo = False
        self.before: Callable[[], None] = lambda: None

    def moved(self) -> int:
        """Return the bytes between ranks: of the upload, and of the means to all ranks."""
        means = (self._place.ranks - 1) * len(self._cohort.sizes) * self.d * self.dtype.itemsize
        return self._uploaded() + means

    def add(self, node: int, row: np.ndarray) -> np.ndarray | None:
        """Hand over the row (d,) of a hosted member, which is not kept: return what the server decodes, or None.

        Raises ValueError for a node that is not hosted, no member, or was there before; NotFinite as ``encode`` does.
        """
        place = int(np.searchsorted(self.hosted, node))
        if place == len(self.hosted) or self.hosted[place] != node or self._added[place]:
            raise ValueError(f"node {node}: want each hosted member of the cohort once")
        self._added[place] = True
        return self._add(self._first + place, row)

    def add_all(self, rows: np.ndarray) -> np.ndarray | None:
        """Hand over the rows (k, d) of all hosted members: return what the server decodes of them, or None."""
        echoed = np.empty(rows.shape, rows.dtype) if self.echo else None
        for i, (node, row) in enumerate(zip(self.hosted.tolist(), rows, strict=True)):
            heard = self.add(node, row)
            if echoed is not None:
                echoed[i] = heard
        return echoed

    def finish(self) -> np.ndarray:
        """Return the mean (d,), or means (groups, d), collective. Raises ValueError if a hosted member is missing."""
        if not self._added.all():
            raise ValueError(f"node {self.hosted[~self._added][0]}: no row was handed over")
        self.before()
        sums = self._sums() if self._place.ranks > 1 else self._complete(self.d)
        for total, vector in zip(self._cohort.totals, sums, strict=True):
            vector /= total
        whole = [self._transport.concatenate(vector, np.diff(self._cuts).tolist()) for vector in sums]
        return np.array(whole) if self._cohort.grouped else whole[0]

    def _sum(self, member: int, row: np.ndarray) -> None:
        """Add a row (width,) to its tree; member: its number in the cohort."""
        cohort = self._cohort
        self._trees[cohort.group[member]].add(int(cohort.position[member]), row, cohort.weights[member])

    def _complete(self, width: int) -> list[np.ndarray]:
        """Return the sum (width,) of each tree that has got all rows."""
        return [next(iter(tree.blocks.values()), np.zeros(width, self.dtype)) for tree in self._trees]

    @abstractmethod
    def _add(self, member: int, row: np.ndarray) -> np.ndarray | None:
        """Take a row; member: its number in the cohort. Returns what the server decodes if ``echo``."""

    @abstractmethod
    def _uploaded(self) -> int:
        """Return the bytes between ranks of the upload."""

    @abstractmethod
    def _sums(self) -> list[np.ndarray]:
        """Exchange what was added on several ranks: return the sum of each group, this rank's coordinates of it."""


class PlainMean(CohortMean):
    """A mean of vectors as they are: each rank sends every other its coordinates of the sums of its complete blocks."""

    def __init__(self, cohort: Cohort, place: Placement, transport: Transport, d: int, dtype: np.dtype):
        cuts = np.arange(place.ranks + 1) * d // place.ranks
        super().__init__(cohort, place, transport, d, dtype, d * dtype.itemsize, cuts)
        groups = range(len(cohort.sizes))
        self._reductions = [Reduction(cohort.bounds(place.bounds, group), place.rank) for group in groups]
        # (ranks, groups): how many sums each rank has of each group
        self._counts = np.array([reduction.counts for reduction in self._reductions]).T

    def _add(self, member: int, row: np.ndarray) -> np.ndarray | None:
        self._sum(member, row)
        return row if self.echo else None

    def _uploaded(self) -> int:
        return int(np.dot(self._counts.sum(axis=1), self.d - np.diff(self._cuts))) * self.dtype.itemsize

    def _sums(self) -> list[np.ndarray]:
        trees = zip(self._trees, self._reductions, strict=True)
        own = [tree.blocks[block] for tree, reduction in trees for block in reduction.blocks[self._place.rank]]
        rows = np.array(own, self.dtype).reshape(len(own), self.d)
        parts = exchange_columns(self._transport, rows, self._cuts, self._counts.sum(axis=1).tolist())
        group = np.repeat(np.tile(np.arange(len(self._trees)), self._place.ranks), self._counts.ravel())
        return [
            reduction.finish(parts[group == g]) if self._cohort.sizes[g] else np.zeros(parts.shape[1], self.dtype)
            for g, reduction in enumerate(self._reductions)
        ]


class CodedMean(CohortMean):
    """A mean of coded vectors: each rank sends every other the blocks that it serves of its members' messages."""

    def __init__(self, cohort: Cohort, place: Placement, transport: Transport, served: ServedBlocks, round: int):
        codec = served.codec
        super().__init__(cohort, place, transport, codec.d, codec.dtype, codec.nbytes, served.starts)
        self._served, self._round, self._per_rank = served, round, cohort.counts(place.bounds)
        # on one rank what is decoded is summed at once, and no message stored
        self._messages = np.empty((len(self.hosted) if place.ranks > 1 else 0, codec.nbytes), np.uint8)

    def _add(self, member: int, row: np.ndarray) -> np.ndarray | None:
        codec, node = self._served.codec, self._cohort.members[member : member + 1]
        message = codec.encode(row[None], node, self._round)
        alone = self._place.ranks == 1
        decoded = codec.decode(message, node, self._round)[0] if alone or self.echo else None
        if alone and decoded is not None:
            self._sum(member, decoded)
        else:
            self._messages[member - self._first] = message[0]
        return decoded if self.echo else None

    def _uploaded(self) -> int:
        return self._served.moved(self._per_rank)

    def _sums(self) -> list[np.ndarray]:
        served, members = self._served, self._cohort.members
        incoming = exchange_columns(self._transport, self._messages, served.ats, self._per_rank)
        low, high = served.here()
        for member, message in enumerate(incoming):
            node = members[member : member + 1]
            row = served.codec.decode(message[None], node, self._round, low=low, high=high)[0]
            self._sum(member, row)
        return self._complete(int(np.diff(self._cuts)[self._place.rank]))
