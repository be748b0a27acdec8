"""All nodes in one process: nothing travels."""

import numpy as np

from mpiqopt.placement import Exchange


class SerialChannel:
    def __init__(self, width: int, dtype):
        self.ghosts = np.empty((0, width), dtype)

    def exchange(self, rows: np.ndarray) -> np.ndarray:
        return self.ghosts


class SerialTransport:
    """The transport of a run without mpiexec. Same interface as ``transport.neighbours.MPITransport``."""

    rank, size = 0, 1
    library = "none (one process)"

    def channel(self, exchange: Exchange, width: int, dtype) -> SerialChannel:
        """Plan the exchange of rows of ``width`` values."""
        return SerialChannel(width, dtype)

    def gather(self, rows: np.ndarray, counts: list[int]) -> np.ndarray | None:
        """Rows of all ranks in rank order at rank 0 (None elsewhere); counts: rows of each rank."""
        return rows

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """Overwrite ``array`` everywhere by rank 0's."""
        return array

    def maximum(self, values: np.ndarray) -> np.ndarray:
        """Elementwise maximum over ranks."""
        return values

    def total(self, values: np.ndarray) -> np.ndarray:
        """Elementwise sum over ranks, of integers."""
        return values

    def first_error(self, message: str | None) -> str | None:
        """The message of the lowest rank that has one, at every rank."""
        return message

    def barrier(self) -> None: ...
