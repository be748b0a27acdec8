"""Thousands of nodes find a tree and add up along it: the same bits at each of them, in steps that cost little."""

import time

import h5py
import numpy as np
import pytest
from tools.mailboxes import at_ranks, lockstep, mailboxes, topology

from mpiqopt._coordination import Lockstep
from mpiqopt.coordination.protocols.tree import shortest_paths

THOUSAND = [("ring", {}), ("grid", {}), ("exponential", {}), ("random-digraph", {"probability": 0.01})]


def take_steps(engines: list[Lockstep], ranks: list[tuple[int, ...]], count: int) -> None:
    """In lock-step, on ranks that are played here; ranks: the neighbours of each."""
    for _ in range(count):
        sent = []
        for engine, others in zip(engines, ranks, strict=True):
            engine.step()
            sent += [(rank, engine.take(b).copy()) for b, rank in enumerate(others, 1) if engine.filled(b)]
        for engine in engines:
            engine.deliver()
        for rank, frames in sent:
            engines[rank].receive(frames)


@pytest.mark.parametrize("ranks", [1, 16])
@pytest.mark.parametrize(("name", "options"), THOUSAND)
def test_a_thousand_nodes_agree(name, options, ranks):
    """On their mean, rounded, after the search and again; only the author keeps anything."""
    graph = topology(name, 1000, **options)
    places = at_ranks(graph, ranks, "collect")
    engines, neighbours = [lockstep(local, 3) for local in places], [local.wiring.ranks for local in places]
    for call in range(2):
        values = np.random.default_rng(call).integers(-1000, 1000, (1000, 3))
        hats = [np.zeros((len(engine.bytes_sent), 3)) for engine in engines]
        parts = np.split(values, np.cumsum([len(hat) for hat in hats])[:-1])
        for engine, part in zip(engines, parts, strict=True):
            engine.begin(call, part, True)
        take_steps(engines, neighbours, engines[0].steps_to_find + places[0].steps)
        assert all(engine.finished for engine in engines)
        means = [engine.settle(part, hat, 1.0) for engine, part, hat in zip(engines, parts, hats, strict=True)]
        total = values.sum(axis=0)
        expected = (2 * total + 1000) // 2000
        assert all(mean.tobytes() == expected.astype(float).tobytes() for mean in means)
        hat = np.concatenate(hats)
        assert np.array_equal(hat[1:], values[1:])
        assert np.array_equal(hat.sum(axis=0), 1000 * expected)


def test_each_of_a_thousand_nodes_knows_the_result():
    """Each in a process of its own, on a digraph."""
    graph = topology("random-digraph", 1000, probability=0.01)
    places = at_ranks(graph, 1000, "collect")
    engines, values = [lockstep(local, 2) for local in places], np.arange(2000).reshape(1000, 2)
    for engine, own in zip(engines, values, strict=True):
        engine.begin(0, own[None].copy())
    take_steps(engines, [local.wiring.ranks for local in places], engines[0].steps_to_find + places[0].steps)
    low = (values.sum(axis=0) // 1000).tolist()
    assert all(engine.finished and engine.result[0].tolist() == low for engine in engines)


def test_by_mailboxes_a_thousand_nodes_agree():
    """Nodes that sleep until mail comes are woken by it."""
    (local,) = at_ranks(topology("ring", 1000), 1, "collect")
    nodes, values = mailboxes(local, 2), np.arange(2000).reshape(1000, 2)
    for call in range(2):
        nodes.begin(call, values + call, np.zeros(1000, np.int64))
        until = time.monotonic() + 60
        while not (nodes.finished and nodes.quiet):
            assert time.monotonic() < until
            nodes.advance(time.perf_counter())
        assert nodes.result[0].tolist() == ((values + call).sum(axis=0) // 1000).tolist()


def test_ways_along_a_path_are_as_long_as_it_is():
    for nodes in (2, 3, 64, 65, 1000):
        path = np.array([arc for i in range(nodes - 1) for arc in ((i, i + 1), (i + 1, i))])
        assert shortest_paths(path[np.lexsort((path[:, 1], path[:, 0]))], nodes).height == 2 * (nodes - 1)


@pytest.mark.slow
@pytest.mark.mpi
def test_ten_thousand_nodes_on_sixteen_ranks(config, mpiqopt, tmp_path):
    """A run in which all nodes have the bits that one process gives them, in each of three rounds."""
    tables = {
        "run": {"iterations": 3},
        "data": {"name": "synthetic", "samples": 20_000, "features": 5, "task": "classification"},
        "topology": {"name": "random-digraph", "nodes": 10_000, "probability": 0.001},
        "algorithm": {"name": "coordinated-prox-gradient", "coordinator": "collect"},
    }
    found = []
    for ranks in (0, 16):
        result = mpiqopt("run", config(f"{ranks}.toml", **tables), "-q", ranks=ranks)
        assert result.returncode == 0, result.stderr
        with h5py.File(tmp_path / f"{ranks}.h5") as file:
            x = file["final/x"][()]
            found.append((x.tobytes(), file["objective"][()].tobytes(), file["bytes"][()].tobytes()))
            assert np.isfinite(x).all()
            assert np.ptp(file["objective"][()]) > 0
            assert file["consensus"][-1] == 0
    assert found[0] == found[1]
