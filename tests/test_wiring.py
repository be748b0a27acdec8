"""Ranks agree on the links between their nodes, and the trees that coordinators add up along span the network."""

import pytest
from tools.mailboxes import topology, wirings

from mpiqopt.registry import find_member

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
    ("random-pairs", 7),
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
    """From every node a path up to node 0, and from there one down to every node."""
    graph = topology(name, nodes)
    links, paths = graph.arcs(), find_member("coordinator", "tree")().overlay(graph)
    assert paths.up[0] == -1
    assert links[paths.up[1:], 0].tolist() == list(range(1, nodes))
    up, down = dict(links[paths.up[1:]].tolist()), links[paths.down == 1].tolist()
    assert paths.children.tolist() == [list(up.values()).count(i) for i in range(nodes)]
    assert sorted(receiver for _, receiver in down) == list(range(1, nodes))
    depth = {0: 0}
    for _ in range(nodes):
        depth |= {receiver: depth[sender] + 1 for sender, receiver in down if sender in depth}
    assert len(depth) == nodes
    assert paths.height == max(depth.values()) + max(height(i, up) for i in range(nodes))


def height(node: int, up: dict[int, int]) -> int:
    steps = 0
    while node:
        node, steps = up[node], steps + 1
        assert steps <= len(up)
    return steps
