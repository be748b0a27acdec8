"""What algorithms see of the network: mix, gossip and mean. Counts rounds and real bytes."""

import time
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpiqopt.emulation.links import Rounds
from mpiqopt.emulation.settings import Emulate
from mpiqopt.errors import UsageError
from mpiqopt.placement.placement import ExchangePlan, Placement, plan
from mpiqopt.placement.reduction import Reduction
from mpiqopt.topologies.chebyshev import damped, polynomial
from mpiqopt.topologies.topology import Topology

if TYPE_CHECKING:  # imported where a method needs it: many ranks start at once
    from mpiqopt.compressors.codec import Codec
    from mpiqopt.compressors.compressor import Compressor
    from mpiqopt.coordination.coordinator import Coordinator, Rounding
    from mpiqopt.coordination.factory import CoordinationFactory
    from mpiqopt.coordination.mailboxes import AsynchronousPush
    from mpiqopt.network.server import Server


class Memory(NamedTuple):
    """What difference coding remembers of a gossiped variable: float64 rows (hosted, d).

    Sums in float32 would drift away, a rounding in every round.

    sent: X^, the sum of all (damped) messages that a node has sent, the same at the node and at all that hear it;
    heard: (W - I) X^, summed from what was heard.
    """

    sent: np.ndarray
    heard: np.ndarray


class Network:
    """The hosted rows' end of the network.

    Arrays are (hosted, d), float64 or float32. ``rounds`` counts gossip rounds; ``bytes`` the payload from
    node to node, summed over directed edges; ``mpi_bytes`` what is handed to MPI between ranks. The three are
    the network's whole state: they tell the mixing matrix of a round, and its messages are rounded by random numbers
    keyed by (seed, node, rounds). ``compressor``: the wire format of what is coded; None: no coding.
    An iteration mixes ``mixed_variables`` variables, each in K = ``rounds_per_variable`` rounds: it uses matrices tK to
    tK + K - 1 of the cycle for each of them. (Round after round, each would see half of an even cycle.)
    """

    def __init__(
        self,
        topology: Topology,
        place: Placement,
        transport,
        compressor: "Compressor | None" = None,
        seed: int = 0,
        mailboxes: str = "auto",
        emulate: Emulate | None = None,
    ):
        self.topology, self.place, self.transport = topology, place, transport
        self.compressor, self._seed, self.mailboxes = compressor, seed, mailboxes
        self.coded = compressor is not None and compressor.name != "identity"
        self.mixed_variables, self.rounds_per_variable = 1, 1
        self.rounds = self.bytes = self.mpi_bytes = 0
        self._hosted = np.arange(place.first, place.last)
        self._codecs: dict[tuple[int, np.dtype], Codec] = {}
        self._server_round = 0
        self._servers: dict[tuple[int, np.dtype], Server] = {}
        self._plans: list[ExchangePlan] = [plan(mixing, place) for mixing in topology.cycle]
        self._channels: dict[tuple[int, int, int], object] = {}
        self._reduction = Reduction(place)
        self._coordinators: dict[tuple[str, str, bool], Coordinator] = {}
        self._asynchronous_push: AsynchronousPush | None = None
        # by an earlier process of the run
        self.sent_before = {name: np.zeros(place.hosted, np.int64) for name in ("pieces", "bytes")}
        self._emulate = emulate or Emulate()
        self._rounds = Rounds(self._emulate, place, seed) if self._emulate.of_links else None

    def mix(self, rows: np.ndarray) -> np.ndarray:
        """W X: one gossip round, new array. Sums run in ascending node id; equal rows stay equal to the bit."""
        return self._mix(rows)

    def disagreement(self, rows: np.ndarray) -> np.ndarray:
        """(I - W) X: one gossip round, rounded once after the subtraction (x - mix(x) would be rounded before it)."""
        return self._mix(rows, 0.0, -1.0)

    def _mix(self, rows: np.ndarray, *affine) -> np.ndarray:
        """One round with the mixer's ``keep, move, rest, previous``."""
        phase = self.phase
        ghosts = self._exchange(phase, rows)
        return self._plans[phase].mixer.mix(rows, ghosts, np.empty_like(rows), *affine)

    @property
    def phase(self) -> int:
        """Which matrix of the cycle this round uses."""
        if not self.topology.varies:
            return 0
        iteration, within = divmod(self.rounds, self.mixed_variables * self.rounds_per_variable)
        return (iteration * self.rounds_per_variable + within % self.rounds_per_variable) % len(self._plans)

    def _exchange(self, phase: int, rows: np.ndarray) -> np.ndarray:
        """The ghost rows of a round with a matrix of the cycle; the round is counted."""
        exchange = self._plans[phase]
        kind = phase, rows.shape[1], rows.itemsize
        channel = self._channels.get(kind)
        if channel is None:
            channel = self._channels[kind] = self.transport.channel(exchange, phase, rows.shape[1], rows.dtype)
        began = time.perf_counter()
        ghosts = channel.exchange(rows)
        if self._rounds is not None:
            self._rounds.hold(self._links[phase], rows.shape[1] * rows.itemsize, began)
        self.rounds += 1
        self.bytes += exchange.links * rows.shape[1] * rows.itemsize
        self.mpi_bytes += exchange.rows_moved * rows.shape[1] * rows.itemsize
        return ghosts

    @cached_property
    def _links(self) -> list[np.ndarray]:
        """Links of each mixing matrix."""
        return [mixing.arcs() for mixing in self.topology.cycle]

    @cached_property
    def _uplinks(self) -> np.ndarray:
        """Links of a server to all nodes."""
        return np.stack([np.zeros(self.place.nodes, np.int64), np.arange(self.place.nodes)], axis=1)

    def _hold_server(self, *sizes: float) -> None:
        """Messages of so many bytes between the server and all nodes, one after the other."""
        if self._rounds is not None:
            for size in sizes:
                self._rounds.hold(self._uplinks, size, time.perf_counter())

    def mix_coded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Q and (W - I) Q, one gossip round, with Q what all nodes decode of the rows; both in float64.

        A node decodes its own message as its neighbours do. Raises NotFinite with the node's number in ``row``.
        """
        codec, round = self.codec(rows), self.rounds
        phase = self.phase
        messages = codec.encode(rows, self._hosted, round)
        ghosts, exchange = self._exchange(phase, messages), self._plans[phase]
        own = codec.decode(messages, self._hosted, round, np.float64)
        others = codec.decode(ghosts, exchange.ghosts, round, np.float64)
        return own, exchange.mixer.mix(own, others, np.empty_like(own), 0.0, 1.0)

    @property
    def codec_seconds(self) -> float | None:
        """Spent here in encoding and decoding since the start of the process; None if messages are not coded."""
        return sum(codec.seconds for codec in self._codecs.values()) if self.coded else None

    def codec(self, rows: np.ndarray) -> "Codec":
        """The codec of rows like these."""
        kind = rows.shape[1], rows.dtype
        if kind not in self._codecs:
            from mpiqopt.compressors.codec import Codec

            self._codecs[kind] = Codec(self.compressor, *kind, self._seed, self.place.nodes)
        return self._codecs[kind]

    def memory(self, rows: np.ndarray) -> Memory:
        """Of a variable of which nothing was sent yet. Raises UsageError if W varies: (W - I) X^ needs one W."""
        if self.topology.varies:
            raise UsageError(
                f"coded gossip needs one mixing matrix, but topology {self.topology.name!r} varies in time"
            )
        return Memory(np.zeros(rows.shape), np.zeros(rows.shape))

    def innovate(self, rows: np.ndarray, memory: Memory) -> Memory:
        """Difference coding, one gossip round: X^ + r C(X - X^), r the damping that makes r C a contraction."""
        own, heard = self.mix_coded((rows - memory.sent).astype(rows.dtype, copy=False))
        damping = self.codec(rows).damping
        if damping != 1:
            own *= damping
            heard *= damping
        return Memory(memory.sent + own, memory.heard + heard)

    def gossip(self, rows: np.ndarray, rounds: int, chebyshev: bool = False) -> np.ndarray:
        """P_K(W) X with K = rounds: W^K, or the polynomial of ``topologies.chebyshev``, which needs one symmetric W."""
        gossip = polynomial(rounds, self.interval if chebyshev else None)
        first, previous = rows, None
        for keep, move, rest in gossip.steps:
            affine = (keep, move) if rest == 0 else (keep, move, rest, previous)
            previous, rows = rows, self._mix(rows, *affine)
        if gossip.start:
            rows += gossip.start * first
        return rows

    def gossip_coded(
        self, rows: np.ndarray, memory: Memory, rounds: int, chebyshev: bool = False, step: float = 1.0
    ) -> tuple[np.ndarray, Memory]:
        """``gossip`` with (1 - step) I + step W for W, of coded messages: X + step (W - I) X^ stands for W X."""
        gossip = polynomial(rounds, damped(self.interval, step) if chebyshev else None)
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
        """Of W's eigenvalues, for Chebyshev gossip. Set at the start of a run: all ranks and a continuation use one."""
        return self.topology.interval

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """(1/n) sum of all nodes' rows, (d,), the same bits at every node and for any number of ranks.

        A server round: node 0 gathers and broadcasts, 2 (n - 1) messages.
        """
        self.rounds += 1
        size = rows.shape[1] * rows.itemsize
        self.bytes += 2 * (self.place.nodes - 1) * size
        self.mpi_bytes += (sum(self._reduction.counts[1:]) + self.place.ranks - 1) * size
        self._hold_server(size, size)
        return self.uncounted_mean(rows)

    def collect(self, rows: np.ndarray, echo: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Coded upload, with ``spread`` a server round: the parts of the mean that hosted nodes serve.

        Parts are (hosted, width), as in ``server.Server``. With ``echo`` also what the server decodes of the rows.
        Raises NotFinite with the node's number in ``row``.
        """
        server, self._server_round = self._server(rows), self.rounds
        self.rounds += 1
        self.bytes += (self.place.nodes - 1) * server.codec.nbytes
        self.mpi_bytes += server.uploaded
        self._hold_server(server.codec.nbytes)
        return server.collect(rows, self._server_round, echo)

    def spread(self, parts: np.ndarray, d: int, compressed: bool) -> np.ndarray:
        """Download of all parts, coded or as they are: a vector (d,), the same bits at every node."""
        server = self._servers[d, parts.dtype]
        size = server.codec.nbytes if compressed else d * parts.itemsize
        self.bytes += (self.place.nodes - 1) * size
        self.mpi_bytes += (self.place.ranks - 1) * size
        self._hold_server(size)
        return server.spread(parts, self._server_round, compressed)

    def parts(self, vector: np.ndarray) -> np.ndarray:
        """The coordinates of a vector (d,) that hosted nodes serve."""
        return self._server(vector[None]).parts(vector)

    def _server(self, rows: np.ndarray) -> "Server":
        from mpiqopt.network.server import Server

        kind = rows.shape[1], rows.dtype
        if kind not in self._servers:
            self._servers[kind] = Server(self.codec(rows), self.place, self.transport)
        return self._servers[kind]

    def coordinator(self, name: str, rounding: "Rounding", by_mailboxes: bool) -> "Coordinator":
        """Return what takes exact averages of integers, in common steps or by mailboxes; collective at the first call."""
        kind = name, rounding, by_mailboxes
        if kind not in self._coordinators:
            self._coordinators[kind] = self._coordination_factory.coordinator(name, rounding, by_mailboxes)
        return self._coordinators[kind]

    @property
    def _coordination_factory(self) -> "CoordinationFactory":
        from mpiqopt.coordination.factory import CoordinationFactory

        return CoordinationFactory(
            self.topology,
            self.place,
            self.transport,
            self._seed,
            self.mailboxes,
            self._emulate,
            self._rounds,
            self._hold_server,
        )

    def asynchronous_push(self, width: int) -> "AsynchronousPush":
        """Return what hands vectors (width,) on by mailboxes; collective at the first call."""
        if self._asynchronous_push is None:
            self._asynchronous_push = self._coordination_factory.asynchronous_push(width)
        return self._asynchronous_push

    def push(self, rows: np.ndarray) -> np.ndarray:
        """W X with columns of W that sum to 1, where rows need not: one round that keeps the sum over the nodes."""
        sums = self._row_sums[self.phase]
        return self._mix(rows, 0.0, 1.0) + sums * rows

    @cached_property
    def _row_sums(self) -> list[np.ndarray]:
        hosted = slice(self.place.first, self.place.last)
        return [mixing.row_sums()[hosted, None] for mixing in self.topology.cycle]

    def _coordinations(self) -> list:
        """Everything that packs its messages itself."""
        all = [coordinator.coordination for coordinator in self._coordinators.values()]
        return all if self._asynchronous_push is None else [*all, self._asynchronous_push]

    def counters(self) -> dict[str, int]:
        """``rounds``, ``bytes`` and ``mpi_bytes`` of the whole network, collective: each rank knows what it packed."""
        own = np.array([[c.bytes, c.mpi_bytes] for c in self._coordinations()], np.int64)
        packed, moved = self.transport.total(own.sum(axis=0)).tolist() if len(own) else (0, 0)
        calls = sum(coordinator.calls for coordinator in self._coordinators.values())
        return {"rounds": self.rounds + calls, "bytes": self.bytes + packed, "mpi_bytes": self.mpi_bytes + moved}

    def sent(self) -> dict[str, np.ndarray]:
        """``pieces`` and ``bytes`` sent by each hosted node so far, int64 (hosted,), where messages are packed."""
        total = {name: before.copy() for name, before in self.sent_before.items()}
        for coordination in self._coordinations():
            if coordination.sent is not None:
                for own, more in zip(total.values(), coordination.sent, strict=True):
                    own += more
        return total

    @property
    def carriers(self) -> str:
        """How the frames of coordination travel, and why so; "" if there are none."""
        return "; ".join(dict.fromkeys(coordination.mail_transport for coordination in self._coordinations()))

    def settle(self) -> None:
        """Collective: when it returns nothing is on its way, so that ranks may wait for each other in MPI."""
        for coordination in self._coordinations():
            coordination.drain()

    def close(self) -> None:
        """Collective: give back what MPI holds."""
        for coordination in self._coordinations():
            coordination.drain()
            coordination.close()

    def uncounted_mean(self, rows: np.ndarray) -> np.ndarray:
        """``mean`` for metrics: not part of the algorithm's communication."""
        reduction, transport = self._reduction, self.transport
        gathered = transport.gather(reduction.partial_sums(rows), reduction.counts)
        if gathered is None:
            return transport.broadcast(np.empty(rows.shape[1], rows.dtype))
        return transport.broadcast(reduction.finish(gathered) / rows.dtype.type(self.place.nodes))
