"""Messages of a codec, shorter on their way between nodes: by how much, varies."""

import time
from collections.abc import Iterator

import numpy as np

from mpiqopt._message_coder import MessageCoder, take_pieces
from mpiqopt.compressors.codec import Codec, Stretch


class Shortened:
    """Messages of n nodes, shorter: for each stretch of blocks a stream of bytes, in which they come node after node.

    Valid until messages are shortened again. sizes : int64 (n,), bytes of each node's message.
    """

    def __init__(self, streams: list[np.ndarray], ends: list[np.ndarray]):
        self._streams, self._ends = streams, ends
        self.sizes = np.sum([np.diff(each, prepend=0) for each in ends], axis=0)

    def of(self, nodes: np.ndarray) -> np.ndarray:
        """Return the messages of some of the n nodes, int64 (k,), as one stream: stretch after stretch."""
        parts = zip(self._streams, self._ends, strict=True)
        return np.concatenate([take_pieces(stream, ends, nodes) for stream, ends in parts])


class Shortener:
    """Makes messages of a codec shorter, and restores them to the bit. Its time counts as the codec's.

    Examples
    --------
    >>> from mpiqopt.compressors.qsgd import QSGD
    >>> codec = Codec(QSGD(coder="range"), 1000, np.dtype(float), seed=1, nodes=3)
    >>> shortener, nodes = Shortener(codec), np.arange(3)
    >>> messages = codec.encode(np.random.default_rng(0).standard_normal((3, 1000)), nodes, round=0)
    >>> shorter, restored, sizes = shortener.shorten(messages), np.empty_like(messages), np.empty(3, np.int64)
    >>> codec.nbytes, bool(shorter.sizes.max() < 620)
    (1008, True)
    >>> shortener.restore(shorter.of(nodes), restored, sizes)
    >>> np.array_equal(restored, messages), np.array_equal(sizes, shorter.sizes)
    (True, True)
    """

    def __init__(self, codec: Codec):
        self._codec = codec
        self._coders = [codec.compressor.message_coder(stretch.width) for stretch in codec.stretches]

    def shorten(self, messages: np.ndarray) -> Shortened:
        """Return messages, uint8 (n, nbytes), shorter."""
        began, streams, ends = time.perf_counter(), [], []
        for stretch, coder, columns in self._parts():
            blocks = np.ascontiguousarray(messages[:, columns]).reshape(-1, stretch.nbytes)
            each = np.empty(len(blocks), np.int64)
            streams.append(coder.shorten(blocks, each))
            ends.append(each[stretch.blocks - 1 :: stretch.blocks].copy())
        self._codec.seconds += time.perf_counter() - began
        return Shortened(streams, ends)

    def restore(self, stream: np.ndarray, messages: np.ndarray, sizes: np.ndarray) -> None:
        """Write messages, uint8 (n, nbytes), from a stream that ``Shortened.of`` returned, and their sizes, int64 (n,).

        Raises ValueError if the stream is damaged.
        """
        began, at = time.perf_counter(), 0
        sizes[:] = 0
        for stretch, coder, columns in self._parts():
            blocks = np.empty((len(messages) * stretch.blocks, stretch.nbytes), np.uint8)
            ends = np.empty(len(blocks), np.int64)
            at += coder.restore(stream[at:], blocks, ends)
            messages[:, columns] = blocks.reshape(len(messages), -1)
            sizes += np.diff(ends[stretch.blocks - 1 :: stretch.blocks], prepend=0)
        if at != stream.size:
            raise ValueError(f"messages of {len(messages)} nodes are {at} bytes, but {stream.size} came")
        self._codec.seconds += time.perf_counter() - began

    def _parts(self) -> Iterator[tuple[Stretch, MessageCoder, slice]]:
        """Yield each stretch, what makes its blocks shorter, and its columns of messages."""
        for stretch, coder in zip(self._codec.stretches, self._coders, strict=True):
            yield stretch, coder, slice(stretch.at, stretch.at + stretch.blocks * stretch.nbytes)


def usual_nbytes(codec: Codec) -> float:
    """Return the bytes of a message on its way; where these vary those of one of normal numbers, as they usually are.

    Their root mean square is the compressor's ``usual_scale``.
    """
    if not codec.compressor.varies:
        return codec.nbytes
    x = codec.compressor.usual_scale() * np.random.default_rng(0).standard_normal((1, codec.d))
    messages = codec.encode(x.astype(codec.dtype), np.zeros(1, np.int64), 0)
    return float(Shortener(codec).shorten(messages).sizes[0])
