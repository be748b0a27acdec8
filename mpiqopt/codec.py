"""Rows of vectors to rows of messages: a compressor with its blocks, keys and clock."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mpiqopt._compressors import fill_keys
from mpiqopt.compressors.compressor import Compressor, Draw
from mpiqopt.errors import NotFinite
from mpiqopt.streams import PURPOSES


class Run(NamedTuple):
    """Blocks of equal width, one after the other: ``blocks`` of them from block ``first``.

    Each has ``width`` coordinates from ``start`` and ``nbytes`` bytes from ``at``.
    """

    first: int
    blocks: int
    start: int
    width: int
    at: int
    nbytes: int


class Codec:
    """Messages of vectors of d values: those of the blocks, one after the other.

    All blocks have ``compressor.block_size`` coordinates but the last. Senders are nodes 0 .. nodes-1 and the server,
    whose number is ``nodes``. ``seconds``: spent in encoding and decoding.
    """

    def __init__(self, compressor: Compressor, d: int, dtype: np.dtype, seed: int, nodes: int):
        self.compressor, self.d, self.dtype, self.seed, self.nodes = compressor, d, dtype, seed, nodes
        self.seconds = 0.0
        width = min(compressor.block_size or d, d)
        whole, rest = divmod(d, width)
        size = compressor.nbytes(width, dtype)
        self.runs = [Run(0, whole, 0, width, 0, size)]
        if rest:
            last = compressor.nbytes(rest, dtype)
            self.runs.append(Run(whole, 1, whole * width, rest, whole * size, last))
        self.blocks = whole + (rest > 0)
        self.nbytes = self.boundary(self.blocks)[1]
        self.damping = min(compressor.damping(run.width) for run in self.runs)
        self._keys: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._messages: dict[int, np.ndarray] = {}

    def boundary(self, block: int) -> tuple[int, int]:
        """The first coordinate and the first byte of a block (d and nbytes for one past the last)."""
        run = self.runs[-1] if block > self.runs[0].blocks else self.runs[0]
        within = block - run.first
        start = min(run.start + within * run.width, self.d)
        return start, run.at + within * run.nbytes

    def encode(
        self, rows: np.ndarray, nodes: np.ndarray, round: int, low: int = 0, high: int | None = None
    ) -> np.ndarray:
        """Messages uint8 (n, bytes) of blocks low .. high-1 (all) of the vectors of ``nodes``; reused by the next call.

        rows: (n, coordinates of these blocks). Raises NotFinite with the node's number in ``row``.
        """
        begin = time.perf_counter()
        high = self.blocks if high is None else high
        size = len(rows), self.boundary(high)[1] - self.boundary(low)[1]
        messages = self._messages.get(size)
        if messages is None:
            messages = self._messages[size] = np.empty(size, np.uint8)
        for first, per_node, x, m, draw in self._pieces(rows, messages, nodes, round, low, high):
            try:
                self.compressor.encode(x, m, draw)
            except NotFinite as error:
                raise NotFinite(int(nodes[first + error.row // per_node])) from None
        self.seconds += time.perf_counter() - begin
        return messages

    def decode(self, messages: np.ndarray, nodes: np.ndarray, round: int, dtype: Any = None) -> np.ndarray:
        """The vectors (n, d), of their type or ``dtype``, that the messages (n, nbytes) of ``nodes`` mean."""
        begin = time.perf_counter()
        rows = np.empty((len(messages), self.d), dtype or self.dtype)
        for _, _, x, m, draw in self._pieces(rows, messages, nodes, round, 0, self.blocks):
            self.compressor.decode(m, x, draw)
        self.seconds += time.perf_counter() - begin
        return rows

    def decode_mean(self, messages: np.ndarray, round: int, low: int, high: int) -> np.ndarray:
        """The mean over nodes 0 .. n-1 of blocks low .. high-1: (coordinates,).

        messages: (n, bytes of these blocks).
        """
        begin, n = time.perf_counter(), len(messages)
        out = np.empty(self.boundary(high)[0] - self.boundary(low)[0], self.dtype)
        own, shared = self._draw(np.arange(n), round)
        for run, a, b, x, m in self._spans(low, high):
            self.compressor.decode_mean(
                np.ascontiguousarray(messages[:, m]).reshape(n, b - a, run.nbytes),
                out[x].reshape(b - a, run.width),
                Draw(round, np.ascontiguousarray(own[:, a:b]).reshape(-1), shared[0, a:b]),
            )
        self.seconds += time.perf_counter() - begin
        return out

    def _draw(self, nodes: np.ndarray, round: int) -> tuple[np.ndarray, np.ndarray]:
        """Each message's own key, and the key that it shares with those of all nodes in the round, uint64 (n, blocks).

        Reused by the next call.
        """
        n = len(nodes)
        if n not in self._keys:
            self._keys[n] = np.empty((n, self.blocks), np.uint64), np.empty((n, self.blocks), np.uint64)
        own, shared = self._keys[n]
        fill_keys(self.seed, PURPOSES["message"], round, nodes, 0, own.reshape(-1))
        fill_keys(self.seed, PURPOSES["round"], round, (nodes == self.nodes).astype(np.int64), 0, shared.reshape(-1))
        return own, shared

    def _spans(self, low: int, high: int) -> list[tuple[Run, int, int, slice, slice]]:
        """Of each run, the blocks a .. b-1 among low .. high-1, and where they are in vectors and messages of these."""
        start, at = self.boundary(low)
        spans = []
        for run in self.runs:
            a, b = max(low, run.first), min(high, run.first + run.blocks)
            if a < b:
                (x0, m0), (x1, m1) = self.boundary(a), self.boundary(b)
                spans.append((run, a, b, slice(x0 - start, x1 - start), slice(m0 - at, m1 - at)))
        return spans

    def _pieces(
        self, rows: np.ndarray, messages: np.ndarray, nodes: np.ndarray, round: int, low: int, high: int
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, Draw]]:
        """What the compressor can do in one call: (first row, blocks of a row, vectors, messages, draw)."""
        own, shared = self._draw(nodes, round)
        spans, n = self._spans(low, high), len(rows)
        # rows of equal blocks are blocks one after the other; with a shorter last block each row is done by itself
        together = max(n, 1) if len(spans) == 1 else 1
        for i in range(0, n, together):
            some = slice(i, i + together)
            for run, a, b, x, m in spans:
                draw = Draw(round, *(np.ascontiguousarray(keys[some, a:b]).reshape(-1) for keys in (own, shared)))
                yield i, b - a, rows[some, x].reshape(-1, run.width), messages[some, m].reshape(-1, run.nbytes), draw
