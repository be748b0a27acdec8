"""Push-DIGing: iterates and limits on digraphs, the steps that it bears, and nodes that act in their own time."""

import numpy as np
import pytest
from tools.dense.objectives import Objective
from tools.dense.trajectories import assert_follows
from tools.experiments import after, assembled, states

from mpiqopt.algorithms import stability
from mpiqopt.algorithms.push_diging import PROBE
from mpiqopt.config.idle import idle_keys_warning
from mpiqopt.errors import UsageError
from mpiqopt.problems.training import Descent, LocalDescent
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology, topology_in_turn

RING = {"name": "ring", "nodes": 8}
DIGRAPH = {"name": "random-digraph", "nodes": 8}
OTHER = {"name": "random-digraph", "nodes": 8, "seed": 3}
GRAPHS = {
    "directed-ring": {"name": "directed-ring", "nodes": 8},
    "random-digraph": DIGRAPH,
    "digraphs-in-turn": [DIGRAPH, OTHER, {"name": "directed-ring", "nodes": 8}],
}
DATA = {"name": "synthetic", "samples": 107, "features": 5, "task": "classification", "split": "dirichlet"}


def example(topology, data=(), emulate=None, dtype: str = "float64", **settings):
    """A strongly convex problem with very unequal shares."""
    algorithm, data = {"name": "push-diging", **settings}, {**DATA, **dict(data)}
    problem, run = {"name": "logistic", "l2": 0.3}, {"seed": 4, "start": "normal", "dtype": dtype}
    return assembled(topology, problem, algorithm, data=data, emulate=emulate, **run)


def farthest(x: np.ndarray, point: np.ndarray) -> float:
    return float(np.linalg.norm(x - point, axis=1).max())


@pytest.mark.parametrize("local_steps", [1, 3])
@pytest.mark.parametrize("batch_size", ["all", 5])
@pytest.mark.parametrize("graph", GRAPHS)
def test_iterates_on_digraphs_are_those_of_the_definition(graph, batch_size, local_steps):
    """Where weights are unequal; on undirected graphs they are 1: tests/test_trajectories.py."""
    experiment = example(GRAPHS[graph], step_size=0.01, batch_size=batch_size, local_steps=local_steps)
    assert_follows(experiment, [mixing.dense() for mixing in experiment.network.topology.cycle], 40)


@pytest.mark.parametrize("local_steps", [1, 4])
@pytest.mark.parametrize("graph", GRAPHS)
def test_every_node_reaches_the_optimum_of_a_digraph(graph, local_steps):
    """With its automatic step: on the slowest graph, the directed ring, 1e-11 after 3900 iterations."""
    experiment = example(GRAPHS[graph], local_steps=local_steps)
    optimum = Objective(experiment).minimiser()
    assert farthest(experiment.start, optimum) > 0.1
    assert farthest(after(experiment, 4000).x, optimum) < 1e-10


def test_the_tracker_keeps_the_sum_of_gradients():
    """To rounding, also of float32 gradients, for they are added in float64."""
    for dtype in ("float64", "float32"):
        experiment = example(DIGRAPH, step_size=0.02, batch_size=3, local_steps=2, dtype=dtype)
        d = experiment.start.shape[1]
        for _, state in zip(range(50), states(experiment), strict=False):
            sums = state.gradient.astype(np.float64).sum(axis=0)
            np.testing.assert_allclose(state.mass[:, d:-1].sum(axis=0), sums, rtol=0, atol=1e-12)
            np.testing.assert_allclose(state.mass[:, -1].sum(), 8, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------------------ steps


def topology(name: str, nodes: int, **keys) -> Topology:
    return topology_in_turn([name], [find_member("topology", name)(nodes=nodes, **keys).make()])


TOPOLOGIES = {
    "random-digraph-8": topology("random-digraph", 8),
    "random-digraph-16": topology("random-digraph", 16),
    "directed-ring-8": topology("directed-ring", 8),
    "torus-16": topology("torus", 16),
    "in-turn": topology_in_turn(
        ["one", "other"], [find_member("topology", "random-digraph")(nodes=8, seed=seed).make() for seed in (0, 3)]
    ),
}


def bound(of: Topology) -> float:
    return stability.largest_stable_step_of(stability.push_tracking_recursions(of, damped=False))


def sizes_of_modes(of: Topology, step: float, H: np.ndarray) -> np.ndarray:
    """Absolute eigenvalues of a cycle, large ones first: states U and Y, quadratic f_i with Hessians H, a block each.

    Weights are those that w+ = W w has come to after many rounds.
    """
    n, d = of.nodes, len(H) // of.nodes
    cycle, weights = [mixing.dense() for mixing in of.cycle], np.ones(n)
    for _ in range(2000):
        for W in cycle:
            weights = W @ weights
    whole = np.eye(2 * n * d)
    for W in cycle:
        M, new = np.kron(W, np.eye(d)), W @ weights
        old_x, new_x = (np.kron(np.diag(1 / w), np.eye(d)) for w in (weights, new))
        U = np.hstack([M, -step * M])
        Y = np.hstack([-H @ old_x, M]) + H @ new_x @ U
        whole, weights = np.vstack([U, Y]) @ whole, new
    return np.sort(np.abs(np.linalg.eigvals(whole)))[::-1]


# a step beyond the bound, as a multiple of it, at which equal Hessians diverge: measured 1.05, 1.13, 1.6, 1.8 and 1.3
BEYOND = {"random-digraph-8": 1.1, "random-digraph-16": 1.2, "directed-ring-8": 1.7, "torus-16": 1.9, "in-turn": 2.0}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_bound_of_steps_is_safe_and_close(name):
    """One mode, the sum of y less that of the gradients, has size 1 and is met by no run."""
    of = TOPOLOGIES[name]
    sizes = sizes_of_modes(of, 0.999 * bound(of), np.eye(of.nodes))
    assert sizes[0] < 1 + 1e-7
    assert sizes[1] < 1
    assert sizes_of_modes(of, BEYOND[name] * bound(of), np.eye(of.nodes))[0] > 1 + 1e-6


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_bound_holds_for_unequal_hessians(name, seed):
    """Random H_i of rank one, at most I, whose mean is positive definite; d modes of size 1 are met by no run."""
    of, d, draw = TOPOLOGIES[name], 3, np.random.default_rng(seed)
    vectors = draw.standard_normal((of.nodes, d))
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    H = np.zeros((of.nodes * d, of.nodes * d))
    for i, v in enumerate(vectors):
        H[i * d : (i + 1) * d, i * d : (i + 1) * d] = np.outer(v, v)
    sizes = sizes_of_modes(of, 0.99 * bound(of), H)
    assert sizes[0] < 1 + 1e-6
    assert sizes[d] < 1


@pytest.mark.parametrize("damped", [False, True])
def test_the_recursion_of_the_bound_is_the_method(damped):
    """Over two digraphs in turn, with weights at their limit, U and Y lead to the X of the recursion; G = H X."""
    of, H, a = TOPOLOGIES["in-turn"], np.diag(np.linspace(0.1, 1, 8)), 0.2
    steps, cycle = stability.push_tracking_recursions(of, damped), [mixing.dense() for mixing in of.cycle]
    w = 1 / steps[0].C[0, :, :8].real.diagonal()
    np.testing.assert_allclose(cycle[1] @ cycle[0] @ w, w, rtol=0, atol=1e-12)
    u = np.arange(8.0)
    x = u / w
    y, s = H @ x, np.concatenate([u, 0 * u])
    for t in range(6):
        W, step = cycle[t % 2], steps[t % 2]
        u, w, y = W @ (u - a * (np.minimum(w, 1) if damped else 1) * y), W @ w, W @ y - H @ x
        s = (step.A[0] @ s - a * step.B[0] @ (H @ x)).real
        x = u / w
        y += H @ x
        np.testing.assert_allclose((steps[(t + 1) % 2].C[0] @ s).real, x, rtol=0, atol=1e-12)


def test_no_step_is_known_for_large_digraphs_and_none_leads_anywhere_on_long_rings():
    with pytest.raises(UsageError, match="W is too large for that"):
        example({"name": "random-digraph", "nodes": 400, "probability": 0.01}, {"samples": 1600, "split": "iid"})
    with pytest.raises(UsageError, match="bears no step beyond"):
        example({"name": "directed-ring", "nodes": 40})


# ----------------------------------------------------------------------------------------- at everybody's own pace


SLOW = [1.0] * 7 + [10.0]
# 0.5 ms a gradient, of the last node 5 ms; a tenth of the frames is lost
BAD = {"gradient_seconds": 5e-4, "slowdown": SLOW, "loss": 0.1, "delay": 1e-4}


def parts(experiment) -> tuple:
    return experiment.problem, experiment.network, experiment.streams


def run_until(experiment, state, optimum: np.ndarray, accuracy: float, most: int = 4000):
    """The state, with nothing on its way, once every node is that close; at the latest after ``most`` intervals.

    (300 on an idle machine.)
    """
    for _ in range(most):
        state = experiment.algorithm.step(state, *parts(experiment))
        if farthest(state.x, optimum) < accuracy:
            break
    experiment.problem.training.pause()
    experiment.network.drain()
    state = experiment.algorithm.drained(state, experiment.network)
    experiment.close()
    return state


def require_sums(state, d: int):
    """Weights sum to n, trackers to the gradients; rounding is some 1e-16 a share, and there are some 1e4."""
    assert abs(state.mass[:, -1].sum() - 8) < 1e-11
    assert state.mass[:, -1].min() > 0
    gaps = state.mass[:, d:-1].sum(axis=0) - state.gradient.sum(axis=0)
    assert np.abs(gaps).max() < 1e-11


@pytest.mark.parametrize("graph", ["ring", "random-digraph"])
def test_asynchronous_nodes_reach_the_optimum_though_one_is_slow_and_frames_are_lost(graph):
    """To 1e-9, half of it before all is stopped and started again as a resumed run is: no mass is lost."""
    asynchronous = {"execution": "asynchronous", "emulate": BAD}
    topology = {"name": graph, "nodes": 8}
    one, other = (example(topology, **asynchronous) for _ in range(2))
    optimum, d = Objective(one).minimiser(), one.start.shape[1]
    state = run_until(one, one.algorithm.init(one.start, *parts(one)), optimum, 1e-3)
    require_sums(state, d)
    state = run_until(other, state, optimum, 1e-9)
    require_sums(state, d)
    assert farthest(state.x, optimum) < 1e-9
    assert other.problem.training.counters.joined.min() > 0


def test_local_steps_change_nothing_in_asynchronous_execution():
    one, four = (example(RING, execution="asynchronous", local_steps=k) for k in (1, 4))
    assert one.algorithm.step_size == four.algorithm.step_size
    assert one.algorithm.training(0) == four.algorithm.training(0)
    assert "algorithm.local_steps (execution is 'asynchronous')" in idle_keys_warning(four.config)


@pytest.mark.parametrize(("dtype", "rounding"), [("float64", 1.2e-16), ("float32", 6e-8)])
def test_a_training_of_one_long_step_tells_the_gradient(dtype, rounding):
    """To a rounding of the step and one of the difference, and what x/PROBE leaves of the point."""
    experiment = example(RING, dtype=dtype)
    gradients = experiment.problem.grad(experiment.start)
    for node in range(8):
        local = LocalDescent(experiment.problem, experiment.streams, node)
        point = local.descend(experiment.start[node], experiment.start[node], Descent(PROBE, 1), 0)
        told = (experiment.start[node] - point) / point.dtype.type(PROBE)
        assert np.abs(told - gradients[node]).max() <= 3 * rounding * np.abs(gradients[node]).max()
