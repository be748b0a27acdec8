"""All nodes in one process: nothing travels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # errors are told without the kernels: these may be what is wrong
    from mpiqopt.placement.placement import ExchangePlan


class SerialChannel:
    def __init__(self, width: int, dtype):
        self.ghosts = np.empty((0, width), dtype)

    def exchange(self, rows: np.ndarray) -> np.ndarray:
        return self.ghosts


class SerialFrames:
    """Frames between the nodes of one process."""

    chosen = "none (one process)"
    bytes = 0
    quiet = True

    def exchange(self, nodes) -> None:
        """All frames of a step arrive."""
        nodes.deliver()

    def pass_on(self, nodes) -> bool:
        """Nodes of one process hear each other without help."""
        return False

    def has_taken(self, nodes) -> bool:
        """Nothing goes to other processes."""
        return True

    def totals(self):
        return (lambda: True), np.zeros(2, np.int64)

    def close(self) -> None:
        """End in order."""


class SerialTransport:
    """The transport of a run without mpiexec. Same interface as ``transport.neighbours.MPITransport``."""

    rank, size = 0, 1
    name = "rank 0"  # for messages
    library = "none (one process)"
    crowded = False  # whether waiting takes a processor from somebody

    @property
    def processors(self) -> int:
        """How many processors this rank has for its threads."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def channel(self, exchange: ExchangePlan, tag: int, width: int, dtype) -> SerialChannel:
        """Plan one of the exchanges for rows of ``width`` values; tag: its number."""
        return SerialChannel(width, dtype)

    def gather(self, rows: np.ndarray, counts: list[int]) -> np.ndarray | None:
        """Rows of all ranks in rank order at rank 0 (None elsewhere); counts: rows of each rank."""
        return rows

    def scatter(self, rows: np.ndarray | None, counts: list[int], out: np.ndarray) -> None:
        """The reverse of ``gather``: each rank's rows of rank 0's ``rows`` into ``out``."""
        out[:] = rows

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """Overwrite ``array`` everywhere by rank 0's."""
        return array

    def alltoall(self, outgoing: np.ndarray, sent: list[int], received: list[int]) -> np.ndarray:
        """Every rank's piece for every rank: uint8 in the order of ranks, with the sizes of the pieces in bytes."""
        return outgoing

    def concatenate(self, own: np.ndarray, counts: list[int]) -> np.ndarray:
        """The vectors (count,) of all ranks, one after the other, at every rank; counts: of all ranks."""
        return own

    def maximum(self, values: np.ndarray) -> np.ndarray:
        """Elementwise maximum over ranks."""
        return values

    def total(self, values: np.ndarray) -> np.ndarray:
        """Elementwise sum over ranks, of numbers whose sum needs no rounding."""
        return values

    def first_error(self, message: str | None) -> str | None:
        """The message of the lowest rank that has one, at every rank."""
        return message

    def share(self, value):
        """Rank 0's value (any small object) at every rank; for the set-up."""
        return value

    def deal(self, parts: list):
        """Of rank 0's list (None elsewhere) each rank's own element; for the set-up."""
        return parts[0]

    def frame_exchange(self, ranks: tuple[int, ...]) -> SerialFrames:
        """Exchanges of frames in steps with the neighbouring ranks."""
        return SerialFrames()

    def frame_queue(self, ranks: tuple[int, ...], kind: str) -> SerialFrames:
        """Frames to and from the neighbouring ranks when they come; kind: as in ``mailboxes.choose``. Collective."""
        return SerialFrames()

    def close(self) -> None:
        """End in order."""

    def abort(self, status: int = 1) -> None:
        """End the job on all ranks now, with this exit status."""
        os._exit(status)
