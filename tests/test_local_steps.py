"""Several gradient steps between two gossips: the iterates, what they reach, what they cost, and pairs of NoLoCo."""

from itertools import islice

import numpy as np
import pytest
from tools.dense.networks import metropolis, one_peer
from tools.dense.objectives import Objective
from tools.dense.trajectories import assert_follows
from tools.experiments import GRAPHS, after, assembled, states

from mpiqopt.algorithms.local_steps import WithLocalSteps
from mpiqopt.algorithms.stochastic import Scheduled
from mpiqopt.analysis.estimate import bytes_per_iteration, estimate_run
from mpiqopt.errors import UsageError
from mpiqopt.registry import family_members

ALGORITHMS = family_members("algorithm")
METHODS = [name for name, cls in ALGORITHMS.items() if issubclass(cls, WithLocalSteps)]
RING, EDGES = GRAPHS["ring-8"]
# of pairs few, as the largest stable step for a cycle of matrices takes its time
NODES = {"torus": 16, "grid": 9, "random-pairs": 4}
UNEQUAL = {"name": "synthetic", "samples": 107, "features": 5, "task": "classification", "split": "dirichlet"}
ALIKE = {"name": "synthetic", "samples": 2000, "features": 6, "task": "classification", "split": "iid"}


def example(name: str, topology=RING, data=UNEQUAL, start: str = "normal", **settings):
    """A strongly convex problem; h = l1 where the method takes it."""
    regularizer = {"name": "l1", "weight": 0.02} if ALGORITHMS[name].proximal else None
    algorithm = {"name": name, **settings}
    return assembled(topology, {"name": "logistic", "l2": 0.1}, algorithm, regularizer, data, seed=4, start=start)


def test_which_methods_have_local_steps():
    """Those whose recursion stays what it is for W = I: EXTRA and its kin keep a difference of two mixed iterates."""
    assert {"dgd", "prox-dgd", "gradient-tracking", "choco-sgd", "push-sum", "push-diging", "noloco"} == set(METHODS)
    for name in ("d2", "extra", "nids", "pg-extra", "lead", "proxgt-sr-e"):
        with pytest.raises(UsageError, match="local_steps"):
            example(name, local_steps=2)


@pytest.mark.parametrize("batch_size", [5, "all"])
@pytest.mark.parametrize("name", METHODS)
def test_iterates_are_those_of_the_definition(name, batch_size):
    """Every local step draws its own batch."""
    experiment = example(name, step_size=0.05, local_steps=3, batch_size=batch_size)
    assert_follows(experiment, [metropolis(EDGES)], 30)


@pytest.mark.parametrize("name", [name for name in METHODS if issubclass(ALGORITHMS[name], Scheduled)])
def test_steps_shrink_by_iteration(name):
    experiment = example(name, step_size=0.05, local_steps=3, schedule="inverse", decay=0.1)
    assert_follows(experiment, [metropolis(EDGES)], 30)


@pytest.mark.parametrize("name", [name for name in METHODS if not ALGORITHMS[name].fixed_symmetric])
def test_a_varying_topology_changes_with_the_gossip(name):
    topology = {"name": "one-peer-exponential", "nodes": 5}
    assert_follows(example(name, topology, step_size=0.05, local_steps=3), one_peer(5), 30)


@pytest.mark.parametrize("local_steps", [2, 10])
@pytest.mark.parametrize("topology", ["ring", "torus", "star", "random-pairs"])
def test_gradient_tracking_reaches_the_optimum(topology, local_steps):
    """With its automatic step; the slowest, on the torus, gains a factor 0.98 an iteration: 3000 leave 1e-26."""
    nodes = {"name": topology, "nodes": NODES.get(topology, 8)}
    experiment = example("gradient-tracking", nodes, local_steps=local_steps)
    optimum = Objective(experiment).minimiser()
    assert np.linalg.norm(experiment.start - optimum, axis=1).max() > 0.1
    assert np.linalg.norm(after(experiment, 3000).x - optimum, axis=1).max() < 1e-9


@pytest.mark.parametrize("matrices", ["ring", "grid", "hypercube", "random-pairs"])
def test_tracking_bears_unequal_curvatures(matrices):
    """At its automatic step; quadratic f_i of five samples each, which are flat in other directions at every node."""
    topology = {"name": matrices, "nodes": NODES.get(matrices, 8)}
    data = {"name": "synthetic", "samples": 40, "features": 4, "split": "iid"}
    problem = {"name": "least-squares", "l2": 1e-3}
    algorithm = {"name": "gradient-tracking", "local_steps": 8}
    experiment = assembled(topology, problem, algorithm, data=data, seed=1, start="normal")
    objective = Objective(experiment)
    sizes = [np.linalg.norm(objective.mean_grad(state.x.mean(axis=0))) for state in islice(states(experiment), 2000)]
    assert max(sizes) < 2 * sizes[0]
    assert sizes[-1] < 1e-2 * sizes[0]


def rounds_to(experiment, accuracy: float) -> int:
    """Rounds until the farthest node is within a share of the optimum's size."""
    optimum = Objective(experiment).minimiser()
    for t, state in enumerate(islice(states(experiment), 600)):
        if np.linalg.norm(state.x - optimum, axis=1).max() < accuracy * np.linalg.norm(optimum):
            return t
    raise AssertionError(f"not within {accuracy} after {t} rounds")


@pytest.mark.parametrize("name", ["dgd", "push-sum", "choco-sgd", "noloco"])
def test_fewer_bytes_to_the_same_accuracy(name):
    """With small batches and automatic steps; measured 2.6 to 4.2 times fewer rounds of as many bytes."""
    topology = {"name": "random-pairs", "nodes": 8} if name == "noloco" else RING
    one, ten = (example(name, topology, ALIKE, "zero", local_steps=k, batch_size=4) for k in (1, 10))
    assert bytes_per_iteration(one, 1) == bytes_per_iteration(ten, 1)
    assert rounds_to(ten, 0.3) < 0.5 * rounds_to(one, 0.3)


@pytest.mark.parametrize("name", ["dgd", "push-sum", "choco-sgd", "noloco"])
def test_automatic_steps_bound_the_drift(name):
    """K steps are no longer than one with a batch of k b: with full data a is divided by k, with noise by less."""
    steps = {
        (k, b): example(name, data=ALIKE, local_steps=k, batch_size=b).algorithm.step_size
        for k in (1, 10)
        for b in (4, 40, "all")
    }
    assert steps[10, "all"] == pytest.approx(steps[1, "all"] / 10)
    assert 10 * steps[10, 4] == pytest.approx(steps[1, 40])
    assert steps[1, 4] / 10 < steps[10, 4] < steps[1, 4]


@pytest.mark.parametrize("name", METHODS)
def test_check_tells_rounds_and_gradients(name):
    """A node takes k gradients and as many rounds as for k = 1."""
    one, three = example(name), example(name, local_steps=3)
    words = " ".join(estimate_run(three.config).split())
    assert f"rounds per iteration {one.algorithm.rounds()} #" in words
    assert "gradients per iteration 3 at each node" in words
    before = three.problem.evaluations.copy(), three.network.traffic.rounds
    after(three, 4)
    extra = name in ("gradient-tracking", "push-diging")  # at the start
    assert np.array_equal(three.problem.evaluations - before[0], (12 + extra) * three.problem.sizes)
    assert three.network.traffic.rounds - before[1] == 4 * one.algorithm.rounds()


# ---------------------------------------------------------------------------------------------------- NoLoCo


def spread(nodes: int, rounds: int, **settings) -> float:
    """How far nodes that hardly train are apart, relative to the start."""
    problem, data = {"name": "mean"}, {"name": "synthetic", "samples": nodes, "features": 3}
    algorithm = {"name": "noloco", "step_size": 1e-12, **settings}
    experiment = assembled({"name": "random-pairs", "nodes": nodes}, problem, algorithm, data=data, seed=2)
    rows = np.random.default_rng(0).standard_normal(experiment.start.shape)
    state = experiment.algorithm.init(rows, experiment.problem, experiment.network, experiment.streams)
    for _ in range(rounds):
        state = experiment.algorithm.step(state, experiment.problem, experiment.network, experiment.streams)
    return float(np.ptp(state.x, axis=0).max() / np.ptp(rows, axis=0).max())


@pytest.mark.parametrize("nodes", [2, 7, 32])
def test_pairs_agree(nodes):
    """A cycle's largest eigenvalue was at most 0.93 a round for 40 seeds of many sizes: 120 rounds leave 2e-4."""
    assert spread(nodes, 120) < 1e-3


def test_large_momentum_wants_a_small_pull():
    """Alpha = 0.9 bears 0.38 at most for many nodes, as the second moments say; with 0.1 they fall by 0.92 a round."""
    assert spread(32, 80, outer_momentum=0.9, pull=0.7) > 1
    assert spread(32, 300, outer_momentum=0.9, pull=0.1) < 1e-2


def test_noloco_comes_near_the_optimum():
    """On unequal nodes to 0.17 of its size, with the bias of the automatic step; a tenth of the step, a tenth of it."""
    pairs = {"name": "random-pairs", "nodes": 8}
    errors = []
    for share in (1.0, 0.1):
        step = share * example("noloco", pairs).algorithm.step_size
        experiment = example("noloco", pairs, step_size=step, start="zero")
        optimum = Objective(experiment).minimiser()
        errors.append(np.linalg.norm(after(experiment, 4000).x - optimum, axis=1).max() / np.linalg.norm(optimum))
    assert errors[0] < 0.5
    assert errors[1] < 0.2 * errors[0]
