"""What a coordinator is: what it needs of a network, what it costs, and what its nodes do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np

from mpiqopt._coordination import PythonRules, Rules
from mpiqopt.coordination.costs import Call, Network
from mpiqopt.coordination.wiring import Wiring, wiring_of_rank
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology

# what packs integers; ``mpiqopt._coordination`` has numbers for them
Coder = Literal["tile", "rice", "range", "auto"]
CODERS = get_args(Coder)


@dataclass(frozen=True, kw_only=True)
class CoordinationProtocol:
    """A way in which all nodes find floor(S/n) and ceil(S/n), S the sum of the integer vectors of n nodes.

    All coordinators give these bits; they differ in what travels, and in what they need to know of the network. A
    class of its own is all that a further one takes: it is registered in the family "coordinator", derives from
    ``FrameProtocol`` (compiled rules) or ``NodeProtocol`` (rules in Python), and has no fields.

    Attributes
    ----------
    headroom : float
        The sum over n nodes of |integers|, times ``gain``, has to be below this for the result to be exact.
    bytes_per_value : int
        Memory for each coordinate of each node beyond that of the vectors and of votes, as measured.
    votes : bool
        True if nodes find out together that they are done.
    finds_sum : bool
        False if nodes agree on some m near S/n alone, and settle.
    by_mailboxes : bool
        False if nodes have to take their steps together.

    Examples
    --------
    >>> from mpiqopt.registry import find_member
    >>> ring = Topology("ring", tuple(find_member("topology", "ring")(nodes=4).cycle()))
    >>> tree, shares = (find_member("coordinator", name)() for name in ("tree", "integer-push-sum"))
    >>> tree.overlay(ring).height, shares.gain(shares.overlay(ring))
    (4, 1024)
    """

    name = "unnamed"  # until it is registered
    headroom: ClassVar[float] = 2.0**62
    bytes_per_value: ClassVar[int] = 0
    votes: ClassVar[bool] = False
    finds_sum: ClassVar[bool] = True
    by_mailboxes: ClassVar[bool] = True

    @property
    def settles(self) -> bool:
        """True if nodes can say what they still have when all know the result, so that innovations may travel."""
        return True

    def require(self, topology: Topology) -> None:
        """Raise UsageError if the coordinator cannot work on a network."""

    def overlay(self, topology: Topology) -> Any:
        """Return what nodes have to know of the whole network: a small object, found by rank 0 and sent to all."""
        return None

    def gain(self, overlay: Any) -> int:
        """Return how much larger than the sum of all integers any integer may become on the way."""
        return 1

    def cost(self, network: Network, d: int, spread: float) -> Call | None:
        """Predict a call with vectors (d,) of integers that are up to ``spread`` >= 1 apart; None: no model."""
        return None

    def settling_cost(self, network: Network, d: int, spread: float) -> Call | None:
        """Predict the same of a call at whose end nodes keep what they still have."""
        return self.cost(network, d, spread)

    def cost_before(self, network: Network, mailboxes: bool) -> Call:
        """Predict what nodes send before the first call of a process."""
        return Call(0, 0, 0)


class FrameProtocol(CoordinationProtocol, ABC):
    """A coordinator whose nodes send frames to their out-neighbours: in lock-step or by mailboxes, on any digraph."""

    @abstractmethod
    def rules(self, wiring: Wiring, overlay: Any, d: int, seed: int) -> Rules:
        """Return what the hosted nodes do, for vectors (d,); seed: of what they draw. New ones at every call."""

    def steps(self, wiring: Wiring, overlay: Any) -> int | None:
        """Return the steps after which all nodes have the result in lock-step; None: they vote."""
        return None


class Site(NamedTuple):
    """What a node knows of the network from the start.

    node: its number; nodes: n; diameter: D, or a bound; links_in, links_out: numbers of its in- and out-neighbours;
    seed: of the run, for draws keyed by (seed, node).
    """

    node: int
    nodes: int
    diameter: int
    links_in: int
    links_out: int
    seed: int


class Message(NamedTuple):
    """What goes to an out-neighbour: link is 0 .. links_out - 1; label 0 .. 2^62 - 1; values int64 (d,)."""

    link: int
    label: int
    values: np.ndarray


class NodeProtocol(FrameProtocol):
    """A coordinator that is written in Python, from the point of view of one node.

    The compiled delivery calls its four methods, in lock-step and by mailboxes; messages are packed, numbered,
    acknowledged and sent again by it. A node knows its ``Site`` and what it hears, and has a state of any type, which
    the methods may change. Links are 0, 1, ... in the order of the neighbours' numbers. In lock-step what is sent in a
    step is absorbed before the next. Where nodes do not vote, all have to know the result after D steps (or override
    ``steps``), and what still comes after a node is done is dropped.

    Attributes
    ----------
    votes : bool
        False: ``look`` returns S, int64 (d,), or None as long as the node does not know it. True: ``look`` returns
        (low, high), two int64 (d,), at any time, and the call is over when, with nothing on its way, the largest high
        and the smallest low of all nodes are at most 1 apart; they are the result. Methods that use it are then to
        have ``code = "points"``.

    Examples
    --------
    ``docs/examples/flood.py`` is a whole coordinator. The same for two nodes that swap their vectors:

    >>> class Swap(NodeProtocol):
    ...     def start(self, site, values):
    ...         return {"own": values, "sent": False, "other": None}
    ...     def step(self, node):
    ...         first, node["sent"] = not node["sent"], True
    ...         return [Message(0, 0, node["own"])] if first else []
    ...     def absorb(self, node, label, values):
    ...         node["other"] = values
    ...     def look(self, node):
    ...         return None if node["other"] is None else node["own"] + node["other"]
    >>> from mpiqopt.coordination.lockstep import LockstepCoordination
    >>> from mpiqopt.transport.serial import SerialFrames
    >>> path = Topology("path", tuple(find_member("topology", "path")(nodes=2).cycle()))
    >>> pair = LockstepCoordination(LocalProtocol.of(Swap(), path, Placement(2)), SerialFrames())
    >>> pair.agree(np.array([[1, 5], [4, -6]]), call=0, effort=0).low.tolist()
    [2, -1]
    """

    @property
    def settles(self) -> bool:
        return not self.votes

    @abstractmethod
    def start(self, site: Site, values: np.ndarray) -> Any:
        """Return the state of a node whose integers are ``values``, int64 (d,), at the start of a call."""

    @abstractmethod
    def step(self, node: Any) -> Sequence[Message]:
        """Take a step at a node; returns what it sends, nothing if there is nothing to do."""

    @abstractmethod
    def absorb(self, node: Any, label: int, values: np.ndarray) -> None:
        """Take in a message, int64 (d,), that has come to a node."""

    @abstractmethod
    def look(self, node: Any) -> np.ndarray | tuple[np.ndarray, np.ndarray] | None:
        """Return what a node knows of the result: see ``votes``."""

    def rules(self, wiring: Wiring, overlay: Any, d: int, seed: int) -> Rules:
        degrees = zip(np.diff(wiring.in_starts).tolist(), np.diff(wiring.out_starts).tolist(), strict=True)
        sites = [Site(i, wiring.nodes, wiring.diameter, *links, seed) for i, links in enumerate(degrees, wiring.first)]
        return PythonRules(d, self, sites)

    def steps(self, wiring: Wiring, overlay: Any) -> int | None:
        return None if self.votes else wiring.diameter


class LocalProtocol(NamedTuple):
    """A coordinator at the nodes of one rank."""

    protocol: FrameProtocol
    wiring: Wiring
    overlay: Any = None
    seed: int = 0
    coder: Coder = "tile"

    @classmethod
    def of(
        cls, protocol: FrameProtocol | str, topology: Topology, place: Placement, seed: int = 0, overlay: Any = None
    ) -> "LocalProtocol":
        """Return a coordinator, or the one of a name, at a place in a network.

        overlay: that of the network, if it is known: finding it takes libraries that take long to import.
        """
        made = find_member("coordinator", protocol)() if isinstance(protocol, str) else protocol
        known = made.overlay(topology) if overlay is None else overlay
        return cls(made, wiring_of_rank(topology, place), known, seed)

    def rules(self, d: int) -> Rules:
        """Return new rules for vectors (d,)."""
        rules = self.protocol.rules(self.wiring, self.overlay, d, self.seed)
        rules.coder = CODERS.index(self.coder)
        return rules

    @property
    def steps(self) -> int | None:
        """Steps of a call in lock-step; None if nodes vote."""
        return self.protocol.steps(self.wiring, self.overlay)

    @property
    def headroom(self) -> float:
        """The largest |integer| of a node, less the centre, with which the result is exact."""
        return self.protocol.headroom / self.protocol.gain(self.overlay) / self.wiring.nodes
