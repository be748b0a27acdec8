"""The codecs of a network: one for each length and type of vectors that are coded."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # imported where a message is coded: many ranks start at once
    from mpiqopt.compressors.codec import Codec
    from mpiqopt.compressors.compressor import Compressor


class Codecs:
    """Codecs of one compressor, made when vectors of a new kind are first coded.

    Parameters
    ----------
    compressor : the wire format; None if nothing is ever coded.
    seed : of the random numbers that messages are rounded by.
    nodes : number of nodes of the whole network; the server is node number ``nodes``.
    """

    def __init__(self, compressor: "Compressor | None", seed: int, nodes: int):
        self.compressor, self._seed, self._nodes = compressor, seed, nodes
        self._codecs: dict[tuple[int, np.dtype], Codec] = {}

    def of(self, rows: np.ndarray) -> "Codec":
        """Return the codec of rows like these, (count, d)."""
        kind = rows.shape[1], rows.dtype
        if kind not in self._codecs:
            from mpiqopt.compressors.codec import Codec

            if self.compressor is None:
                raise TypeError("no compressor: the method's messages are never coded (Algorithm.default_compressor)")
            self._codecs[kind] = Codec(self.compressor, *kind, self._seed, self._nodes)
        return self._codecs[kind]

    @property
    def vary(self) -> bool:
        """True if gossip makes messages shorter, by as much as their values allow."""
        return self.compressor is not None and self.compressor.varies

    @property
    def seconds(self) -> float:
        """Seconds of encoding and decoding on this rank so far."""
        return sum(codec.seconds for codec in self._codecs.values())
