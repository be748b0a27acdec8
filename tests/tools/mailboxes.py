"""Ranks of coordination played in one process, and a network between them that does its worst."""

import heapq
from collections import deque

import numpy as np
import pytest

from mpiqopt._coordination import Lockstep, Mailboxes
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.coordination.wiring import Wiring, wiring_of_rank
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology

PIECES, STAGE, EXTREMES, APART, PIECES_HEARD, STAGE_HEARD, PIECE = range(1, 8)
TILE, BLOCK, LANES, FEW = 1024, 256, 8, 2


def topology(name: str, nodes: int, **options) -> Topology:
    return Topology(name, tuple(find_member("topology", name)(nodes=nodes, **options).cycle()))


# those whose nodes send frames
PROTOCOLS = ("ftqc", "integer-push-sum", "tree", "collect")


def wirings(graph: Topology, ranks: int) -> list[Wiring]:
    return [wiring_of_rank(graph, Placement(graph.nodes, ranks, rank)) for rank in range(ranks)]


def at_ranks(graph: Topology, ranks: int, protocol: str, seed: int = 0) -> list[LocalProtocol]:
    """A coordinator at all ranks."""
    return [LocalProtocol.of(protocol, graph, Placement(graph.nodes, ranks, rank), seed) for rank in range(ranks)]


def lockstep(local: LocalProtocol, d: int) -> Lockstep:
    return Lockstep(local.wiring, local.rules(d))


def mailboxes(local: LocalProtocol, d: int, unreliable: bool = False, coder: int = 0) -> Mailboxes:
    rules = local.rules(d)
    rules.coder = coder
    return Mailboxes(local.wiring, rules, unreliable)


def split(engine: Mailboxes, frames: bytes) -> list[bytes]:
    ends = [end for end, _, _ in engine.cut(as_array(frames))]
    return [frames[first:end] for first, end in zip([0, *ends], ends, strict=False)]


def kind_of(frame: bytes) -> int:
    return frame[0] & 7  # of links with small numbers


def numbers_of(frame: bytes, count: int) -> tuple[list[int], int]:
    """The first numbers of a frame, 7 bits a byte, and where the rest begins."""
    found, at = [], 0
    for _ in range(count):
        value = shift = 0
        while frame[at] & 128:
            value, shift, at = value | (frame[at] & 127) << shift, shift + 7, at + 1
        found.append(value | frame[at] << shift)
        at += 1
    return found, at


def count_of(frame: bytes) -> int:
    """Of mailboxes: behind the link and the kind, and the call."""
    return numbers_of(frame, 3)[0][2]


def tries_of(frame: bytes) -> int:
    """Of mailboxes whose links are unreliable: behind the count."""
    return frame[numbers_of(frame, 3)[1]]


def as_array(frames: bytes) -> np.ndarray:
    return np.frombuffer(frames, np.uint8)


class Adversary:
    """Mailboxes that play ranks, and a network between them that holds back, reorders, repeats and loses frames.

    Ranks act in any order, at times of an artificial clock, and begin the next call when they have finished one.
    Links that are not ``bad`` keep the order of what goes from rank to rank, but hold it back.
    """

    def __init__(
        self,
        graph: Topology,
        ranks: int,
        protocol: str,
        d: int,
        seed: int,
        bad: bool = True,
        late: float = 1.0,
        coder: int = 0,
    ):
        locals_ = at_ranks(graph, ranks, protocol, seed)
        self.wirings, self.overlay = [local.wiring for local in locals_], locals_[0].overlay
        self.rng = np.random.default_rng(seed)
        self.bad, self.late = bad, late  # late: how much longer a tenth of the frames takes
        self.protocol, self.nodes, self.d = protocol, graph.nodes, d
        self.engines = [mailboxes(local, d, bad, coder) for local in locals_]
        self.loss, self.repeats = (float(p) for p in self.rng.choice([0.0, 0.05, 0.3], 2))
        self.now, self.number, self.air, self.last_due = 0.0, 0, [], {}
        self.calls = [-1] * ranks
        self.pace = self.rng.choice([0.1, 1.0], ranks)  # some ranks seldom act

    def run(self, values: np.ndarray, first_call: int = 1, watch=None) -> list[list[tuple[np.ndarray, np.ndarray]]]:
        """The results at every rank of every call; values: int64 (calls, nodes, d). watch: called after every turn."""
        results = [[] for _ in self.engines]
        for turn in range(1_000_000):
            rank = int(self.rng.integers(len(self.engines)))
            if self.rng.random() < self.pace[rank]:
                self._act(rank, values, first_call, results[rank])
            self._land()
            if watch is not None and turn % 3 == 0:
                watch(self)
            if self._over(len(values)):
                return results
        pytest.fail("no end")

    def _act(self, rank: int, values: np.ndarray, first_call: int, results: list) -> None:
        engine = self.engines[rank]
        if self.calls[rank] >= 0:
            self._advance(rank)
        if self.calls[rank] == len(values) or not engine.finished or self.rng.random() < 0.3:
            return
        if self.calls[rank] >= 0:
            results.append(engine.result)
        self.calls[rank] += 1
        if self.calls[rank] < len(values):
            first = self.wirings[rank].first
            own = np.ascontiguousarray(values[self.calls[rank], first : first + engine.hosted])
            engine.begin(first_call + self.calls[rank], own, self._budget(engine.hosted))

    def _budget(self, hosted: int) -> np.ndarray:
        """Of push-sum the same for all nodes."""
        return np.full(hosted, 9) if self.protocol == "integer-push-sum" else self.rng.integers(1, 40, hosted)

    def _advance(self, rank: int) -> None:
        engine, ranks = self.engines[rank], self.wirings[rank].ranks
        engine.advance(self.now)
        for b in range(0 if self.bad else 1, len(ranks) + 1):  # reliable ones read their own
            frames = engine.take(b).tobytes()
            to = rank if b == 0 else ranks[b - 1]
            for frame in split(engine, frames) if self.bad else [frames] if frames else []:
                self._launch(rank, to, frame)

    def _launch(self, rank: int, to: int, frame: bytes) -> None:
        if self.bad and self.rng.random() < self.loss:
            return
        for again in range(2 if self.bad and self.rng.random() < self.repeats else 1):
            # some come much later, repetitions even calls later
            longer = 10**again * (self.late if self.rng.random() < 0.1 else 1.0)
            due = self.now + 2e-3 * self.rng.pareto(1.2) * longer
            if not self.bad:
                due = self.last_due[rank, to] = max(due, self.last_due.get((rank, to), 0.0))
            self.number += 1
            heapq.heappush(self.air, (due, self.number, to, frame))

    def _land(self) -> None:
        self.now += self.rng.exponential(1e-3)
        while self.air and self.air[0][0] <= self.now:
            if self.calls[self.air[0][2]] < 0:  # a rank that has not begun yet does not read
                return
            _, _, to, frame = heapq.heappop(self.air)
            self.engines[to].receive(as_array(frame))

    def _over(self, calls: int) -> bool:
        """Whether everything has been done, heard and acknowledged."""
        return not self.air and all(c == calls for c in self.calls) and all(e.quiet for e in self.engines)

    @property
    def mass(self) -> tuple[list[int], int]:
        held = [engine.mass for engine in self.engines]
        return sum(y.astype(object) for y, _ in held).tolist(), sum(z for _, z in held)


def assert_right(results: list, values: np.ndarray) -> None:
    nodes = values.shape[1]
    for rank, calls in enumerate(results):
        assert len(calls) == len(values)
        for (low, high), own in zip(calls, values, strict=True):
            assert np.array_equal(low, own.sum(axis=0) // nodes), rank
            assert np.array_equal(high, -(-own.sum(axis=0) // nodes)), rank


def mass_of(protocol: str, nodes: int, overlay) -> tuple[int, int]:
    """The sum of all y for each 1 in the sum of integers, and that of all z; of a tree, the sum at every node."""
    if protocol == "integer-push-sum":
        return overlay.unit, int(overlay.start.sum())
    return (nodes, 0) if protocol in ("tree", "collect") else (2, 2 * nodes)


def assert_mass(adversary: Adversary, values: np.ndarray) -> None:
    """Of the last call, when nothing is on its way."""
    total, (y, z) = values[-1].sum(axis=0), adversary.mass
    unit, weights = mass_of(adversary.protocol, adversary.nodes, adversary.overlay)
    assert y == (unit * total).tolist()
    assert z == weights


def drawn_values(rng: np.random.Generator, calls: int, nodes: int, d: int) -> np.ndarray:
    """Some far apart, some close together, some all the same; in some calls nodes differ in how large theirs are."""
    width = rng.choice([1, 3, 100, 10**6, 2**40], (calls, nodes if rng.random() < 0.5 else 1, 1))
    return rng.integers(-width, width, (calls, nodes, d)) + rng.integers(-1000, 1000, (calls, 1, d))


GRAPHS = [
    ("path", 2, 2),
    ("path", 5, 5),
    ("ring", 6, 3),
    ("star", 7, 7),
    ("complete", 4, 4),
    ("directed-ring", 5, 5),
    ("directed-ring", 7, 3),
    ("random-digraph", 9, 4),
    ("grid", 6, 1),
]


class Pipe:
    """Mailboxes between two threads that play ranks."""

    quiet, bytes = True, 0

    def __init__(self):
        self.inbox, self.other = deque(), None

    def pass_on(self, nodes: Mailboxes) -> bool:
        moved = bool(nodes.filled(1) or self.inbox)
        if nodes.filled(1):
            self.other.inbox.append(nodes.take(1).copy())
        while self.inbox:
            nodes.receive(self.inbox.popleft())
        return moved

    def has_taken(self, nodes: Mailboxes) -> bool:
        return not nodes.filled(1)
