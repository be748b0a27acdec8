"""``coder = "auto"``: what packs integers follows links and coders as they are measured."""

import heapq

import numpy as np
import pytest
from tools.ledger_network import LedgerNetwork
from tools.mailboxes import PROTOCOLS, Adversary, at_ranks, lockstep, mailboxes, topology

from mpiqopt._coordination import Packer
from mpiqopt.cli import main
from mpiqopt.coordination.protocol import CODERS

TILES, RICE, RANGE, AUTO = range(4)
# s and bytes of a value, of packing and unpacking it: as on this kind of machine
COSTS = ((1e-9, 1.0), (2e-9, 0.7), (1e-7, 0.55))
VALUES = 10_000


def packer(links: int = 1) -> Packer:
    made = Packer(AUTO, links, VALUES)
    for coder, (seconds, size) in enumerate(COSTS):
        made.note(coder, VALUES, int(size * VALUES), seconds * VALUES)
    return made


def hear(made: Packer, bandwidth: float, rng: np.random.Generator, link: int = 0, noise: float = 0.0, frames: int = 40):
    """Let frames of many sizes be heard on a link; noise: standard deviation of round trips (s)."""
    for size in rng.uniform(0.5, 1, frames) * VALUES:
        made.hear(link, size, 1e-3 + size / bandwidth + abs(noise * rng.standard_normal()))


def best(bandwidth: float) -> int:
    """The coder that takes least on a link of so many bytes/s."""
    return int(np.argmin([seconds + size / bandwidth for seconds, size in COSTS]))


@pytest.mark.parametrize("bandwidth", [1e4, 1.25e5, 1e6, 3e7, 1e8, 1e10])
def test_the_quickest_coder_is_chosen(bandwidth):
    made = packer()
    assert made.coder == TILES, "nothing is known of the link"
    hear(made, bandwidth, np.random.default_rng(0))
    assert made.coder == best(bandwidth)


def test_all_coders_are_best_somewhere():
    assert {best(bandwidth) for bandwidth in (1e5, 3e7, 1e10)} == {TILES, RICE, RANGE}


def test_tiles_stay_while_noise_hides_the_link():
    """Round trips of 1 ms that differ by 1 ms at random say nothing of 10 GB/s."""
    made, rng = packer(), np.random.default_rng(1)
    for _ in range(100):
        hear(made, 1e10, rng, noise=1e-3, frames=8)
        assert made.coder == TILES


def test_the_slowest_link_decides():
    made, rng = packer(links=2), np.random.default_rng(2)
    hear(made, 1e10, rng, link=0)
    assert made.coder == TILES
    hear(made, 1e5, rng, link=1)
    assert made.coder == RANGE


def test_links_that_change_are_noticed():
    """After as many frames as a link is judged by, some times over: what is old fades by 1/64 a frame."""
    made, rng = packer(), np.random.default_rng(3)
    hear(made, 1e5, rng)
    assert made.coder == RANGE
    hear(made, 1e10, rng, frames=640)
    assert made.coder == TILES
    hear(made, 1e5, rng, frames=640)
    assert made.coder == RANGE


def test_coders_hardly_better_change_nothing():
    """Within 5 % of each other either of two coders stays."""
    made, rng = Packer(AUTO, 1, VALUES), np.random.default_rng(4)
    made.note(TILES, VALUES, VALUES, 0.0)
    made.note(RICE, VALUES, int(0.97 * VALUES), 0.0)
    made.note(RANGE, VALUES, int(0.96 * VALUES), 0.0)
    hear(made, 1e5, rng)
    assert made.coder == TILES


def test_one_that_was_busy_says_nothing_of_the_link():
    """Every third frame waits for a second at a node that trains."""
    made, rng = packer(), np.random.default_rng(5)
    for _ in range(30):
        hear(made, 1.25e5, rng, frames=2)
        made.hear(0, VALUES, 1.0)
    assert made.coder == RANGE


class Pair:
    """Two nodes of ``collect`` in one process, and a link of so many bytes/s each way between them."""

    def __init__(self, bandwidth: float, d: int):
        ranks = at_ranks(topology("path", 2), 2, "collect")
        self.nodes = [mailboxes(local, d, unreliable=True, coder=AUTO) for local in ranks]
        self.bandwidth, self.now, self.free, self.air, self.number = bandwidth, 0.0, [0.0, 0.0], [], 0

    def call(self, number: int, values: np.ndarray) -> list[np.ndarray]:
        """Let both find floor(S/2) of values (2, d)."""
        for i, nodes in enumerate(self.nodes):
            nodes.begin(number, values[i : i + 1], np.full(1, 10))
        while not all(nodes.finished and nodes.quiet for nodes in self.nodes):
            self.turn()
        return [nodes.result[0] for nodes in self.nodes]

    def turn(self) -> None:
        self.now += 1e-4
        while self.air and self.air[0][0] <= self.now:
            _, _, to, frames = heapq.heappop(self.air)
            self.nodes[to].receive(frames)
        for i, nodes in enumerate(self.nodes):
            nodes.advance(self.now)
            for b in range(2):
                if nodes.filled(b):
                    frames = nodes.take(b).copy()
                    self.free[i] = max(self.now, self.free[i]) + len(frames) / self.bandwidth
                    self.number += 1
                    heapq.heappush(self.air, (self.free[i], self.number, 1 - i if b else i, frames))


@pytest.mark.parametrize(("bandwidth", "ends_on"), [(1e4, {RICE, RANGE}), (1e12, {TILES})])
def test_nodes_find_what_is_best_on_their_links(bandwidth, ends_on):
    """By a clock of the test's; coders are measured by that of the machine, in microseconds, the slow link in 0.1 s."""
    rng, pair = np.random.default_rng(6), Pair(bandwidth, 640)
    for call in range(1, 41):
        values = np.rint(rng.laplace(size=(2, 640)) * rng.choice([0.3, 30], (2, 640), p=[0.95, 0.05])).astype(np.int64)
        for low in pair.call(call, values):
            np.testing.assert_array_equal(low, values.sum(axis=0) // 2)
    assert {nodes.rules.packer.coder for nodes in pair.nodes} <= ends_on


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_results_do_not_depend_on_the_choice(protocol):
    """Frames are late, lost and overtake each other."""
    rng, graph = np.random.default_rng(7), topology("ring", 5)
    values = rng.integers(-40, 40, (3, 5, 100))
    for results in Adversary(graph, 5, protocol, 100, 7, coder=AUTO).run(values):
        for (low, _), integers in zip(results, values, strict=True):
            np.testing.assert_array_equal(low, integers.sum(axis=0) // 5)


def test_ledgers_balance_with_it():
    network = LedgerNetwork(topology("ring", 5), 100, 4, seed=1, loss=0.05, coder=AUTO, train=0.003)
    network.run(20, 60.0)
    assert len(network.results) >= 20


def test_lock_step_refuses_it(config, capsys):
    table = {"algorithm": {"name": "ftqc-dgd", "coder": "auto"}, "topology": {"name": "ring", "nodes": 4}}
    assert main(["check", config(**table)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "algorithm.coder = 'auto'" in line
    assert "'mailboxes'" in line
    assert len(line) <= 200
    table["algorithm"]["coordination"] = "mailboxes"
    assert main(["check", config(**table)]) == 0
    rules = at_ranks(topology("ring", 4), 1, "collect")[0]._replace(coder="auto")
    with pytest.raises(ValueError, match="coder: only mailboxes"):
        lockstep(rules, 3)


def test_coders_have_the_numbers_of_their_names():
    assert CODERS == ("tile", "rice", "range", "auto")
