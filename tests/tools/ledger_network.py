"""Ledgers of one node each on a clock of its own: frames are late, lost and overtake each other, nodes fall silent."""

import heapq

import numpy as np

from mpiqopt._coordination import Ledger
from mpiqopt.coordination.wiring import wiring_of_rank
from mpiqopt.placement.placement import Placement
from mpiqopt.topologies.topology import Topology

# s between two looks of a node that hears nothing
TICK = 0.001


class LedgerNetwork:
    """Nodes that go through calls with integers that follow a target, and compare what they get.

    Node i wants hat_i to follow targets[i] and brings q_i = round((target_i - hat_i)/step) into each call; step of call
    k is steps(k), the same at all nodes. A node begins the next call some time (``train``, s, exponential) after the
    last.

    silences: (node, s, s), from when until when a node is silent. On unreliable links frames from and to it are lost
    then; on reliable ones its process stands still, and finds afterwards what has come.
    """

    def __init__(
        self,
        topology: Topology,
        d: int = 3,
        quorum: int | None = None,
        span: int = 10,
        patience: float = 0.2,
        seed: int = 0,
        loss: float = 0.0,
        delay: float = 0.001,
        train: float = 0.0,
        silences: tuple[tuple[int, float, float], ...] = (),
        unreliable: bool = True,
        coder: int = 0,
        steps=lambda k: 2.0 ** -(k % 7),
    ):
        n = topology.nodes
        self.n, self.d, self.steps, self.loss, self.delay, self.train = n, d, steps, loss, delay, train
        self.unreliable, self.silences = unreliable, silences
        self.rng = np.random.default_rng(seed)
        self.wirings = [wiring_of_rank(topology, Placement(n, n, i)) for i in range(n)]
        self.nodes = [Ledger(w, d, coder, quorum or n, span, patience, unreliable) for w in self.wirings]
        for node, begin, end in silences if unreliable else ():
            self.nodes[node].silence(0, begin, end)
        self.hat, self.common = np.zeros((n, d)), np.zeros((n, d))
        self.targets = self.rng.standard_normal((n, d))
        self.call, self.values, self.ready = np.zeros(n, int), [None] * n, np.zeros(n)
        self.results: dict[int, bytes] = {}
        self.ages: list[float] = []
        self.now, self._events, self._number = 0.0, [], 0
        self._last: dict[tuple[int, int], float] = {}
        for i in range(n):
            self._at(0.0, "look", i)

    def _at(self, when: float, *what) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, *what))

    def mute(self, i: int) -> bool:
        return any(node == i and begin <= self.now < end for node, begin, end in self.silences)

    def run(self, calls: int, until: float) -> None:
        """Go on until every node has finished so many calls, or the clock says ``until``, then until all is quiet."""
        quiet_since = None
        while self.now < until:
            self.now, _, kind, i, *frame = heapq.heappop(self._events)
            if self.mute(i) and not self.unreliable:
                self._at(
                    next(end for node, begin, end in self.silences if node == i and self.now < end), kind, i, *frame
                )
                continue
            if kind == "frame" and not self.mute(i):
                self.nodes[i].receive(np.frombuffer(frame[0], np.uint8))
            self._act(i, calls)
            if kind == "look":
                self._at(self.now + TICK * (0.5 + self.rng.random()), "look", i)
                if (self.call >= calls).all() and all(node.quiet for node in self.nodes):
                    quiet_since = quiet_since or self.now
                    if self.now - quiet_since > 100 * self.delay:
                        return
                else:
                    quiet_since = None

    def _act(self, i: int, calls: int) -> None:
        node = self.nodes[i]
        node.advance(self.now)
        if not self.mute(i):
            if self.values[i] is None and self.call[i] < calls and self.now >= self.ready[i]:
                self._begin(i)
                node.advance(self.now)
            if self.values[i] is not None and node.finished:
                self._close(i)
                node.advance(self.now)
        self._send(i)

    def _begin(self, i: int) -> None:
        step = self.steps(self.call[i])
        self.values[i] = np.rint((self.targets[i] - self.hat[i]) / step).astype(np.int64)[None]
        self.nodes[i].begin(self.call[i], self.values[i], step, np.zeros(1, np.int64), self.now)

    def _close(self, i: int) -> None:
        m, age = self.nodes[i].close_call(self.values[i], self.hat[i : i + 1])
        k = int(self.call[i])
        assert self.results.setdefault(k, m.tobytes()) == m.tobytes(), f"node {i} has another result of call {k}"
        self.common[i] += self.steps(k) * m
        self.call[i], self.values[i] = k + 1, None
        self.ready[i] = self.now + self.train * self.rng.exponential()
        if i == 0:
            self.ages.append(age)

    def _send(self, i: int) -> None:
        node, silent = self.nodes[i], self.mute(i)
        for b in range(self.wirings[i].boxes):
            if not node.filled(b):
                continue
            to, frames = self.wirings[i].ranks[b - 1], node.take(b)
            parts = [end for end, _, _ in node.cut(frames)] if self.unreliable else [len(frames)]
            at = 0
            for end in parts:
                when = self.now + self.delay * self.rng.pareto(1.5) / 2
                if not self.unreliable:  # in order, and nothing is lost
                    when = self._last[i, to] = max(when, self._last.get((i, to), 0.0))
                if not self.unreliable or not (silent or self.mute(to) or self.rng.random() < self.loss):
                    self._at(when, "frame", to, frames[at:end].tobytes())
                at = end

    def mass(self) -> np.ndarray:
        """Return sum_i hat_i - n C, which is 0 when nothing is on its way, (d,); all nodes in the same call."""
        hat = self.hat.copy()
        for i, node in enumerate(self.nodes):
            node.give_back(hat[i : i + 1])
        self.hat = hat
        return hat.sum(axis=0) - self.n * self.common[0]
