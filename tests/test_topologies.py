"""Graphs against networkx, weights against their definition, lambda against dense linear algebra."""

import networkx
import numpy as np
import pytest
from tools.topologies import DIGRAPHS, edge_array, topology

from mpiqopt.algorithms.dgd import DGD
from mpiqopt.errors import UsageError
from mpiqopt.registry import family_members, find_member
from mpiqopt.topologies.mixing import (
    column_stochastic_mixing,
    mixing_from_edges,
    mixing_from_entries,
    simple_arcs,
    simple_edges,
)
from mpiqopt.topologies.topology import Topology


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nodes", [1, 2, 3, 8, 60, 300])
def test_random_graphs_are_those_of_networkx(nodes, seed):
    """The same links for the same seed, edge for edge, also where pairing stubs ends in dead ends."""
    for probability in (1e-9, 0.02, 0.3, 0.9, 1.0):
        ours = find_member("topology", "erdos-renyi")(nodes=nodes, seed=seed, probability=probability).edges()
        theirs = networkx.fast_gnp_random_graph(nodes, probability, seed=seed)
        assert np.array_equal(simple_edges(ours), edge_array(theirs))
    for degree in {1, 2, 3, 6, 7} & {d for d in range(1, nodes) if d * nodes % 2 == 0}:
        ours = find_member("topology", "random-regular")(nodes=nodes, seed=seed, degree=degree).edges()
        assert np.array_equal(simple_edges(ours), edge_array(networkx.random_regular_graph(degree, nodes, seed=seed)))
    for radius in (0.05, 0.3, 1.5):
        ours = find_member("topology", "geometric")(nodes=nodes, seed=seed, radius=radius).edges()
        assert np.array_equal(simple_edges(ours), edge_array(networkx.random_geometric_graph(nodes, radius, seed=seed)))


def test_nothing_is_computed_that_nobody_needs(monkeypatch):
    """No lambda, no diameter, and no links of an [emulate] that is not there."""
    forbidden = [(Topology, "arcs"), (Topology, "diameter"), (Topology, "contraction"), (Topology, "_second_largest")]
    for cls, name in forbidden:
        monkeypatch.setattr(cls, name, property(lambda self, name=name: pytest.fail(f"asked for {name}")))
    made = topology('[topology]\nname = "ring"\nnodes = 2000')
    assert made.smallest_eigenvalue == pytest.approx(-1 / 3, abs=1e-12)


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


@pytest.mark.parametrize(
    "name", sorted(family_members("topology").keys() - DIGRAPHS - {"file", "one-peer-exponential", "random-pairs"})
)
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
@pytest.mark.parametrize(
    "name", sorted(family_members("topology").keys() - {"file", "random-regular", "random-digraph"})
)
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
    assert np.allclose(mixing_from_edges(5, edges, "metropolis").dense(), metropolis, atol=1e-16)
    assert np.allclose(mixing_from_edges(5, edges, "lazy-metropolis").dense(), (np.eye(5) + metropolis) / 2, atol=1e-16)
    assert np.allclose(mixing_from_edges(5, edges, "uniform").dense(), uniform, atol=1e-16)


def test_one_peer_exponential_averages_exactly():
    """For n a power of two, log2 n rounds: each node hears one other in a round."""
    made = topology('[topology]\nname = "one-peer-exponential"\nnodes = 16')
    assert len(made.cycle) == 4
    assert all(np.all(mixing.degrees() == 1) for mixing in made.cycle)
    product = np.linalg.multi_dot([mixing.dense() for mixing in made.cycle])
    assert np.allclose(product, 1 / 16, atol=1e-16)
    assert made.rounds_needed(False, 0.25) == 4


@pytest.mark.parametrize("nodes", [2, 6, 7, 16, 80])
def test_random_pairs_meet_once_in_a_tournament(nodes):
    """In each round all nodes have a partner, but for one of an odd number; seeds differ in who meets when."""
    text = f'[topology]\nname = "random-pairs"\nnodes = {nodes}\nseed = '
    cycle = [mixing.dense() for mixing in topology(text + "1").cycle]
    for W in cycle:
        assert np.array_equal(W, W.T)
        assert np.count_nonzero(W.diagonal() == 0.5) == nodes - nodes % 2
        assert np.count_nonzero(W == 0.5) == 2 * (nodes - nodes % 2)
    off, whole = ~np.eye(nodes, dtype=bool), nodes - 1 + nodes % 2
    assert len(cycle) == (63 if nodes > 64 else whole * -(-15 // whole))
    meetings = 2 * sum(cycle[:whole])[off]
    assert meetings.max() == 1
    assert np.all(meetings == 1) or nodes > 64
    other = [mixing.dense() for mixing in topology(text + "2").cycle]
    assert nodes == 2 or not np.array_equal(cycle, other)


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
    with pytest.raises(UsageError, match="not connected"):
        topology('[topology]\nname = "erdos-renyi"\nnodes = 2000\nprobability = 1e-3')


def test_rounds_needed_is_the_smallest():
    made = topology('[topology]\nname = "ring"\nnodes = 20')
    assert made.reached(8, True) == pytest.approx(0.159, abs=5e-4)  # 0.248 for T_K(W/lambda)/T_K(1/lambda)
    assert made.reached(8, False) == pytest.approx(0.767, abs=2e-3)
    for chebyshev in (True, False):
        k = made.rounds_needed(chebyshev)
        assert made.reached(k, chebyshev) <= 0.75 < made.reached(k - 1, chebyshev)


def test_simple_edges_drop_loops_and_repetitions():
    assert simple_edges(np.array([[1, 0], [0, 1], [2, 2], [1, 2]])).tolist() == [[0, 1], [1, 2]]


def test_large_varying_graphs_agree_with_dense_algebra(monkeypatch):
    """The same cycle by Lanczos and by dense matrices; one-peer graphs of 11 nodes do not average exactly."""
    text = '[topology]\nname = "one-peer-exponential"\nnodes = 11'
    dense = topology(text)
    expected = dense.contraction, dense.reached(7, False), dense.rounds_needed(False)
    monkeypatch.setattr("mpiqopt.topologies.topology.DENSE_LIMIT", 5)
    lanczos = topology(text)
    assert (lanczos.contraction, lanczos.reached(7, False)) == pytest.approx(expected[:2], abs=1e-6)
    assert lanczos.rounds_needed(False) == expected[2]


def digraph(mixing) -> networkx.DiGraph:
    """Node i receives from node j where w_ij != 0: the adjacency matrix is W transposed."""
    return networkx.from_numpy_array(
        (mixing.dense().T != 0) & ~np.eye(mixing.nodes, dtype=bool), create_using=networkx.DiGraph
    )


def strongly_connected_by_networkx(made: Topology) -> bool:
    return networkx.is_strongly_connected(networkx.compose_all(map(digraph, made.cycle)))


@pytest.mark.parametrize("nodes", [1, 2, 3, 8])
def test_directed_ring(nodes):
    """Node i + 1 hears node i; rows sum to 1 too, so that ordinary methods can use it."""
    (mixing,) = topology(f'[topology]\nname = "directed-ring"\nnodes = {nodes}').cycle
    if nodes == 1:
        expected = np.ones((1, 1))
    else:
        expected = np.eye(nodes) / 2
        for i in range(nodes):
            expected[(i + 1) % nodes, i] += 1 / 2
    assert np.array_equal(mixing.dense(), expected)


def test_column_stochastic_weights():
    """Outdegrees 2, 1, 0 and 1; a loop and a repetition do not count."""
    arcs = np.array([[0, 1], [0, 2], [1, 2], [3, 3], [3, 0], [0, 1]])
    mixing = column_stochastic_mixing(4, arcs)
    expected = [[1 / 3, 0, 0, 1 / 2], [1 / 3, 1 / 2, 0, 0], [1 / 3, 1 / 2, 1, 0], [0, 0, 0, 1 / 2]]
    assert np.array_equal(mixing.dense(), expected)
    assert mixing.arcs().tolist() == [[3, 0], [0, 1], [0, 2], [1, 2]]
    assert simple_arcs(4, arcs).tolist() == [[0, 1], [0, 2], [1, 2], [3, 0]]
    assert np.allclose(mixing.row_sums(), mixing.dense().sum(axis=1), atol=1e-15)
    assert np.allclose(mixing.column_sums(), 1, atol=1e-15)


@pytest.mark.parametrize("probability", [0.0, 0.05, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("nodes", [1, 2, 3, 17, 60])
def test_random_digraphs(nodes, probability):
    cls = find_member("topology", "random-digraph")
    for seed in range(10):
        graph = cls(nodes=nodes, probability=probability, seed=seed)
        made = Topology("random-digraph", tuple(graph.cycle()))
        (mixing,) = made.cycle
        dense, out = mixing.dense(), np.array([degree for _, degree in sorted(digraph(mixing).out_degree())])
        assert np.allclose(dense.sum(axis=0), 1, atol=1e-14)
        assert np.array_equal(dense, np.where(dense > 0, 1 / (1 + out), 0))
        assert np.all(np.diag(dense) > 0)
        made.require_strong()
        assert made.strongly_connected
        assert strongly_connected_by_networkx(made)
        if probability == 0:
            assert np.all(out == (nodes > 1))
        if probability == 1:
            assert np.all(out == nodes - 1)
        assert np.array_equal(cls(nodes=nodes, probability=probability, seed=seed).arcs(), graph.arcs())


def test_random_digraphs_have_each_other_arc_with_the_probability():
    """The share of arcs outside the cycle, and of each place over the seeds, within 5 standard deviations."""
    cls, n, probability, seeds = find_member("topology", "random-digraph"), 6, 0.3, 2000
    counts, cycle = np.zeros((n, n)), np.zeros((n, n))
    for seed in range(seeds):
        arcs = cls(nodes=n, probability=probability, seed=seed).arcs()
        np.add.at(cycle, tuple(arcs[:n].T), 1)
        np.add.at(counts, tuple(arcs[n:].T), 1)
    off = ~np.eye(n, dtype=bool)
    assert np.all(counts[~off] == 0)
    assert np.all(cycle[~off] == 0)
    assert np.abs(counts[off] / seeds - probability).max() < 5 * np.sqrt(probability * (1 - probability) / seeds)
    assert np.abs(cycle[off] / seeds - 1 / (n - 1)).max() < 5 * np.sqrt(0.2 * 0.8 / seeds)


KINDS = [
    *[f'name = "{name}"\nnodes = 16' for name in ("ring", "path", "grid", "torus", "star", "complete", "hypercube")],
    *[
        f'name = "{name}"\nnodes = {n}'
        for name in ("directed-ring", "one-peer-exponential")
        for n in (1, 2, 3, 70, 130)
    ],
    *[f'name = "random-digraph"\nnodes = 90\nprobability = {p}\nseed = {s}' for p in (0, 0.02, 0.5) for s in (0, 1)],
    'name = "erdos-renyi"\nnodes = 100',
    'name = "geometric"\nnodes = 100',
]


@pytest.mark.parametrize("text", KINDS)
def test_diameter_against_networkx(text, directed_method, monkeypatch):
    """Exact, also in passes of 64 nodes; above the limit a bound that is at most twice as large."""
    made = topology("[topology]\n" + text)
    union = networkx.compose_all(map(digraph, made.cycle))
    assert made.directed == (set(union.edges) != {(b, a) for a, b in union.edges})
    assert sorted(union.edges) == list(map(tuple, made.arcs().tolist()))
    expected = networkx.diameter(union) if made.nodes > 1 else 0
    assert made.diameter == expected
    assert type(made.diameter) is int
    monkeypatch.setattr("mpiqopt.topologies.connectivity.SEARCH_BYTES", 1)
    assert topology("[topology]\n" + text).diameter == expected
    monkeypatch.setattr("mpiqopt.topologies.topology.DIAMETER_LIMIT", 0)
    bound = topology("[topology]\n" + text).diameter
    assert expected <= bound <= 2 * expected
    assert bound == sum(
        max(networkx.single_source_shortest_path_length(g, 0).values()) for g in (union, union.reverse())
    )


def test_the_diameter_at_the_limit():
    """A torus of 54 x 55 has 2970 nodes; larger ones have a bound, here twice as large."""
    assert topology('[topology]\nname = "torus"\nnodes = 2970\nrows = 54').diameter == 27 + 27
    assert topology('[topology]\nname = "torus"\nnodes = 10000').diameter == 2 * (50 + 50)


def test_zero_weights_are_no_links():
    """Strong connectivity and diameter go by weights: arc 1 -> 0 has weight 0."""
    rows, columns, weights = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([0.5, 0.0, 0.5, 1.0])
    made = Topology("pair", (mixing_from_entries(2, rows, columns, weights),))
    assert made.arcs().tolist() == [[0, 1]]
    assert made.directed
    assert not made.strongly_connected
    with pytest.raises(UsageError, match=r"topology pair: .* not strongly connected \(no path from 1 to node 0\); add"):
        _ = made.diameter


def test_methods_for_directed_graphs_need_paths_both_ways(directed_method, tmp_path):
    file = tmp_path / "g.edges"
    text = f'[topology]\nname = "file"\npath = "{file}"\ndirected = true'
    for arcs, said in [
        ("0 1\n1 2\n2 0\n2 3\n3 4", r"\(no path from 3, 4 to node 0\)"),
        ("0 1\n1 2\n2 0\n3 2", r"\(no path from node 0 to 3\)"),
        ("0 1\n2 1", r"\(no path from node 0 to 2, none from 1, 2 to node 0\)"),
        ("0\n1\n2\n3\n4\n5\n6", r"\(no path from node 0 to 1, 2, 3, 4, 5, \.\.\., none from"),
    ]:
        file.write_text(arcs)
        with pytest.raises(UsageError, match=r"test.toml: topology file: the graph is not strongly connected " + said):
            topology(text)
    file.write_text("0 1\n1 2\n2 0\n2 3\n3 2\n")
    assert topology(text).diameter == 3
    assert topology('[topology]\nname = "star"').diameter == 2  # undirected graphs are digraphs too


def test_methods_for_directed_graphs_need_columns_that_sum_to_1():
    ring = column_stochastic_mixing(3, np.array([[0, 1], [1, 2], [2, 0], [0, 2]]))
    Topology("good", (ring,)).require_strong()
    with pytest.raises(UsageError, match=r"topology bad: column 2 of W sums to 1\.33333, want 1"):
        Topology("bad", (ring.transpose(),)).require_strong()


def test_a_cycle_of_digraphs_is_strongly_connected_together(directed_method, tmp_path):
    files = [tmp_path / "a.edges", tmp_path / "b.edges"]
    files[0].write_text("0 1\n2\n")
    files[1].write_text("1 2\n2 0\n")
    made = topology("".join(f'[[topology]]\nname = "file"\npath = "{f}"\ndirected = true\n' for f in files))
    assert made.varies
    assert made.arcs().tolist() == [[0, 1], [1, 2], [2, 0]]
    assert made.diameter == 2


def test_ordinary_methods_refuse_digraphs():
    said = (
        r"columns of W sum to 1 but not its rows \(row \d: .*only methods for directed graphs .*mpiqopt list algorithm"
    )
    with pytest.raises(UsageError, match=said):
        topology('[topology]\nname = "random-digraph"')


def test_lambda_of_digraphs_is_not_a_number(directed_method):
    made = topology('[topology]\nname = "random-digraph"')
    assert not made.doubly_stochastic
    assert np.isnan(made.contraction)
    with pytest.raises(UsageError, match="not its rows"):
        made.rounds_needed(False)


def test_too_many_arcs_are_refused():
    with pytest.raises(UsageError, match=r"topology.probability = 0.2: about 2e\+09 arcs do not fit .* 0.0025 for"):
        topology('[topology]\nname = "random-digraph"\nnodes = 100000')


def test_large_directed_rings_are_quick():
    """W is normal: ||W^K - J|| = lambda^K with lambda = cos(pi/n)."""
    made = topology('[topology]\nname = "directed-ring"\nnodes = 2000')
    assert 1 - made.contraction == pytest.approx(1 - np.cos(np.pi / 2000), rel=1e-4)
    assert made.rounds_needed(False) == pytest.approx(np.log(4 / 3) / (1 - made.contraction), rel=1e-4)


def test_regular_digraphs_that_are_not_normal(monkeypatch):
    """Doubly stochastic. ||W^K - J|| is computed, and bounded by lambda^K when they are large."""
    eye = np.eye(30)
    dense = (eye + np.roll(eye, 1, axis=0)) @ (eye + eye[np.random.default_rng(1).permutation(30)]) / 4
    matrix = mixing_from_entries(30, *np.nonzero(dense), dense[dense > 0])
    expected = np.linalg.norm(np.linalg.matrix_power(matrix.dense(), 7) - 1 / 30, 2)
    small, large = Topology("a", (matrix,)), Topology("a", (matrix,))
    small.require_contraction()
    assert small.reached(7, False) == pytest.approx(expected, abs=1e-12)
    assert small.contraction == pytest.approx(np.linalg.norm(matrix.dense() - 1 / 30, 2), abs=1e-12)
    monkeypatch.setattr("mpiqopt.topologies.topology.DENSE_LIMIT", 5)
    assert large.contraction == pytest.approx(small.contraction, abs=1e-9)
    assert 1.01 * expected < large.reached(7, False) == pytest.approx(large.contraction**7, rel=1e-9)


def test_describe_and_draw_digraphs(directed_method, tmp_path):
    from mpiqopt.analysis import graphs

    made = topology('[topology]\nname = "random-digraph"\nnodes = 12')
    text = " ".join(graphs.describe_topology(made).split())
    for fact in (f"arcs {len(made.arcs())} out-degree", "in-degree 2 to 6 (mean", "strongly connected yes diameter 3"):
        assert fact in text
    assert "lambda" not in text
    assert "rounds" not in text
    graphs.draw_topology(made, str(tmp_path / "a.svg"))
    assert (tmp_path / "a.svg").stat().st_size > 1000
    ring = " ".join(graphs.describe_topology(topology('[topology]\nname = "directed-ring"\nnodes = 6')).split())
    for fact in ("arcs 6", "out-degree 1 (mean 1)", "diameter 5", "lambda = |W - J| 0.866025", "2 plain"):
        assert fact in ring
    apart = Topology("apart", (column_stochastic_mixing(3, np.array([[0, 1], [1, 2]])),))
    assert "strongly connected  no\n" in graphs.describe_topology(apart)
    assert isinstance(graphs.union_graph(apart), networkx.DiGraph)


def test_result_files_have_the_arcs(directed_method, config, tmp_path, monkeypatch):
    """(i, j): node i receives from node j, with w_ij; the diagonal makes columns sum to 1."""
    import h5py

    from mpiqopt.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(DGD, "automatic_step", lambda self, facts: 1e-3)
    path = config(topology={"name": "random-digraph", "nodes": 9}, algorithm={"name": "dgd"})
    assert main(["check", path]) == 0
    assert main(["topology", path]) == 0
    assert main(["run", path, "-q"]) == 0
    (mixing,) = topology('[topology]\nname = "random-digraph"\nnodes = 9').cycle
    with h5py.File("small.h5") as file:
        group = file["topology"]
        assert group.attrs["directed"] == 1
        dense = np.zeros((9, 9))
        dense[tuple(group["edges"][()].T)] = group["weights"][()]
    assert np.allclose(dense + np.diag(1 - dense.sum(axis=0)), mixing.dense(), atol=1e-15)
