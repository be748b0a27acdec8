"""Cases of the soak test, drawn from a seed, and the oracle of what coordination has to give."""

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mpiqopt.coordination.coordinator import ABSOLUTE_HEADROOM
from mpiqopt.emulation.settings import Emulate
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology

# by coordinator: how often it is drawn
COORDINATORS = {"ftqc": 0.4, "integer-push-sum": 0.24, "tree": 0.14, "collect": 0.14, "allreduce": 0.08}
GRAPHS = ("ring", "path", "star", "grid", "erdos-renyi", "directed-ring", "random-digraph")
# those whose diameter grows like the number of nodes: steps like its square
LONG = ("ring", "path", "directed-ring")
# less than a tile of packing, a tile, one value more
SIZES = (1, 7, 1024, 1025)
DATA = {"near": 0.35, "wide": 0.2, "ties": 0.15, "one": 0.1, "huge": 0.12, "offset": 0.08}
# what an oracle may use without leaving int64
SMALL = 2.0**56


@dataclass
class Tally:
    """What was done and what was wrong."""

    cases: int = 0
    calls: int = 0
    wrong: int = 0
    weighed: int = 0  # how often mass was looked at
    lost: int = 0
    seconds: float = 0.0
    by: Counter = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        for name in ("cases", "calls", "wrong", "weighed", "lost", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.by.update(other.by)

    @property
    def bad(self) -> bool:
        return self.wrong > 0 or self.lost > 0


@dataclass(frozen=True)
class Drawn:
    """What cases of the soak test share: where they come from, the network and its links, and how long vectors are."""

    seed: int
    number: int
    graph: str
    nodes: int
    graph_seed: int
    d: int
    emulate: Emulate

    @cached_property
    def topology(self) -> Topology:
        return connected(self.graph, self.nodes, self.graph_seed)

    def __str__(self) -> str:
        parts = {name: value for name, value in vars(self).items() if name not in ("topology", "emulate")}
        parts["emulate"] = {k: v for k, v in vars(self.emulate).items() if v != getattr(Emulate(), k)}
        return "case " + ", ".join(f"{name}={value!r}" for name, value in parts.items())


@dataclass(frozen=True)
class Case(Drawn):
    """A network, a coordinator and some calls one after the other. Drawn by ``draw``, the same on all ranks."""

    coordinator: str
    mailboxes: bool
    rounding: str
    data: str
    scale: float
    step: float
    extras: int
    calls: int
    first_call: int
    follows: bool  # integers travel less the last result
    pauses: float  # probability of one before a call, at each rank
    pause_at_end: float  # probability of a settlement after a call

    @property
    def how(self) -> str:
        if self.coordinator == "allreduce":
            return "collective"
        return "mailboxes" if self.mailboxes else "lock-step"


def connected(graph: str, nodes: int, seed: int) -> Topology:
    """The first of the random graphs with seeds from ``seed`` on that is connected."""
    while True:
        topology = Topology(graph, tuple(find_member("topology", graph)(nodes=nodes, seed=seed).cycle()))
        if topology.strongly_connected:
            return topology
        seed += 1


def draw(seed: int, number: int, ranks: int, emulated: bool) -> Case:
    """Case ``number`` of those with this seed; of no fewer nodes than ranks."""
    rng = np.random.default_rng([seed, number, int(emulated)])
    graph = str(rng.choice(GRAPHS))
    coordinator = str(rng.choice(list(COORDINATORS), p=list(COORDINATORS.values())))
    mailboxes = bool(rng.random() < (0.95 if emulated else 0.9 if ranks > 2 else 0.8))
    crowded = ranks > 2 and not mailboxes  # every step of all ranks together costs milliseconds
    most = _most(rng, graph in LONG, emulated or crowded) // (2 if crowded else 1)
    nodes = drawn_nodes(rng, max(2, ranks), most)
    data = str(rng.choice(list(DATA), p=list(DATA.values())))
    scale = 10.0 ** rng.uniform(-3, 3)
    step = scale * 10.0 ** rng.uniform(-6, 0)
    if data in ("huge", "offset"):  # values are integers times a power of two: no rounding
        step = float(2.0 ** rng.integers(-30, 31))
    case = Case(
        seed=seed,
        number=number,
        graph=graph,
        nodes=nodes,
        graph_seed=int(rng.integers(1 << 30)),
        d=int(rng.choice(SIZES)) if rng.random() < 0.2 else int(1000.0 ** rng.random()),
        coordinator=coordinator,
        mailboxes=mailboxes,
        rounding=str(rng.choice(["floor", "nearest"])),
        data=data,
        scale=scale,
        step=step,
        extras=int(rng.integers(3)),
        calls=int(rng.integers(2, 5 if crowded else 12)),
        first_call=int(rng.choice([0, 1, 1000])),
        follows=bool(rng.random() < 0.7),
        pauses=float(rng.choice([0.0, 0.3, 0.8])),
        pause_at_end=float(rng.choice([0.0, 0.2])),
        emulate=drawn_links(rng, mailboxes) if emulated else Emulate(),
    )
    return _with_chosen_links(case, rng) if emulated and rng.random() < 0.25 else case


def _most(rng: np.random.Generator, long: bool, slow: bool) -> int:
    """Nodes at most: steps grow like their number, or its square where the diameter does."""
    if slow:
        return 10 if long else 20
    return 24 if long and rng.random() < 0.98 else 50


def drawn_nodes(rng: np.random.Generator, least: int, most: int) -> int:
    """Log-uniform."""
    most = max(least, most)
    return min(most, int(least * ((most + 1) / least) ** rng.random()))


def drawn_links(rng: np.random.Generator, mailboxes: bool) -> Emulate:
    """Bad links: to steps that all take together they only bring delays, which add up."""
    delay = 1e-3 * 0.05 ** rng.random() if mailboxes else 5e-5
    return Emulate(
        delay=delay,
        delay_distribution=str(rng.choice(["fixed", "exponential", "pareto"])),
        loss=float(rng.choice([0.0, rng.uniform(0.0, 0.1), rng.uniform(0.1, 0.3)])) if mailboxes else 0.0,
        bandwidth=10.0 ** rng.uniform(6.5, 8) if rng.random() < 0.3 else None,
    )


def _with_chosen_links(case: Case, rng: np.random.Generator) -> Case:
    """Only some of the links are bad."""
    arcs = case.topology.arcs()
    chosen = arcs[rng.random(len(arcs)) < 0.5]
    return replace(case, emulate=replace(case.emulate, links=[tuple(link) for link in chosen.tolist()]))


def rows_of(case: Case, call: int, room: float) -> np.ndarray:
    """The vectors of all nodes, float64 (nodes, d), in a call; room: how large integers may be, less the centre."""
    shape = case.nodes, case.d
    rng = np.random.default_rng([case.seed, case.number, 1, call])
    base = np.random.default_rng([case.seed, case.number, 2]).standard_normal(case.d)
    if case.data == "near":
        base = base + 0.1 * call * (rng.random() < 0.5) * rng.standard_normal(case.d)
        return case.scale * (base + 10.0 ** rng.uniform(-6, 0) * rng.standard_normal(shape))
    if case.data == "wide":
        return case.scale * rng.standard_normal(shape)
    if case.data == "ties":  # values on the grid or half-way, where floor and round are at their limits
        return case.step * (rng.integers(-9, 10, shape) / 2 + rng.integers(-2, 3) * (rng.random() < 0.5))
    if case.data == "one":  # a single node has all of it, at its rank often as int64, and as int32 at others
        rows, size = np.zeros(shape), min(case.scale * 10.0 ** rng.uniform(0, 4), case.step * room / 100)
        rows[rng.integers(case.nodes)] = size * rng.standard_normal(case.d)
        return rows
    return case.step * _large(case, rng, room)


def _large(case: Case, rng: np.random.Generator, room: float) -> np.ndarray:
    """Integers as large as they may be, as float64."""
    top = np.floor(room if not case.follows else 0.49 * room)
    shape = case.nodes, case.d
    if case.data == "offset":  # large, but close to each other: what travels is small
        return np.floor(
            0.4 * ABSOLUTE_HEADROOM + rng.uniform(-1, 1, shape) * min(2.0 ** rng.uniform(8, 40), 0.2 * room)
        )
    large = np.floor(top * rng.uniform(-1, 1, shape))
    if rng.random() < 0.3:  # all of one sign, so that the sum is large as well
        large = np.abs(large)
    corners = rng.random(shape)
    large[corners < 0.05], large[corners > 0.95] = top, -top
    return large


class Expected(NamedTuple):
    """low, high: floor and ceiling of the mean of the integers less the centre, int64 (d,); vector: what comes out."""

    low: np.ndarray
    high: np.ndarray
    vector: np.ndarray
    total: np.ndarray


def oracle(rows: np.ndarray, previous: np.ndarray, step: float, rounding: str) -> Expected:
    """What every node has to get. total: the exact sum of the integers less the centre, modulo 2^64 (uint64)."""
    ratio = rows / step
    integers = np.rint(ratio) if rounding == "nearest" else np.floor(ratio)
    centre = np.floor(previous / step)
    largest = max(np.abs(integers).max(initial=0), np.abs(centre).max(initial=0))
    kind = np.int64 if largest * 2 * len(rows) < SMALL else object
    exact = [array.astype(np.int64).astype(kind) for array in (integers, centre)]
    total = (exact[0] - exact[1]).sum(axis=0)
    low, high = total // len(rows), -(-total // len(rows))
    low, high = low.astype(np.int64), high.astype(np.int64)
    # as the coordinator does it: beyond 2^53 there are roundings, which have to be the same at all nodes
    vector = low + centre + (0.5 * (high - low) if rounding == "nearest" else 0.0)
    return Expected(low, high, vector * step, wrapped(total))


def wrapped(integers: np.ndarray) -> np.ndarray:
    """Modulo 2^64."""
    if integers.dtype != object:
        return integers.astype(np.uint64)
    return np.array([int(v) % (1 << 64) for v in integers.tolist()], np.uint64)
