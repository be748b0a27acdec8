"""The coordinators of a network, made when they are first asked for, and the traffic that they count themselves."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiqopt.coordination.traffic import FrameTraffic
from mpiqopt.emulation.links import RoundDelays
from mpiqopt.emulation.settings import Emulate
from mpiqopt.network.server import Server
from mpiqopt.placement.placement import Placement
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.transport import Transport

if TYPE_CHECKING:  # imported where a method needs it: many ranks start at once
    from mpiqopt.coordination.coordinator import Coordinator, Rounding
    from mpiqopt.coordination.factory import CoordinationFactory
    from mpiqopt.coordination.ledger import Quorum
    from mpiqopt.coordination.mailboxes import AsynchronousPush
    from mpiqopt.coordination.protocol import Coder


class Coordinators:
    """Exact averages of integers, and push-sum by mailboxes.

    Parameters
    ----------
    topology, place, transport : the network seen from this rank.
    server : delays all-reduced integers as uploads and downloads.
    seed : of the routes of pieces.
    mail_transport : how frames travel when nodes do not act in step, "auto" | "window" | "two-sided".
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
        mail_transport: str,
        emulate: Emulate,
        delays: RoundDelays | None,
    ):
        self._topology, self._place, self._transport, self._server = topology, place, transport, server
        self._seed, self._mail_transport, self._emulate, self._delays = seed, mail_transport, emulate, delays
        self._coordinators: dict[tuple, Coordinator] = {}
        self._push: AsynchronousPush | None = None
        self._earlier = FrameTraffic.none(place.hosted)

    def coordinator(
        self,
        name: str,
        rounding: "Rounding",
        by_mailboxes: bool,
        coder: "Coder" = "tile",
        quorum: "Quorum | None" = None,
    ) -> "Coordinator":
        """Return the coordinator of that name: in steps that all nodes take together, or by mailboxes.

        quorum: whom calls by mailboxes wait for; None: for all.
        """
        kind = name, rounding, by_mailboxes, coder, quorum
        if kind not in self._coordinators:
            self._coordinators[kind] = self._factory.coordinator(*kind)
        return self._coordinators[kind]

    @cached_property
    def _factory(self) -> "CoordinationFactory":
        from mpiqopt.coordination.factory import CoordinationFactory

        place, delay = self._place, self._server.delay_messages
        return CoordinationFactory(
            self._topology, place, self._transport, self._seed, self._mail_transport, self._emulate, self._delays, delay
        )

    def asynchronous_push(self, width: int) -> "AsynchronousPush":
        """Return what hands vectors (width,) on by mailboxes."""
        if self._push is None:
            self._push = self._factory.asynchronous_push(width)
        return self._push

    def _counting(self) -> list:
        """Return the coordinators and the mail of push-sum, which count their own bytes."""
        all = [coordinator.coordination for coordinator in self._coordinators.values()]
        return all if self._push is None else [*all, self._push]

    def totals(self) -> tuple[int, int, int]:
        """Return calls, bytes from node to node and bytes between ranks of the whole network, collective."""
        own = np.array([[each.bytes, each.mpi_bytes] for each in self._counting()], np.int64)
        sent, moved = self._transport.total(own.sum(axis=0)).tolist() if len(own) else (0, 0)
        return sum(coordinator.calls for coordinator in self._coordinators.values()), sent, moved

    def sent(self) -> FrameTraffic:
        """Return what each hosted node has done and sent since the run began: new arrays."""
        counted = [each.sent for each in self._counting() if each.sent is not None]
        return FrameTraffic(*(np.sum(parts, axis=0) for parts in zip(*counted, self._earlier, strict=True)))

    def restore_sent(self, sent: FrameTraffic) -> None:
        """Go on from what ``sent`` returned: in an earlier process of the run, or before what is thrown away."""
        now, earlier = self.sent(), self._earlier
        self._earlier = FrameTraffic(*(own - (new - old) for own, new, old in zip(sent, now, earlier, strict=True)))

    def recorded(self) -> dict[str, Any]:
        """Return what result files say of it, of the whole network since the run began; collective.

        ``steps`` and ``votes``: means over nodes; ``frames`` and ``frame_bytes``: int64 (kinds,), sums over nodes.
        """
        _, *own = (values.sum(axis=0) for values in self.sent())
        steps, votes, *frames = self._transport.total(np.hstack(own)).tolist()
        count, nodes = len(frames) // 2, self._place.nodes
        return {
            "steps": steps / nodes,
            "votes": votes // nodes,
            "frames": np.array(frames[:count]),
            "frame_bytes": np.array(frames[count:]),
        }

    @property
    def mail_transport(self) -> str:
        """How the frames of coordination travel, and why so; "" if there are none."""
        return "; ".join(dict.fromkeys(each.mail_transport for each in self._counting()))

    def drain(self) -> None:
        """Return when nothing is on its way, so that ranks may wait for each other in MPI; collective."""
        for each in self._counting():
            each.drain()

    def close(self) -> None:
        """Give back what MPI holds, collective."""
        for each in self._counting():
            each.drain()
            each.close()
