"""Coded innovations: the books of averages balance in every round, methods end at the optimum, messages stay short."""

from fractions import Fraction
from functools import cache
from itertools import islice, product
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.coordinated import (
    DTYPES,
    GRAPHS,
    L1,
    NONE,
    RING,
    assert_known,
    coordinations,
    coordinators,
    example,
    known,
)
from tools.dense.objectives import Objective
from tools.experiments import after, assembled, states
from tools.outputs import BY_TIME, assert_equal, records
from tools.refusals import refused
from tools.run_many import run_alone, run_on

from mpiqopt import registry
from mpiqopt.analysis.coordination_cost import describe_coordination
from mpiqopt.analysis.rounds import measure_network, predict_round
from mpiqopt.analysis.tables import bytes_for_tables
from mpiqopt.cli import main
from mpiqopt.coordination.innovations import Innovations

INNOVATIONS = {"code": "innovations"}
HALF = {"activation": "bernoulli", "activation_probability": 0.5}
METHODS = ["ftqc-dgd", "ftqc-admm"]
LINKED = {
    "ring": {"name": "ring", "nodes": 6},
    "directed-ring": {"name": "directed-ring", "nodes": 5},
    "random-digraph": {"name": "random-digraph", "nodes": 7, "seed": 2},
}
methods = pytest.mark.parametrize("name", METHODS)


def innovative(name: str, coordinator: str = "tree", **settings) -> dict:
    """The table of a method."""
    return {"name": name, **INNOVATIONS, "coordinator": coordinator, **settings}


def assert_books(known: Innovations, coordinator: str) -> None:
    """The mean of all hat_i is C: exactly, as fractions. C of push-sum moves by S/n, rounded: to 1e-15."""
    for column, common in zip(known.hat.T.tolist(), known.mean[0].tolist(), strict=True):
        apart = sum(map(Fraction, column)) - len(column) * Fraction(common)
        assert abs(apart) <= (1e-15 * max(map(abs, column)) * len(column) if coordinator == "integer-push-sum" else 0)


@pytest.mark.parametrize("activation", [{}, HALF], ids=["all", "half"])
@pytest.mark.parametrize("graph", LINKED)
@methods
@coordinations
@coordinators
def test_the_books_balance_after_every_round(coordinator, coordination, name, graph, activation):
    """mean(hat) = C, whoever was absent, while Delta falls by many powers of two."""
    algorithm = innovative(name, coordinator, coordination=coordination, step_size="auto", **activation)
    rounds = list(islice(states(example(LINKED[graph], algorithm)), 30))
    for state in rounds:
        assert_books(state.grid, coordinator)
        assert np.all(state.grid.mean == state.grid.mean[0])
    assert rounds[-1].grid.delta <= rounds[0].grid.delta / 8
    assert np.ptp(rounds[-1].grid.hat, axis=0).min() > 10 * rounds[-1].grid.delta  # nodes differ


@methods
@coordinators
def test_the_books_balance_in_asynchronous_execution(coordinator, name):
    """After each of 40 rounds, which take those that have finished."""
    algorithm = innovative(name, coordinator, execution="asynchronous", step_size="auto")
    experiment = example(RING, algorithm)
    for state in islice(states(experiment), 40):
        assert_books(state.grid, coordinator)
        assert np.all(state.x == state.x[0])
    experiment.problem.training.pause()
    experiment.network.drain()
    experiment.close()
    assert state.t == 39


# Every bit, from the dense reference: the tree's root is node 0, and allreduce leaves the rest there, too

VARIANTS = [
    {"local_steps": local_steps, "batch_size": batch_size, "activation": activation}
    for local_steps, batch_size, activation in product((1, 3), (0, 4), ("all", "bernoulli"))
]
ADMM = {"penalty": 0.5, "relaxation": 0.7}  # to multiply by 1/penalty gives the bits of a division


@cache
def expected(name: str, nodes: int, variant: int, zoom: float | str, dtype: str) -> list[np.ndarray]:
    regularizer = L1 if name == "ftqc-admm" else NONE
    return known(nodes, bitwise(name, "tree", variant, zoom), regularizer, dtype=dtype)


def bitwise(name: str, coordinator: str, variant: int, zoom: float | str) -> dict:
    settings = ADMM if name == "ftqc-admm" else {}
    return innovative(name, coordinator, zoom=zoom, **settings, **VARIANTS[variant])


@pytest.mark.representatives(2)
@pytest.mark.parametrize("zoom", [1.0, 0.9, "auto"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("coordinator", ["tree", "allreduce"])
@pytest.mark.parametrize("variant", range(len(VARIANTS)), ids=lambda i: "-".join(map(str, VARIANTS[i].values())))
@methods
def test_every_bit_is_known(name, variant, coordinator, dtype, zoom):
    """Variables and Delta, with local steps, minibatches, absent nodes, in both precisions, with every way to zoom."""
    regularizer = L1 if name == "ftqc-admm" else NONE
    algorithm = bitwise(name, coordinator, variant, zoom)
    assert_known(expected(name, 5, variant, zoom, dtype), "directed-ring-5", algorithm, regularizer, dtype=dtype)


@coordinations
@pytest.mark.parametrize("graph", ["single", "path-2", "star-5", "ring+star-5", "torus-16", "random-digraph-16"])
@methods
def test_the_tree_gives_the_same_bits_on_every_graph(name, graph, coordination):
    topology = GRAPHS[graph]
    nodes = (topology[0] if isinstance(topology, list) else topology)["nodes"]
    regularizer = L1 if name == "ftqc-admm" else NONE
    algorithm = {**bitwise(name, "tree", -1, "auto"), "coordination": coordination}
    assert_known(expected(name, nodes, len(VARIANTS) - 1, "auto", "float64"), graph, algorithm, regularizer)


# Where they end

REGRESSION = {"name": "synthetic", "samples": 203, "features": 6}
CLASSES = {**REGRESSION, "task": "classification", "split": "dirichlet", "alpha": 1.0}
LOSSES = {"least-squares": REGRESSION, "logistic": CLASSES}
losses = pytest.mark.parametrize("loss", LOSSES)


def strongly_convex(algorithm: dict, loss: str, topology=RING, **run):
    """l2 = 0.3 and L at most 2.5, and a contraction by 0.88 at least in each round with all nodes."""
    return assembled(topology, {"name": loss, "l2": 0.3}, algorithm, NONE, LOSSES[loss], seed=3, **run)


def distance(experiment, rounds: int) -> float:
    """Of the common point from the minimiser, which is certified to 1e-12, after so many rounds."""
    state = after(experiment, rounds)
    assert np.all(state.x == state.x[0])
    return float(np.linalg.norm(state.x[0] - Objective(experiment).minimiser()))


@pytest.mark.representatives(1)
@pytest.mark.parametrize(("probability", "rounds"), [(None, 400), (0.5, 600), (0.2, 1500)])
@losses
@methods
@coordinators
def test_they_end_at_the_optimum(coordinator, name, loss, probability, rounds):
    """To 1e-12, whether all nodes train in a round or a fifth of them. Delta_min = 1e-13 is left in integers of 6."""
    absent = {} if probability is None else {**HALF, "activation_probability": probability}
    assert distance(strongly_convex(innovative(name, coordinator, **absent), loss), rounds) < 2e-12


@losses
def test_points_stop_at_an_error_when_nodes_are_absent(loss):
    """Gradient descent by the paper's rule, beside which the test above is: more than 1e-3 away, on average."""
    algorithm = {"name": "ftqc-dgd", "code": "points", "coordinator": "tree", **HALF}
    experiment = strongly_convex(algorithm, loss)
    optimum = Objective(experiment).minimiser()
    late = islice(states(experiment), 300, 600)
    assert np.mean([np.linalg.norm(state.x[0] - optimum) for state in late]) > 5e-3


@methods
def test_a_fixed_delta_is_no_error(name):
    """What a call leaves over is part of the next: integers of Delta = 2^-7 average out... up to about Delta."""
    algorithm = innovative(name, zoom=1.0, quantization_step=2.0**-7)
    experiment = strongly_convex(algorithm, "logistic")
    assert distance(experiment, 300) < 2.0**-7 * 6 / 0.3


@pytest.mark.parametrize("step_size", [1e-3, 1e-5])
def test_steps_below_delta_are_taken_all_the_same(step_size):
    """All ways are below Delta_0/2 and round to 0: nothing moves until Delta has become as fine as they are."""
    algorithm = innovative("ftqc-dgd", step_size=step_size)
    experiment = strongly_convex(algorithm, "logistic")
    f, x = Objective(experiment), experiment.start
    assert np.abs(step_size * f.grad(x)).max() < 2.0**-8
    exact = x[0]
    for _ in range(100):
        exact = exact - step_size * f.grad(np.tile(exact, (8, 1))).mean(axis=0)
    moved = np.linalg.norm(exact - x[0])
    late = 20 * step_size * np.linalg.norm(f.grad(x).mean(axis=0))  # log2(2^-7/1e-5) rounds until Delta is that fine
    assert np.linalg.norm(after(experiment, 100).x[0] - exact) < late < 0.5 * moved


@methods
@pytest.mark.parametrize("coordinator", ["ftqc", "tree"])
def test_float32_ends_at_its_own_precision(coordinator, name):
    """x stops moving, with |x| < 1 to some 2^-24; Delta stays near what x can tell, and integers small."""
    experiment = strongly_convex(innovative(name, coordinator), "logistic", dtype="float32")
    calls = recorded_integers(experiment)
    state = after(experiment, 300)
    assert state.x.dtype == np.float32
    assert np.linalg.norm(state.x[0] - Objective(experiment).minimiser()) < 1e-6
    assert state.grid.delta > 1e-10
    assert np.abs(calls[-100:]).mean() < 20


# What travels


def recorded_integers(experiment) -> list[np.ndarray]:
    """The integers of the nodes of each call from now on, int64 (n, d)."""
    algorithm, calls = experiment.algorithm, []
    coordinator = algorithm._coordinator(experiment.network)
    settle = coordinator.coordination.settle

    def listening(values, *others):
        calls.append(values.copy())
        return settle(values, *others)

    coordinator.coordination.settle = listening
    return calls


def problem_a(**algorithm):
    """Logistic regression on 1000 synthetic samples, at 10 nodes of a random graph."""
    data = {"name": "synthetic", "samples": 1000, "features": 10, "task": "classification"}
    algorithm = {"name": "ftqc-dgd", **algorithm}
    topology = {"name": "erdos-renyi", "nodes": 10}
    return assembled(topology, {"name": "logistic", "l2": 0.05}, algorithm, None, data)


def problem_d(**algorithm):
    """Softmax regression on digits, at 10 nodes that have a digit each: d = 640."""
    data = {"name": "digits", "split": "by-label", "scale": "unit-rows"}
    algorithm = {"name": "ftqc-dgd", **algorithm}
    topology = {"name": "erdos-renyi", "nodes": 10}
    return assembled(topology, {"name": "softmax", "l2": 0.05}, algorithm, None, data)


def bytes_of_rounds(experiment, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of each of the first rounds, and Delta in it."""
    spent, steps = [], []
    for state in islice(states(experiment), rounds + 1):
        spent.append(experiment.network.counters()["bytes"])
        steps.append(state.grid.delta)
    return np.diff(spent), np.array(steps[:-1])


STEADY = [
    pytest.param(problem_a, "tree", "ftqc-dgd", 0.2, id="A-tree-dgd"),
    pytest.param(problem_a, "integer-push-sum", "ftqc-dgd", 0.2, id="A-push-sum-dgd"),
    pytest.param(problem_a, "ftqc", "ftqc-dgd", 0.4, id="A-ftqc-dgd"),
    pytest.param(problem_a, "tree", "ftqc-admm", 0.2, id="A-tree-admm"),
    pytest.param(problem_d, "tree", "ftqc-dgd", 0.2, id="D-tree-dgd"),
    pytest.param(problem_d, "tree", "ftqc-admm", 0.2, id="D-tree-admm"),
]


@pytest.mark.parametrize(("problem", "coordinator", "name", "tolerance"), STEADY)
def test_bytes_of_a_round_stay_the_same(problem, coordinator, name, tolerance):
    """Means of ten rounds, from round 20 on until Delta is at its least; steps of FTQC are random.

    Points would need some 3 bits a value more in every ten rounds, beside 2 or 3.
    """
    bytes, delta = bytes_of_rounds(problem(coordinator=coordinator, name=name), 50)
    assert delta[-1] > 1e-12
    tens = bytes[20:].reshape(-1, 10).mean(axis=1)
    assert np.abs(tens / tens.mean() - 1).max() < tolerance


@pytest.mark.parametrize("problem", [problem_a, problem_d], ids=["A", "D"])
@pytest.mark.parametrize("coordinator", ["ftqc", "tree"])
def test_integers_stay_small(coordinator, problem):
    """Gradients change by a few Delta at most: in each round from the tenth on, the mean of |q| is near 1."""
    experiment = problem(coordinator=coordinator)
    calls = recorded_integers(experiment)
    after(experiment, 60)
    assert max(np.abs(values).mean() for values in calls[10:]) < 2
    assert max(np.abs(values).max() for values in calls[10:]) < 20


@pytest.mark.parametrize(("coordinator", "bound"), [("tree", 2600), ("ftqc", 100_000)])
def test_bytes_to_the_optimum(coordinator, bound):
    """A gap of 1e-9 on problem A: 2295 bytes and 81 kB were measured, of points 5.6 and 193 kB."""
    experiment = problem_a(coordinator=coordinator)
    f = Objective(experiment)
    best = experiment.problem.value_and_grad(np.tile(f.minimiser(), (10, 1)))[0].mean()
    for state in islice(states(experiment), 40):
        if experiment.problem.value_and_grad(state.x)[0].mean() - best <= 1e-9:
            break
    assert state.t <= 20
    assert 0 < experiment.network.counters()["bytes"] < bound


PREDICTED = [  # FTQC: the steps of its model are those of wide integers, twice too many where d is large
    (problem_a, "tree", "ftqc-dgd", 1.3),
    (problem_a, "tree", "ftqc-admm", 1.3),
    (problem_a, "ftqc", "ftqc-dgd", 1.5),
    (problem_a, "ftqc", "ftqc-admm", 1.5),
    (problem_d, "tree", "ftqc-dgd", 1.3),
    (problem_d, "tree", "ftqc-admm", 1.3),
    (problem_d, "ftqc", "ftqc-dgd", 2.0),
    (problem_a, "collect", "ftqc-dgd", 1.3),
    (problem_d, "collect", "ftqc-dgd", 1.3),
    (problem_a, "integer-push-sum", "ftqc-dgd", 1.3),
    (problem_d, "integer-push-sum", "ftqc-dgd", 1.3),
]


@pytest.mark.parametrize(("problem", "coordinator", "name", "factor"), PREDICTED)
def test_check_predicts_the_bytes_of_later_rounds(problem, coordinator, name, factor):
    """Rounds 20 to 50; on problem A Delta is at its least after round 60, and integers are 0 then."""
    experiment = problem(coordinator=coordinator, name=name)
    algorithm, network = experiment.algorithm, measure_network(experiment.network.topology)
    d = experiment.problem.d
    said = predict_round(algorithm.protocol, network, d, algorithm.late_innovation, settles=True).bytes
    words = dict(describe_coordination(experiment, 1))["  later"]
    assert words.startswith(f"about {bytes_for_tables(said, 2)} and ")
    assert said / factor < bytes_of_rounds(experiment, 50)[0][20:].mean() < said * factor


# Runs


# FTQC by mailboxes leaves remainders where time has it: such runs do not repeat to the bit
CASES = {
    "dgd-ftqc": {"name": "ftqc-dgd", "coordinator": "ftqc", **HALF},
    "dgd-tree": {"name": "ftqc-dgd", "coordinator": "tree", "local_steps": 2, "batch_size": 3},
    "admm-ftqc": {"name": "ftqc-admm", "coordinator": "ftqc", "batch_size": 3},
    "admm-push-sum": {"name": "ftqc-admm", "coordinator": "integer-push-sum", **HALF},
    "admm-push-sum-mailboxes": {"name": "ftqc-admm", "coordinator": "integer-push-sum", "coordination": "mailboxes"},
    "dgd-tree-mailboxes": {"name": "ftqc-dgd", "coordinator": "tree", "coordination": "mailboxes", **HALF},
    "dgd-allreduce": {"name": "ftqc-dgd", "coordinator": "allreduce", **HALF},
    "dgd-pen": {"name": "ftqc-dgd", "coordinator": "pen", **HALF},
    "admm-pen": {"name": "ftqc-admm", "coordinator": "pen", **HALF},
}


def tables(algorithm: dict) -> dict:
    return {
        "run": {"iterations": 40, "seed": 2},
        "data": {"name": "synthetic", "task": "classification", "samples": 83, "features": 7},
        "problem": {"name": "logistic", "l2": 0.1},
        "topology": {"name": "random-digraph", "nodes": 8, "seed": 1},
        "algorithm": algorithm,
        "record": {"every": 10},
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, list[str]]:
    """Results of all cases in one process, and their configs."""
    return run_alone(tmp_path_factory.mktemp("alone"), {case: tables(table) for case, table in CASES.items()})


def reproducible(path: Path) -> dict[str, np.ndarray]:
    """Return records and iterates; mailboxes act and send when time allows."""
    varies = BY_TIME if "mailboxes" in path.stem else set()
    return {name: values for name, values in records(path).items() if name not in varies}


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, *(pytest.param(ranks, marks=pytest.mark.slow) for ranks in (1, 2))])
def test_any_number_of_ranks_gives_the_same_bits(ranks, alone, tmp_path):
    folder, paths = alone
    run_on(ranks, tmp_path / "results", paths)
    for case in CASES:
        assert_equal(reproducible(folder / f"{case}.h5"), reproducible(tmp_path / "results" / f"{case}.h5"))


def test_a_run_that_goes_on_gives_the_bits_of_one_that_was_not_stopped(alone, tmp_path, monkeypatch):
    """What nodes have given and C are in the checkpoint."""
    monkeypatch.chdir(tmp_path)
    folder, paths = alone
    for case, path in zip(CASES, paths, strict=True):
        out = ["-q", "-o", f"{case}.h5"]
        assert main(["run", path, *out, "--set", "run.iterations=20"]) == 0
        assert main(["run", path, *out, "--resume"]) == 0
        assert_equal(reproducible(folder / f"{case}.h5"), reproducible(tmp_path / f"{case}.h5"))
        with h5py.File(f"{case}.h5") as file:
            assert file["iteration"][()].tolist() == [0, 10, 20, 30, 40]


FLOOD = Path(__file__).parent.parent / "docs" / "examples" / "flood.py"
VOTING = """
from mpiqopt.coordination.protocol import NodeProtocol
from mpiqopt.registry import register

@register("coordinator", "voting")
class Voting(NodeProtocol):
    '''Nodes that cannot know when they are done.'''

    votes = True

    def start(self, site, values):
        return values

    def step(self, node):
        return []

    def absorb(self, node, label, values):
        pass

    def look(self, node):
        return node, node
"""


@pytest.fixture
def plugin(monkeypatch):
    """Load plug-ins for a test."""
    monkeypatch.setattr(registry, "plugins", {})
    loaded = []

    def load(path: Path) -> None:
        loaded.append(str(path))
        registry.load_plugin(path)

    yield load
    for path in loaded:
        registry._forget(path)


@coordinations
def test_a_coordinator_in_python_leaves_remainders_at_node_0(coordination, plugin):
    """The documented example, whose nodes all know S: the books balance, and the bits are those of the tree."""
    plugin(FLOOD)
    algorithm = innovative("ftqc-admm", "flood", coordination=coordination, step_size="auto", **HALF)
    tree = example(LINKED["random-digraph"], {**algorithm, "coordinator": "tree"})
    flood = example(LINKED["random-digraph"], algorithm)
    for state, same in zip(islice(states(flood), 15), states(tree), strict=False):
        assert_books(state.grid, "flood")
        np.testing.assert_array_equal(state.z, same.z)
        np.testing.assert_array_equal(state.grid.hat, same.grid.hat)


def test_a_coordinator_in_python_that_votes_wants_points(plugin, config, capsys, tmp_path, monkeypatch):
    """Nobody knows what its nodes still have when all agree: one line, status 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voting.py").write_text(VOTING)
    plugin(tmp_path / "voting.py")
    message = refused(capsys, tmp_path, "check", config(algorithm={"name": "ftqc-dgd", "coordinator": "voting"}))
    assert "algorithm.coordinator = 'voting': votes" in message
    assert "code = 'points'" in message
    path = config(algorithm={"name": "ftqc-dgd", "coordinator": "voting", "code": "points"})
    assert main(["check", path]) == 0
