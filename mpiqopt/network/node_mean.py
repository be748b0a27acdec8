"""The mean over all nodes, by one collective that is not part of an algorithm's communication."""

from collections.abc import Iterable

import numpy as np

from mpiqopt.placement.placement import Placement
from mpiqopt.placement.reduction import Reduction
from mpiqopt.placement.shared_rows import is_shared
from mpiqopt.transport.transport import Transport


class NodeMean:
    """(1/n) sum_i x_i over the rows x_i of all nodes: the same bits at every node and for any number of ranks.

    Metrics, the scaling of data and constants are made of such means; they count neither bytes nor rounds.

    Parameters
    ----------
    place : which nodes the ranks host.
    transport : carries the partial sums of each rank to rank 0, and the mean back.
    """

    def __init__(self, place: Placement, transport: Transport):
        self._nodes, self._transport, self._reduction = place.nodes, transport, Reduction(place.bounds, place.rank)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the mean (d,) of rows (hosted, d), collective."""
        return self._finished(self._reduction.partial_sums(rows))

    def of_pieces(self, pieces: Iterable[np.ndarray]) -> np.ndarray:
        """Return the mean (d,) of rows that come in pieces (k, d) in the order of the hosted nodes: the same bits.

        Collective once the last piece has come. No more than a piece and some log2(n) rows are in memory at once.
        """
        return self._finished(self._reduction.partial_sums_of_pieces(pieces))

    def of_iterates(self, x: np.ndarray) -> np.ndarray:
        """Return the mean (d,) of iterates x (hosted, d), collective; the row itself of ``shared_rows``, unrounded."""
        return x[0] if is_shared(x) else self(x)

    def _finished(self, sums: np.ndarray) -> np.ndarray:
        """Return the mean, of this rank's partial sums (counts[rank], d)."""
        reduction, transport = self._reduction, self._transport
        gathered = transport.gather(sums, reduction.counts)
        if gathered is None:
            return transport.broadcast(np.empty(sums.shape[1], sums.dtype))
        return transport.broadcast(reduction.finish(gathered) / sums.dtype.type(self._nodes))

    @property
    def rows_moved(self) -> int:
        """Rows that travel between ranks for one mean: partial sums to rank 0, the mean to every other rank."""
        counts = self._reduction.counts
        return sum(counts[1:]) + len(counts) - 1
