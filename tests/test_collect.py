"""Nodes that know their links, n and D alone find a tree, and add up along it: the coordinator ``collect``."""

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.coordinated import GRAPHS, coordinations
from tools.dense.objectives import Objective
from tools.experiments import after, assembled
from tools.mailboxes import Adversary, assert_right, drawn_values, topology

from mpiqopt._coordination import FoundTree, Lockstep, TreeRules
from mpiqopt.coordination.lockstep import LockstepCoordination
from mpiqopt.coordination.mailboxes import MailboxCoordination
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.coordination.protocols.collect import Collect
from mpiqopt.coordination.traffic import FRAME_KINDS
from mpiqopt.placement.placement import Placement
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.serial import SerialFrames

NETWORKS = [
    ("path", 2, {}),
    ("directed-ring", 2, {}),
    ("ring", 9, {}),
    ("directed-ring", 7, {}),
    ("grid", 12, {}),
    ("star", 8, {}),
    ("complete", 5, {}),
    ("torus", 16, {}),
    ("one-peer-exponential", 11, {}),
    *(("random-digraph", nodes, {"seed": seed}) for nodes, seed in ((6, 0), (9, 1), (14, 2), (20, 3))),
    *(("erdos-renyi", 12, {"seed": seed}) for seed in range(2)),
]
DATA = {"name": "synthetic", "samples": 203, "features": 6, "task": "classification", "split": "dirichlet"}
FIND, REPEATED = (FRAME_KINDS.index(kind) for kind in ("find", "repetitions"))
networks = pytest.mark.parametrize(("name", "nodes", "options"), NETWORKS)


class Watched(Collect):
    """Remembers the trees of all ranks: those of one run, as every protocol makes new rules."""

    def rules(self, wiring, overlay, d, seed):
        tree = FoundTree(wiring)
        self.trees.append((wiring, tree))
        return TreeRules(d, tree.up, tree.children, tree.down, tree)


def watched() -> Watched:
    protocol = Watched()
    object.__setattr__(protocol, "trees", [])
    return protocol


Ways = tuple[dict[int, int], dict[int, int], dict[int, int]]


def ways_found(protocol: Watched) -> Ways:
    """Of every node the next one on its way up, the last one on its way down, and how many sums it waits for."""
    up, down, children = {}, {}, {}
    for wiring, tree in protocol.trees:
        for i, link in enumerate(tree.up.tolist(), wiring.first):
            children[i] = int(tree.children[i - wiring.first])
            if link >= 0:
                sender, up[i] = wiring.out_links[link].tolist()
                assert sender == i
        for sender, receiver in wiring.out_links[tree.down == 1].tolist():
            assert receiver not in down
            down[receiver] = sender
    return up, down, children


def distances(links: list[tuple[int, int]], nodes: int) -> list[int]:
    """From node 0 along links."""
    found = [0] + [nodes] * (nodes - 1)
    for _ in range(nodes):
        for sender, receiver in links:
            found[receiver] = min(found[receiver], found[sender] + 1)
    return found


def shortest_ways(graph: Topology) -> Ways:
    """The same by the definition: neighbours one link nearer to node 0, the lowest of them."""
    links = [tuple(arc) for arc in graph.arcs().tolist()]
    away, back = distances(links, graph.nodes), distances([arc[::-1] for arc in links], graph.nodes)
    up = {i: min(j for s, j in links if s == i and back[j] + 1 == back[i]) for i in range(1, graph.nodes)}
    down = {i: min(k for k, r in links if r == i and away[k] + 1 == away[i]) for i in range(1, graph.nodes)}
    return up, down, {i: list(up.values()).count(i) for i in range(graph.nodes)}


def take_steps(places: list[LocalProtocol], engines: list[Lockstep], count: int) -> None:
    """In lock-step, on ranks that are played here."""
    for _ in range(count):
        sent = []
        for local, engine in zip(places, engines, strict=True):
            engine.step()
            sent += [(rank, engine.take(b).copy()) for b, rank in enumerate(local.wiring.ranks, 1)]
        for engine in engines:
            engine.deliver()
        for rank, frames in sent:
            engines[rank].receive(frames)


def found_in_steps(graph: Topology, ranks: int) -> tuple[Ways, list[Lockstep]]:
    """The tree after D + 1 steps."""
    protocol = watched()
    places = [LocalProtocol.of(protocol, graph, Placement(graph.nodes, ranks, rank)) for rank in range(ranks)]
    engines = [Lockstep(local.wiring, local.rules(1)) for local in places]
    assert engines[0].steps_to_find == graph.diameter + 1
    take_steps(places, engines, graph.diameter + 1)
    assert engines[0].steps_to_find == 0
    return ways_found(protocol), engines


@networks
def test_the_tree_is_one_of_shortest_ways(name, nodes, options):
    """In lock-step on any number of ranks, which send the same bytes."""
    graph = topology(name, nodes, **options)
    expected, sent = shortest_ways(graph), set()
    for ranks in {1, 2, min(3, nodes), nodes}:
        ways, engines = found_in_steps(graph, ranks)
        assert ways == expected
        sent.add(tuple(np.concatenate([engine.frame_bytes[:, FIND] for engine in engines]).tolist()))
    assert len(sent) == 1
    assert min(sent.pop()) > 0


@networks
def test_by_mailboxes_it_is_the_same(name, nodes, options):
    """Whether frames come late, in another order, twice or never; and the sums are right."""
    graph = topology(name, nodes, **options)
    for seed, (ranks, bad) in enumerate([(1, True), (2, True), (min(3, nodes), True), (2, False), (nodes, True)]):
        protocol, values = watched(), drawn_values(np.random.default_rng(seed), 2, nodes, 3)
        assert_right(Adversary(graph, ranks, protocol, 3, seed, bad=bad).run(values), values)
        assert ways_found(protocol) == shortest_ways(graph)


def test_one_node_is_a_tree():
    ways, (engine,) = found_in_steps(topology("ring", 1), 1)
    assert ways == ({}, {}, {0: 0})
    assert engine.frame_bytes.sum() == 0
    engine.begin(0, np.array([[7]]))
    engine.step()
    assert engine.finished
    assert engine.result[0].tolist() == [7]


def test_a_larger_bound_of_the_diameter_does_as_well():
    graph = topology("random-digraph", 12, seed=4)
    protocol = watched()
    local = LocalProtocol.of(protocol, graph, Placement(12))
    coordination = LockstepCoordination(
        local._replace(wiring=local.wiring._replace(diameter=graph.diameter + 3)), SerialFrames()
    )
    values = np.arange(24).reshape(12, 2)
    assert coordination.agree(values, 0, 0).low.tolist() == (values.sum(axis=0) // 12).tolist()
    assert ways_found(protocol) == shortest_ways(graph)


def test_a_network_that_is_wider_than_was_said_is_an_error():
    """Node 2 of this ring has heard of node 0 in two steps, but not how far the way back is."""
    local = LocalProtocol.of("collect", topology("directed-ring", 6), Placement(6))
    coordination = LockstepCoordination(local._replace(wiring=local.wiring._replace(diameter=2)), SerialFrames())
    with pytest.raises(ValueError, match=r"node 1 has found no ways of at most 2 links to node 0 and back"):
        coordination.agree(np.zeros((6, 1), np.int64), 0, 0)


def calls_of(coordination, nodes: int) -> list[int]:
    """Bytes of each of three calls with the same integers; and none of them but the first look for a tree."""
    sent, found, values = [], [], np.arange(2 * nodes).reshape(nodes, 2)
    for call in range(3):
        coordination.agree(values, call, 0)
        sent.append(coordination.bytes)
        found.append(int(coordination.sent.frame_bytes[:, [FIND, REPEATED]].sum()))
    assert found[0] == found[1] == found[2]
    assert sent[0] - found[0] == sent[1] - sent[0] == sent[2] - sent[1]
    return found[0]


@pytest.mark.parametrize(
    ("arguments", "most"), [(None, 600), ((False,), 1100), ((True,), 1400)], ids=["steps", "mailboxes", "unreliable"]
)
def test_what_finding_takes(arguments, most):
    """10 nodes, 38 arcs, D = 3: every node tells each neighbour 2.5 times on the average, 6 bytes; by mailboxes 4 times
    and where frames may be lost (here none is) 5 times, 7 bytes."""
    graph = topology("erdos-renyi", 10)
    assert (len(graph.arcs()), graph.diameter) == (38, 3)
    local = LocalProtocol.of("collect", graph, Placement(10))
    if arguments is None:
        coordination = LockstepCoordination(local, SerialFrames())
    else:
        coordination = MailboxCoordination(local, Swift(), True, *arguments)
    found = calls_of(coordination, 10)
    assert 0.8 * most < found <= most


class Swift(SerialFrames):
    """Brings frames between the nodes of a process at once, also those that might be lost."""

    def pass_on(self, nodes):
        if not nodes.filled(0):
            return False
        nodes.receive(nodes.take(0).copy())
        return True

    def has_taken(self, nodes):
        return True


@coordinations
@pytest.mark.parametrize("name", ["ftqc-dgd", "ftqc-admm"])
def test_the_exact_optimum_on_a_digraph(name, coordination):
    """To 1e-10, by innovations of vectors; the rest that the author keeps is not lost."""
    algorithm = {"name": name, "coordinator": "collect", "coordination": coordination, "code": "innovations"}
    experiment = assembled(GRAPHS["random-digraph-16"], {"name": "logistic", "l2": 0.3}, algorithm, None, DATA, seed=3)
    optimum, state = Objective(experiment).minimiser(), after(experiment, 250)
    assert np.linalg.norm(experiment.start[0] - optimum) > 0.1
    assert np.linalg.norm(state.x[0] - optimum) < 1e-10
    assert np.all(state.x == state.x[0])


def final(path) -> bytes:
    with h5py.File(path) as file:
        assert file["bytes"][-1] > 0
        return file["final/x"][()].tobytes() + file["objective"][()].tobytes()


def frames(path: Path) -> list[list]:
    """What a run has sent, by record and kind of frames."""
    with h5py.File(path) as file:
        return [file[name][()].tolist() for name in ("bytes", "frames", "frame_bytes", "steps")]


def of_digraph(coordinator: str, coordination: str, **tables) -> dict:
    algorithm = {"name": "ftqc-dgd", "coordinator": coordinator, "coordination": coordination, "code": "innovations"}
    return {
        "run": {"iterations": 8},
        "topology": {"name": "random-digraph", "nodes": 7, "seed": 3},
        "algorithm": algorithm,
        "record": {"every": 2},
        **tables,
    }


@coordinations
def test_resume_finds_the_same_tree(coordination, config, mpiqopt, tmp_path):
    """A process that goes on looks for the tree once more: the same bits, and in lock-step it is counted once."""
    path = config("whole.toml", **of_digraph("collect", coordination))
    assert mpiqopt("run", path, "-q", "-o", "whole.h5").returncode == 0
    assert mpiqopt("run", path, "-q", "-o", "parts.h5", "--set", "run.iterations=4").returncode == 0
    assert mpiqopt("run", path, "-q", "-o", "parts.h5", "--resume").returncode == 0
    assert final(tmp_path / "whole.h5") == final(tmp_path / "parts.h5")
    if coordination == "lock-step":
        assert frames(tmp_path / "whole.h5") == frames(tmp_path / "parts.h5")


LOSSY = {"emulate": {"loss": 0.1, "delay": 2e-4, "delay_distribution": "pareto"}}


@pytest.mark.parametrize(
    "ranks",
    [
        0,
        *(pytest.param(ranks, marks=[pytest.mark.mpi, pytest.mark.slow]) for ranks in (1, 2)),
        pytest.param(3, marks=pytest.mark.mpi),
    ],
)
def test_any_number_of_ranks_gives_the_bits_of_the_tree(ranks, config, mpiqopt, tmp_path):
    """In lock-step and by mailboxes, in windows and messages, and where frames are lost or late."""
    assert mpiqopt("run", config("tree.toml", **of_digraph("tree", "lock-step")), "-q").returncode == 0
    cases = [("lock-step", "auto", {}), ("mailboxes", "window", {}), ("mailboxes", "two-sided", {})]
    cases.append(("mailboxes", "auto", LOSSY))
    for number, (coordination, transport, more) in enumerate(cases):
        tables = of_digraph("collect", coordination, **more)
        tables["run"]["transport"] = transport
        result = mpiqopt("run", config(f"{number}.toml", **tables), "-q", ranks=ranks)
        assert result.returncode == 0, result.stderr
        assert final(tmp_path / f"{number}.h5") == final(tmp_path / "tree.h5")


def test_bytes_of_steps_are_the_same_on_any_number_of_ranks():
    """Numbers of links are counted as if every node were a process."""
    graph = topology("complete", 40)  # numbers of links need two bytes where they are counted over many nodes
    found = [found_in_steps(graph, ranks)[1] for ranks in (1, 2, 40)]
    sent = [sum(int(engine.frame_bytes[:, FIND].sum()) for engine in engines) for engines in found]
    assert all(one == other for one, other in pairwise(sent))
