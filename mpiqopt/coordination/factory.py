"""From a coordinator's name to one that works on a network: allreduce, lock-step or mailboxes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mpiqopt.coordination.allreduce import AllreduceCoordination
from mpiqopt.coordination.coordinator import Coordination, Coordinator, Rounding
from mpiqopt.coordination.ledger import LedgerCoordination, Quorum, Silence
from mpiqopt.coordination.lockstep import LockstepCoordination
from mpiqopt.coordination.mailboxes import AsynchronousPush, MailboxCoordination
from mpiqopt.coordination.protocol import Coder, CoordinationProtocol, FrameProtocol, LocalProtocol
from mpiqopt.coordination.wiring import Wiring, wiring_of_rank
from mpiqopt.emulation.links import EmulatedFrameExchange, EmulatedFrames, RoundDelays
from mpiqopt.emulation.settings import Emulate
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.transport import FrameExchange, FrameQueue, Transport


@dataclass(frozen=True)
class CoordinationFactory:
    """Makes what coordinates the hosted nodes of a network; every method is collective.

    Parameters
    ----------
    topology, place : the network, and which of its nodes are hosted here
    transport : of ``mpiqopt.transport``, serial or MPI
    seed : of the run; keys what nodes draw
    mail_transport : "auto" | "window" | "two-sided", how mailboxes travel (config key ``run.transport``)
    emulate : how links are worse than they are
    delays : of synchronous rounds; None if links are as they are
    server_delay : waits as long as messages of so many bytes to and from a server would take
    began : now, as time.perf_counter counts
    """

    topology: Topology
    place: Placement
    transport: Transport
    seed: int
    mail_transport: str
    emulate: Emulate
    delays: RoundDelays | None
    server_delay: Callable[..., None]
    began: float = field(default_factory=time.perf_counter)

    def coordinator(
        self, name: str, rounding: Rounding, by_mailboxes: bool, coder: Coder, quorum: Quorum | None
    ) -> Coordinator:
        """Return a coordinator by its name in the registry, in lock-step or by mailboxes.

        quorum: whom calls wait for, by mailboxes; None: for all.
        """
        protocol, place = find_member("coordinator", name)(), self.place
        coordination, headroom = self._coordination(protocol, by_mailboxes, coder, quorum)
        return Coordinator(name, coordination, headroom, place.nodes, place.first, rounding)

    def _coordination(
        self, protocol: CoordinationProtocol, by_mailboxes: bool, coder: Coder, quorum: Quorum | None
    ) -> tuple[Coordination, float]:
        """Return what delivers messages, and the headroom of a node's integers."""
        place, transport = self.place, self.transport
        if not isinstance(protocol, FrameProtocol) or place.nodes == 1:
            reduce = AllreduceCoordination(place.nodes, place.ranks, place.rank == 0, transport, self.server_delay)
            return reduce, protocol.headroom / place.nodes
        overlay = transport.share(protocol.overlay(self.topology) if place.rank == 0 else None)
        local = LocalProtocol(protocol, wiring_of_rank(self.topology, place), overlay, self.seed, coder)
        if quorum is not None:
            return LedgerCoordination(local, quorum, self._silences, *self._mail(local.wiring)), local.headroom
        if by_mailboxes:
            return MailboxCoordination(local, *self._mail(local.wiring)), local.headroom
        return LockstepCoordination(local, self._exchange(local.wiring)), local.headroom

    def asynchronous_push(self, width: int) -> AsynchronousPush:
        """Return what hands vectors (width,) on by mailboxes."""
        wiring = wiring_of_rank(self.topology, self.place)
        return AsynchronousPush(wiring, width, *self._mail(wiring))

    @property
    def _silences(self) -> list[Silence]:
        """Return when which hosted nodes are silent."""
        place, begin = self.place, self.began
        return [
            Silence(int(node) - place.first, begin + after, begin + after + seconds)
            for node, after, seconds in self.emulate.silent
            if place.first <= node < place.last
        ]

    def _exchange(self, wiring: Wiring) -> FrameExchange:
        """Return what brings the frames of a step to the neighbouring ranks."""
        exchange = self.transport.frame_exchange(wiring.ranks)
        if self.delays is None:
            return exchange
        return EmulatedFrameExchange(exchange, self.delays, self.topology.arcs())  # type: ignore[return-value]  # its nodes count

    def _mail(self, wiring: Wiring) -> tuple[FrameQueue, bool, bool]:
        """Return a frame queue, True if others want this processor, and True if frames may be lost or reordered."""
        frames = self.transport.frame_queue(wiring.ranks, self.mail_transport)
        if self.emulate.of_links:
            frames = EmulatedFrames(frames, self.emulate, wiring, self.seed, self.began)  # type: ignore[assignment]  # its nodes cut frames
        return frames, self.transport.crowded, self.emulate.of_links
