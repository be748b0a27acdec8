"""Coordination gives the oracle's integers whatever happens on the way: the engine, what travels, and jobs of ranks."""

import heapq
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import soak
from conftest import TIMEOUT, command, environment, mpiexec
from test_recovery import descendants

from mpiqopt._coordination import PROTOCOLS, Lockstep, Mailboxes, quantise
from mpiqopt.coordination.asynchronous import AsynchronousCoordination
from mpiqopt.coordination.coordinator import ABSOLUTE_ROOM, Coordinator
from mpiqopt.coordination.lockstep import LockstepCoordination, require_votes
from mpiqopt.coordination.wiring import Wiring, require_shares, wire
from mpiqopt.errors import NumericalError, UsageError
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.serial import SerialFrames, SerialTransport

PIECES, STAGE, EXTREMES, APART, PIECES_HEARD, STAGE_HEARD, PIECE = range(1, 8)
TILE, BLOCK, LANES, FEW = 1024, 256, 8, 2


def topology(name: str, nodes: int, **options) -> Topology:
    return Topology(name, tuple(find("topology", name)(nodes=nodes, **options).cycle()))


def wirings(graph: Topology, ranks: int, protocol: str = "tree") -> list[Wiring]:
    return [wire(graph, Placement(graph.nodes, ranks, rank), protocol) for rank in range(ranks)]


def split(engine: Mailboxes, frames: bytes) -> list[bytes]:
    ends = [end for end, _, _ in engine.cut(as_array(frames))]
    return [frames[first:end] for first, end in zip([0, *ends], ends, strict=False)]


def kind_of(frame: bytes) -> int:
    return frame[0] & 7  # of links with small numbers


def count_of(frame: bytes) -> int:
    """Of mailboxes: behind the link and the kind, and the call."""
    return struct.unpack_from("<I", frame, 5)[0]


def as_array(frames: bytes) -> np.ndarray:
    return np.frombuffer(frames, np.uint8)


class Adversary:
    """Mailboxes that play ranks, and a network between them that holds back, reorders, repeats and loses frames.

    Ranks act in any order, at times of an artificial clock, and begin the next call when they have finished one.
    Links that are not ``bad`` keep the order of what goes from rank to rank, but hold it back.
    """

    def __init__(
        self, graph: Topology, ranks: int, protocol: str, d: int, seed: int, bad: bool = True, late: float = 1.0
    ):
        self.wirings, self.rng = wirings(graph, ranks, protocol), np.random.default_rng(seed)
        self.bad, self.late = bad, late  # late: how much longer a tenth of the frames takes
        self.protocol, self.nodes, self.d = protocol, graph.nodes, d
        self.engines = [Mailboxes(wiring, protocol, d, seed, bad) for wiring in self.wirings]
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


def assert_mass(adversary: Adversary, values: np.ndarray) -> None:
    """Of the last call, when nothing is on its way."""
    total, (y, z) = values[-1].sum(axis=0), adversary.mass
    unit = {"ftqc": 2, "tree": adversary.nodes}.get(adversary.protocol, adversary.wirings[0].unit)
    weights = {"ftqc": 2 * adversary.nodes, "tree": 0}.get(adversary.protocol, adversary.wirings[0].total)
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


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("name", "nodes", "ranks"), GRAPHS)
def test_no_wrong_stop_whatever_the_network_does(name, nodes, ranks, protocol):
    """Frames late, out of order, twice or never; the next call begins at some ranks while others are in this one."""
    graph = topology(name, nodes)
    for seed in range(2):
        values = drawn_values(np.random.default_rng(seed), 4, nodes, 3)
        adversary = Adversary(graph, ranks, protocol, 3, seed)
        assert_right(adversary.run(values), values)
        assert_mass(adversary, values)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_wrong_stop_on_links_that_are_only_slow(protocol):
    for seed, (name, nodes, ranks) in enumerate(GRAPHS):
        values = drawn_values(np.random.default_rng(seed), 4, nodes, 2)
        adversary = Adversary(topology(name, nodes), ranks, protocol, 2, seed, bad=False)
        assert_right(adversary.run(values), values)
        assert_mass(adversary, values)


def test_numbers_of_calls_up_to_the_largest():
    values = drawn_values(np.random.default_rng(0), 3, 4, 1)
    assert_right(Adversary(topology("ring", 4), 4, "ftqc", 1, 0).run(values, first_call=2**32 - 3), values)


def test_vectors_of_several_tiles():
    for d in (TILE, 2 * TILE + 1):
        values = drawn_values(np.random.default_rng(d), 2, 3, d)
        assert_right(Adversary(topology("path", 3), 3, "ftqc", d, d).run(values), values)


def test_without_the_vote_nodes_stop_wrongly():
    """What is held looks settled while a piece that matters is on its way: a naive rule is often wrong, ours never."""
    wrong = []

    def naive(adversary: Adversary) -> None:
        """Stop when all nodes together, one a rank, say M - m <= 1."""
        held = [(int(y[0]), z) for y, z in (engine.mass for engine in adversary.engines)]
        if stop or set(adversary.calls) != {0}:
            return
        low, high = min(y // z for y, z in held), max(-(-y // z) for y, z in held)
        if high - low <= 1:
            stop.append(low)

    for seed in range(20):
        stop, values = [], np.zeros((1, 5, 1), np.int64)
        values[0, seed % 5] = 44
        adversary = Adversary(topology("star", 5), 5, "ftqc", 1, seed, bad=False, late=10)
        assert_right(adversary.run(values, watch=naive), values)
        wrong.append(stop != [44 // 5])
    assert sum(wrong) >= 3


@pytest.mark.parametrize("pace", [(1, 1, 1), (1, 0.02, 0.02), (0.02, 1, 0.02)])
def test_slow_ranks_do_not_call_votes_too_early(pace):
    """Between two votes a node takes a sixth more steps, however few of them others take."""
    first, values = 4 * 33, np.random.default_rng(0).integers(-9, 10, (1, 30, 2))
    for seed in range(3):
        adversary = Adversary(topology("path", 30), 3, "ftqc", 2, seed, bad=False)
        adversary.pace, adversary._budget = np.array(pace), lambda hosted: np.full(hosted, first)
        assert_right(adversary.run(values), values)
        votes = adversary.engines[0].votes
        assert votes > 3
        assert max(engine.steps.max() for engine in adversary.engines) >= first * (7 / 6) ** (votes - 1)


@pytest.mark.parametrize("protocol", ["ftqc", "integer-push-sum"])
def test_the_last_stage_of_a_vote_may_be_lost(protocol):
    """It is told again with the extremes of its vote, even by a node that is in the next vote already."""
    values = np.array([[0, 100, 7], [1000, -5, 9]])
    for lost_stage in range(1, 5 if protocol == "ftqc" else 3):  # push-sum of two nodes needs a single vote
        wires = wirings(topology("path", 2), 2, protocol)
        engines = [Mailboxes(wiring, protocol, 3, 0, True) for wiring in wires]
        for rank, engine in enumerate(engines):
            engine.begin(1, values[rank : rank + 1], np.ones(1, np.int64))  # far too few steps: the first vote fails
        lost = False
        for turn in range(3000):
            for rank, engine in enumerate(engines):
                engine.advance(1e-3 * turn)
                for frame in split(engine, engine.take(1).tobytes()):
                    stage = kind_of(frame) in (STAGE, EXTREMES, APART)
                    if rank == 0 and not lost and stage and count_of(frame) == lost_stage:
                        lost = True
                    else:
                        engines[1 - rank].receive(as_array(frame))
            if all(engine.finished for engine in engines):
                break
        assert lost
        assert [engine.finished for engine in engines] == [True, True], f"stage {lost_stage}"
        for engine in engines:
            assert np.array_equal(engine.result[0], values.sum(axis=0) // 2), f"stage {lost_stage}"


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


@pytest.mark.parametrize("first_call", [0, 1, 1000])
def test_a_rank_that_listens_before_its_first_call_loses_nothing(first_call):
    """In ``wait`` it hears the first pieces of neighbours that are ahead: at the start of a run, or of one resumed."""
    ends = Pipe(), Pipe()
    ends[0].other, ends[1].other = ends[1], ends[0]
    ranks = [
        AsynchronousCoordination(w, "ftqc", 0, end, True)
        for w, end in zip(wirings(topology("path", 2), 2), ends, strict=True)
    ]
    ahead = ThreadPoolExecutor(1).submit(ranks[0].agree, np.array([[10]]), first_call, 0)
    end = time.monotonic() + 0.05
    ranks[1].wait(lambda: time.monotonic() >= end, lambda: 0.0, 1)
    late = ThreadPoolExecutor(1).submit(ranks[1].agree, np.array([[20]]), first_call, 0)
    assert [int(done.result(20).low[0]) for done in (ahead, late)] == [15, 15]


def bytes_by_call(delay: float, rate: float, d: int, calls: int) -> list[int]:
    """Of two nodes that add up along a tree, over a link that brings every frame after ``delay`` s and size/rate."""
    ends = [Mailboxes(wiring, "tree", d, 0, True) for wiring in wirings(topology("path", 2), 2, "tree")]
    air, free, counts, now = [], [0.0, 0.0], [], 0.0
    for call in range(calls):
        for end in ends:
            end.begin(call, np.arange(d)[None], np.ones(1, np.int64))
        while not all(end.finished for end in ends) or air:
            now += 1e-4
            for k, end in enumerate(ends):
                end.advance(now)
                for frame in split(end, end.take(1).tobytes()):
                    free[k] = max(now, free[k]) + len(frame) / rate
                    air.append((free[k] + delay, 1 - k, frame))
            for _, k, frame in [flight for flight in air if flight[0] <= now]:
                ends[k].receive(as_array(frame))
            air = [flight for flight in air if flight[0] > now]
        counts.append(sum(int(end.bytes_sent.sum()) for end in ends))
    return np.diff(counts, prepend=0).tolist()


@pytest.mark.parametrize(("delay", "rate", "d"), [(0.03, 1e9, 3), (0.3, 1e9, 3), (0.0, 2e4, 3000)])
def test_what_is_late_on_every_link_is_soon_not_repeated(delay, rate, d):
    """At first a frame is sent again and again, until the time that it takes is known."""
    first, *_, last = bytes_by_call(delay, rate, d, 5)
    assert first > last == bytes_by_call(1e-4, 1e9, d, 1)[0]


def test_what_a_collected_engine_held_is_freed_once():
    """Also when it is found by the collector of cycles; in a process of its own, because a mistake ends that."""
    script = """
import gc
import numpy as np
from mpiqopt._coordination import Lockstep, Mailboxes
from test_coordination import topology, wirings

class Holder:
    pass

wiring = wirings(topology("ring", 100), 1)[0]
values = np.arange(500).reshape(100, 5)
for _ in range(3):
    one, two = Lockstep(wiring, "ftqc", 5, 0), Mailboxes(wiring, "ftqc", 5, 0, True)
    one.begin(0, values)
    one.step()
    two.begin(0, values, np.full(100, 9))
    two.advance(1.0)
    holder = Holder()
    holder.all = holder, one, two
    del holder, one, two
    gc.collect()
"""
    variables = {**environment(), "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_PERTURB_": "165"}
    result = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def number(value: int) -> bytes:
    """Groups of 7 bits, the lowest first."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)


def stream(codes: list[int], bits: int) -> bytes:
    return sum(code << bits * j for j, code in enumerate(codes)).to_bytes((bits * len(codes) + 7) // 8, "little")


def packed(values: list[int]) -> bytes:
    """The format, written down again: tiles with a width and folded values; of full blocks eight streams by words."""
    out = b""
    for at in range(0, len(values), TILE):
        tile = values[at : at + TILE]
        codes = [2 * v if v >= 0 else -2 * v - 1 for v in tile]
        bits = max(codes).bit_length()
        if len(tile) <= FEW:
            out += b"".join(map(number, codes))
            continue
        if bits > 32:
            out += b"\x40" + struct.pack(f"<{len(tile)}q", *tile)
            continue
        out += bytes([bits])
        full = len(tile) // BLOCK * BLOCK
        for block in range(0, full, BLOCK):
            lanes = [stream(codes[block + lane : block + BLOCK : LANES], bits) for lane in range(LANES)]
            out += b"".join(lane[4 * word : 4 * word + 4] for word in range(bits) for lane in lanes)
        out += stream(codes[full:], bits)
    return out


def of_width(rng: np.random.Generator, bits: int, size: int) -> list[int]:
    """Integers of which the largest needs so many bits when folded; both signs."""
    codes = [int(code) >> 64 - bits if bits else 0 for code in rng.integers(0, 1 << 64, size, np.uint64)]
    codes[int(rng.integers(size))] = (1 << bits) - 1 if rng.random() < 0.5 or not bits else 1 << bits - 1
    return [code // 2 if code % 2 == 0 else -(code + 1) // 2 for code in codes]


def one_hop(values: np.ndarray) -> tuple[bytes, Lockstep]:
    """The frame that brings a vector from node 1 to node 0, and the engine of node 0 that waits for it."""
    above, below = (Lockstep(w, "tree", len(values), 0) for w in wirings(topology("path", 2), 2))
    above.begin(0, np.zeros((1, len(values)), np.int64))
    below.begin(0, values[None])
    below.step()
    return below.take(1).tobytes(), above


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000, TILE, TILE + 1, 2 * TILE + 7])
def test_integers_of_all_widths_survive_packing(size):
    rng = np.random.default_rng(size)
    for bits in range(65):
        tiles = [of_width(rng, bits, min(TILE, size - at)) for at in range(0, size, TILE)]
        values = np.concatenate([np.array(tile, np.int64) for tile in tiles])
        frame, above = one_hop(values)
        assert frame == number(PIECE) + packed(values.tolist())
        above.receive(as_array(frame))
        y, z = above.mass
        assert np.array_equal(y, values)
        assert z == 2


def frame_of(payload: bytes, link=0, kind=PIECES, numbered=False, call=0, count=1) -> np.ndarray:
    return as_array(number(link << 3 | kind) + (struct.pack("<IIB", call, count, 0) if numbered else b"") + payload)


def engines_of(protocol: str, d: int = 3) -> list[Lockstep | Mailboxes]:
    """Both kinds, with call 0 begun, hosting half of a ring of 4 nodes: 3 links in and 3 out."""
    wiring = wirings(topology("ring", 4), 2, protocol)[0]
    values = np.zeros((2, d), np.int64)
    lockstep, mailboxes = Lockstep(wiring, protocol, d, 0), Mailboxes(wiring, protocol, d, 0, True)
    lockstep.begin(0, values)
    mailboxes.begin(0, values, np.ones(2, np.int64))
    return [lockstep, mailboxes]


ONE = number(1)
HEARD = {"kind": PIECES_HEARD}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("payload", "options"),
    [
        (ONE + packed([1, 2, 3])[:-1], {}),
        (ONE[:0], {}),
        (b"\x80" * 20, {}),
        (ONE, {}),
        (ONE + packed([1, 2, 3]) + b"\0", {}),
        (ONE + packed([2**40, 2, 3])[:-1], {}),
        (ONE + b"\x21" + bytes(99), {}),
        (ONE + b"\x3f" + bytes(99), {}),
        (ONE + b"\x41" + bytes(99), {}),
        (ONE + b"\xff" + bytes(99), {}),
        (ONE + packed([1, 2, 3]), {"link": 6}),
        (ONE + packed([1, 2, 3]), {"link": 2**29}),
        (ONE + packed([1, 2, 3]), {"link": 2**32 - 1}),
        (ONE + packed([1, 2, 3]), {"link": 2**60}),
        (b"", {"kind": 0}),
        (b"", {"kind": 7}),
        (b"\1", {"kind": EXTREMES}),
        (b"\x40" + bytes(8), {"kind": EXTREMES}),
        (b"\0", {"kind": EXTREMES}),
        (b"", {"kind": APART, "link": 6}),
        (b"", {"kind": PIECES_HEARD, "link": 6}),
        (b"", {"kind": STAGE_HEARD, "link": 6}),
    ],
    ids=range(22),
)
def test_a_malformed_frame_is_an_error(payload, options, protocol):
    for engine in engines_of(protocol):
        frame = frame_of(payload, numbered=isinstance(engine, Mailboxes), **options)
        with pytest.raises(ValueError, match="a frame is not what it says it is"):
            engine.receive(frame)


def test_a_frame_ends_within_its_header():
    for frame in (b"\x81", number(PIECES) + bytes(8), number(PIECES) + bytes(3)):
        with pytest.raises(ValueError, match="a frame is not what it says it is"):
            engines_of("ftqc")[1].receive(as_array(frame))


def test_pieces_of_a_wrong_call_are_an_error():
    with pytest.raises(ValueError, match="a frame is not what it says it is"):
        engines_of("ftqc")[1].receive(frame_of(ONE + packed([1, 2, 3]), numbered=True, call=5))


@pytest.mark.parametrize("kind", [STAGE, PIECES_HEARD, STAGE_HEARD])
def test_in_steps_nothing_is_acknowledged(kind):
    with pytest.raises(ValueError, match="a frame is not what it says it is"):
        engines_of("ftqc")[0].receive(frame_of(b"", kind=kind))


@pytest.mark.parametrize(
    ("protocol", "weights"), [("ftqc", [0, 8, 2**40]), ("tree", [4, 2**62]), ("integer-push-sum", [2**63])]
)
def test_a_piece_has_a_weight_that_can_be(protocol, weights):
    """Weights say how many pieces a node splits off: a wild one would be written out of bounds."""
    for weight in weights:
        lockstep, mailboxes = engines_of(protocol)
        mailboxes.advance(0.0)  # push-sum: a node takes its first step before it hears others
        for engine in (lockstep, mailboxes):
            frame = frame_of(number(weight) + packed([1, 2, 3]), numbered=engine is mailboxes)
            with pytest.raises(ValueError, match="a frame is not what it says it is"):
                engine.receive(frame)


def test_random_damage_does_not_crash():
    """An error, or wrong integers that nobody notices: there is no check sum, and MPI does not lose bytes."""
    rng = np.random.default_rng(0)
    for trial in range(1000):
        numbered = trial % 2 == 1
        frames = [frame_of(ONE + packed(of_width(rng, bits, 3)), numbered=numbered) for bits in (0, 3, 12, 30, 60)]
        frames.append(frame_of(packed([5, 6, 7]) + packed([1, 1, 0]), kind=EXTREMES, numbered=numbered))
        damaged = np.concatenate([frames[k] for k in rng.integers(len(frames), size=3)])
        damaged[rng.integers(damaged.size, size=2)] ^= np.uint8(1) << rng.integers(8, size=2, dtype=np.uint8)
        engine = engines_of(str(rng.choice(list(PROTOCOLS))))[trial % 2]
        try:
            engine.receive(damaged[: rng.integers(damaged.size + 1)].copy())
        except ValueError as error:
            assert "a frame is not what it says it is" in str(error)  # noqa: PT017


def test_wrong_arguments_are_refused():
    lockstep, mailboxes = engines_of("ftqc")
    for engine in (lockstep, mailboxes):
        with pytest.raises(IndexError):
            engine.take(2)
        with pytest.raises(IndexError):
            engine.filled(-1)
        with pytest.raises(TypeError):
            engine.receive(np.zeros(4, np.int8))
    with pytest.raises(ValueError, match="want 6 values, got 3"):
        lockstep.begin(0, np.zeros((1, 3), np.int64))
    with pytest.raises(TypeError):
        mailboxes.begin(0, np.zeros((2, 3)), np.ones(2, np.int64))
    with pytest.raises(ValueError, match="budget: want 2 values, got 1"):
        mailboxes.begin(0, np.zeros((2, 3), np.int64), np.ones(1, np.int64))
    with pytest.raises(KeyError):
        Lockstep(wirings(topology("ring", 4), 1)[0], "gossip", 3, 0)
    with pytest.raises(ValueError, match="boxes"):
        Mailboxes(wirings(topology("ring", 4), 2)[0]._replace(ranks=()), "ftqc", 3, 0)


class Limited(LockstepCoordination):
    """Gives up after some votes: between them there are more and more steps."""

    votes = 0

    def _vote(self, nodes: Lockstep) -> bool:
        self.votes += 1
        assert self.votes < 25, "no end"
        return super()._vote(nodes)


def in_steps(name: str, graph: Topology, rounding: str = "floor") -> Coordinator:
    wiring = wire(graph, Placement(graph.nodes), name)
    return Coordinator(name, Limited(wiring, name, 0, SerialFrames()), graph.nodes, 0, rounding)


def agreed(coordinator: Coordinator, values: np.ndarray) -> np.ndarray:
    """floor(S/n) of integers (nodes, d)."""
    return coordinator.coordination.agree(values, 0, 0).low


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize(("graph", "nodes"), [("ring", 2), ("complete", 3), ("ring", 8), ("star", 6), ("path", 7)])
def test_integers_as_large_as_they_may_be(name, graph, nodes):
    """Up to the room that is checked, the result is exact."""
    rng, network = np.random.default_rng(nodes), topology(graph, nodes)
    top = int(in_steps(name, network)._room)
    corners = [np.full((nodes, 1), top), np.full((nodes, 1), -top), top * (-1) ** np.arange(nodes)[:, None]]
    corners += [top - rng.integers(0, 1 << 20, (nodes, 4)), rng.integers(-top, top, (nodes, 4))]
    for values in corners:
        exact = values.astype(object).sum(axis=0) // nodes
        assert agreed(in_steps(name, network), np.ascontiguousarray(values)).tolist() == exact.tolist()


def in_steps_by_hand(wires: list[Wiring], protocol: str, values: np.ndarray) -> list[Lockstep]:
    """Ranks that have taken enough steps to agree, and a vote."""
    engines = [Lockstep(wiring, protocol, values.shape[1], 0) for wiring in wires]
    for wiring, engine in zip(wires, engines, strict=True):
        engine.begin(1, values[wiring.first : wiring.first + engine.hosted])
    actions = ["step"] * 400 + ["look_around"] + ["flood"] * wires[0].diameter
    for action in actions:
        frames = []
        for engine, wiring in zip(engines, wires, strict=True):
            getattr(engine, action)()
            frames += [(rank, engine.take(b).copy()) for b, rank in enumerate(wiring.ranks, 1)]
            engine.deliver()
        for rank, sent in frames:
            engines[rank].receive(sent)
    return engines


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["ftqc", "integer-push-sum"])
@pytest.mark.parametrize(("graph", "nodes"), [("ring", 2), ("complete", 5), ("star", 6), ("directed-ring", 5)])
def test_int32_give_way_to_int64(graph, nodes, protocol):
    """Whether a rank holds int32 or int64 is seen by nobody: not in what nodes find, and not in what they send."""
    rng, network, kinds = np.random.default_rng(nodes), topology(graph, nodes), set()
    for size in (2.0 ** np.arange(8, 40, 0.25)).astype(np.int64):
        values = np.zeros((nodes, 4), np.int64)
        values[:, 0], values[:, 1], values[0, 2] = size, -size, 99 * size
        values[:, 3] = rng.integers(-size, size, nodes)
        together, alone = (in_steps_by_hand(wirings(network, n, protocol), protocol, values) for n in (1, nodes))
        assert sum(e.bytes_sent.sum() for e in alone) == together[0].bytes_sent.sum()
        for engine in together + alone:
            assert engine.agreed
            assert engine.result[0].tolist() == (values.sum(axis=0) // nodes).tolist()
        kinds.add(tuple(sorted({engine.narrow for engine in alone})))
    assert kinds == {(True,), (False,), (False, True)}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_does_not_fit_is_refused(name):
    nodes = 4
    coordinator, none = in_steps(name, topology("ring", nodes)), np.zeros((nodes, 0), np.int64)
    room = coordinator._room

    def coordinate(value: float, centre: float = 0.0, step: float = 1.0):
        rows = np.zeros((nodes, 2))
        rows[2, 1] = value
        return coordinator.coordinate(rows, np.array([0.0, centre]), step, 0, 0, none).vector

    assert coordinate(room).tolist() == [0.0, room / nodes]
    assert coordinate(-room).tolist() == [0.0, -room / nodes]
    for value in (2 * room, -2 * room, 1e300, max(room + 1, np.nextafter(room, np.inf))):
        with pytest.raises(
            NumericalError, match=rf"{name}: round 1: node 2 has values of up to .* a step of .* can be used"
        ):
            coordinate(value)
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(
            NumericalError,
            match=r"node 2 has values of up to .*; if values grow from round to round the method diverges",
        ):
            coordinate(value)
    with pytest.raises(NumericalError, match="too large for integers"):
        coordinate(1.0, step=1e-300)
    for centre in (4 * ABSOLUTE_ROOM, np.nan, np.inf):  # what is small may be far from the centre
        with pytest.raises(NumericalError, match="node 0 has values of up to 0, too large for integers"):
            coordinate(0.0, centre=centre)


def test_the_step_that_is_proposed_can_be_used():
    for name in PROTOCOLS:
        rows, none = np.array([[3.0], [-1e12], [7.0]]), np.zeros((3, 0), np.int64)
        coordinator = in_steps(name, topology("complete", 3))
        with pytest.raises(NumericalError) as error:
            coordinator.coordinate(rows, np.zeros(1), 1e-9, 0, 0, none)
        step = float(re.search(r"a step of (\S+) can be used", str(error.value))[1]) * 1.01  # it is rounded
        coordinator.coordinate(rows, np.zeros(1), step, 0, 0, none)


@pytest.mark.parametrize(
    ("name", "nodes", "options"),
    [
        ("complete", 60, {}),
        ("star", 80, {}),
        ("ring", 50, {}),
        ("random-regular", 80, {"degree": 24}),
        ("directed-ring", 9, {}),
        ("random-digraph", 30, {}),
    ],
)
def test_push_sum_settles_and_stays_settled(name, nodes, options):
    """Roundings, also those that momentum hands on, do not come to half a unit of the sum at any node."""
    wiring = wire(topology(name, nodes, **options), Placement(nodes), "integer-push-sum")
    values = np.rint(1000 * np.random.default_rng(0).standard_normal((nodes, 100))).astype(np.int64)
    lockstep, agreed_at = Lockstep(wiring, "integer-push-sum", 100, 0), None
    lockstep.begin(0, values)
    for step in range(1, 600):
        lockstep.step()
        lockstep.deliver()
        lockstep.look_around()
        for _ in range(wiring.diameter):
            lockstep.flood()
            lockstep.deliver()
        if agreed_at is None and lockstep.agreed:
            agreed_at = step
        if agreed_at is not None:
            assert lockstep.agreed, (agreed_at, step)
            assert np.array_equal(lockstep.result[0], values.sum(axis=0) // nodes)
            if step > 2 * agreed_at + 20:
                return
    pytest.fail("did not settle")


def test_push_sum_is_refused_where_a_node_hardly_gets_a_share(tmp_path):
    """Arcs from every node to the next and back to the first: the share of the last is 2^-50."""
    (tmp_path / "back.edges").write_text("".join(f"{i} {i + 1}\n{i + 1} 0\n" for i in range(50)))
    graph = find("topology", "file")(path=str(tmp_path / "back.edges"), directed=True)
    with pytest.raises(UsageError, match="'integer-push-sum': a node of 'file' would hardly get a share"):
        require_shares(Topology("file", tuple(graph.cycle())))


def test_coordination_that_does_not_end_is_an_error():
    with pytest.raises(NumericalError, match="ftqc: no agreement after 60 votes"):
        require_votes("ftqc", 61)
    require_votes("ftqc", 60)


def test_negative_integers_are_floored():
    """All pairs and some triples of small integers, and those about where division changes from doubles to integers."""
    pairs = np.stack(np.meshgrid(np.arange(-6, 7), np.arange(-6, 7)), axis=0).reshape(2, -1)
    for name in PROTOCOLS:
        assert np.array_equal(agreed(in_steps(name, topology("ring", 2)), pairs), pairs.sum(axis=0) // 2)
    rng = np.random.default_rng(0)
    for nodes in (3, 5, 7):
        for size in (10, 2**48, 2**49, 2**50, 2**51, 2**53, 2**57):
            for sign in (-1, 1):
                values = sign * size + rng.integers(-5, 6, (nodes, 40))
                got = agreed(in_steps("ftqc", topology("complete", nodes)), values)
                assert np.array_equal(got, values.sum(axis=0) // nodes), (nodes, size)


def quantised(rows, step, nearest, centre):
    out = np.full((len(rows), rows.shape[1] + 1), -7)
    return out, quantise(rows, step, nearest, centre, out)


@pytest.mark.parametrize("nearest", [False, True])
def test_quantise_is_numpy_floor_and_rint(nearest):
    rng = np.random.default_rng(0)
    for step in (1.0, 0.1, 1e-9, 3e5, 2.0**-40):
        rows = step * np.concatenate(
            [rng.standard_normal((3, 50)) * 1e3, rng.integers(-9, 10, (3, 50)) / 2, rng.standard_normal((3, 50)) * 1e15]
        )
        rows[0, :3] = 0.0, -0.0, 5e-324
        centre = np.floor(rng.standard_normal(50) * 100)
        exact = (np.rint if nearest else np.floor)(rows / step)
        out, (largest, farthest) = quantised(rows, step, nearest, centre)
        assert np.array_equal(out[:, :-1], exact.astype(np.int64) - centre.astype(np.int64))
        assert np.all(out[:, -1] == -7)
        assert np.array_equal(largest, np.abs(exact).max(axis=1))
        assert np.array_equal(farthest, np.abs(exact - centre).max(axis=1))


@pytest.mark.parametrize("nearest", [False, True])
def test_quantise_says_what_does_not_fit(nearest):
    rows = np.zeros((5, 3))
    rows[1, 2], rows[2, 1], rows[3, 0], rows[4, 1] = np.nan, np.inf, -np.inf, -1e308
    out, (largest, farthest) = quantised(rows, 1e-3, nearest, np.zeros(3))
    assert not np.any(largest[1:] < 2.0**62)
    assert not np.any(farthest[1:] < 2.0**62)
    assert largest[0] == farthest[0] == 0
    assert np.all(out[0, :3] == 0)
    # 1e308 / 1e-3 is infinite; a large one that is not, and a centre that is far away
    assert quantised(np.full((1, 1), 1e300), 1.0, nearest, np.zeros(1))[1].tolist() == [[1e300], [1e300]]
    assert quantised(np.ones((1, 1)), 1.0, nearest, np.full(1, 1e30))[1][1, 0] == 1e30
    with pytest.raises(ValueError, match="at least 3 columns"):
        quantise(rows, 1.0, nearest, np.zeros(3), np.empty((5, 2), np.int64))
    with pytest.raises(TypeError, match="float64"):
        quantise(np.zeros((5, 3), np.float32), 1.0, nearest, np.zeros(3), np.empty((5, 3), np.int64))


PLACED = [
    ("ring", 2),
    ("ring", 9),
    ("path", 8),
    ("star", 12),
    ("grid", 12),
    ("complete", 6),
    ("erdos-renyi", 20),
    ("directed-ring", 7),
    ("random-digraph", 15),
    ("one-peer-exponential", 11),
]


@pytest.mark.parametrize(("name", "nodes"), PLACED)
def test_ranks_agree_on_the_numbers_of_links(name, nodes):
    graph = topology(name, nodes)
    for ranks in range(1, nodes + 1):
        wires = wirings(graph, ranks)
        links = []
        for rank, w in enumerate(wires):
            assert w.in_starts[0] == w.out_starts[0] == 0
            for e, (sender, receiver) in enumerate(w.out_links.tolist()):
                assert w.out_starts[sender - w.first] <= e < w.out_starts[sender - w.first + 1]
                there = rank if w.out_box[e] == 0 else w.ranks[w.out_box[e] - 1]
                other, number = wires[there], w.out_there[e]
                assert other.in_links[number].tolist() == [sender, receiver]
                assert other.in_there[number] == e
                assert rank == (there if other.in_box[number] == 0 else other.ranks[other.in_box[number] - 1])
                links.append((sender, receiver))
            for e, (_, receiver) in enumerate(w.in_links.tolist()):
                assert w.receiver[e] == receiver - w.first
                assert w.in_starts[w.receiver[e]] <= e < w.in_starts[w.receiver[e] + 1]
        assert sorted(links) == [tuple(arc) for arc in graph.arcs().tolist()]
        assert sum(len(w.in_links) for w in wires) == len(links)


@pytest.mark.parametrize(("name", "nodes"), PLACED)
def test_trees_span_the_network(name, nodes):
    """From every node a path up to node 0, and from there one down to every node; whatever the placement."""
    graph = topology(name, nodes)
    for ranks in range(1, nodes + 1):
        up, down, children = {}, [], []
        for w in wirings(graph, ranks):
            up |= {w.first + i: w.out_links[e, 1] for i, e in enumerate(w.up.tolist()) if e >= 0}
            assert all(w.out_links[e, 0] == w.first + i for i, e in enumerate(w.up.tolist()) if e >= 0)
            down += [tuple(link) for link, chosen in zip(w.out_links.tolist(), w.down, strict=True) if chosen]
            children += w.children.tolist()
        assert sorted(up) == list(range(1, nodes))
        assert children == [list(up.values()).count(i) for i in range(nodes)]
        assert sorted(receiver for _, receiver in down) == list(range(1, nodes))
        depth = {0: 0}
        for _ in range(nodes):
            depth |= {receiver: depth[sender] + 1 for sender, receiver in down if sender in depth}
        assert len(depth) == nodes
        climbs = [height(i, up) for i in range(nodes)]
        assert {w.height for w in wirings(graph, ranks)} == {max(depth.values()) + max(climbs)}


def height(node: int, up: dict[int, int]) -> int:
    steps = 0
    while node:
        node, steps = up[node], steps + 1
        assert steps <= len(up)
    return steps


@pytest.mark.parametrize(("emulate", "calls"), [(False, 400), (True, 20)])
def test_random_calls_in_one_process(emulate, calls):
    options = soak.parsed(["--calls", str(calls), "--seed", "5", *(["--emulate"] if emulate else [])])
    tally = soak.soak(options, SerialTransport())
    assert tally.calls >= calls
    assert (tally.wrong, tally.lost) == (0, 0)
    assert tally.weighed > 0


def under_mpiexec(ranks: int, *arguments: str) -> subprocess.CompletedProcess:
    script = [sys.executable, str(Path(soak.__file__)), *arguments]
    start = [mpiexec(), "-n", str(ranks), *script]
    return subprocess.run(start, env=environment(), capture_output=True, text=True, timeout=TIMEOUT)


def complaints(stderr: str) -> list[str]:
    """Without what Open MPI 5 says of every window on machines without InfiniBand."""
    return [line for line in stderr.splitlines() if line.strip() and "OSC UCX component priority" not in line]


@pytest.mark.mpi
@pytest.mark.parametrize("transport", ["window", "two-sided"])
@pytest.mark.parametrize(
    ("ranks", "calls", "extra"),
    [(2, 60, []), (2, 15, ["--emulate"]), (3, 15, []), pytest.param(8, 4, [], marks=pytest.mark.slow)],
)
def test_random_calls_on_ranks(ranks, calls, extra, transport):
    """All right, no mass lost, status 0, and nothing on stderr: no request, window or message is left over."""
    result = under_mpiexec(ranks, "--calls", str(calls), "--seed", "3", "--transport", transport, *extra)
    assert result.returncode == 0, result.stderr
    assert "wrong results 0, lost mass 0" in result.stdout
    assert complaints(result.stderr) == []


ENDLESS = ("--set", "algorithm.execution=asynchronous", "--set", "run.iterations=1000000000")


@pytest.mark.mpi
@pytest.mark.parametrize("transport", ["window", "two-sided"])
def test_a_run_by_mailboxes_ends_in_order(transport, mpiqopt, tmp_path):
    config = Path(__file__).parents[1] / "configs" / "ftqc.toml"
    asynchronous = ("--set", "algorithm.execution=asynchronous", "--set", "run.iterations=20")
    result = mpiqopt("run", config, "-q", "-o", "a.h5", *asynchronous, "--set", f"run.transport={transport}", ranks=2)
    assert result.returncode == 0
    assert not re.search("pending|leak|request|warning|error", " ".join(complaints(result.stderr)), re.IGNORECASE)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["status"] == "finished"


@pytest.mark.mpi
@pytest.mark.parametrize(("transport", "victim"), [("window", 0), ("two-sided", 2)])
def test_kill_9_of_one_rank_ends_a_run_by_mailboxes(transport, victim, tmp_path):
    """Within seconds, although the others only look into their mailboxes; and the file opens."""
    config = Path(__file__).parents[1] / "configs" / "ftqc.toml"
    started = command("run", str(config), "-q", "-o", "a.h5", *ENDLESS, "--set", f"run.transport={transport}", ranks=3)
    job = subprocess.Popen(started, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    try:
        wait_for_records(tmp_path / "a.h5", job)
        ranks = [pid for pid in descendants(job.pid) if is_rank(pid)]
        assert len(ranks) == 3
        os.kill(sorted(ranks)[victim], signal.SIGKILL)
        begun = time.monotonic()
        assert job.wait(TIMEOUT) not in (0, 2, 75)
        assert time.monotonic() - begun < 10
        assert not any(is_rank(pid) for pid in ranks)
    finally:
        job.terminate()
        job.wait(TIMEOUT)
    with h5py.File(tmp_path / "a.h5") as file:
        assert len(file["iteration"]) > 0


def is_rank(pid: int) -> bool:
    """Whether this process is (still) a rank of a run."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"mpiqopt" in words and not any(b"mpiexec" in word or b"prte" in word for word in words)


def wait_for_records(path: Path, job: subprocess.Popen) -> None:
    end = time.monotonic() + TIMEOUT
    while True:
        assert job.poll() is None, "the run ended"
        assert time.monotonic() < end
        time.sleep(0.1)
        if path.exists():
            with h5py.File(path) as file:
                if file["iteration"][-1] > 20:
                    return
