"""Sums that wait for a quorum only, on a clock of their own: whatever is late, lost or silent, all get the same."""

import numpy as np
import pytest
from tools.ledger_network import LedgerNetwork
from tools.mailboxes import topology

from mpiqopt._coordination import Ledger
from mpiqopt.coordination.ledger import Quorum
from mpiqopt.coordination.wiring import wiring_of_rank
from mpiqopt.placement.placement import Placement

NETWORKS = {
    "path": topology("path", 2),
    "ring": topology("ring", 10),
    "directed-ring": topology("directed-ring", 7),
    "random-digraph": topology("random-digraph", 12, seed=1),
    "erdos-renyi": topology("erdos-renyi", 10, seed=2),
    "grid": topology("grid", 9),
    "star": topology("star", 8),
}
networks = pytest.mark.parametrize("name", NETWORKS)
links = pytest.mark.parametrize("unreliable", [True, False], ids=["unreliable", "reliable"])


def assert_right(network: LedgerNetwork, calls: int) -> None:
    """All nodes have finished, with the same results in every call (which the network compares), and no mass is lost.

    Numbers are dyadic and small, so that sums are exact. The targets rest, so that C is near their mean in the end: the
    last steps are 1/64 and finer once in seven calls.
    """
    assert network.call.tolist() == [calls] * network.n
    assert len(network.results) == calls
    assert np.all(network.mass() == 0)
    assert np.all(network.common == network.common[0])
    assert np.abs(network.common[0] - network.targets.mean(axis=0)).max() < 2


@networks
@links
@pytest.mark.parametrize("coder", [0, 1, 2])
def test_all_nodes_get_the_same_and_the_books_balance(name, unreliable, coder):
    graph = NETWORKS[name]
    quorum = Quorum(0.8, 10, 1.0).of(graph.nodes)
    loss = 0.1 * unreliable
    network = LedgerNetwork(graph, 20, quorum, seed=coder, loss=loss, unreliable=unreliable, coder=coder, train=0.003)
    network.run(60, until=200)
    assert_right(network, 60)


@networks
def test_the_mean_is_exact_when_all_are_waited_for(name):
    """With the quorum of all nodes, and steps that do not change, C is within half a step of the mean of targets."""
    network = LedgerNetwork(NETWORKS[name], steps=lambda k: 2.0**-10, seed=3, loss=0.05)
    network.run(8, until=100)
    assert_right(network, 8)
    assert set(network.ages) == {0.0}
    # of each q_i 1/2, and of m 1/2
    assert np.abs(network.common[0] - network.targets.mean(axis=0)).max() <= 2.0**-10


def test_a_process_whose_nodes_are_all_silent_does_not_finish():
    """It knows no result before they wake."""
    wiring = wiring_of_rank(NETWORKS["ring"], Placement(10, 10, 3))
    node = Ledger(wiring, 2, 0, 8, 10, 0.1, True)
    node.silence(0, 0.0, 5.0)
    node.advance(1.0)
    node.begin(0, np.ones((1, 2), np.int64), 1.0, np.zeros(1, np.int64), 1.0)
    node.advance(2.0)
    assert not node.finished


@links
@pytest.mark.parametrize("node", [0, 4])
@pytest.mark.parametrize("name", ["ring", "random-digraph", "grid", "erdos-renyi"])
def test_a_silent_node_holds_nobody_up(name, node, unreliable):
    """Neither an author nor another: calls go on while it is silent, and afterwards it has them all."""
    begin, end, patience = 0.5, 20.0, 0.1
    graph = NETWORKS[name]
    network = LedgerNetwork(
        graph, quorum=graph.nodes - 1, patience=patience, silences=((node, begin, end),), unreliable=unreliable
    )
    network.run(150, until=end - 1)
    others = np.delete(network.call, node)
    assert network.call[node] < others.min()
    assert others.min() == 150
    network.run(170, until=200)
    assert_right(network, 170)
    authors = {int(each.ballots[0]) % graph.nodes for each in network.nodes}
    assert len(authors) == 1
    assert node not in authors


def test_where_all_ways_lead_through_a_silent_node_calls_go_on_when_it_is_back():
    network = LedgerNetwork(NETWORKS["directed-ring"], quorum=6, patience=0.1, silences=((3, 0.3, 2.0),))
    network.run(50, until=2.0)
    assert network.call.max() < 50
    network.run(50, until=100)
    assert_right(network, 50)


def scenario(seed: int, unreliable: bool, apart: bool) -> LedgerNetwork:
    """Draw a network and what happens to it: the author falls silent, and another node, at times that are apart or not.

    Where they are, the other is silent when the author has been back for a second.
    """
    rng = np.random.default_rng(seed)
    graph = NETWORKS[("ring", "directed-ring", "random-digraph", "erdos-renyi", "grid", "star")[seed % 6]]
    n = graph.nodes
    first, second = (0.0, 3.0), (4.0 if apart else 0.0, 6.0 if apart else 3.0)
    silences = {
        node: (node, begin + rng.uniform(0.05, 1.0), end - rng.uniform(0.0, 1.0))
        for node, (begin, end) in ((int(rng.integers(1, n)), second), (0, first))
    }
    return LedgerNetwork(
        graph,
        quorum=int(rng.integers(n // 2 + 1, n + 1)),
        span=int(rng.integers(1, 20)),
        patience=float(rng.choice([0.05, 0.2, 1.0])),
        seed=seed,
        loss=float(rng.choice([0.0, 0.01, 0.1, 0.3])),
        delay=float(rng.choice([0.0005, 0.002])),
        train=float(rng.choice([0.0, 0.005, 0.05])),
        silences=tuple(silences.values()),
        unreliable=unreliable,
        coder=int(rng.integers(3)),
    )


@links
@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 106))])
def test_authors_fall_silent(seed, unreliable):
    network = scenario(seed, unreliable, apart=True)
    network.run(100, until=1000)
    assert_right(network, 100)


@pytest.mark.slow
@links
@pytest.mark.parametrize("seed", range(100))
def test_nodes_that_fall_silent_together_may_end_a_run_but_nobody_gets_anything_wrong(seed, unreliable):
    """The network compares all results, as they come."""
    network = scenario(seed, unreliable, apart=False)
    try:
        network.run(100, until=1000)
    except ArithmeticError as error:
        assert "an author fell silent together with" in str(error)  # noqa: PT017
    else:
        assert_right(network, 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ring", "random-digraph"])
def test_thousands_of_calls_with_late_lost_and_reordered_frames(name):
    silences = tuple((node, 3.0 * node + 1, 3.0 * node + 2.5) for node in range(10))
    network = LedgerNetwork(
        NETWORKS[name], quorum=8, seed=7, loss=0.1, train=0.002, patience=0.2, silences=silences, delay=0.0005
    )
    network.run(2500, until=2000)
    assert_right(network, 2500)


def test_nodes_that_went_different_ways_say_so():
    """The author and the only node that has its result fall silent together: equality cannot be kept, and is not lost.

    All are linked. The author 0 tells 1, which takes the result of the call; then both are silent.
    """
    graph = topology("complete", 5)
    wirings = [wiring_of_rank(graph, Placement(5, 5, i)) for i in range(5)]
    nodes = [Ledger(wiring, 1, 0, 3, 10, 0.1, False) for wiring in wirings]
    clock = [0.0]

    def turn(alive: set[int], seconds: float) -> None:
        """Let the nodes that are alive act, and deliver what goes between them."""
        end = clock[0] + seconds
        while clock[0] < end:
            clock[0] += 0.001
            for i in alive:
                nodes[i].advance(clock[0])
            for i in alive:
                for b, to in enumerate(wirings[i].ranks, 1):
                    if to in alive and nodes[i].filled(b):
                        nodes[to].receive(nodes[i].take(b).copy())

    turn(set(range(5)), 0.05)
    for i in range(5):
        nodes[i].begin(0, np.full((1, 1), i), 1.0, np.zeros(1, np.int64), clock[0])
    while not nodes[0].pending:  # the author has what it needs
        turn(set(range(5)), 0.001)
    turn({0, 1}, 0.05)
    assert nodes[0].finished and nodes[1].finished  # noqa: PT018
    assert not nodes[2].finished
    turn({2, 3, 4}, 2.0)  # three of five are enough for another result
    assert nodes[2].finished
    with pytest.raises(ArithmeticError, match="another result of call 1"):
        turn(set(range(5)), 2.0)


def test_wrong_arguments():
    wiring = wiring_of_rank(NETWORKS["grid"], Placement(9))
    for quorum in (0, 4, 10):
        with pytest.raises(ValueError, match="quorum: want more than half of 9 nodes"):
            Ledger(wiring, 2, 0, quorum, 10, 1.0)
    ledger = Ledger(wiring, 2, 0, 5, 10, 1.0)
    with pytest.raises(IndexError, match="node 9 of 9"):
        ledger.silence(9, 0.0, 1.0)
    values, ages = np.zeros((9, 2), np.int64), np.zeros(9, np.int64)
    ledger.begin(3, values, 1.0, ages, 0.0)
    with pytest.raises(ValueError, match="call: want 3, got 3"):
        ledger.begin(3, values, 1.0, ages, 0.0)
    with pytest.raises(ValueError, match="a frame is not what it says it is"):
        ledger.receive(np.full(40, 255, np.uint8))
