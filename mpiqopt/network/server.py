"""The server of centralised methods, its work shared out: every node serves some blocks of the vector.

Block b of B is served by the node i with ceil(i B/n) <= b < ceil((i + 1) B/n); without blocks node 0 serves all. Who
serves what does not change a bit of the result.
"""

import numpy as np

from mpiqopt.compressors.codec import Codec
from mpiqopt.placement.placement import Placement


class Server:
    """One process's end of uploads and downloads. Parts are (hosted, width): row i the coordinates that node i serves.

    Rows are filled up with zeros; width is that of the largest part.
    """

    def __init__(self, codec: Codec, place: Placement, transport):
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
        """Upload the rows: parts of the mean that are served here, and with ``echo`` what was decoded of the rows."""
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
        """Download: the whole vector (d,) from all parts, as decoded at every node."""
        place, codec = self.place, self.codec
        served = self._join(parts)
        if not compressed:
            return self.transport.concatenate(served, np.diff(self._starts[self._ranks]).tolist())
        own = codec.encode(served[None], self._sender, round, *self._blocks[[place.first, place.last]].tolist())[0]
        message = self.transport.concatenate(own, np.diff(self._ats[self._ranks]).tolist())
        return codec.decode(message[None], self._sender, round)[0]

    def parts(self, vector: np.ndarray) -> np.ndarray:
        """The coordinates that are served here of a whole vector (d,)."""
        first, last = self.place.first, self.place.last
        return self._split(vector[self._starts[first] : self._starts[last]])

    def _split(self, served: np.ndarray) -> np.ndarray:
        starts = self._starts[self.place.first : self.place.last + 1]
        out = np.zeros((self.place.hosted, self.width), served.dtype)
        for row, a, b in zip(out, starts[:-1] - starts[0], starts[1:] - starts[0], strict=True):
            row[: b - a] = served[a:b]
        return out

    def _join(self, parts: np.ndarray) -> np.ndarray:
        sizes = np.diff(self._starts[self.place.first : self.place.last + 1])
        return np.concatenate([row[:size] for row, size in zip(parts, sizes, strict=True)])
