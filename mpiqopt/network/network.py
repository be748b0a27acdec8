"""What algorithms see of the network: gossip with neighbours, a server, exact coordination."""

from typing import TYPE_CHECKING

import numpy as np

from mpiqopt.emulation.devices import Devices
from mpiqopt.emulation.links import RoundDelays
from mpiqopt.emulation.settings import Emulate
from mpiqopt.network.codecs import Codecs
from mpiqopt.network.coordinators import Coordinators
from mpiqopt.network.gossip import ONE_ROUND, Gossip, Schedule
from mpiqopt.network.server import Server
from mpiqopt.network.traffic import Traffic
from mpiqopt.placement.placement import Placement
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.transport import Transport

if TYPE_CHECKING:  # imported where a message is coded: many ranks start at once
    from mpiqopt.compressors.codec import Codec
    from mpiqopt.compressors.compressor import Compressor


class Network:
    """The hosted rows' end of the network. Arrays are (hosted, d), float64 or float32.

    gossip: rounds with neighbours, ``Gossip``; server: uploads and downloads, ``Server``; coordination: exact averages
    of integers, ``Coordinators``; traffic: what gossip and server have sent, ``Traffic``.

    Parameters
    ----------
    topology : the mixing matrices.
    place : which nodes this rank hosts.
    transport : carries rows and frames between ranks.
    compressor : the wire format of messages that are coded; None if none are.
    seed : of all random numbers that messages are rounded and routed by.
    schedule : which mixing matrix a round uses.
    interval : of W's eigenvalues but 1, for Chebyshev gossip; by default it is computed.
    mail_transport : how frames travel when nodes do not act in step, "auto" | "window" | "two-sided".
    emulate : slower links than there are; none by default.
    devices : what each node's machine can do; everything by default.

    >>> import numpy as np
    >>> from mpiqopt.topologies.lattices import Ring
    >>> from mpiqopt.topologies.topology import Topology
    >>> from mpiqopt.topologies.topology import topology_in_turn
    >>> from mpiqopt.transport.serial import SerialTransport
    >>> ring = topology_in_turn(["ring"], [Ring(nodes=4).make()])
    >>> network = Network(ring, Placement(4), SerialTransport())
    >>> network.mix(np.array([[3.0], [0.0], [0.0], [0.0]])).ravel().round(6).tolist()
    [1.0, 1.0, 0.0, 1.0]
    >>> network.traffic
    Traffic(rounds=1, bytes=64, mpi_bytes=0)
    """

    def __init__(
        self,
        topology: Topology,
        place: Placement,
        transport: Transport,
        *,
        compressor: "Compressor | None" = None,
        seed: int = 0,
        schedule: Schedule = ONE_ROUND,
        interval: tuple[float, float] | None = None,
        mail_transport: str = "auto",
        emulate: Emulate | None = None,
        devices: Devices | None = None,
    ):
        self.topology, self.place, self.transport, self.compressor = topology, place, transport, compressor
        self.emulate = emulate = emulate or Emulate()
        self.devices = devices or Devices((), place.nodes, seed)
        delays = RoundDelays(emulate, place, seed) if emulate.of_links else None
        self.traffic = Traffic()
        self._codecs = Codecs(compressor, seed, place.nodes)
        self.gossip = Gossip(topology, place, transport, self.traffic, self._codecs, schedule, interval, delays)
        self.server = Server(place, transport, self.traffic, self._codecs, delays)
        self.coordination = Coordinators(topology, place, transport, self.server, seed, mail_transport, emulate, delays)

    def mix(self, rows: np.ndarray) -> np.ndarray:
        """Return W X, one gossip round, for rows X (hosted, d); see ``Gossip.mix``."""
        return self.gossip.mix(rows)

    @property
    def coded(self) -> bool:
        """True if messages are coded: the method codes them, with a compressor that changes something."""
        return self.compressor is not None and self.compressor.name != "identity"

    def codec(self, rows: np.ndarray) -> "Codec":
        """Return the codec of rows like these."""
        return self._codecs.of(rows)

    @property
    def codec_seconds(self) -> float | None:
        """Seconds of encoding and decoding on this rank so far; None if messages are not coded."""
        return self._codecs.seconds if self.coded else None

    def counters(self) -> dict[str, int]:
        """Return ``rounds``, ``bytes`` and ``mpi_bytes`` of the whole network, collective."""
        traffic, (calls, sent, moved) = self.traffic, self.coordination.totals()
        if self._codecs.vary:
            here = self.transport.total(np.array([traffic.bytes_here, traffic.mpi_bytes_here]))
            sent, moved = sent + int(here[0]), moved + int(here[1])
        return {
            "rounds": traffic.rounds + calls,
            "bytes": traffic.bytes + sent,
            "mpi_bytes": traffic.mpi_bytes + moved,
        }

    def drain(self) -> None:
        """Return when nothing is on its way, so that ranks may wait for each other in MPI; collective."""
        self.coordination.drain()

    def close(self) -> None:
        """Give back what MPI holds, collective."""
        self.gossip.close()
        self.coordination.close()
