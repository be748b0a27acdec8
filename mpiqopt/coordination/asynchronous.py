"""Coordination without common steps: nodes act when frames arrive, and ranks do nothing but pass frames on."""

import os
import time
from collections.abc import Callable

import numpy as np

from mpiqopt._coordination import Mailboxes, Mass
from mpiqopt.coordination.lockstep import MOST_VOTES, Agreement, Sending, first_effort, next_effort, require_votes
from mpiqopt.coordination.wiring import Wiring

# turns without news before a rank sleeps, and how long (s)
PATIENCE, SLEEP = 200, 50e-6


class Mailed(Sending):
    """Nodes that talk by mailboxes. post: brings frames to other processes and to this one's own nodes.

    crowded: whether other ranks want this processor, so that waiting must not take it.
    """

    def __init__(self, wiring: Wiring, post, crowded: bool):
        self.wiring, self._post, self._patience = wiring, post, 0 if crowded else PATIENCE

    def until(self, done: Callable[[], bool]) -> None:
        """Pass frames on until ``done``; after some turns without any, sleep between them."""
        idle = 0
        while not done():
            idle = 0 if self._turn() else idle + 1
            if idle > self._patience:
                time.sleep(SLEEP)
            elif idle:
                os.sched_yield()

    def _turn(self) -> bool:
        """Whether anything moved."""
        moved = self._nodes is not None and self._nodes.advance(time.perf_counter())
        return (self._nodes is not None and self._post.pass_on(self._nodes)) or moved

    def settle(self) -> None:
        """Collective, between calls: returns when nothing is on its way in the network, so that ranks may wait in MPI.

        A rank that waited in MPI before would leave its neighbours without acknowledgements.
        """
        if self._nodes is None:
            return
        before = None
        while True:
            self.until(lambda: self._nodes.quiet and self._post.quiet)
            done, totals = self._post.totals()
            self.until(done)
            sent, received = totals.tolist()
            # nothing was sent or received between the two counts, and all of it has been received (Mattern 1987)
            if sent == received and before == (sent, received):
                return
            before = sent, received

    @property
    def mpi_bytes(self) -> int:
        """Handed to MPI so far."""
        return self._post.bytes

    @property
    def chosen(self) -> str:
        """How frames travel, and why so."""
        return self._post.chosen

    def close(self) -> None:
        """Collective, after ``settle``."""
        self._post.close()


class AsynchronousCoordination(Mailed):
    """FTQC, integer push-sum or a tree over mailboxes."""

    def __init__(self, wiring: Wiring, protocol: str, seed: int, post, crowded: bool, unreliable: bool = False):
        super().__init__(wiring, post, crowded)
        self.protocol, self._seed, self._unreliable = protocol, seed, unreliable
        self.gain, self._duration = wiring.gain, np.inf
        self._budget = np.full(len(wiring.in_starts) - 1, first_effort(wiring))

    def agree(self, values: np.ndarray, call: int, effort: int) -> Agreement:
        """values: int64 (hosted, d); call: counts up by one. Returns when the hosted nodes have the result."""
        nodes, began = self._prepare(values.shape[1]), time.perf_counter()
        nodes.begin(call, values, self._budget)
        # who leaves with frames in hand lets others wait for what comes after
        self.until(lambda: (nodes.finished and self._post.has_taken(nodes)) or nodes.votes > MOST_VOTES)
        require_votes(self.protocol, nodes.votes)
        self._duration = time.perf_counter() - began
        for i, steps in enumerate(nodes.steps.tolist()):
            self._budget[i] = next_effort(steps, nodes.votes)
        return Agreement(*nodes.result, 0)

    def _prepare(self, width: int) -> Mailboxes:
        """The nodes, which hear their neighbours from now on."""
        if self._nodes is None:
            self._nodes = Mailboxes(self.wiring, self.protocol, width, self._seed, self._unreliable)
        return self._nodes

    def wait(self, news: Callable[[], bool], longest: Callable[[], float], width: int) -> None:
        """Return when a neighbour has begun the next call, or some time after a node here has news.

        That time is as long as the last call took, but no more than ``longest`` says then (s): nodes that finish a
        little later than others still join (ours). width: of the vectors that the call will have.
        """
        self._prepare(width)
        self.until(lambda: news() or self._nodes.called)
        end = time.perf_counter() + min(self._duration, longest())
        self.until(lambda: time.perf_counter() >= end or self._nodes.called)


class MassExchange(Mailed):
    """Vectors handed on to out-neighbours at everybody's own pace: asynchronous push-sum in float64."""

    def __init__(self, wiring: Wiring, d: int, post, crowded: bool, unreliable: bool = False):
        super().__init__(wiring, post, crowded)
        self._nodes = Mass(wiring, d, unreliable)
        self._parts = 1.0 / (1 + np.diff(wiring.out_starts))

    def share(self, node: int, row: np.ndarray) -> None:
        """Equal parts of ``row`` (d,), float64, to the out-neighbours; one stays in it.

        Nothing as long as the last parts are on their way: a node that is quicker than its links would give all away.
        """
        if not self._nodes.free(node):
            return
        row *= self._parts[node]
        self._nodes.push(node, row)

    def pull(self, rows: np.ndarray) -> None:
        """Add what has come to ``rows`` (hosted, d)."""
        self._nodes.pull(rows)
