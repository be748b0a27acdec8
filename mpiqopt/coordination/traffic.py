"""What nodes have done to coordinate, and what they have sent. What sends is elsewhere: it takes long to import."""

from typing import NamedTuple

import numpy as np

# What frames are counted as, in the order of ``enum frame_count`` in cython_ext/frames.h: integers (or mass) on their
# way; stages of votes, with what nodes know; acknowledgements; how nodes find a tree; what they tell each other of the
# author of a ledger, and ask for; all but acknowledgements that is sent again.
FRAME_KINDS = ("pieces", "votes", "acknowledgements", "find", "news", "repetitions")


class FrameTraffic(NamedTuple):
    """What each node has done and sent; arrays int64.

    pieces : (nodes,), pieces of vectors that left a node
    steps, votes : (nodes,), steps of a node in calls, and votes that it took part in
    frames, frame_bytes : (nodes, kinds), frames by ``FRAME_KINDS``, and their bytes, headers included

    >>> FrameTraffic.none(2).frames.shape
    (2, 6)
    """

    pieces: np.ndarray
    steps: np.ndarray
    votes: np.ndarray
    frames: np.ndarray
    frame_bytes: np.ndarray

    @classmethod
    def none(cls, nodes: int) -> "FrameTraffic":
        """Return that of nodes that have done nothing."""
        return cls(*np.zeros((3, nodes), np.int64), *np.zeros((2, nodes, len(FRAME_KINDS)), np.int64))
