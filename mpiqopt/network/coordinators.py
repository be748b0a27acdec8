"""The coordinators of a network, made when they are first asked for, and the traffic that they count themselves."""

from typing import TYPE_CHECKING

import numpy as np

from mpiqopt.emulation.links import EmulatedFrameExchange, EmulatedFrames, RoundDelays
from mpiqopt.emulation.settings import Emulate
from mpiqopt.network.server import Server
from mpiqopt.placement.placement import Placement
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.transport import FrameQueue, Transport

if TYPE_CHECKING:  # imported where a method needs it: many ranks start at once
    from mpiqopt.coordination.asynchronous import MassExchange
    from mpiqopt.coordination.coordinator import Coordination, Coordinator, Rounding
    from mpiqopt.coordination.wiring import Wiring


class Coordinators:
    """Exact averages of integers, and push-sum by mailboxes.

    Parameters
    ----------
    topology, place, transport : the network seen from this rank.
    server : delays all-reduced integers as uploads and downloads.
    seed : of the routes of pieces.
    mailboxes : how frames travel when nodes do not act in step, "auto" | "window" | "two-sided".
    emulate : the table [emulate].
    delays : emulated links in rounds; None for those that there are.
    """

    def __init__(
        self,
        topology: Topology,
        place: Placement,
        transport: Transport,
        server: Server,
        seed: int,
        mailboxes: str,
        emulate: Emulate,
        delays: RoundDelays | None,
    ):
        self._topology, self._place, self._transport, self._server = topology, place, transport, server
        self._seed, self._mailboxes, self._emulate, self._delays = seed, mailboxes, emulate, delays
        self._coordinators: dict[tuple[str, str, bool], Coordinator] = {}
        self._exchange_of_mass: MassExchange | None = None
        self._earlier = {name: np.zeros(place.hosted, np.int64) for name in ("pieces", "bytes")}

    def coordinator(self, name: str, rounding: "Rounding", by_mailboxes: bool) -> "Coordinator":
        """Return the coordinator of that name: in steps that all nodes take together, or by mailboxes."""
        from mpiqopt.coordination.coordinator import Coordinator

        kind = name, rounding, by_mailboxes
        if kind not in self._coordinators:
            coordination = self._coordination(name, by_mailboxes)
            self._coordinators[kind] = Coordinator(name, coordination, self._place.nodes, self._place.first, rounding)
        return self._coordinators[kind]

    def _coordination(self, name: str, by_mailboxes: bool) -> "Coordination":
        from mpiqopt.coordination.allreduce import AllreduceCoordination
        from mpiqopt.coordination.asynchronous import AsynchronousCoordination
        from mpiqopt.coordination.lockstep import LockstepCoordination
        from mpiqopt.coordination.wiring import overlay_of, wire

        place, transport = self._place, self._transport
        if name == "allreduce" or place.nodes == 1:
            return AllreduceCoordination(place.nodes, place.ranks, place.rank, transport, self._server.delay_messages)
        overlay = transport.share(overlay_of(self._topology, name) if place.rank == 0 else None)
        wiring = wire(self._topology, place, name, overlay)
        if not by_mailboxes:
            exchange = transport.frame_exchange(wiring.ranks)
            if self._delays is not None:
                exchange = EmulatedFrameExchange(exchange, self._delays, self._topology.arcs())
            return LockstepCoordination(wiring, name, self._seed, exchange)
        return AsynchronousCoordination(wiring, name, self._seed, *self._mail(wiring))

    def _mail(self, wiring: "Wiring") -> tuple[FrameQueue, bool, bool]:
        """Mailboxes, whether this processor is wanted by others, and whether frames can be lost or overtake others."""
        frames = self._transport.frame_queue(wiring.ranks, self._mailboxes)
        if self._emulate.of_links:
            frames = EmulatedFrames(frames, self._emulate, wiring, self._seed)
        return frames, self._transport.crowded, self._emulate.of_links

    def mass_exchange(self, d: int) -> "MassExchange":
        """Return what hands vectors (d,) on by mailboxes."""
        from mpiqopt.coordination.asynchronous import MassExchange
        from mpiqopt.coordination.wiring import wire

        if self._exchange_of_mass is None:
            wiring = wire(self._topology, self._place, "push-sum")
            self._exchange_of_mass = MassExchange(wiring, d, *self._mail(wiring))
        return self._exchange_of_mass

    def _counting(self) -> list:
        """Return the coordinators and the exchange of push-sum, which count their own bytes."""
        all = [coordinator.coordination for coordinator in self._coordinators.values()]
        return all if self._exchange_of_mass is None else [*all, self._exchange_of_mass]

    def totals(self) -> tuple[int, int, int]:
        """Return calls, bytes from node to node and bytes between ranks of the whole network, collective."""
        own = np.array([[each.bytes, each.mpi_bytes] for each in self._counting()], np.int64)
        sent, moved = self._transport.total(own.sum(axis=0)).tolist() if len(own) else (0, 0)
        return sum(coordinator.calls for coordinator in self._coordinators.values()), sent, moved

    def sent(self) -> dict[str, np.ndarray]:
        """Return ``pieces`` and ``bytes`` that each hosted node has sent since the run began, int64 (hosted,)."""
        total = {name: before.copy() for name, before in self._earlier.items()}
        for each in self._counting():
            if each.sent is not None:
                for own, more in zip(total.values(), each.sent, strict=True):
                    own += more
        return total

    def restore_sent(self, sent: dict[str, np.ndarray]) -> None:
        """Take over what earlier processes of the run have sent, as ``sent`` returned it there."""
        self._earlier = sent

    @property
    def mail_transport(self) -> str:
        """How the frames of coordination travel, and why so; "" if there are none."""
        return "; ".join(dict.fromkeys(each.chosen for each in self._counting()))

    def drain(self) -> None:
        """Return when nothing is on its way, so that ranks may wait for each other in MPI; collective."""
        for each in self._counting():
            each.settle()

    def close(self) -> None:
        """Give back what MPI holds, collective."""
        for each in self._counting():
            each.settle()
            each.close()
