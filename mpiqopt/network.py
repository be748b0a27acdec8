"""What algorithms see of the network: mix, gossip and mean. Counts rounds and real bytes."""

from functools import cached_property

import numpy as np

from mpiqopt.placement import Exchange, Placement, plan
from mpiqopt.reduction import blocks_of, finish, partial_sums
from mpiqopt.topologies.spectrum import Topology


class Network:
    """The hosted rows' end of the network.

    Arrays are (hosted, d), float64 or float32. ``rounds`` counts gossip rounds; ``bytes`` the payload from
    node to node, summed over directed edges; ``mpi_bytes`` what is handed to MPI between ranks. The three are
    the network's whole state: the mixing matrix of a round is cycle[rounds mod c].
    """

    def __init__(self, topology: Topology, place: Placement, transport):
        self.topology, self.place, self.transport = topology, place, transport
        self.rounds = self.bytes = self.mpi_bytes = 0
        self._plans: list[Exchange] = [plan(mixing, place) for mixing in topology.cycle]
        self._channels: dict[tuple, object] = {}
        self._blocks = [
            blocks_of(low, high, place.nodes)
            for low, high in zip(place.bounds[:-1].tolist(), place.bounds[1:].tolist(), strict=True)
        ]

    def mix(self, rows: np.ndarray) -> np.ndarray:
        """W X: one gossip round, new array. Sums run in ascending node id; equal rows stay equal to the bit."""
        return self._mix(rows)

    def disagreement(self, rows: np.ndarray) -> np.ndarray:
        """(I - W) X: one gossip round, rounded once after the subtraction (x - mix(x) would be rounded before it)."""
        return self._mix(rows, 0.0, -1.0)

    def _mix(self, rows: np.ndarray, *affine) -> np.ndarray:
        """One round with the mixer's ``keep, move, rest, previous``."""
        phase = self.rounds % len(self._plans)
        exchange = self._plans[phase]
        channel = self._channels.get((phase, rows.shape[1], rows.dtype))
        if channel is None:
            channel = self.transport.channel(exchange, rows.shape[1], rows.dtype)
            self._channels[phase, rows.shape[1], rows.dtype] = channel
        out = np.empty_like(rows)
        exchange.mixer.mix(rows, channel.exchange(rows), out, *affine)
        self.rounds += 1
        self.bytes += exchange.links * rows.shape[1] * rows.itemsize
        self.mpi_bytes += exchange.rows_moved * rows.shape[1] * rows.itemsize
        return out

    def gossip(self, rows: np.ndarray, rounds: int, chebyshev: bool = False) -> np.ndarray:
        """P_K(W) X with K = rounds: W^K, or the Chebyshev polynomial T_K(W/lambda)/T_K(1/lambda).

        The recursion costs K plain rounds: x_1 = W x_0, w = 2/(2 - lambda^2), then
        x_{k+1} = w (W x_k - x_{k-1}) + x_{k-1}, w = 1/(1 - lambda^2 w / 4). Chebyshev needs one symmetric W.
        """
        previous, rows = rows, self.mix(rows)
        if not chebyshev:
            for _ in range(rounds - 1):
                rows = self.mix(rows)
            return rows
        square = self._contraction**2
        w = 2 / (2 - square)
        for _ in range(rounds - 1):
            previous, rows = rows, self._mix(rows, w, w, 1 - w, previous)
            w = 1 / (1 - square * w / 4)
        return rows

    @cached_property
    def _contraction(self) -> float:
        """Rank 0's lambda: another processor's linear algebra may differ in the last bit."""
        return float(self.transport.broadcast(np.array([self.topology.contraction]))[0])

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """(1/n) sum of all nodes' rows, (d,), the same bits at every node and for any number of ranks.

        A server round: node 0 gathers and broadcasts, 2 (n - 1) messages.
        """
        self.rounds += 1
        size = rows.shape[1] * rows.itemsize
        self.bytes += 2 * (self.place.nodes - 1) * size
        partial = sum(len(blocks) for blocks in self._blocks[1:])
        self.mpi_bytes += (partial + self.place.ranks - 1) * size
        return self.uncounted_mean(rows)

    def uncounted_mean(self, rows: np.ndarray) -> np.ndarray:
        """``mean`` for metrics: not part of the algorithm's communication."""
        place = self.place
        _, sums = partial_sums(rows, place.first, place.nodes)
        gathered = self.transport.gather(sums, [len(blocks) for blocks in self._blocks])
        if gathered is None:
            return self.transport.broadcast(np.empty(rows.shape[1], rows.dtype))
        total = finish([block for blocks in self._blocks for block in blocks], gathered, place.nodes)
        return self.transport.broadcast(total / rows.dtype.type(place.nodes))
