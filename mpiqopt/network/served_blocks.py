"""Vectors that all nodes serve together, each some blocks: how they are uploaded and downloaded."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mpiqopt.network.codecs import Codecs
from mpiqopt.placement.placement import Placement
from mpiqopt.transport.transport import Transport

if TYPE_CHECKING:  # imported where a message is coded: many ranks start at once
    from mpiqopt.compressors.codec import Codec


def exchange_columns(transport: Transport, rows: np.ndarray, cuts: np.ndarray, counts: list[int]) -> np.ndarray:
    """Send each rank its columns of the rows: return this rank's columns of all ranks' rows, in rank order.

    Parameters
    ----------
    transport : collective
    rows : (counts[rank], width) of any type, the same on all ranks
    cuts : int64 (ranks + 1,), first column of each rank, and width
    counts : rows of each rank

    Returns
    -------
    (sum of counts, columns of this rank)
    """
    columns = np.diff(cuts).tolist()
    outgoing = np.concatenate([rows[:, a:b].ravel() for a, b in pairwise(cuts.tolist())]).view(np.uint8)
    sent, own = len(rows) * rows.itemsize, columns[transport.rank] * rows.itemsize
    incoming = transport.alltoall(outgoing, [sent * size for size in columns], [count * own for count in counts])
    return incoming.view(rows.dtype).reshape(sum(counts), columns[transport.rank])


class ServedBlocks:
    """Uploads and downloads of vectors of one length, of which every node serves some blocks.

    Parts are (hosted, width): row i holds the coordinates that node i serves, filled up with zeros to ``width``, that
    of the largest part.

    Parameters
    ----------
    codec : the wire format of the vectors
    place : which nodes this rank hosts
    transport : carries messages between ranks

    Attributes
    ----------
    blocks, starts, ats : of each rank, and at the end, the first block that it serves, its first coordinate and its
        first byte in a message, int64 (ranks + 1,)
    uploaded : bytes between ranks of one upload of all nodes
    """

    def __init__(self, codec: "Codec", place: Placement, transport: Transport):
        self.codec, self.place, self.transport = codec, place, transport
        nodes = place.nodes
        blocks = -(-np.arange(nodes + 1) * codec.blocks // nodes)  # rounded up: first block of each node
        boundaries = np.array([codec.boundary(int(block)) for block in blocks])
        self._starts, bounds = boundaries[:, 0], place.bounds
        self.blocks, self.starts, self.ats = blocks[bounds], boundaries[bounds, 0], boundaries[bounds, 1]
        self.width = int(np.diff(self._starts).max())
        self._nodes, self._sender = np.arange(place.first, place.last), np.array([nodes])
        self.uploaded = self.moved(place.counts)

    def moved(self, counts: list[int]) -> int:
        """Return the bytes between ranks of one upload; counts: messages from each rank."""
        return int(np.dot(counts, self.codec.nbytes - np.diff(self.ats)))

    def here(self) -> tuple[int, int]:
        """Return the first block that this rank serves, and the one after the last."""
        return int(self.blocks[self.place.rank]), int(self.blocks[self.place.rank + 1])

    def collect(self, rows: np.ndarray, round: int, echo: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Upload rows: return the parts of their mean served here, and with ``echo`` what was decoded of the rows."""
        codec, place = self.codec, self.place
        messages = codec.encode(rows, self._nodes, round)
        incoming = exchange_columns(self.transport, messages, self.ats, place.counts)
        served = codec.decode_mean(incoming, round, *self.here())
        return self._split(served), codec.decode(messages, self._nodes, round) if echo else None

    def spread(self, parts: np.ndarray, round: int, compressed: bool) -> np.ndarray:
        """Download: return the whole vector (d,) of all parts, as decoded at every node."""
        served = self._join(parts)
        if compressed:
            return self.spread_coded(served, round)
        return self.transport.concatenate(served, np.diff(self.starts).tolist())

    def spread_coded(self, served: np.ndarray, round: int) -> np.ndarray:
        """Download the coordinates served on this rank, one after the other: return the vector (d,) as decoded."""
        own = self.codec.encode(served[None], self._sender, round, *self.here())[0]
        message = self.transport.concatenate(own, np.diff(self.ats).tolist())
        return self.codec.decode(message[None], self._sender, round)[0]

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


class ServedVectors:
    """The ``ServedBlocks`` of a network: one for each length and type of vectors, made when these are first coded.

    codecs : the wire format; place, transport : as of ``ServedBlocks``.
    """

    def __init__(self, codecs: Codecs, place: Placement, transport: Transport):
        self._codecs, self._place, self._transport = codecs, place, transport
        self._blocks: dict[tuple[int, np.dtype], ServedBlocks] = {}

    def of(self, d: int, dtype: np.dtype) -> ServedBlocks:
        """Return what serves vectors (d,) of a type."""
        kind = d, dtype
        if kind not in self._blocks:
            codec = self._codecs.of(np.empty((0, d), dtype))
            self._blocks[kind] = ServedBlocks(codec, self._place, self._transport)
        return self._blocks[kind]
