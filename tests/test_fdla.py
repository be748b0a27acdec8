"""Fastest averaging weights: closed forms, another solver, certificates of optimality, the same bits everywhere."""

import hashlib
import os
import subprocess
import sys

import networkx
import numpy as np
import pytest
from tools.processors import ENVIRONMENTS
from tools.representatives import slow
from tools.topologies import DIGRAPHS, edge_array, topology

from mpiqopt.errors import UsageError
from mpiqopt.registry import family_members, find_member
from mpiqopt.topologies.fdla import semidefinite_optimum
from mpiqopt.topologies.mixing import mixing_from_edges, simple_edges

EDGE_TRANSITIVE = {
    "path of 3": networkx.path_graph(3),
    "ring of 4": networkx.cycle_graph(4),
    "ring of 9": networkx.cycle_graph(9),
    "ring of 64": networkx.cycle_graph(64),
    "star of 7": networkx.star_graph(6),
    "star of 64": networkx.star_graph(63),
    "hypercube of 8": networkx.hypercube_graph(3),
    "hypercube of 64": networkx.hypercube_graph(6),
    "torus of 25": networkx.grid_2d_graph(5, 5, periodic=True),
    "3 + 5 nodes": networkx.complete_bipartite_graph(3, 5),
    "Petersen": networkx.petersen_graph(),
}
# min ||W - J|| by cvxpy 1.9.3 with Clarabel 0.11.1, tolerances 1e-10: graph, nodes, seed
BY_CLARABEL = {
    ("path", 7, 0): 0.9009689,
    ("grid", 12, 0): 0.7784382,
    ("grid", 20, 0): 0.8630310,
    ("erdos-renyi", 16, 0): 0.6459760,
    ("erdos-renyi", 20, 0): 0.6356774,
    ("geometric", 16, 0): 0.5453626,
    ("geometric", 20, 0): 0.6316913,
    ("exponential", 16, 0): 0.3348487,
    ("random-regular", 16, 0): 0.6490206,
}
VARYING = {"one-peer-exponential", "random-pairs"}
UNDIRECTED = sorted(family_members("topology").keys() - DIGRAPHS - VARYING - {"complete", "file"})


def edges_of(name: str, nodes: int, seed: int = 0) -> np.ndarray:
    return simple_edges(find_member("topology", name)(nodes=nodes, seed=seed).edges())


def numbered(graph: networkx.Graph) -> np.ndarray:
    return edge_array(networkx.convert_node_labels_to_integers(graph))


def distance(W: np.ndarray) -> float:
    return np.linalg.norm(W - 1 / len(W), 2)


def lower_bound(nodes: int, edges: np.ndarray) -> float:
    """tr(Z (I - J))/||Z||_*, which is <= ||W - J|| for all W on the edges: Z is orthogonal to every b_e b_e^T.

    Then tr(Z (I - J)) = tr(Z (W - J)) whatever the weights. Z = X_0 - X_1 of the solver, made orthogonal here.
    """
    first, second = semidefinite_optimum(nodes, edges)[1]
    ends = np.zeros((nodes, len(edges)))
    ends[edges.T, np.arange(len(edges))] = [[1], [-1]]
    along = np.sum(ends * ((first - second) @ ends), axis=0)
    Z = first - second - ends * np.linalg.lstsq((ends.T @ ends) ** 2, along, rcond=None)[0] @ ends.T
    assert np.allclose(np.sum(ends * (Z @ ends), axis=0), 0, atol=1e-12)
    return np.trace(Z - Z.mean()) / np.linalg.norm(Z, "nuc") if nodes > 1 else 0.0


@pytest.mark.parametrize("name", EDGE_TRANSITIVE)
def test_edges_that_are_alike_have_the_best_constant_weight(name):
    """||W - J|| = (lambda_n - lambda_2)/(lambda_n + lambda_2) of the Laplacian (Xiao and Boyd 2004, section 4.1)."""
    graph = EDGE_TRANSITIVE[name]
    eigenvalues = np.linalg.eigvalsh(networkx.laplacian_matrix(graph).toarray().astype(float))
    smallest, largest = eigenvalues[1], eigenvalues[-1]
    mixing = mixing_from_edges(len(graph), numbered(graph), "fdla")
    assert distance(mixing.dense()) == pytest.approx((largest - smallest) / (largest + smallest), rel=1e-7)
    weights = mixing.weights[mixing.links()]
    assert np.ptp(weights) < 1e-10
    assert weights == pytest.approx(2 / (largest + smallest), abs=1e-6)


@pytest.mark.parametrize(("name", "nodes", "seed"), BY_CLARABEL)
def test_another_solver_finds_the_same_optimum(name, nodes, seed):
    found = distance(mixing_from_edges(nodes, edges_of(name, nodes, seed), "fdla").dense())
    assert found == pytest.approx(BY_CLARABEL[name, nodes, seed], rel=3e-7)


@pytest.mark.parametrize("nodes", [4, 16, *slow(64)])
@pytest.mark.parametrize("name", UNDIRECTED)
def test_no_weights_are_faster(name, nodes):
    """A dual certificate, checked by LAPACK: within 1e-6 nothing averages faster, on any graph."""
    if name == "random-regular" and nodes == 4:
        pytest.skip("no graph of 4 nodes has degree 4")
    edges = edges_of(name, nodes)
    if len(edges) == nodes * (nodes - 1) // 2:
        pytest.skip("complete")
    found = distance(mixing_from_edges(nodes, edges, "fdla").dense())
    bound = lower_bound(nodes, edges)
    assert bound * (1 - 1e-12) <= found <= bound * (1 + 1e-6)
    assert found <= distance(mixing_from_edges(nodes, edges, "metropolis").dense()) * (1 + 1e-7)


@pytest.mark.parametrize("seed", range(8))
def test_no_weights_are_faster_on_irregular_graphs(seed):
    """Trees, graphs with bottlenecks, sparse graphs in several parts, and all but complete ones."""
    graphs = [
        networkx.random_labeled_tree(5 + 3 * seed, seed=seed),
        networkx.lollipop_graph(4 + seed, 1 + seed),
        networkx.gnp_random_graph(16, 0.02 + 0.1 * seed, seed=seed),
        networkx.complement(networkx.gnm_random_graph(6 + 2 * seed, 1 + seed // 2, seed=seed)),
    ]
    for graph in graphs:
        edges = numbered(graph)
        found = distance(mixing_from_edges(len(graph), edges, "fdla").dense())
        assert found <= lower_bound(len(graph), edges) * (1 + 1e-6)


@pytest.mark.parametrize("name", UNDIRECTED)
def test_rows_sum_to_exactly_1_and_only_neighbours_have_weights(name):
    edges = edges_of(name, 32)
    W = mixing_from_edges(32, edges, "fdla").dense()
    assert np.array_equal(W, W.T)
    assert np.all(W.sum(axis=1) == 1)
    allowed = np.eye(32, dtype=bool)
    allowed[edges[:, 0], edges[:, 1]] = allowed[edges[:, 1], edges[:, 0]] = True
    assert not W[~allowed].any()


def test_weights_may_be_negative():
    """As Xiao and Boyd note."""
    mixing = mixing_from_edges(20, edges_of("geometric", 20), "fdla")
    assert mixing.weights.min() < -0.01


@pytest.mark.parametrize("nodes", [1, 2, 3, 60, 64])
def test_a_complete_graph_averages_at_once(nodes):
    made = topology(f'[topology]\nname = "complete"\nnodes = {nodes}\nweights = "fdla"')
    assert made.contraction == 0
    assert np.allclose(made.cycle[0].dense(), 1 / nodes, rtol=0, atol=1e-16 * nodes)


@pytest.mark.parametrize("lines", ["0\n1\n", "0 1\n2 3\n", "0 1\n1 2\n2 0\n3 4\n4 5\n6\n"])
def test_graphs_that_are_not_connected_are_refused_as_with_other_weights(lines, tmp_path):
    (tmp_path / "g.edges").write_text(lines)
    with pytest.raises(UsageError, match="the graph is not connected"):
        topology(f'[topology]\nname = "file"\npath = "{tmp_path}/g.edges"\nweights = "fdla"')


def test_more_than_64_nodes_are_refused():
    with pytest.raises(UsageError) as caught:
        topology('[topology]\nname = "ring"\nnodes = 65\nweights = "fdla"')
    assert str(caught.value) == (
        "test.toml: topology.weights = 'fdla': solved for at most 64 nodes, got 65; want metropolis, lazy-metropolis "
        "or uniform"
    )


def test_graph_files(tmp_path):
    """Whatever the order of the lines and of the ends of a line."""
    edges = edges_of("grid", 12)
    made = []
    for name, rows in (("a.edges", edges), ("b.edges", edges[::-1, ::-1])):
        np.savetxt(tmp_path / name, rows, fmt="%d")
        made.append(topology(f'[topology]\nname = "file"\npath = "{tmp_path}/{name}"\nweights = "fdla"'))
    assert made[0].contraction == pytest.approx(BY_CLARABEL["grid", 12, 0], rel=3e-7)
    assert made[0].cycle[0].weights.tobytes() == made[1].cycle[0].weights.tobytes()


@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if "kernels" not in name])
def test_weights_are_the_same_bits(name):
    """Also those that are not unique, as on the exponential graph, and before they are rounded."""
    code = (
        "import hashlib; from mpiqopt.registry import find_member; "
        "from mpiqopt.topologies.fdla import semidefinite_optimum as optimum; "
        "from mpiqopt.topologies.mixing import simple_edges; "
        "graphs = [find_member('topology', name)(nodes=32).edges() for name in ('exponential', 'geometric', 'grid')]; "
        "print([hashlib.sha256(array).hexdigest() for edges in graphs for array in optimum(32, simple_edges(edges))])"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | ENVIRONMENTS[name], capture_output=True, text=True, check=True
    )
    graphs = [edges_of(name, 32) for name in ("exponential", "geometric", "grid")]
    here = [hashlib.sha256(array).hexdigest() for edges in graphs for array in semidefinite_optimum(32, edges)]
    assert there.stdout == f"{here}\n"
