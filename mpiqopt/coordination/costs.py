"""What models of a coordinator's cost are made of (ours, fitted to calls by benchmarks/rounds.py)."""

from math import ceil, log2
from typing import NamedTuple

# bytes of a frame's header
HEADER = 2
# values that are packed by themselves
TILE = 1024
# votes in a call of FTQC (mean)
VOTES = 1.6


class Network(NamedTuple):
    """What costs depend on. forgetting: steps in which a random walk forgets where it began (relaxation time)."""

    nodes: int
    arcs: int
    diameter: int
    directed: bool
    forgetting: float


class Call(NamedTuple):
    """A call of a coordinator in lock-step: steps, pieces and bytes of all nodes, headers and votes included."""

    steps: float
    pieces: float
    bytes: float


def packed_frame_bytes(d: int, largest: float) -> float:
    """Return the bytes of a frame of d integers, none larger than ``largest`` in absolute value.

    >>> packed_frame_bytes(1000, 100.0)  # header, width of the tile, 8 bits a value
    1003.0
    """
    bits = 1 + ceil(log2(largest + 1))
    if d <= 2:
        return HEADER + d * ceil(bits / 7)
    return HEADER + ceil(d / TILE) + d * (bits if bits <= 32 else 64) / 8


def failed_vote_bytes(network: Network) -> float:
    """Return the bytes of a vote that fails: a header on every link, D times."""
    return network.diameter * network.arcs * HEADER
