"""What a round of a server and some of the nodes will cost, as far as it is known before."""

from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """A part of the vector, who sends it, and who downloads it.

    Attributes
    ----------
    senders : sorted int64
    values : numbers in it
    beside : float32 numbers that go with it and are never coded
    receivers : sorted int64
    """

    senders: np.ndarray
    values: int
    beside: int
    receivers: np.ndarray


class ServerRound(NamedTuple):
    """Who sends and computes how much in a round; arrays of nodes are sorted int64.

    Attributes
    ----------
    senders, receivers : nodes that upload a vector, or parts of it, and that download one
    values : numbers in a vector
    steps : int64, gradient steps of each node that trains
    evaluations : gradients of single samples that they take together
    late, left_out, lost : how many nodes are too late, how many need not begin, and how many are lost
    seconds : emulated, that it lasts
    groups : int64 (nodes,), the group of each node, of which each has a server, its first node; None: one for all
    between : messages between these servers, never coded
    parts : of the vector, each sent by some of the senders; none for one that all of them send
    """

    senders: np.ndarray
    receivers: np.ndarray
    values: int
    steps: np.ndarray
    evaluations: int
    late: int = 0
    left_out: int = 0
    lost: int = 0
    seconds: float = 0.0
    groups: np.ndarray | None = None
    between: int = 0
    parts: tuple[Part, ...] = ()
