"""Graphs against networkx, weights against their definition, lambda against dense linear algebra."""

import json

import networkx
import numpy as np
import pytest

from mpiqopt.config import parse
from mpiqopt.registry import members
from mpiqopt.topologies.mixing import from_edges, simple_edges
from mpiqopt.topologies.spectrum import Topology

BASE = '[data]\nname = "synthetic"\n[problem]\nname = "least-squares"\n[algorithm]\nname = "dgd"\n'


def topology(text: str) -> Topology:
    return parse(BASE + text, "test.toml").topology()


def adjacency(graph: networkx.Graph) -> np.ndarray:
    return networkx.to_numpy_array(graph, nodelist=sorted(graph), weight=None)


NETWORKX = {
    "ring": networkx.cycle_graph(8),
    "path": networkx.path_graph(8),
    "grid": networkx.grid_2d_graph(2, 4),
    "torus": networkx.grid_2d_graph(2, 4, periodic=(False, True)),  # two rows are joined once
    "star": networkx.star_graph(7),
    "complete": networkx.complete_graph(8),
    "hypercube": networkx.hypercube_graph(3),
    "exponential": networkx.circulant_graph(8, [1, 2, 4]),
}


@pytest.mark.parametrize("name", sorted(members("topology").keys() - {"file", "one-peer-exponential"}))
def test_graph_is_networkx_graph(name):
    (mixing,) = topology(f'[topology]\nname = "{name}"\nnodes = 8\nseed = 2').cycle
    links = (mixing.dense() > 0) & ~np.eye(8, dtype=bool)
    assert np.array_equal(links, links.T)
    if name in NETWORKX:
        assert np.array_equal(links, adjacency(NETWORKX[name]) > 0)
    elif name == "random-regular":
        assert np.all(links.sum(axis=0) == 4)
    else:
        assert networkx.is_connected(networkx.from_numpy_array(links))


@pytest.mark.parametrize("nodes", [1, 2, 3, 16])
@pytest.mark.parametrize("name", sorted(members("topology").keys() - {"file", "random-regular"}))
def test_small_networks_work(name, nodes):
    if name == "hypercube" and nodes == 3:
        pytest.skip("no hypercube has 3 nodes")
    probability = "probability = 1.0" if name == "erdos-renyi" else "radius = 1.5" if name == "geometric" else ""
    made = topology(f'[topology]\nname = "{name}"\nnodes = {nodes}\n{probability}')
    for mixing in made.cycle:
        dense = mixing.dense()
        assert np.allclose(dense.sum(axis=0), 1, atol=1e-15)
        assert np.allclose(dense.sum(axis=1), 1, atol=1e-15)
        assert np.all(np.diff(mixing.columns)[np.diff(mixing.rows()) == 0] > 0)
    product = np.linalg.multi_dot([np.eye(nodes), *[m.dense() for m in reversed(made.cycle)], np.eye(nodes)])
    expected = np.linalg.norm(product - 1 / nodes, 2) ** (1 / len(made.cycle))
    assert made.contraction == pytest.approx(expected, abs=1e-7 if made.varies else 1e-12)
    assert made.contraction < 1


def test_weights_are_as_defined():
    """A star of 4 with a tail, whose degrees differ."""
    edges = np.array([[0, 1], [0, 2], [0, 3], [3, 4]])
    degree = np.array([3, 1, 1, 2, 1])
    metropolis = np.zeros((5, 5))
    for i, j in edges:
        metropolis[i, j] = metropolis[j, i] = 1 / (1 + max(degree[i], degree[j]))
    metropolis += np.diag(1 - metropolis.sum(axis=1))
    uniform = np.where(metropolis - np.diag(np.diag(metropolis)) > 0, 1 / 4, 0.0)
    uniform += np.diag(1 - uniform.sum(axis=1))
    assert np.allclose(from_edges(5, edges, "metropolis").dense(), metropolis, atol=1e-16)
    assert np.allclose(from_edges(5, edges, "lazy-metropolis").dense(), (np.eye(5) + metropolis) / 2, atol=1e-16)
    assert np.allclose(from_edges(5, edges, "uniform").dense(), uniform, atol=1e-16)


def test_one_peer_exponential_averages_exactly():
    """For n a power of two, log2 n rounds: each node hears one other in a round."""
    made = topology('[topology]\nname = "one-peer-exponential"\nnodes = 16')
    assert len(made.cycle) == 4
    assert all(np.all(mixing.degrees() == 1) for mixing in made.cycle)
    product = np.linalg.multi_dot([mixing.dense() for mixing in made.cycle])
    assert np.allclose(product, 1 / 16, atol=1e-16)
    assert made.rounds_needed(False) == 4


def test_a_list_of_graphs_is_connected_together():
    """Neither graph is connected; their union is."""
    text = '[[topology]]\nname = "file"\npath = "{}"\n[[topology]]\nname = "file"\npath = "{}"'
    text = text.replace("{}", "%s")
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "a.edges", Path(folder) / "b.edges"]
        files[0].write_text("0 1\n2 3\n")
        files[1].write_text("1 2\n0\n3\n")
        made = topology(text % tuple(files))
        assert made.varies
        assert 0 < made.contraction < 1


@pytest.mark.parametrize("weights", ["metropolis", "file"])
@pytest.mark.parametrize("ending", ["edges", "edgelist", "csv.txt", "graphml", "json"])
def test_graph_files(ending, weights, tmp_path):
    graph = networkx.Graph()
    graph.add_weighted_edges_from([(0, 1, 0.25), (1, 2, 0.5), (2, 10, 0.125), (10, 0, 0.3)])
    path = tmp_path / f"g.{ending}"
    if ending == "graphml":
        networkx.write_graphml(graph, path)
    elif ending == "json":
        path.write_text(json.dumps(networkx.adjacency_data(graph)))
    elif ending == "edgelist":
        networkx.write_edgelist(graph, path)
    else:
        comma = ", " if ending == "csv.txt" else " "
        lines = [comma.join(map(str, edge)) for edge in graph.edges(data="weight")]
        path.write_text("# a comment\n" + "\n".join(lines) + "\n")
    (mixing,) = topology(f'[topology]\nname = "file"\npath = "{path}"\nweights = "{weights}"').cycle
    expected = networkx.to_numpy_array(graph, nodelist=[0, 1, 2, 10])
    if weights == "metropolis":
        expected = np.where(expected > 0, 1 / 3, 0.0)
    assert np.allclose(mixing.dense(), expected + np.diag(1 - expected.sum(axis=1)), atol=1e-15)


def test_large_graphs_use_lanczos_and_agree():
    """A torus of 30 x 30 is above the limit of dense algebra; its eigenvalues are known in closed form."""
    made = topology('[topology]\nname = "torus"\nnodes = 900')
    cosines = np.cos(2 * np.pi * np.arange(30) / 30)
    values = np.sort((1 + 2 * np.add.outer(cosines, cosines)).ravel() / 5)
    assert made.contraction == pytest.approx(values[-2], abs=1e-6)
    assert made.smallest_eigenvalue == pytest.approx(values[0], abs=1e-6)


@pytest.mark.parametrize(("name", "nodes"), [("ring", 3000), ("path", 3001)])
def test_the_gap_of_long_graphs(name, nodes):
    """1 - lambda of rings and paths is known in closed form; it is about 1e-6 here, and right to 1e-4 of that."""
    gap = 2 / 3 * (1 - np.cos((2 if name == "ring" else 1) * np.pi / nodes))
    made = topology(f'[topology]\nname = "{name}"\nnodes = {nodes}\nweights = "uniform"')
    assert 1 - made.contraction == pytest.approx(gap, rel=1e-4)


def test_large_disconnected_graph_is_refused():
    from mpiqopt.errors import UsageError

    with pytest.raises(UsageError, match="not connected"):
        topology('[topology]\nname = "erdos-renyi"\nnodes = 2000\nprobability = 1e-3')


def test_rounds_needed_is_the_smallest():
    made = topology('[topology]\nname = "ring"\nnodes = 20')
    assert made.reached(8, True) == pytest.approx(0.248, abs=5e-4)
    assert made.reached(8, False) == pytest.approx(0.767, abs=2e-3)
    for chebyshev in (True, False):
        k = made.rounds_needed(chebyshev)
        assert made.reached(k, chebyshev) <= 0.25 < made.reached(k - 1, chebyshev)


def test_simple_edges_drop_loops_and_repetitions():
    assert simple_edges(np.array([[1, 0], [0, 1], [2, 2], [1, 2]])).tolist() == [[0, 1], [1, 2]]


def test_large_varying_graphs_agree_with_dense_algebra(monkeypatch):
    """The same cycle by Lanczos and by dense matrices; one-peer graphs of 11 nodes do not average exactly."""
    text = '[topology]\nname = "one-peer-exponential"\nnodes = 11'
    dense = topology(text)
    expected = dense.contraction, dense.reached(7, False), dense.rounds_needed(False)
    monkeypatch.setattr("mpiqopt.topologies.spectrum.DENSE_LIMIT", 5)
    lanczos = topology(text)
    assert (lanczos.contraction, lanczos.reached(7, False)) == pytest.approx(expected[:2], abs=1e-6)
    assert lanczos.rounds_needed(False) == expected[2]
