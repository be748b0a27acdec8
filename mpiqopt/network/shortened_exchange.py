"""Gossip of messages whose size varies: each neighbouring rank gets as many bytes as there are."""

from typing import NamedTuple

import numpy as np

from mpiqopt.compressors.codec import Codec
from mpiqopt.compressors.shortener import Shortened, Shortener
from mpiqopt.placement.placement import ExchangePlan
from mpiqopt.transport.transport import SteppingNodes, Transport


class Heard(NamedTuple):
    """What a round brought.

    ghosts: messages of the ghost nodes as a codec makes them, uint8 (ghosts, nbytes), reused by the next round; sizes:
    int64 (hosted,), the bytes on their way of the hosted nodes' messages; largest: of all that were sent or heard here;
    moved: bytes handed to MPI.
    """

    ghosts: np.ndarray
    sizes: np.ndarray
    largest: int
    moved: int


class ShortenedExchange:
    """The rounds of one mixing matrix for one codec; made by all ranks together.

    Parameters
    ----------
    codec : the wire format, whose compressor varies
    exchange : which messages go where
    transport : carries one message, of any size, to each neighbouring rank in a round
    """

    def __init__(self, codec: Codec, exchange: ExchangePlan, transport: Transport):
        ranks = sorted(dict(exchange.sources) | dict(exchange.targets))
        self._shortener, self._frames = Shortener(codec), transport.frame_exchange(tuple(ranks))
        self._messages = _Messages(self._shortener, exchange, ranks, codec.nbytes)

    def exchange(self, messages: np.ndarray) -> Heard:
        """Send the hosted nodes' messages, uint8 (hosted, nbytes), to the ranks that need them."""
        before, nodes = self._frames.bytes, self._messages
        nodes.shortened = shortened = self._shortener.shorten(messages)
        nodes.next_source = 0
        self._frames.exchange(nodes)
        largest = max(int(shortened.sizes.max(initial=0)), int(nodes.sizes.max(initial=0)))
        return Heard(nodes.ghosts, shortened.sizes, largest, self._frames.bytes - before)

    def close(self) -> None:
        """Give back what MPI holds, collective."""
        self._frames.close()


class _Messages(SteppingNodes):
    """The messages of a round, as ``FrameExchange`` asks for them: box b goes to ranks[b - 1]."""

    shortened: Shortened

    def __init__(self, shortener: Shortener, exchange: ExchangePlan, ranks: list[int], nbytes: int):
        self._shortener, self.next_source = shortener, 0
        self.ghosts = np.empty((len(exchange.ghosts), nbytes), np.uint8)
        self.sizes = np.empty(len(exchange.ghosts), np.int64)
        self._outgoing = _pieces(exchange.outgoing, dict(exchange.targets), ranks)
        self._ghosts = _pieces(np.arange(len(exchange.ghosts)), dict(exchange.sources), ranks)

    def take(self, b: int) -> np.ndarray:
        return self.shortened.of(self._outgoing[b - 1])

    def filled(self, b: int) -> int:
        return len(self._outgoing[b - 1])

    def receive(self, frames: np.ndarray) -> None:
        rows, self.next_source = self._ghosts[self.next_source], self.next_source + 1
        if len(rows):
            here = slice(rows[0], rows[-1] + 1)
            self._shortener.restore(frames, self.ghosts[here], self.sizes[here])

    def deliver(self) -> None:
        """Do nothing: nodes of this process are decoded from the messages themselves."""


def _pieces(rows: np.ndarray, counts: dict[int, int], ranks: list[int]) -> list[np.ndarray]:
    """Return each rank's piece of rows that lie one after the other; counts: of rows, by rank."""
    return np.split(rows, np.cumsum([counts.get(rank, 0) for rank in ranks])[:-1]) if ranks else []
