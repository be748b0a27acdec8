"""The server of centralised methods, its work shared out: every node serves some blocks of the vector.

Block b of B is served by the node i with ceil(i B/n) <= b < ceil((i + 1) B/n); without blocks node 0 serves all. Who
serves what does not change a bit of the result.
"""

import time
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mpiqopt.emulation.links import RoundDelays
from mpiqopt.network.codecs import Codecs
from mpiqopt.network.node_mean import NodeMean
from mpiqopt.network.traffic import Traffic
from mpiqopt.placement.placement import Placement
from mpiqopt.transport.transport import Transport

if TYPE_CHECKING:  # imported where a message is coded: many ranks start at once
    from mpiqopt.compressors.codec import Codec


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
        self._codecs, self._delays, self._mean = codecs, delays, NodeMean(place, transport)
        self._blocks: dict[tuple[int, np.dtype], ServedBlocks] = {}
        self._round = 0

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
        blocks, self._round = self._served(rows), self._traffic.rounds
        self._traffic.count((self._place.nodes - 1) * blocks.codec.nbytes, blocks.uploaded)
        self.delay_messages(blocks.codec.nbytes)
        return blocks.collect(rows, self._round, echo)

    def spread(self, parts: np.ndarray, d: int, compressed: bool) -> np.ndarray:
        """Download all parts, coded or as they are: return the vector (d,), the same bits at every node."""
        blocks = self._blocks[d, parts.dtype]
        size = blocks.codec.nbytes if compressed else d * parts.itemsize
        self._traffic.count((self._place.nodes - 1) * size, (self._place.ranks - 1) * size, rounds=0)
        self.delay_messages(size)
        return blocks.spread(parts, self._round, compressed)

    def parts(self, vector: np.ndarray) -> np.ndarray:
        """Return the coordinates of a vector (d,) that hosted nodes serve, as parts (hosted, width)."""
        return self._served(vector[None]).parts(vector)

    def delay_messages(self, *sizes: float) -> None:
        """Wait as long as messages of so many bytes, one after the other, take between the server and all nodes."""
        if self._delays is not None:
            for size in sizes:
                self._delays.delay(self._uplinks, size, time.perf_counter())

    def _served(self, rows: np.ndarray) -> "ServedBlocks":
        kind = rows.shape[1], rows.dtype
        if kind not in self._blocks:
            self._blocks[kind] = ServedBlocks(self._codecs.of(rows), self._place, self._transport)
        return self._blocks[kind]

    @cached_property
    def _uplinks(self) -> np.ndarray:
        """Links of the server to all nodes, int64 (nodes, 2)."""
        return np.stack([np.zeros(self._place.nodes, np.int64), np.arange(self._place.nodes)], axis=1)


class ServedBlocks:
    """Uploads and downloads of vectors of one length, of which every node serves some blocks.

    Parts are (hosted, width): row i holds the coordinates that node i serves, filled up with zeros to ``width``, that
    of the largest part. ``uploaded``: bytes between ranks of one upload.
    """

    def __init__(self, codec: "Codec", place: Placement, transport: Transport):
        self.codec, self.place, self.transport = codec, place, transport
        nodes = place.nodes
        self._blocks = -(-np.arange(nodes + 1) * codec.blocks // nodes)  # rounded up: first block of each node
        boundaries = np.array([codec.boundary(int(block)) for block in self._blocks])
        self._starts, self._ats = boundaries[:, 0], boundaries[:, 1]
        self.width = int(np.diff(self._starts).max())
        self._nodes, self._sender = np.arange(place.first, place.last), np.array([nodes])
        self._ranks = place.bounds  # first node of each rank
        served = np.diff(self._ats[self._ranks])
        self.uploaded = int(np.dot(place.counts, codec.nbytes - served))  # bytes between ranks

    def collect(self, rows: np.ndarray, round: int, echo: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Upload rows: return the parts of their mean served here, and with ``echo`` what was decoded of the rows."""
        codec, place = self.codec, self.place
        messages = codec.encode(rows, self._nodes, round)
        at = self._ats[self._ranks]
        outgoing = np.concatenate([messages[:, a:b].ravel() for a, b in zip(at[:-1], at[1:], strict=True)])
        own = int(at[place.rank + 1] - at[place.rank])
        incoming = self.transport.alltoall(
            outgoing, [place.hosted * int(size) for size in np.diff(at)], [count * own for count in place.counts]
        )
        low, high = self._blocks[[place.first, place.last]].tolist()
        served = codec.decode_mean(incoming.reshape(place.nodes, own), round, low, high)
        return self._split(served), codec.decode(messages, self._nodes, round) if echo else None

    def spread(self, parts: np.ndarray, round: int, compressed: bool) -> np.ndarray:
        """Download: return the whole vector (d,) of all parts, as decoded at every node."""
        place, codec = self.place, self.codec
        served = self._join(parts)
        if not compressed:
            return self.transport.concatenate(served, np.diff(self._starts[self._ranks]).tolist())
        own = codec.encode(served[None], self._sender, round, *self._blocks[[place.first, place.last]].tolist())[0]
        message = self.transport.concatenate(own, np.diff(self._ats[self._ranks]).tolist())
        return codec.decode(message[None], self._sender, round)[0]

    def parts(self, vector: np.ndarray) -> np.ndarray:
        """Return the coordinates that are served here of a whole vector (d,)."""
        first, last = self.place.first, self.place.last
        return self._split(vector[self._starts[first] : self._starts[last]])

    def _split(self, served: np.ndarray) -> np.ndarray:
        """Return parts of the coordinates served on this rank, one after the other."""
        starts = self._starts[self.place.first : self.place.last + 1]
        out = np.zeros((self.place.hosted, self.width), served.dtype)
        for row, a, b in zip(out, starts[:-1] - starts[0], starts[1:] - starts[0], strict=True):
            row[: b - a] = served[a:b]
        return out

    def _join(self, parts: np.ndarray) -> np.ndarray:
        """Return the coordinates served on this rank, one after the other: the reverse of ``_split``."""
        sizes = np.diff(self._starts[self.place.first : self.place.last + 1])
        return np.concatenate([row[:size] for row, size in zip(parts, sizes, strict=True)])
