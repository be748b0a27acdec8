"""Cases of the soak test in which calls wait for a quorum of nodes: some are late or silent, and nothing is lost."""

import hashlib
import time
from dataclasses import dataclass, replace

import networkx
import numpy as np

from mpiqopt.coordination.coordinator import Coordinator
from mpiqopt.coordination.innovations import Innovations, no_innovations
from mpiqopt.coordination.ledger import Quorum
from mpiqopt.coordination.protocol import CODERS
from mpiqopt.emulation.settings import Emulate
from mpiqopt.network.network import Network
from mpiqopt.placement.placement import Placement
from mpiqopt.topologies.topology import Topology
from tools.soak_cases import GRAPHS, LONG, Drawn, Tally, drawn_links, drawn_nodes

# Delta of a call is 2^-(call mod so many)
STEPS = 7


@dataclass(frozen=True)
class QuorumCase(Drawn):
    """A network and calls of ``collect`` with a quorum. Drawn by ``draw_quorum``, the same on all ranks."""

    quorum: Quorum
    coder: str
    calls: int
    moving: bool  # vectors change from call to call
    pauses: float  # probability of one before a call, at each rank

    def rows(self, call: int) -> np.ndarray:
        """The vectors of all nodes, float64 (nodes, d)."""
        target = np.random.default_rng([self.seed, self.number, 1]).standard_normal((self.nodes, self.d))
        if self.moving:
            target *= np.cos(0.1 * call)
        return 100 * target


def draw_quorum(seed: int, number: int, ranks: int, emulated: bool) -> QuorumCase:
    """Case ``number`` of those with this seed; of no fewer nodes than ranks."""
    rng = np.random.default_rng([seed, number, int(emulated), 6])
    graph = str(rng.choice(GRAPHS))
    nodes = drawn_nodes(rng, max(3, ranks), 10 if graph in LONG else 20)
    patience = float(rng.choice([0.1, 0.3]))
    links = drawn_links(rng, True) if emulated else Emulate()
    case = QuorumCase(
        seed=seed,
        number=number,
        graph=graph,
        nodes=nodes,
        graph_seed=int(rng.integers(1 << 30)),
        d=int(500.0 ** rng.random()),
        quorum=Quorum(float(rng.uniform(0.51, 1.0)), int(rng.choice([1, 3, 10, 100])), patience),
        coder=str(rng.choice(CODERS)),
        calls=int(rng.integers(20, 150)),
        moving=bool(rng.random() < 0.5),
        pauses=float(rng.choice([0.0, 0.05, 0.2])),
        emulate=links,
    )
    if rng.random() < 0.3:
        return case
    return replace(case, emulate=replace(links, silent=drawn_silences(rng, case.topology, patience)))


def drawn_silences(rng: np.random.Generator, topology: Topology, patience: float) -> list[list[float]]:
    """Up to three nodes, the first author often, one after the other, and none whose silence cuts others off.

    What they know of the last result is then known to others who can be reached: that is what is guaranteed.
    """
    chosen, silences = rng.permutation(topology.nodes).tolist(), []
    if rng.random() < 0.5:
        chosen = [0, *(node for node in chosen if node)]
    chosen = [node for node in chosen if connected_without(topology, node)][: rng.integers(1, 4)]
    begin = rng.uniform(0, 0.1)
    for node in chosen:
        seconds = rng.uniform(0.5, 4) * patience
        silences.append([float(node), float(begin), float(seconds)])
        begin += seconds + rng.uniform(1, 3) * patience
    return silences


def connected_without(topology: Topology, node: int) -> bool:
    """True if the other nodes still reach each other."""
    graph = networkx.DiGraph(topology.arcs().tolist())
    graph.remove_node(node)
    return networkx.is_strongly_connected(graph)


class QuorumTrial:
    """One case on the ranks of a transport; see ``soak.Trial``."""

    def __init__(self, case: QuorumCase, transport, kind: str, watchdog):
        self.case, self.transport, self.watchdog, self.tally = case, transport, watchdog, Tally(cases=1)
        self.place = Placement(case.nodes, transport.size, transport.rank)
        transport.connect = lambda plans: None  # as in ``soak.Trial``
        self.network = Network(
            case.topology, self.place, transport, seed=case.seed, mail_transport=kind, emulate=case.emulate
        )
        self.coordinator: Coordinator = self.network.coordination.coordinator(
            "collect", "nearest", True, case.coder, case.quorum
        )
        self._own = np.random.default_rng([case.seed, case.number, 3, transport.rank])

    def run(self) -> Tally:
        """Collective."""
        case, began, heard = self.case, time.perf_counter(), hashlib.sha256()
        known = no_innovations(1.0, self.place.hosted, np.zeros(case.d))
        ages = np.zeros(self.place.hosted, np.int64)
        for call in range(case.calls):
            if self._own.random() < case.pauses:
                time.sleep(self._own.uniform(0, 0.02))
            rows = case.rows(call)[self.place.first : self.place.last]
            with self.watchdog.watching(f"call {call}: {case}"):
                known = self.coordinator.innovate(rows, known._replace(step=2.0 ** -(call % STEPS)), call, ages)
            heard.update(known.mean[0].tobytes())
            self.tally.calls += 1
        with self.watchdog.watching(f"drain: {case}"):
            self.network.drain()
            self._compare(self.coordinator.held_back(known), heard.digest())
        with self.watchdog.watching(f"close: {case}"):
            self.network.close()
        self.tally.by["coordinator collect, quorum"] += case.calls
        self.tally.by["nodes fall silent"] += case.calls * bool(case.emulate.silent)
        self.tally.seconds = time.perf_counter() - began
        return self.tally

    def _compare(self, known: Innovations, digest: bytes) -> None:
        """All ranks have heard the same, and sum_i hat_i is n C to the bit; collective."""
        n, scale = self.case.nodes, 2.0**STEPS
        own = np.append((scale * known.hat).sum(axis=0).astype(np.int64), np.frombuffer(digest, np.uint32))
        total = self.transport.total(own)
        wrong = not np.array_equal(total[-8:], self.transport.size * own[-8:])
        wrong = bool(self.transport.total(np.array([int(wrong)]))[0])
        if self.transport.rank == 0:
            self.tally.weighed += 1
            self.tally.lost += not np.array_equal(total[:-8], n * (scale * known.mean[0]).astype(np.int64))
            self.tally.wrong += wrong
