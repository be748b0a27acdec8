"""A coordinator is one class: the documented example in Python gives the bits of the others, wherever its nodes are."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from tools.mailboxes import Adversary, as_array, assert_right, drawn_values, lockstep, mailboxes, topology

from mpiqopt import registry
from mpiqopt.coordination.lockstep import LockstepCoordination
from mpiqopt.coordination.mailboxes import MailboxCoordination
from mpiqopt.coordination.protocol import LocalProtocol, Message, NodeProtocol
from mpiqopt.errors import NumericalError
from mpiqopt.placement.placement import Placement
from mpiqopt.transport.serial import SerialFrames

FLOOD = Path(__file__).parent.parent / "docs" / "examples" / "flood.py"
GRAPHS = [("ring", 6, 3), ("star", 5, 5), ("directed-ring", 5, 2), ("random-digraph", 9, 4), ("path", 4, 1)]


@pytest.fixture
def flood(monkeypatch):
    """The example, registered for a test."""
    monkeypatch.setattr(registry, "plugins", {})
    registry.load_plugin(FLOOD)
    yield registry.find_member("coordinator", "flood")()
    registry._forget(str(FLOOD))


class Splitting(NodeProtocol):
    """FTQC in Python, with pieces that go to all neighbours in turn: (y, z) are the values and the last of them."""

    votes = True

    def start(self, site, values):
        rng = np.random.default_rng([site.seed, site.node])
        return SimpleNamespace(links=site.links_out, y=2 * values, z=2, rng=rng)

    def step(self, node):
        messages = []
        while node.z > 1:
            piece, link = node.y // node.z, int(node.rng.integers(node.links + 1))
            node.y, node.z = node.y - piece, node.z - 1
            messages.append((link, piece))
        node.z += sum(link == node.links for link, _ in messages)
        node.y = node.y + sum(piece for link, piece in messages if link == node.links)
        return [Message(link, 1, piece) for link, piece in messages if link < node.links]

    def absorb(self, node, label, values):
        node.y, node.z = node.y + values, node.z + label

    def look(self, node):
        return node.y // node.z, -(-node.y // node.z)


@pytest.mark.parametrize(
    "ranks", [0, pytest.param(2, marks=[pytest.mark.mpi, pytest.mark.slow]), pytest.param(3, marks=pytest.mark.mpi)]
)
@pytest.mark.parametrize("coordination", ["lock-step", "mailboxes"])
def test_flood_gives_the_bits_of_the_tree(coordination, ranks, config, mpiqopt, tmp_path):
    finals = []
    for name in ("tree", "flood"):
        algorithm = {"name": "ftqc-admm", "coordinator": name, "coordination": coordination, "activation": "bernoulli"}
        path = config(
            f"{name}.toml",
            run={"iterations": 6},
            algorithm=algorithm,
            topology={"name": "random-digraph", "nodes": 7, "seed": 3},
        )
        result = mpiqopt("run", path, "-q", "--plugin", FLOOD, ranks=ranks)
        assert result.returncode == 0, result.stderr
        with h5py.File(tmp_path / f"{name}.h5") as file:
            finals.append((file["final/x"][()].tobytes(), file["objective"][()].tobytes(), file["bytes"][-1]))
    assert finals[0][:2] == finals[1][:2]
    assert finals[0][2] < finals[1][2]


@pytest.mark.representatives(1)
@pytest.mark.parametrize(("name", "nodes", "ranks"), GRAPHS)
@pytest.mark.parametrize("protocol", ["flood", Splitting()], ids=["flood", "splitting"])
def test_python_rules_bear_bad_links(name, nodes, ranks, protocol, flood):
    """Frames late, out of order, twice or never; ranks in different calls."""
    values = drawn_values(np.random.default_rng(nodes), 3, nodes, 3)
    assert_right(Adversary(topology(name, nodes), ranks, protocol, 3, nodes).run(values), values)


@pytest.mark.parametrize("protocol", ["flood", Splitting()], ids=["flood", "splitting"])
@pytest.mark.parametrize("kind", [LockstepCoordination, MailboxCoordination])
def test_python_rules_in_one_process(kind, protocol, flood):
    graph = topology("random-digraph", 8)
    local = LocalProtocol.of(protocol, graph, Placement(8), 3)
    coordination = kind(local, SerialFrames(), *([True] if kind is MailboxCoordination else []))
    effort = 0
    for call, values in enumerate(drawn_values(np.random.default_rng(1), 4, 8, 5)):
        agreement = coordination.agree(values, call, effort)
        effort = agreement.effort
        assert np.array_equal(agreement.low, values.sum(axis=0) // 8)
        assert np.array_equal(agreement.high, -(-values.sum(axis=0) // 8))


def test_flood_sends_every_vector_over_every_link_once(flood):
    graph = topology("random-digraph", 8)
    coordination = LockstepCoordination(LocalProtocol.of(flood, graph, Placement(8)), SerialFrames())
    coordination.agree(np.arange(16).reshape(8, 2), 0, 0)
    assert coordination.sent.pieces.sum() <= 8 * len(graph.arcs())


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([Message(2, 0, np.zeros(3))], "link 2 of 2"),
        ([Message(-1, 0, np.zeros(3))], "link -1 of 2"),
        ([Message(0, -1, np.zeros(3))], "label = -1: want a number"),
        ([Message(0, 2**62, np.zeros(3))], "want a number from 0"),
        ([Message(0, 0, np.zeros(2))], r"a message has shape \(2,\): want \(3,\)"),
    ],
)
def test_wrong_messages_are_errors(messages, said, monkeypatch):
    monkeypatch.setattr(Splitting, "step", lambda self, node: messages)
    engine = lockstep(LocalProtocol.of(Splitting(), topology("ring", 4), Placement(4)), 3)
    engine.begin(0, np.zeros((4, 3), np.int64))
    with pytest.raises((IndexError, ValueError), match=said):
        engine.step()


def test_what_rules_say_of_the_result_is_checked(monkeypatch):
    monkeypatch.setattr(Splitting, "look", lambda self, node: (np.zeros(2, np.int64), np.zeros(3, np.int64)))
    engine = lockstep(LocalProtocol.of(Splitting(), topology("ring", 4), Placement(4)), 3)
    engine.begin(0, np.zeros((4, 3), np.int64))
    with pytest.raises(ValueError, match="low: want 3 values, got 2"):
        engine.look_around()


def test_damaged_frames_are_errors(flood):
    local = LocalProtocol.of(flood, topology("ring", 4), Placement(4, 2, 0))
    for engine, header in ((lockstep(local, 3), b""), (mailboxes(local, 3, True), bytes(9))):
        engine.begin(0, np.zeros((2, 3), np.int64), *([np.ones(2, np.int64)] if header else []))
        for frame in (b"\x07" + header + b"\xff", b"\x01" + header, b"\x03" + header + b"\0", b"\x02", b"\x00"):
            with pytest.raises(ValueError, match="a frame is not what it says it is"):
                engine.receive(as_array(frame))


def test_rules_that_need_more_steps_than_they_say_are_an_error(flood, monkeypatch):
    monkeypatch.setattr(type(flood), "steps", lambda self, wiring, overlay: 1)
    coordination = LockstepCoordination(LocalProtocol.of(flood, topology("path", 4), Placement(4)), SerialFrames())
    with pytest.raises(NumericalError, match="flood: some nodes do not know the result after 1 steps"):
        coordination.agree(np.zeros((4, 2), np.int64), 0, 0)


def test_an_unknown_coordinator_is_one_line(config, mpiqopt):
    result = mpiqopt("check", config(algorithm={"name": "ftqc-dgd", "coordinator": "ftqcc"}))
    assert result.returncode == 2
    said = "algorithm.coordinator = 'ftqcc': unknown (did you mean 'ftqc'?); known: allre"
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_check_says_that_a_coordinator_has_no_model(config, mpiqopt):
    result = mpiqopt("check", config(algorithm={"name": "ftqc-dgd", "coordinator": "flood"}), "--plugin", FLOOD)
    assert result.returncode == 0, result.stderr
    assert "not predicted, flood has no model" in result.stdout
