"""The server of federated learning: weighted means over a cohort of nodes, and vectors to its members.

The sum is a binary tree over the cohort's members in ascending order (``placement.reduction``), so that its bits depend
neither on ranks nor on the order in which rows come. Every rank sums some coordinates of all members. Where messages
are coded they travel coded, each node serves blocks as in ``ServedBlocks``, and a node's message does not depend on who
else is in the cohort: its keys are the node and the round.
"""

from functools import partial

import numpy as np

from mpiqopt.network.cohort import Cohort
from mpiqopt.network.cohort_mean import CodedMean, CohortMean, PlainMean
from mpiqopt.network.parted_mean import PartedMean
from mpiqopt.network.parts import Parts
from mpiqopt.network.served_blocks import ServedVectors
from mpiqopt.network.traffic import Traffic
from mpiqopt.network.uplinks import Uplinks
from mpiqopt.placement.placement import Placement
from mpiqopt.transport.transport import Transport


class CohortServer:
    """Uploads from some nodes and downloads to them; an upload with a download is one round. Collective.

    Node 0 plays the server, or the first node of each group that of the group: it needs no message to itself. Bytes
    from node to node count c messages up and as many down, but for that; ``mpi_bytes`` what ranks really send, among
    it the means, which every rank gets whole and uncoded.

    Parameters
    ----------
    place : which nodes this rank hosts
    transport : carries messages between ranks
    traffic : counts every round and its bytes
    served : the wire format of coded messages
    uplinks : emulated links of the server

    >>> from mpiqopt.network.codecs import Codecs
    >>> from mpiqopt.transport.serial import SerialTransport
    >>> place, transport = Placement(4), SerialTransport()
    >>> served = ServedVectors(Codecs(None, 0, 4), place, transport)
    >>> server = CohortServer(place, transport, Traffic(), served, Uplinks(4, None))
    >>> cohort, rows = np.array([1, 3]), np.array([[1.0, 2.0], [5.0, 6.0]])
    >>> vector, _ = server.weighted_mean(rows, cohort, np.array([30.0, 10.0]))
    >>> server.spread_to(vector, cohort).tolist()
    [2.0, 3.0]
    """

    def __init__(
        self, place: Placement, transport: Transport, traffic: Traffic, served: ServedVectors, uplinks: Uplinks
    ):
        self._place, self._transport, self._traffic = place, transport, traffic
        self._served, self._uplinks = served, uplinks

    def weighted_mean(
        self,
        rows: np.ndarray,
        cohort: np.ndarray,
        weights: np.ndarray,
        coded: bool = False,
        *,
        echo: bool = False,
        normalize: bool = True,
        wait: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return sum_j w_j C(x_j) / sum_j w_j, (d,), in the type of the rows: the same bits on every rank.

        Zero if no weight is positive. One round; ``spread_to`` is its second half.

        Parameters
        ----------
        rows : (k, d), those of the cohort's members that this rank hosts, in ascending order; k may be 0
        cohort : int64 (c,), node ids, ascending, the same on all ranks
        weights : float64 (c,), at least 0, of any scale
        coded : True for C by the network's compressor, False for C(x) = x
        echo : True to return what the server decodes of the rows, (k, d), too; else None
        normalize : False for sum_j w_j C(x_j)
        wait : False if emulated links delay nobody

        Raises
        ------
        NotFinite : coded, with the node's number in ``row``
        """
        mean = self.begin(cohort, weights, coded, rows.shape[1], rows.dtype, echo=echo, normalize=normalize, wait=wait)
        echoed = mean.add_all(rows)
        return mean.finish(), echoed

    def grouped_mean(
        self,
        rows: np.ndarray,
        cohort: np.ndarray,
        weights: np.ndarray,
        groups: np.ndarray,
        coded: bool = False,
        *,
        echo: bool = False,
        normalize: bool = True,
        wait: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the weighted mean of each group's members, (groups, d), in one round; zero for a group without any.

        groups: int64 (nodes,), the group of each node of the network, 0, 1, ...; all else is as in ``weighted_mean``.
        """
        mean = self.begin(
            cohort, weights, coded, rows.shape[1], rows.dtype, groups=groups, echo=echo, normalize=normalize, wait=wait
        )
        echoed = mean.add_all(rows)
        return mean.finish(), echoed

    def begin(
        self,
        cohort: np.ndarray,
        weights: np.ndarray,
        coded: bool,
        d: int,
        dtype: np.dtype,
        *,
        groups: np.ndarray | None = None,
        echo: bool = False,
        normalize: bool = True,
        wait: bool = True,
    ) -> CohortMean:
        """Begin a mean of vectors (d,) that are handed over one by one, and count its round.

        Parameters are those of ``weighted_mean`` and ``grouped_mean``, which do just this with rows that are there.
        """
        members = Cohort(cohort, weights, groups, normalize, dtype)
        mean = self._begun(members, coded, d, dtype, self._traffic.rounds, echo)
        if wait:
            mean.before = partial(self._uplinks.wait, mean.nbytes, cohort)
        self._traffic.count(members.senders * mean.nbytes, mean.moved())
        return mean

    def begin_parts(
        self,
        parts: Parts,
        held: np.ndarray,
        cohort: np.ndarray,
        weights: np.ndarray,
        coded: bool,
        dtype: np.dtype,
        *,
        groups: np.ndarray | None = None,
        echo: bool = False,
        rounds: int = 1,
    ) -> PartedMean:
        """Begin the means of the parts of vectors, each over those members that send it, and count their one round.

        A part is coded by itself: its message does not depend on which others go with it. Emulated links delay nobody.

        Parameters
        ----------
        parts : of the vectors; those of groups are in one part
        held : bool (c, parts), which parts each member of the cohort sends
        rounds : 0 for what goes with an upload that was counted

        The others are those of ``begin``.
        """
        sizes, means, now = parts.sizes.tolist(), list[CohortMean | None](), self._traffic.rounds
        self._traffic.count(0, 0, rounds)
        for part, senders in enumerate(held.T):
            if not sizes[part] or not (parts.whole or senders.any()):
                means.append(None)
                continue
            members = Cohort(cohort[senders], weights[senders], groups, True, dtype)
            mean = self._begun(members, coded, sizes[part], dtype, keyed_round(now, part), echo)
            self._traffic.count(members.senders * mean.nbytes, mean.moved(), rounds=0)
            means.append(mean)
        return PartedMean(parts, cohort, held, means)

    def _begun(self, members: Cohort, coded: bool, d: int, dtype: np.dtype, round: int, echo: bool) -> CohortMean:
        """Return a mean that nothing was counted of. round: keys what messages are rounded by."""
        mean: CohortMean
        if coded:
            mean = CodedMean(members, self._place, self._transport, self._served.of(d, dtype), round)
        else:
            mean = PlainMean(members, self._place, self._transport, d, dtype)
        mean.echo = echo
        return mean

    def spread_to(
        self, vector: np.ndarray, cohort: np.ndarray, coded: bool = False, *, server: int = 0, wait: bool = True
    ) -> np.ndarray:
        """Download a vector (d,), the same on all ranks, to the cohort: return what its members have then, (d,).

        That is the vector itself, or what is decoded of the one message to all of them; error feedback is up to the
        caller. Counts bytes and no round. Two coded vectors without an upload in between are rounded by the same random
        numbers.

        Parameters
        ----------
        vector : of which only the coordinates that this rank serves are read if it is coded
        cohort : int64 (c,), node ids, ascending
        server : the node that sends, and needs no message
        wait : False if emulated links delay nobody
        """
        served = self._served.of(len(vector), vector.dtype) if coded else None
        size = len(vector) * vector.itemsize if served is None else served.codec.nbytes
        moved = 0 if served is None else (self._place.ranks - 1) * size
        self._traffic.count(int((cohort != server).sum()) * size, moved, rounds=0)
        if wait:
            self._uplinks.wait(size, cohort)
        if served is None:
            return vector
        a, b = served.starts[self._place.rank : self._place.rank + 2].tolist()
        return served.spread_coded(vector[a:b], self._traffic.rounds)


def keyed_round(round: int, part: int) -> int:
    """Return the number that keys a part's message: parts of equal length are not rounded by the same numbers."""
    return round + (part << 40)
