"""Gossip: weighted averages over neighbours, plain, Chebyshev-accelerated, and of coded messages."""

import time
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpiqopt.emulation.links import RoundDelays
from mpiqopt.errors import UsageError
from mpiqopt.network.codecs import Codecs
from mpiqopt.network.traffic import Traffic
from mpiqopt.placement.placement import ExchangePlan, Placement, plan_exchange
from mpiqopt.topologies.chebyshev import chebyshev_polynomial, damped_interval
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.transport import Channel, Transport

if TYPE_CHECKING:  # imported where a message is coded: many ranks start at once
    from mpiqopt.compressors.codec import Codec
    from mpiqopt.network.shortened_exchange import ShortenedExchange


class Memory(NamedTuple):
    """What difference coding remembers of a gossiped variable: float64 rows (hosted, d).

    Sums in float32 would drift away, a rounding in every round.

    sent: X^, the sum of all (damped) messages that a node has sent, the same at the node and at all that hear it;
    heard: (W - I) X^, summed from what was heard.
    """

    sent: np.ndarray
    heard: np.ndarray


class Schedule(NamedTuple):
    """Which matrices of a cycle an iteration uses: ``variables`` are mixed in it, each in ``rounds`` (K) rounds.

    Iteration t uses matrices t K, ..., t K + K - 1 of the cycle for every variable. (If each round took the next one,
    a variable would see every second matrix only of a cycle of even length.)

    >>> schedule = Schedule(variables=2, rounds=1)
    >>> [schedule.matrix(round, cycle=3) for round in range(6)]
    [0, 0, 1, 1, 2, 2]
    """

    variables: int = 1
    rounds: int = 1

    def matrix(self, round: int, cycle: int) -> int:
        """Return the number of the matrix that round ``round`` (from 0) uses, of ``cycle`` matrices."""
        iteration, within = divmod(round, self.variables * self.rounds)
        return (iteration * self.rounds + within % self.rounds) % cycle


# one variable, mixed once an iteration
ONE_ROUND = Schedule()


class Gossip:
    """Rounds in which every node hears its neighbours' rows and takes a weighted sum of them and its own.

    Rows are (hosted, d), float64 or float32; every call is collective and returns new arrays. Sums run in ascending
    node id, so that their bits do not depend on the ranks.

    Parameters
    ----------
    topology : the mixing matrices W, used in turn as ``schedule`` says.
    place : which nodes this rank hosts.
    transport : carries rows between ranks.
    traffic : counts every round and its bytes.
    codecs : the wire format of coded messages.
    schedule : which matrix a round uses.
    interval : of W's eigenvalues but 1, for Chebyshev gossip; by default it is computed. A run stores it, so that all
        ranks and a continuation use one.
    delays : emulated links; None for those that there are.
    """

    def __init__(
        self,
        topology: Topology,
        place: Placement,
        transport: Transport,
        traffic: Traffic,
        codecs: Codecs,
        schedule: Schedule = ONE_ROUND,
        interval: tuple[float, float] | None = None,
        delays: RoundDelays | None = None,
    ):
        self._topology, self._place, self._transport = topology, place, transport
        self._traffic, self._codecs, self._schedule, self._delays = traffic, codecs, schedule, delays
        self._interval = interval
        self._hosted = np.arange(place.first, place.last)
        self._plans: list[ExchangePlan] = [plan_exchange(mixing, place) for mixing in topology.cycle]
        self._channels: dict[tuple[int, int, int], Channel] = {}
        self._shortened: dict[tuple[int, Codec], ShortenedExchange] = {}

    def mix(self, rows: np.ndarray) -> np.ndarray:
        """Return W X, one round; equal rows stay equal to the bit."""
        return self._mix(rows)

    def disagreement(self, rows: np.ndarray) -> np.ndarray:
        """Return (I - W) X, one round, rounded once after the subtraction (x - mix(x) would be rounded before it)."""
        return self._mix(rows, 0.0, -1.0)

    def push(self, rows: np.ndarray) -> np.ndarray:
        """Return W X for a W whose columns sum to 1, where rows need not: one round that keeps the sum over nodes."""
        sums = self._row_sums[self._matrix()]
        return self._mix(rows, 0.0, 1.0) + sums * rows

    def repeat(self, rows: np.ndarray, rounds: int, chebyshev: bool = False) -> np.ndarray:
        """Return P_K(W) X with K = ``rounds``: W^K X, or the Chebyshev polynomial, which needs one symmetric W.

        Both are the three-term recursion of ``topologies.chebyshev.polynomial``.
        """
        gossip = chebyshev_polynomial(rounds, self.interval if chebyshev else None)
        first, previous = rows, None
        for keep, move, rest in gossip.steps:
            affine = (keep, move) if rest == 0 else (keep, move, rest, previous)
            previous, rows = rows, self._mix(rows, *affine)
        if gossip.start:
            rows += gossip.start * first
        return rows

    def mix_coded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Q and (W - I) Q, one round, both float64, with Q what all nodes decode of the coded rows.

        A node decodes its own message as its neighbours do. Raises NotFinite with the node's number in ``row``.
        """
        codec, round, matrix = self._codecs.of(rows), self._traffic.rounds, self._matrix()
        messages = codec.encode(rows, self._hosted, round)
        exchange = self._plans[matrix]
        if self._codecs.vary:
            ghosts = self._exchange_shortened(matrix, codec, messages)
        else:
            ghosts = self._exchange(matrix, messages)
        own = codec.decode(messages, self._hosted, round, np.float64)
        others = codec.decode(ghosts, exchange.ghosts, round, np.float64)
        return own, exchange.mixer.mix(own, others, np.empty_like(own), 0.0, 1.0)

    def memory(self, rows: np.ndarray) -> Memory:
        """Return the memory of a variable of which nothing was sent yet.

        Raises UsageError if W varies in time: (W - I) X^ needs one W.
        """
        if self._topology.varies:
            raise UsageError(
                f"coded gossip needs one mixing matrix, but topology {self._topology.name!r} varies in time"
            )
        return Memory(np.zeros(rows.shape), np.zeros(rows.shape))

    def innovate(self, rows: np.ndarray, memory: Memory) -> Memory:
        """Send differences, one round: X^ + r C(X - X^), with r the damping that makes r C a contraction."""
        own, heard = self.mix_coded((rows - memory.sent).astype(rows.dtype, copy=False))
        damping = self._codecs.of(rows).damping
        if damping != 1:
            own *= damping
            heard *= damping
        return Memory(memory.sent + own, memory.heard + heard)

    def repeat_coded(
        self, rows: np.ndarray, memory: Memory, rounds: int, chebyshev: bool = False, step: float = 1.0
    ) -> tuple[np.ndarray, Memory]:
        """Return ``repeat`` of coded messages, and what they leave in memory.

        (1 - step) I + step W stands for W, and in every round X + step (W - I) X^ for its product with X.
        """
        gossip = chebyshev_polynomial(rounds, damped_interval(self.interval, step) if chebyshev else None)
        first = previous = rows
        for keep, move, rest in gossip.steps:
            memory = self.innovate(rows, memory)
            mixed = keep * rows + (move * step) * memory.heard
            if rest != 0:
                mixed += rest * previous
            previous, rows = rows, mixed.astype(rows.dtype, copy=False)
        if gossip.start:
            rows += gossip.start * first
        return rows, memory

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Smallest and second largest eigenvalue of W, for Chebyshev gossip."""
        return self._topology.interval if self._interval is None else self._interval

    def _mix(self, rows: np.ndarray, *affine: float | np.ndarray | None) -> np.ndarray:
        """Do one round with the mixer's ``keep, move, rest, previous``."""
        matrix = self._matrix()
        ghosts = self._exchange(matrix, rows)
        return self._plans[matrix].mixer.mix(rows, ghosts, np.empty_like(rows), *affine)

    def _matrix(self) -> int:
        """Return the number of the matrix that the next round uses."""
        return self._schedule.matrix(self._traffic.rounds, len(self._plans)) if self._topology.varies else 0

    def _exchange(self, matrix: int, rows: np.ndarray) -> np.ndarray:
        """Return the ghost rows of a round with a matrix of the cycle, and count the round."""
        exchange = self._plans[matrix]
        kind = matrix, rows.shape[1], rows.itemsize
        channel = self._channels.get(kind)
        if channel is None:
            channel = self._channels[kind] = self._transport.channel(exchange, matrix, rows.shape[1], rows.dtype)
        began = time.perf_counter()
        ghosts = channel.exchange(rows)
        size = rows.shape[1] * rows.itemsize
        if self._delays is not None:
            self._delays.delay(self._links[matrix], size, began)
        self._traffic.count(exchange.links * size, exchange.rows_moved * size)
        return ghosts

    def _exchange_shortened(self, matrix: int, codec: "Codec", messages: np.ndarray) -> np.ndarray:
        """Return the ghosts' messages of a round in which these travel shorter, and count the round."""
        shortened = self._shortened.get((matrix, codec))
        if shortened is None:
            from mpiqopt.network.shortened_exchange import ShortenedExchange

            shortened = ShortenedExchange(codec, self._plans[matrix], self._transport)
            self._shortened[matrix, codec] = shortened
        began = time.perf_counter()
        heard = shortened.exchange(messages)
        if self._delays is not None:
            self._delays.delay(self._links[matrix], heard.largest, began)
        self._traffic.count(0, 0)
        self._traffic.count_here(int(np.dot(heard.sizes, self._listeners[matrix])), heard.moved)
        return heard.ghosts

    def close(self) -> None:
        """Give back what MPI holds, collective."""
        for shortened in self._shortened.values():
            shortened.close()

    @cached_property
    def _links(self) -> list[np.ndarray]:
        """Links of each mixing matrix, int64 (links, 2)."""
        return [mixing.arcs() for mixing in self._topology.cycle]

    @cached_property
    def _listeners(self) -> list[np.ndarray]:
        """How many nodes hear each hosted node, by each matrix: int64 (hosted,)."""
        nodes, hosted = self._place.nodes, slice(self._place.first, self._place.last)
        return [np.bincount(links[:, 0], minlength=nodes)[hosted] for links in self._links]

    @cached_property
    def _row_sums(self) -> list[np.ndarray]:
        """Sums of the hosted rows of each matrix, (hosted, 1)."""
        hosted = slice(self._place.first, self._place.last)
        return [mixing.row_sums()[hosted, None] for mixing in self._topology.cycle]
