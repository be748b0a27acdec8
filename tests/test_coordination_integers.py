"""Coordinators agree on the oracle's integers, however large; what does not fit is refused."""

import re

import numpy as np
import pytest
from tools.mailboxes import PROTOCOLS, at_ranks, lockstep, topology

from mpiqopt._coordination import Lockstep, quantise
from mpiqopt.coordination.coordinator import ABSOLUTE_HEADROOM, Coordinator
from mpiqopt.coordination.lockstep import LockstepCoordination, require_votes
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.errors import NumericalError, UsageError
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.serial import SerialFrames


class Limited(LockstepCoordination):
    """Gives up after some votes: between them there are more and more steps."""

    votes = 0

    def _vote(self, nodes: Lockstep) -> bool:
        self.votes += 1
        assert self.votes < 25, "no end"
        return super()._vote(nodes)


def in_steps(name: str, graph: Topology, rounding: str = "floor") -> Coordinator:
    local = LocalProtocol.of(name, graph, Placement(graph.nodes))
    return Coordinator(name, Limited(local, SerialFrames()), local.headroom, graph.nodes, 0, rounding)


def agreed(coordinator: Coordinator, values: np.ndarray) -> np.ndarray:
    """floor(S/n) of integers (nodes, d)."""
    return coordinator.coordination.agree(values, 0, 0).low


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize(("graph", "nodes"), [("ring", 2), ("complete", 3), ("ring", 8), ("star", 6), ("path", 7)])
def test_integers_as_large_as_they_may_be(name, graph, nodes):
    """Up to the headroom that is checked, the result is exact."""
    rng, network = np.random.default_rng(nodes), topology(graph, nodes)
    top = int(in_steps(name, network).headroom)
    corners = [np.full((nodes, 1), top), np.full((nodes, 1), -top), top * (-1) ** np.arange(nodes)[:, None]]
    corners += [top - rng.integers(0, 1 << 20, (nodes, 4)), rng.integers(-top, top, (nodes, 4))]
    for values in corners:
        exact = values.astype(object).sum(axis=0) // nodes
        assert agreed(in_steps(name, network), np.ascontiguousarray(values)).tolist() == exact.tolist()


def in_steps_by_hand(ranks: list[LocalProtocol], values: np.ndarray) -> list[Lockstep]:
    """Ranks that have taken enough steps to agree, and a vote."""
    engines, wires = [lockstep(local, values.shape[1]) for local in ranks], [local.wiring for local in ranks]
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
    """Whether a rank stores int32 or int64 is seen by nobody: not in what nodes find, and not in what they send."""
    rng, network, kinds = np.random.default_rng(nodes), topology(graph, nodes), set()
    for size in (2.0 ** np.arange(8, 40, 0.25)).astype(np.int64):
        values = np.zeros((nodes, 4), np.int64)
        values[:, 0], values[:, 1], values[0, 2] = size, -size, 99 * size
        values[:, 3] = rng.integers(-size, size, nodes)
        together, alone = (in_steps_by_hand(at_ranks(network, n, protocol), values) for n in (1, nodes))
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
    room = coordinator.headroom

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
    for centre in (4 * ABSOLUTE_HEADROOM, np.nan, np.inf):  # what is small may be far from the centre
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
    (local,) = at_ranks(topology(name, nodes, **options), 1, "integer-push-sum")
    values = np.rint(1000 * np.random.default_rng(0).standard_normal((nodes, 100))).astype(np.int64)
    engine, agreed_at = lockstep(local, 100), None
    engine.begin(0, values)
    for step in range(1, 600):
        engine.step()
        engine.deliver()
        engine.look_around()
        for _ in range(local.wiring.diameter):
            engine.flood()
            engine.deliver()
        if agreed_at is None and engine.agreed:
            agreed_at = step
        if agreed_at is not None:
            assert engine.agreed, (agreed_at, step)
            assert np.array_equal(engine.result[0], values.sum(axis=0) // nodes)
            if step > 2 * agreed_at + 20:
                return
    pytest.fail("did not settle")


def test_push_sum_is_refused_where_a_node_hardly_gets_a_share(tmp_path):
    """Arcs from every node to the next and back to the first: the share of the last is 2^-50."""
    (tmp_path / "back.edges").write_text("".join(f"{i} {i + 1}\n{i + 1} 0\n" for i in range(50)))
    graph = find_member("topology", "file")(path=str(tmp_path / "back.edges"), directed=True)
    with pytest.raises(UsageError, match="'integer-push-sum': a node of 'file' would hardly get a share"):
        find_member("coordinator", "integer-push-sum")().require(Topology("file", tuple(graph.cycle())))


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
