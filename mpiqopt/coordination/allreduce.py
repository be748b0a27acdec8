"""Delivery of the yardstick: one MPI all-reduce of the integers."""

import time
from collections.abc import Callable

import numpy as np

from mpiqopt.coordination.lockstep import Agreement, Settlement
from mpiqopt.transport.transport import Transport

# s between looks for news
SLEEP = 50e-6


class AllreduceCoordination:
    """The same result as of the other coordinators, by MPI_Allreduce, which waits for every rank and needs no graph.

    first: True at rank 0, which counts for all; delay: waits as long as messages of so many bytes, to a server and
    back, would take on emulated links.
    """

    mail_transport = "MPI_Allreduce"
    sent = None  # no frames

    def __init__(self, nodes: int, ranks: int, first: bool, transport: Transport, delay: Callable[..., None]):
        self.nodes, self.ranks, self._first, self._transport, self._delay = nodes, ranks, first, transport, delay
        self.bytes = self.mpi_bytes = 0

    def agree(self, values: np.ndarray, call: int, effort: int) -> Agreement:
        """Find floor(S/n) and ceil(S/n); collective. values: int64 (hosted, d).

        >>> from mpiqopt.transport.serial import SerialTransport
        >>> three = AllreduceCoordination(3, 1, True, SerialTransport(), lambda *sizes: None)
        >>> agreement = three.agree(np.array([[1], [-5], [0]]), 0, 0)
        >>> agreement.low.tolist(), agreement.high.tolist(), three.bytes
        ([-2], [-1], 32)
        """
        total = self._total(values)
        return Agreement(total // self.nodes, -(-total // self.nodes), 0)

    def settle(
        self, values: np.ndarray, hat: np.ndarray, step: float, call: int, effort: int, ages: np.ndarray
    ) -> Settlement:
        """Find m = round(S/n); hat_i += step q_i, but for what remains of S, which stays with node 0; collective.

        values: int64 (hosted, d); hat: float64 (hosted, d), changed; step: a power of two.
        """
        total = self._total(values)
        mean = (2 * total + self.nodes) // (2 * self.nodes)
        hat += step * values
        if self._first:
            hat[0] -= step * (total - self.nodes * mean)
        return Settlement(mean.astype(np.float64), 0)

    def _total(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over all nodes, int64 (d,), and count what it took."""
        total = self._transport.total(values.sum(axis=0))
        self._delay(total.nbytes, total.nbytes)
        if self._first:  # counted as a server's upload and download: 2 (n - 1) messages
            self.bytes += 2 * (self.nodes - 1) * total.nbytes
            self.mpi_bytes += 2 * (self.ranks - 1) * total.nbytes
        return total

    def wait(self, news: Callable[[], bool], longest: Callable[[], float], width: int) -> None:
        """Return when a node here has news; the round then waits for all ranks."""
        while not news():
            time.sleep(SLEEP)

    def drain(self) -> None:
        """Nothing is ever on its way between calls."""

    def give_back(self, hat: np.ndarray) -> None:
        """Nothing ever comes too late for its call."""

    def close(self) -> None:
        """End in order."""
