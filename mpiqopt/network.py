"""What algorithms see of the network: mix, gossip and mean. Counts rounds and real bytes."""

from functools import cached_property

import numpy as np

from mpiqopt.placement import Exchange, Placement, plan
from mpiqopt.reduction import Reduction
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
        transport.connect(self._plans)
        self._channels: dict[tuple[int, int, int], object] = {}
        self._reduction = Reduction(place)

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
        kind = phase, rows.shape[1], rows.itemsize
        channel = self._channels.get(kind)
        if channel is None:
            channel = self._channels[kind] = self.transport.channel(exchange, phase, rows.shape[1], rows.dtype)
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
        square = self.contraction**2
        w = 2 / (2 - square)
        for _ in range(rounds - 1):
            previous, rows = rows, self._mix(rows, w, w, 1 - w, previous)
            w = 1 / (1 - square * w / 4)
        return rows

    @cached_property
    def contraction(self) -> float:
        """lambda in Chebyshev gossip. Set at the start of a run, so that all ranks and a continuation use the same."""
        return self.topology.contraction

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """(1/n) sum of all nodes' rows, (d,), the same bits at every node and for any number of ranks.

        A server round: node 0 gathers and broadcasts, 2 (n - 1) messages.
        """
        self.rounds += 1
        size = rows.shape[1] * rows.itemsize
        self.bytes += 2 * (self.place.nodes - 1) * size
        self.mpi_bytes += (sum(self._reduction.counts[1:]) + self.place.ranks - 1) * size
        return self.uncounted_mean(rows)

    def uncounted_mean(self, rows: np.ndarray) -> np.ndarray:
        """``mean`` for metrics: not part of the algorithm's communication."""
        reduction, transport = self._reduction, self.transport
        gathered = transport.gather(reduction.partial_sums(rows), reduction.counts)
        if gathered is None:
            return transport.broadcast(np.empty(rows.shape[1], rows.dtype))
        return transport.broadcast(reduction.finish(gathered) / rows.dtype.type(self.place.nodes))
