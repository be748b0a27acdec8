"""Turn rows of vectors into rows of messages: a compressor with its blocks, keys and clock.

A vector of d values is cut into blocks of ``compressor.block_size`` coordinates, each a message of its own. Blocks of
equal width are encoded together, as rows of one array, so that Python is called once or twice a round.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mpiqopt._compressors import fill_keys
from mpiqopt.compressors.compressor import Compressor, Draw
from mpiqopt.errors import NotFinite
from mpiqopt.streams import PURPOSES


class Stretch(NamedTuple):
    """Blocks of equal width, one after the other: all blocks but the last, or the last one if it is shorter.

    Parameters
    ----------
    first, blocks : number of the first block, and how many there are
    start, width : first coordinate, and coordinates of each block
    at, nbytes : first byte of the message, and bytes of each block
    """

    first: int
    blocks: int
    start: int
    width: int
    at: int
    nbytes: int


def _worst(choose: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    """Return the worst of the constants of blocks, by max or min; None if some are unknown."""
    known = list(values)
    numbers = [value for value in known if value is not None]
    return choose(numbers) if len(numbers) == len(known) else None


class Codec:
    """Messages of vectors of d values: those of the blocks, one after the other.

    All blocks have ``compressor.block_size`` coordinates but the last. Senders are nodes 0 .. nodes-1 and the server,
    whose number is ``nodes``.

    Parameters
    ----------
    compressor : the wire format of each block
    d, dtype : length and type of the vectors
    seed : of the run, for the keys
    nodes : how many there are, hosted here or not

    Attributes
    ----------
    blocks, nbytes : how many blocks a message has, and its bytes
    omega, delta, usual_delta, gossip_omega, damping : the compressor's constants for the worst block; None if one block
        has none
    seconds : time spent in encoding and decoding
    """

    def __init__(self, compressor: Compressor, d: int, dtype: np.dtype, seed: int, nodes: int):
        self.compressor, self.d, self.dtype, self.seed, self.nodes = compressor, d, dtype, seed, nodes
        self.seconds = 0.0
        width = min(compressor.block_size or d, d)
        whole, rest = divmod(d, width)
        size = compressor.nbytes(width, dtype)
        self.stretches = [Stretch(0, whole, 0, width, 0, size)]
        if rest:
            last = compressor.nbytes(rest, dtype)
            self.stretches.append(Stretch(whole, 1, whole * width, rest, whole * size, last))
        self.blocks = whole + (rest > 0)
        self.nbytes = self.boundary(self.blocks)[1]
        widths = [stretch.width for stretch in self.stretches]
        self.omega = _worst(max, map(compressor.omega, widths))
        self.delta = _worst(min, map(compressor.damped_delta, widths))
        usual = _worst(min, map(compressor.usual_delta, widths))
        self.usual_delta = self.delta if usual is None else usual
        self.gossip_omega = _worst(max, map(compressor.gossip_omega, widths))
        self.damping = min(map(compressor.damping, widths))
        self._everyone = np.arange(nodes)
        self._keys: dict[int, _Keys] = {}
        self._messages: dict[tuple[int, int], np.ndarray] = {}

    def boundary(self, block: int) -> tuple[int, int]:
        """Return the first coordinate and the first byte of a block (d and nbytes for one past the last)."""
        stretch = self.stretches[-1] if block > self.stretches[0].blocks else self.stretches[0]
        within = block - stretch.first
        start = min(stretch.start + within * stretch.width, self.d)
        return start, stretch.at + within * stretch.nbytes

    def encode(
        self, rows: np.ndarray, nodes: np.ndarray, round: int, low: int = 0, high: int | None = None
    ) -> np.ndarray:
        """Return the messages of blocks low .. high-1 (by default all) of the vectors of ``nodes``.

        Parameters
        ----------
        rows : (n, coordinates of these blocks), of the codec's type
        nodes : int64 (n,), the senders, whose keys are used
        round : number of rounds so far

        Returns
        -------
        uint8 (n, bytes of these blocks); the array is written again by the next call of this size

        Raises
        ------
        NotFinite : with the node's number in ``row``
        """
        begin = time.perf_counter()
        high, n = self.blocks if high is None else high, len(rows)
        size = n, self.boundary(high)[1] - self.boundary(low)[1]
        messages = self._messages.get(size)
        if messages is None:
            messages = self._messages[size] = np.empty(size, np.uint8)
        for stretch, blocks, x, m, draw in self._spans(nodes, round, low, high):
            part = np.ascontiguousarray(rows[:, x]).reshape(-1, stretch.width)
            out = _piece(messages, m, n * blocks, stretch.nbytes)
            try:
                self.compressor.encode(part, out, draw)
            except NotFinite as error:
                raise NotFinite(int(nodes[error.row // blocks])) from None
            if out.base is not messages:
                messages[:, m] = out.reshape(n, -1)
        self.seconds += time.perf_counter() - begin
        return messages

    def decode(
        self,
        messages: np.ndarray,
        nodes: np.ndarray,
        round: int,
        dtype: Any = None,
        low: int = 0,
        high: int | None = None,
    ) -> np.ndarray:
        """Return blocks low .. high-1 (by default all) of the vectors of ``nodes``: (n, coordinates of these blocks).

        messages: uint8 (n, bytes of these blocks); dtype: of the result, by default the codec's.
        """
        begin, n = time.perf_counter(), len(messages)
        high = self.blocks if high is None else high
        rows = np.empty((n, self.boundary(high)[0] - self.boundary(low)[0]), dtype or self.dtype)
        for stretch, blocks, x, m, draw in self._spans(nodes, round, low, high):
            part = np.ascontiguousarray(messages[:, m]).reshape(-1, stretch.nbytes)
            out = _piece(rows, x, n * blocks, stretch.width)
            self.compressor.decode(part, out, draw)
            if out.base is not rows:
                rows[:, x] = out.reshape(n, -1)
        self.seconds += time.perf_counter() - begin
        return rows

    def decode_mean(self, messages: np.ndarray, round: int, low: int, high: int) -> np.ndarray:
        """Return the mean over nodes 0 .. n-1 of blocks low .. high-1 of their vectors: (coordinates,).

        messages: uint8 (n, bytes of these blocks), in the order of nodes.
        """
        begin, n = time.perf_counter(), len(messages)
        out = np.empty(self.boundary(high)[0] - self.boundary(low)[0], self.dtype)
        for stretch, blocks, x, m, draw in self._spans(self._everyone, round, low, high):
            part = np.ascontiguousarray(messages[:, m]).reshape(n, blocks, stretch.nbytes)
            one_node = draw._replace(shared=draw.shared[:blocks])
            self.compressor.decode_mean(part, out[x].reshape(blocks, stretch.width), one_node)
        self.seconds += time.perf_counter() - begin
        return out

    def _spans(
        self, nodes: np.ndarray, round: int, low: int, high: int
    ) -> Iterator[tuple[Stretch, int, slice, slice, Draw]]:
        """Yield, for each stretch with some of blocks low .. high-1, what to encode or decode at once.

        The stretch, how many of its blocks, their slices of coordinates and of bytes (counted from block low), and the
        keys of their messages, those of a node one after the other.
        """
        own, shared = self._draw(nodes, round)
        start, at = self.boundary(low)
        for stretch in self.stretches:
            a, b = max(low, stretch.first), min(high, stretch.first + stretch.blocks)
            if a < b and len(nodes):
                (x0, m0), (x1, m1) = self.boundary(a), self.boundary(b)
                draw = Draw(round, *(np.ascontiguousarray(keys[:, a:b]).reshape(-1) for keys in (own, shared)))
                yield stretch, b - a, slice(x0 - start, x1 - start), slice(m0 - at, m1 - at), draw

    def _draw(self, nodes: np.ndarray, round: int) -> tuple[np.ndarray, np.ndarray]:
        """Return each message's own key, and the key that it shares with all nodes in the round, uint64 (n, blocks).

        Kept for the next call with the same array of nodes. Nodes that are coded alone share a place: the clients of a
        server are many, and come one after the other.
        """
        place, first = (0 if len(nodes) == 1 else id(nodes)), (int(nodes[0]) if len(nodes) else -1)
        known = self._keys.get(place)
        if known is None:
            own, shared = (np.empty((len(nodes), self.blocks), np.uint64) for _ in range(2))
            known = self._keys[place] = _Keys(nodes, own, shared)
        if (known.round, known.first) != (round, first):
            server = np.array([int(first == self.nodes)])
            fill_keys(self.seed, PURPOSES["message"], round, nodes, 0, known.own.reshape(-1))
            fill_keys(self.seed, PURPOSES["round"], round, server, 0, known.shared[:1].reshape(-1))
            known.shared[1:] = known.shared[:1]
            known.round, known.first = round, first
        return known.own, known.shared


@dataclass
class _Keys:
    """The keys of the messages of ``nodes`` in a round; refers to the array, so that its id stays its own.

    first : the first of the nodes that the keys are of, -1 if there are none
    """

    nodes: np.ndarray
    own: np.ndarray
    shared: np.ndarray
    round: int = -1
    first: int = -1


def _piece(array: np.ndarray, columns: slice, rows: int, width: int) -> np.ndarray:
    """Return memory for some columns of the array as (rows, width): the array itself if they are all of it."""
    whole = columns == slice(0, array.shape[1])
    return array.reshape(rows, width) if whole else np.empty((rows, width), array.dtype)
