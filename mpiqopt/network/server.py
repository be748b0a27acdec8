"""The server of centralised methods, its work shared out: every node serves some blocks of the vector.

Block b of B is served by the node i with ceil(i B/n) <= b < ceil((i + 1) B/n); without blocks node 0 serves all. Who
serves what does not change a bit of the result.
"""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mpiqopt.emulation.links import RoundDelays
from mpiqopt.network.codecs import Codecs
from mpiqopt.network.node_mean import NodeMean
from mpiqopt.network.served_blocks import ServedVectors
from mpiqopt.network.traffic import Traffic
from mpiqopt.network.uplinks import Uplinks
from mpiqopt.placement.placement import Placement
from mpiqopt.transport.transport import Transport

if TYPE_CHECKING:  # imported where some nodes have a server: many ranks start at once
    from mpiqopt.network.cohort_server import CohortServer


class Server:
    """A server that all nodes upload to and download from: 2 (n - 1) messages a round.

    Every call is collective. Node 0 plays the server, or all nodes do, each for some blocks of the vector.

    Parameters
    ----------
    place : which nodes this rank hosts.
    transport : carries messages between ranks.
    traffic : counts every round and its bytes.
    codecs : the wire format of coded messages.
    delays : emulated links; None for those that there are.
    """

    def __init__(
        self, place: Placement, transport: Transport, traffic: Traffic, codecs: Codecs, delays: RoundDelays | None
    ):
        self._place, self._transport, self._traffic = place, transport, traffic
        self._served, self._mean = ServedVectors(codecs, place, transport), NodeMean(place, transport)
        self._uplinks, self._round = Uplinks(place.nodes, delays), 0

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """Return (1/n) sum_i x_i, (d,), of the rows (hosted, d): node 0 gathers and broadcasts, one round.

        The same bits at every node and for any number of ranks.
        """
        size = rows.shape[1] * rows.itemsize
        self._traffic.count(2 * (self._place.nodes - 1) * size, self._mean.rows_moved * size)
        self.delay_messages(size, size)
        return self._mean(rows)

    def collect(self, rows: np.ndarray, echo: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Upload coded rows (hosted, d): return the parts of their mean that hosted nodes serve.

        With ``spread`` it is one round. Parts are (hosted, width), as in ``ServedBlocks``. With ``echo`` also what the
        server decodes of the rows, (hosted, d), else None. Raises NotFinite with the node's number in ``row``.
        """
        blocks, self._round = self._served.of(rows.shape[1], rows.dtype), self._traffic.rounds
        self._traffic.count((self._place.nodes - 1) * blocks.codec.nbytes, blocks.uploaded)
        self.delay_messages(blocks.codec.nbytes)
        return blocks.collect(rows, self._round, echo)

    def spread(self, parts: np.ndarray, d: int, compressed: bool) -> np.ndarray:
        """Download all parts, coded or as they are: return the vector (d,), the same bits at every node."""
        blocks = self._served.of(d, parts.dtype)
        size = blocks.codec.nbytes if compressed else d * parts.itemsize
        self._traffic.count((self._place.nodes - 1) * size, (self._place.ranks - 1) * size, rounds=0)
        self.delay_messages(size)
        return blocks.spread(parts, self._round, compressed)

    @cached_property
    def cohort(self) -> "CohortServer":
        """The server of those nodes that take part in a round, with weights: federated learning."""
        from mpiqopt.network.cohort_server import CohortServer

        return CohortServer(self._place, self._transport, self._traffic, self._served, self._uplinks)

    def parts(self, vector: np.ndarray) -> np.ndarray:
        """Return the coordinates of a vector (d,) that hosted nodes serve, as parts (hosted, width)."""
        return self._served.of(len(vector), vector.dtype).parts(vector)

    def delay_messages(self, *sizes: float) -> None:
        """Wait as long as messages of so many bytes, one after the other, take between the server and all nodes."""
        for size in sizes:
            self._uplinks.wait(size)
