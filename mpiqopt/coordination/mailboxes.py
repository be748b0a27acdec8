"""Coordination without common steps: nodes act when frames arrive, and ranks do nothing but pass frames on."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from mpiqopt._coordination import Mail, Mailboxes, Mass
from mpiqopt.coordination.lockstep import (
    MOST_VOTES,
    Agreement,
    FrameCoordination,
    Settlement,
    first_lockstep_effort,
    next_lockstep_effort,
    require_votes,
)
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.coordination.traffic import FrameTraffic
from mpiqopt.coordination.wiring import Wiring
from mpiqopt.transport.transport import FrameQueue

# turns without news before a rank sleeps, and how long (s)
PATIENCE, SLEEP = 200, 50e-6


class FramePump:
    """Passes frames on between the hosted nodes and other processes, until something is done.

    frames: brings them to other processes, and late or never if links are emulated (``transport.transport.FrameQueue``,
    ``emulation.links.EmulatedFrames``); crowded: True if other ranks want this processor, so that waiting must not take
    it.
    """

    def __init__(self, frames: FrameQueue, crowded: bool):
        self._frames, self._patience = frames, 0 if crowded else PATIENCE

    def until(self, mail: Mail | None, done: Callable[[], bool]) -> None:
        """Pass frames on until ``done``; after some turns without any, sleep between them."""
        idle = 0
        while not done():
            idle = 0 if self._turn(mail) else idle + 1
            if idle > self._patience:
                time.sleep(SLEEP)
            elif idle:
                os.sched_yield()

    def _turn(self, mail: Mail | None) -> bool:
        """Let nodes act once; returns True if anything moved."""
        if mail is None:
            return False
        moved = mail.advance(time.perf_counter())
        return self._frames.pass_on(mail) or moved

    def has_taken(self, mail: Mail) -> bool:
        """Return True if all that nodes have sent has left this process."""
        return self._frames.has_taken(mail)

    def drain(self, mail: Mail | None) -> None:
        """Pass frames on until nothing is on its way in the network, so that ranks may block in MPI; collective.

        A rank that blocked before would leave its neighbours without acknowledgements. Sums over ranks of the messages
        sent and received are taken without blocking. If they are equal, and as they were before, nothing was sent or
        received between the two counts, and all had been received (Mattern, Distributed Computing 2, 1987).
        """
        if mail is None:
            return
        before = None
        while True:
            self.until(mail, lambda: mail.quiet and self._frames.quiet)
            done, totals = self._frames.totals()
            self.until(mail, done)
            sent, received = totals.tolist()
            if sent == received and before == (sent, received):
                return
            before = sent, received

    @property
    def mpi_bytes(self) -> int:
        """Bytes handed to MPI so far."""
        return self._frames.bytes

    @property
    def mail_transport(self) -> str:
        """How frames travel, and why so."""
        return self._frames.mail_transport

    def close(self) -> None:
        """Give back what MPI holds; collective, after ``drain``."""
        self._frames.close()


class Pumped:
    """What sends by a frame pump of its own, and tells what that has handed to MPI."""

    _pump: FramePump

    @property
    def mpi_bytes(self) -> int:
        """Bytes handed to MPI so far."""
        return self._pump.mpi_bytes

    @property
    def mail_transport(self) -> str:
        """How frames travel, and why so."""
        return self._pump.mail_transport

    def close(self) -> None:
        """Give back what MPI holds; collective, after ``drain``."""
        self._pump.close()


class CallsByMail(Pumped, FrameCoordination, ABC):
    """What coordinators by mailboxes share: when calls begin.

    local : the coordinator at this rank
    frames, crowded : as of ``FramePump``
    unreliable : frames may be lost or overtake each other
    """

    def __init__(self, local: LocalProtocol, frames: FrameQueue, crowded: bool, unreliable: bool = False):
        super().__init__(local)
        self._pump, self._unreliable, self._duration = FramePump(frames, crowded), unreliable, np.inf

    @abstractmethod
    def _prepare(self, width: int) -> Any:
        """Return the nodes, which hear their neighbours from now on: a ``Mail`` that says when it is ``called``."""

    def wait(self, news: Callable[[], bool], longest: Callable[[], float], width: int) -> None:
        """Return when a neighbour has begun the next call, or some time after a node here has news.

        That time is as long as the last call took, but no more than ``longest()`` says then (s): nodes that finish a
        little later than others still join (ours). width: of the vectors that the call will have.
        """
        nodes = self._prepare(width)
        self._pump.until(nodes, lambda: news() or nodes.called)
        end = time.perf_counter() + min(self._duration, longest())
        self._pump.until(nodes, lambda: time.perf_counter() >= end or nodes.called)


class MailboxCoordination(CallsByMail):
    """A coordinator by mailboxes, parameters as of ``CallsByMail``."""

    def __init__(self, local: LocalProtocol, frames: FrameQueue, crowded: bool, unreliable: bool = False):
        super().__init__(local, frames, crowded, unreliable)
        wiring = local.wiring
        self._budget = np.full(len(wiring.in_starts) - 1, first_lockstep_effort(wiring.diameter))

    def agree(self, values: np.ndarray, call: int, effort: int) -> Agreement:
        """Find floor(S/n) and ceil(S/n); returns when the hosted nodes have them.

        values: int64 (hosted, d), the same d in all calls; call: counts up by one; effort: of no use here, each node
        has its own.
        """
        low, high = self._call(values, call, settles=False).result
        return Agreement(low, high, 0)

    def settle(
        self, values: np.ndarray, hat: np.ndarray, step: float, call: int, effort: int, ages: np.ndarray
    ) -> Settlement:
        """Find m near S/n and leave with nodes what they still have: as ``LockstepCoordination.settle``."""
        return Settlement(self._call(values, call, settles=True).settle(values, hat, step), 0)

    def _call(self, values: np.ndarray, call: int, *, settles: bool) -> Mailboxes:
        """Let nodes find what they are to find; returns them when the hosted ones have it."""
        nodes, began = self._prepare(values.shape[1]), time.perf_counter()
        nodes.begin(call, values, self._budget, settles)
        # send everything queued before returning: neighbours may be waiting for it
        self._pump.until(nodes, lambda: (nodes.finished and self._pump.has_taken(nodes)) or nodes.votes > MOST_VOTES)
        require_votes(self.name, nodes.votes)
        self._duration = time.perf_counter() - began
        self._steps_taken += nodes.steps
        self._votes_taken += nodes.votes
        for i, steps in enumerate(nodes.steps.tolist()):
            self._budget[i] = next_lockstep_effort(steps, nodes.votes)
        return nodes

    def _prepare(self, width: int) -> Mailboxes:
        """Return the nodes, which hear their neighbours from now on."""
        if self._delivery is None:
            self._delivery = Mailboxes(self.local.wiring, self.local.rules(width), self._unreliable)
        return self._delivery

    def drain(self) -> None:
        """Return when nothing is on its way in the network; collective, between calls."""
        self._pump.drain(self._delivery)

    def give_back(self, hat: np.ndarray) -> None:
        """Nothing ever comes too late for its call: every node waits for all others."""


class AsynchronousPush(Pumped):
    """Vectors handed on to out-neighbours at everybody's own pace: push-sum without rounds, in float64.

    The sum over nodes and links of what they have stays what it was, whatever is late or lost on the way:

        (u_i, w_i) -> (u_i, w_i)/(1 + outdegree_i) at node i and, later, added to that of each out-neighbour.

    wiring: of the network; width: length of the vectors, weight included; frames, crowded: as of ``FramePump``;
    unreliable: frames may be lost or overtake each other.

    Examples
    --------
    >>> from mpiqopt.coordination.wiring import wiring_of_rank
    >>> from mpiqopt.placement.placement import Placement
    >>> from mpiqopt.registry import find_member
    >>> from mpiqopt.topologies.topology import Topology
    >>> from mpiqopt.transport.serial import SerialFrames
    >>> path = Topology("path", tuple(find_member("topology", "path")(nodes=3).cycle()))
    >>> push = AsynchronousPush(wiring_of_rank(path, Placement(3)), 2, SerialFrames(), True)
    >>> rows = np.array([[0.0, 1.0], [3.0, 1.0], [0.0, 1.0]])
    >>> push.share(1, rows[1])  # a third of it goes to each neighbour
    >>> push.drain()
    >>> push.pull(rows)
    >>> rows.round(3).tolist()
    [[1.0, 1.333], [1.0, 0.333], [1.0, 1.333]]
    """

    def __init__(self, wiring: Wiring, width: int, frames: FrameQueue, crowded: bool, unreliable: bool = False):
        self._mass, self._pump = Mass(wiring, width, unreliable), FramePump(frames, crowded)
        self._parts = 1.0 / (1 + np.diff(wiring.out_starts))

    def share(self, node: int, row: np.ndarray) -> None:
        """Send equal parts of ``row`` (width,), float64, to the out-neighbours of a node; one stays in it.

        Nothing is sent unless the node is ``free``: one that is quicker than its links would give all away.
        """
        if not self.free(node):
            return
        row *= self._parts[node]
        self._mass.push(node, row)

    def free(self, node: int) -> bool:
        """Return True if the last parts that a node has sent have all arrived."""
        return self._mass.free(node)

    def pull(self, rows: np.ndarray) -> None:
        """Add what has come to the hosted nodes to ``rows`` (hosted, width), float64."""
        self._mass.pull(rows)

    def until(self, done: Callable[[], bool]) -> None:
        """Pass vectors on until ``done``."""
        self._pump.until(self._mass, done)

    def drain(self) -> None:
        """Return when nothing is on its way in the network: what came is still to be pulled; collective."""
        self._pump.drain(self._mass)

    @property
    def bytes(self) -> int:
        """Bytes sent by the hosted nodes so far, headers, acknowledgements and repetitions included."""
        return int(self._mass.bytes_sent.sum())

    @property
    def sent(self) -> FrameTraffic:
        """What the hosted nodes have sent so far: vectors are pieces; there are no steps and votes."""
        mass = self._mass
        nothing = FrameTraffic.none(mass.hosted)
        return nothing._replace(pieces=mass.pieces, frames=mass.frames, frame_bytes=mass.frame_bytes)
