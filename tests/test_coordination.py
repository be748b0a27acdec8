"""Coordination gives the oracle's integers whatever happens on the way between ranks."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tools.commands import with_tools
from tools.mailboxes import (
    APART,
    EXTREMES,
    GRAPHS,
    PROTOCOLS,
    STAGE,
    TILE,
    Adversary,
    Pipe,
    as_array,
    assert_mass,
    assert_right,
    at_ranks,
    count_of,
    drawn_values,
    kind_of,
    mailboxes,
    split,
    topology,
)

from mpiqopt.coordination.mailboxes import MailboxCoordination


@pytest.mark.representatives(1)
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
    """What nodes have looks final while a piece that matters is on its way: a naive rule is often wrong, ours never."""
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
        engines = [mailboxes(local, 3, True) for local in at_ranks(topology("path", 2), 2, protocol)]
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


@pytest.mark.parametrize("first_call", [0, 1, 1000])
def test_a_rank_that_listens_before_its_first_call_loses_nothing(first_call):
    """In ``wait`` it hears the first pieces of neighbours that are ahead: at the start of a run, or of one resumed."""
    ends = Pipe(), Pipe()
    ends[0].other, ends[1].other = ends[1], ends[0]
    ranks = [
        MailboxCoordination(local, end, True)
        for local, end in zip(at_ranks(topology("path", 2), 2, "ftqc"), ends, strict=True)
    ]
    ahead = ThreadPoolExecutor(1).submit(ranks[0].agree, np.array([[10]]), first_call, 0)
    end = time.monotonic() + 0.05
    ranks[1].wait(lambda: time.monotonic() >= end, lambda: 0.0, 1)
    late = ThreadPoolExecutor(1).submit(ranks[1].agree, np.array([[20]]), first_call, 0)
    assert [int(done.result(20).low[0]) for done in (ahead, late)] == [15, 15]


def bytes_by_call(delay: float, rate: float, d: int, calls: int) -> list[int]:
    """Of two nodes that add up along a tree, over a link that brings every frame after ``delay`` s and size/rate."""
    ends = [mailboxes(local, d, True) for local in at_ranks(topology("path", 2), 2, "tree")]
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
from tools.mailboxes import at_ranks, lockstep, mailboxes, topology

class Holder:
    pass

local = at_ranks(topology("ring", 100), 1, "ftqc")[0]
values = np.arange(500).reshape(100, 5)
for _ in range(3):
    one, two = lockstep(local, 5), mailboxes(local, 5, True)
    one.begin(0, values)
    one.step()
    two.begin(0, values, np.full(100, 9))
    two.advance(1.0)
    holder = Holder()
    holder.all = holder, one, two
    del holder, one, two
    gc.collect()
"""
    variables = {**with_tools(), "MALLOC_PERTURB_": "165"}
    result = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
