"""What a coordinator promises: the sum of all integers at every node, to the bit, whatever happens on the way."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mpiqopt._coordination import Lockstep, Mailboxes
from mpiqopt.contracts.contract import Broken, promise, promise_equal
from mpiqopt.coordination.lockstep import LockstepCoordination, first_lockstep_effort
from mpiqopt.coordination.protocol import CoordinationProtocol, FrameProtocol, LocalProtocol
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.serial import SerialFrames

GRAPHS = (("path", 2), ("ring", 6), ("star", 5), ("directed-ring", 4), ("random-digraph", 7))
NO_FRAMES = "no frames: MPI adds up"
NO_SUM = "no sum: nodes agree on a vector near the mean, and keep the rest"
# votes, and turns of mailboxes, after which something is wrong
VOTES, TURNS = 40, 20_000
# s between turns of mailboxes; share of the frames that is lost
TURN, LOST = 1e-3, 0.1


def sum_is_exact_in_steps(protocol: CoordinationProtocol) -> str | None:
    """Hold calls one after the other in lock-step to floor(S/n) and ceil(S/n)."""
    if not isinstance(protocol, FrameProtocol):
        return NO_FRAMES
    if not protocol.finds_sum:
        return NO_SUM
    for graph in _graphs():
        coordination = LockstepCoordination(LocalProtocol.of(protocol, graph, Placement(graph.nodes)), SerialFrames())
        effort = 0
        for call, values in enumerate(_values(graph)):
            agreement = coordination.agree(values, call, effort)
            effort = agreement.effort
            _require_sum(agreement, values, f"in call {call} on {_named(graph)}")
    return None


def sum_is_exact_when_frames_are_lost(protocol: CoordinationProtocol) -> str | None:
    """Hold calls by mailboxes to the same, when frames are lost and overtake each other."""
    if not isinstance(protocol, FrameProtocol):
        return NO_FRAMES
    if not protocol.finds_sum:
        return NO_SUM
    for graph in _graphs():
        local = LocalProtocol.of(protocol, graph, Placement(graph.nodes))
        nodes, rng = Mailboxes(local.wiring, local.rules(4), True), np.random.default_rng(graph.nodes)
        budget = np.full(graph.nodes, first_lockstep_effort(graph.diameter))
        for call, values in enumerate(_values(graph)):
            nodes.begin(call, values, budget)
            _deliver_badly(nodes, rng, f"call {call} on {_named(graph)}")
            _require_sum(nodes.result, values, f"by mailboxes in call {call} on {_named(graph)}")
    return None


def number_of_ranks_makes_no_difference(protocol: CoordinationProtocol) -> str | None:
    """Hold results and bytes in lock-step, with nodes on several ranks, to those on one."""
    if not isinstance(protocol, FrameProtocol):
        return NO_FRAMES
    if not protocol.finds_sum:
        return NO_SUM
    for graph in _graphs():
        values = next(_values(graph))
        alone, sent = _in_steps(protocol, graph, 1, values)
        for ranks in (2, graph.nodes):
            where = f"on {ranks} ranks, {_named(graph)}"
            results, bytes = _in_steps(protocol, graph, ranks, values)
            for result in results:
                promise_equal(result, alone[0], f"floor(S/n) {where}")
            promise(bytes == sent, f"{bytes} bytes are sent {where}, but {sent} on one")
    return None


def _graphs() -> Iterator[Topology]:
    for name, nodes in GRAPHS:
        yield Topology(name, tuple(replace(find_member("topology", name)(), nodes=nodes).cycle()))


def _named(graph: Topology) -> str:
    return f"{graph.name} of {graph.nodes}"


def _values(graph: Topology) -> Iterator[np.ndarray]:
    """Yield the integers of some calls, (nodes, 4): close together, far apart, all the same, large."""
    rng = np.random.default_rng(graph.nodes)
    for low, high in ((-9, 10), (-(10**6), 10**6), (7, 8), (-(2**40), 2**40)):
        yield rng.integers(low, high, (graph.nodes, 4))


def _require_sum(found: tuple, values: np.ndarray, where: str) -> None:
    total = values.sum(axis=0)
    for name, result, exact in (
        ("floor", found[0], total // len(values)),
        ("ceil", found[1], -(-total // len(values))),
    ):
        promise_equal(result, exact, f"{name}(S/n) {where}")


def _deliver_badly(nodes: Mailboxes, rng: np.random.Generator, where: str) -> None:
    """Pass frames on between nodes of this process until all are done, some never and some late."""
    late: list[np.ndarray] = []
    for turn in range(TURNS):
        nodes.advance(TURN * turn)
        frames = nodes.take(0).copy()
        ends = [end for end, *_ in nodes.cut(frames)]
        late += [part for part in np.split(frames, ends)[:-1] if rng.random() >= LOST]
        rng.shuffle(late)
        for frame in late[len(late) // 3 :]:
            nodes.receive(frame)
        del late[len(late) // 3 :]
        if nodes.finished and nodes.quiet:
            return
    raise Broken(f"not done after {TURNS} turns of mailboxes: {where}")


def _in_steps(protocol: FrameProtocol, graph: Topology, ranks: int, values: np.ndarray) -> tuple[list, int]:
    """Return floor(S/n) at every rank, and the bytes of all nodes, of ranks that are played in this process."""
    places = [LocalProtocol.of(protocol, graph, Placement(graph.nodes, ranks, rank)) for rank in range(ranks)]
    engines = [Lockstep(local.wiring, local.rules(values.shape[1])) for local in places]
    for local, engine in zip(places, engines, strict=True):
        engine.begin(0, values[local.wiring.first : local.wiring.first + engine.hosted])
    for _ in range(VOTES):
        _together(places, engines, "step", first_lockstep_effort(graph.diameter))
        if engines[0].votes:
            for engine in engines:
                engine.look_around()
            _together(places, engines, "flood", graph.diameter)
        if all(engine.agreed if engine.votes else engine.finished for engine in engines):
            return [engine.result[0] for engine in engines], sum(int(engine.bytes_sent.sum()) for engine in engines)
    raise Broken(
        f"not done after {VOTES} times {first_lockstep_effort(graph.diameter)} steps on {ranks} ranks, {_named(graph)}"
    )


def _together(places: list[LocalProtocol], engines: list[Lockstep], action: str, times: int) -> None:
    """Let all ranks act so many times, and exchange frames after each."""
    for _ in range(times):
        sent = []
        for local, engine in zip(places, engines, strict=True):
            getattr(engine, action)()
            sent += [(rank, engine.take(b).copy()) for b, rank in enumerate(local.wiring.ranks, 1)]
        for engine in engines:
            engine.deliver()
        for rank, frames in sent:
            engines[rank].receive(frames)


CHECKS = (sum_is_exact_in_steps, sum_is_exact_when_frames_are_lost, number_of_ranks_makes_no_difference)
