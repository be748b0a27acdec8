"""Asynchronous execution, emulated machines and links, and push-sum: what they reach, record and refuse."""

import time

import h5py
import numpy as np
import pytest
from scipy.optimize import minimize
from tools.refusals import refused

from mpiqopt.config.parse import parse
from mpiqopt.emulation.machines import Machines
from mpiqopt.emulation.settings import Emulate, draw_factors
from mpiqopt.placement.placement import Placement
from mpiqopt.run.assembly import assemble
from mpiqopt.transport.serial import SerialTransport

TABLES = """
[data]
name = "synthetic"
task = "classification"
samples = 83
features = 7
[problem]
name = "logistic"
l2 = 0.1
[topology]
name = "{graph}"
nodes = 8
[algorithm]
name = "{name}"
"""
SLOW = [1.0] * 7 + [10.0]


def experiment(name: str, graph: str = "ring", **changes):
    """A small problem in this process; changes are ``table__key``."""
    overrides = tuple(f"{key.replace('__', '.')}={value}" for key, value in changes.items())
    return assemble(parse(TABLES.format(name=name, graph=graph), "small.toml", overrides), SerialTransport())


def iterate(experiment, count: int):
    """The state after so many iterations, nothing on its way."""
    algorithm, arguments = experiment.algorithm, (experiment.problem, experiment.network, experiment.streams)
    state = algorithm.init(experiment.start, *arguments)
    for _ in range(count):
        state = algorithm.step(state, *arguments)
    if experiment.problem.training is not None:
        experiment.problem.training.pause()
    experiment.network.drain()
    state = algorithm.drained(state, experiment.network)
    experiment.close()
    return state


def optimum(experiment) -> np.ndarray:
    """The minimiser of the mean of all f_i, by BFGS."""
    problem = experiment.problem

    def mean(x):
        values, gradients = problem.value_and_grad(x[None])
        return values.mean(), gradients.mean(axis=0)

    return minimize(mean, np.zeros(problem.d), jac=True, method="BFGS", options={"gtol": 1e-12}).x


@pytest.mark.parametrize("coordinator", ["ftqc", "integer-push-sum", "tree", "collect", "allreduce"])
def test_asynchronous_admm_reaches_the_optimum(coordinator):
    """Whatever joins when, the fixed point is the same: 1e-8 is far above the smallest Delta, 1e-13."""
    run = experiment("ftqc-admm", algorithm__execution="asynchronous", algorithm__coordinator=coordinator)
    state = iterate(run, 1500)
    assert np.abs(state.x - optimum(run)).max() < 1e-8
    assert np.all(state.x == state.x[0])


def test_asynchronous_gradient_descent_comes_near():
    """Gradients of different ages do not cancel: there is a floor that Delta does not control."""
    run = experiment("ftqc-dgd", algorithm__execution="asynchronous")
    state = iterate(run, 400)
    assert np.abs(state.x - optimum(run)).max() < 0.1
    assert np.all(state.x == state.x[0])


@pytest.mark.parametrize(
    "graph", ["star", *(pytest.param(name, marks=pytest.mark.slow) for name in ("directed-ring", "random-digraph"))]
)
def test_asynchronous_execution_on_digraphs_with_lost_and_late_frames(graph):
    bad = {"emulate__loss": 0.15, "emulate__delay": 2e-4, "emulate__delay_distribution": "pareto"}
    run = experiment(
        "ftqc-admm",
        graph,
        algorithm__execution="asynchronous",
        algorithm__coordinator="integer-push-sum",
        algorithm__local_steps=5,
        **bad,
    )
    state = iterate(run, 25)
    assert np.all(state.x == state.x[0])
    # the start is 0.8 away; rounds with few nodes do little
    assert np.linalg.norm(state.x[0] - optimum(run)) < 0.2


def test_a_slow_node_joins_late_and_the_others_do_not_wait():
    run = experiment(
        "ftqc-admm",
        algorithm__execution="asynchronous",
        emulate__slowdown=SLOW,
        emulate__gradient_seconds=0.004,
    )
    began = time.perf_counter()
    iterate(run, 100)
    counters = run.problem.training.counters
    assert counters.joined[:7].min() > 3 * counters.joined[7] > 0
    assert np.array_equal(counters.local_steps, counters.joined)
    assert counters.stalest[7] >= 3 * max(1, counters.stalest[:7].min())
    # a training takes as long as it is to take, whatever this machine does
    assert np.all(counters.training[:7] >= 0.003999 * counters.joined[:7])
    assert counters.training[7] >= 0.03999 * counters.joined[7]
    # 100 synchronous rounds would take 100 trainings of the slow node, 4 s; with a margin for a busy machine
    assert time.perf_counter() - began < 3.5


def test_nodes_that_are_alike_join_together():
    """From the first round on: it waits a tenth of a training, 20 ms, for those that finish a little later."""
    run = experiment("ftqc-admm", algorithm__execution="asynchronous", emulate__gradient_seconds=0.2)
    iterate(run, 4)
    counters = run.problem.training.counters
    assert counters.joined.tolist() == [4] * 8
    assert counters.stalest.tolist() == [0] * 8


def test_a_synchronous_round_takes_as_long_as_the_slowest_node_and_link():
    run = experiment("ftqc-admm", emulate__slowdown=SLOW, emulate__gradient_seconds=0.002)
    began = time.perf_counter()
    iterate(run, 5)
    assert time.perf_counter() - began >= 5 * 10 * 0.002
    run = experiment("dgd", emulate__delay=0.01)
    began = time.perf_counter()
    iterate(run, 10)
    assert time.perf_counter() - began >= 10 * 0.01
    run = experiment("dgd", emulate__bandwidth=7 * 8 / 0.01)
    began = time.perf_counter()
    iterate(run, 10)
    assert time.perf_counter() - began >= 10 * 0.01
    run = experiment("dgd", emulate__delay=0.5, emulate__links="[]")  # none of them
    began = time.perf_counter()
    iterate(run, 10)
    assert time.perf_counter() - began < 0.5
    run = experiment("sgd", emulate__delay=0.01)  # up and down
    began = time.perf_counter()
    iterate(run, 5)
    assert time.perf_counter() - began >= 5 * 2 * 0.01
    run = experiment("gradient-tracking", emulate__gradient_seconds=0.01, emulate__slowdown=2.0)
    began = time.perf_counter()
    iterate(run, 5)
    assert time.perf_counter() - began >= 5 * 0.02


def test_emulation_does_not_change_a_synchronous_trajectory():
    plain = iterate(experiment("ftqc-admm"), 20)
    emulated = iterate(experiment("ftqc-admm", emulate__slowdown=3.0, emulate__delay=1e-5), 20)
    assert np.array_equal(plain.x, emulated.x)


@pytest.mark.parametrize("distribution", ["fixed", "exponential", "pareto"])
def test_what_is_drawn_has_mean_one_and_does_not_depend_on_ranks(distribution):
    sample = draw_factors(distribution, np.random.default_rng(0), 400_000)
    # the heavy tail (shape 1.5, no variance) converges like N^(-1/3)
    assert abs(sample.mean() - 1) < (0.1 if distribution == "pareto" else 0.01)
    assert sample.min() >= 0
    emulate = Emulate(slowdown=[1.0, 2.0, 3.0, 4.0], slowdown_distribution=distribution, gradient_seconds=1.0)
    alone = Machines(emulate, Placement(4), seed=5)
    apart = [Machines(emulate, Placement(4, 4, rank), seed=5) for rank in range(4)]
    expected = [alone.seconds(i, 7, 2, 0.0) for i in range(4)]
    assert [apart[i].seconds(0, 7, 2, 0.0) for i in range(4)] == expected
    if distribution == "fixed":
        assert expected == [2.0, 4.0, 6.0, 8.0]
    assert alone.seconds(0, 7, 2, 100.0) == 100.0  # never quicker than it is


# -------------------------------------------------------------------------------------------------- push-sum


@pytest.mark.parametrize("graph", ["ring", "directed-ring", "random-digraph"])
@pytest.mark.parametrize("batch_size", ["all", 3])
def test_push_sum_equals_a_dense_reference(graph, batch_size):
    batch = {"algorithm__batch_size": batch_size} if batch_size != "all" else {}
    run = experiment("push-sum", graph, **batch)
    w = run.network.topology.cycle[0].dense()
    mass, weight = np.zeros((8, 7)), np.ones(8)
    for t in range(30):
        x = mass / weight[:, None]
        batch = None if batch_size == "all" else run.streams.batch(t, batch_size)
        mass = w @ (mass - run.algorithm.step_size * run.problem.grad(x, batch))
        weight = w @ weight
    again = experiment("push-sum", graph, **({"algorithm__batch_size": 3} if batch_size != "all" else {}))
    state = iterate(again, 30)
    np.testing.assert_allclose(state.x, mass / weight[:, None], rtol=0, atol=1e-13)
    np.testing.assert_allclose(state.mass[:, -1], weight, rtol=0, atol=1e-14)


@pytest.mark.parametrize("graph", ["ring", "random-digraph"])
def test_asynchronous_push_sum_loses_no_mass_and_comes_near_the_optimum(graph):
    """The weights in the network sum to n when nothing is on its way, also with lost frames."""
    bad = {"emulate__loss": 0.1, "emulate__delay": 1e-4, "emulate__gradient_seconds": 1e-3}
    run = experiment("push-sum", graph, algorithm__execution="asynchronous", algorithm__step_size=0.05, **bad)
    state = iterate(run, 60)
    assert abs(state.mass[:, -1].sum() - 8) < 1e-12
    assert state.mass[:, -1].min() > 0
    # a constant step leaves a bias, and on this digraph nodes do not count alike (their share of the mass differs)
    best, bias = optimum(run), {"ring": 0.3, "random-digraph": 0.6}[graph]
    assert np.linalg.norm(state.x.mean(axis=0) - best) < bias * np.linalg.norm(best)


# ------------------------------------------------------------------------------------------ the command line


# what is found by measurement: MPICH 4 is of the second kind
AUTO = ("window (all ranks are on one host)", "two-sided (one-sided operations wait for ranks that compute)")


@pytest.mark.mpi
@pytest.mark.parametrize("transport", ["auto", "window", "two-sided"])
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_runs_under_mpiexec_record_what_each_node_did(transport, ranks, mpiqopt, config, tmp_path):
    algorithm = {"name": "ftqc-admm", "execution": "asynchronous", "local_steps": 3}
    path = config(run={"iterations": 60, "transport": transport}, algorithm=algorithm)
    result = mpiqopt("run", path, "-o", "a.h5", ranks=ranks)
    assert result.returncode == 0, result.stderr
    assert "UCX  WARN" not in result.stderr
    assert "UCX  ERROR" not in result.stderr
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["status"] == "finished"
        kind = file.attrs["transport"]
        assert kind in (AUTO if transport == "auto" else [f"{transport} (as the config says)"])
        nodes = {name: file[f"nodes/{name}"][()] for name in file["nodes"] if name != "node"}
        assert all(len(values) == 8 for values in nodes.values())
        assert np.array_equal(nodes["local_steps"], 3 * nodes["joined"])
        assert nodes["joined"].min() > 0
        assert nodes["joined"].max() <= 60
        assert np.all(nodes["training"] + nodes["waiting"] <= file["time"][-1] * 1.01 + 0.05)
        assert file["bytes"][-1] == nodes["bytes"].sum() > file["mpi_bytes"][-1] > 0
        assert file["rounds"][-1] == 60
        assert file["stationarity"][-1] < 1e-2 * file["stationarity"][0]
    shown = mpiqopt("show", "a.h5")
    assert "rounds joined" in shown.stdout
    assert f"frames by {kind}" in shown.stdout


@pytest.mark.mpi
@pytest.mark.parametrize(
    "name", ["ftqc-admm", *(pytest.param(f"push-{x}", marks=pytest.mark.slow) for x in ("sum", "diging"))]
)
def test_an_interrupted_asynchronous_run_goes_on(name, mpiqopt, config, tmp_path):
    algorithm = {"name": name, "execution": "asynchronous"}
    slow = {"gradient_seconds": 0.01}
    path = config(run={"iterations": 250}, algorithm=algorithm, emulate=slow, record={"every": 5})
    first = mpiqopt("run", path, "-o", "a.h5", "--time-limit", "2", ranks=2)
    assert first.returncode == 75, first.stderr
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["status"] == "stopped"
        joined, sent = file["nodes/joined"][()], file["nodes/bytes"][()]
        assert 0 < file["iteration"][-1] < 250
    second = mpiqopt("run", path, "-o", "a.h5", "--resume", ranks=3)
    assert second.returncode == 0, second.stderr
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["status"] == "finished"
        assert file["iteration"][-1] == 250
        assert np.all(file["nodes/joined"][()] > joined)
        assert np.all(file["nodes/bytes"][()] > sent)
        assert np.all(np.diff(file["bytes"][()]) >= 0)
        assert np.all(np.diff(file["time"][()]) >= 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm": {"name": "dgd"}, "emulate": {"loss": 0.1}}, "emulate.loss = 0.1: 'dgd'"),
        ({"algorithm": {"name": "ftqc-admm"}, "emulate": {"loss": 0.1}}, "emulate.loss = 0.1: 'ftqc-admm'"),
        ({"emulate": {"slowdown": [1.0, 2.0]}}, "emulate.slowdown: a list of 2 factors for topology.nodes = 8"),
        ({"emulate": {"slowdown": 0.5}}, "emulate.slowdown"),
        ({"emulate": {"delay": 0.1, "links": [[0, 1], [0, 5]]}}, "emulate.links: [0, 5] is no link of the network"),
        ({"emulate": {"delay": -1.0}}, "emulate.delay = -1.0"),
        ({"emulate": {"delay_distribution": "normal"}}, "emulate.delay_distribution = 'normal'"),
        ({"emulate": {"lost": 0.1}}, "emulate.lost: unknown key"),
        ({"run": {"transport": "udp"}}, "run.transport = 'udp'"),
        ({"algorithm": {"name": "ftqc-dgd"}, "regularizer": {"name": "l1", "weight": 0.1}}, "has no proximal step"),
        ({"algorithm": {"name": "ftqc-admm", "zoom": 1.5}}, "algorithm.zoom = 1.5"),
        ({"algorithm": {"name": "ftqc-admm", "execution": "async"}}, "algorithm.execution = 'async'"),
        (
            {"algorithm": {"name": "ftqc-admm", "execution": "asynchronous", "activation": "bernoulli"}},
            "algorithm.activation = 'bernoulli'",
        ),
        (
            {"algorithm": {"name": "ftqc-admm", "execution": "asynchronous", "coordination": "lock-step"}},
            "algorithm.coordination = 'lock-step'",
        ),
        (
            {
                "algorithm": {"name": "ftqc-admm", "execution": "asynchronous", "coordinator": "allreduce"},
                "emulate": {"loss": 0.1},
            },
            "emulate.loss = 0.1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(changes, words, capsys, config, tmp_path):
    assert words in refused(capsys, tmp_path, "run", config(**changes), "-o", tmp_path / "a.h5")


def test_frames_that_come_before_the_first_call_wait_for_it():
    """Rank 1 hears rank 0 before it begins: nothing of that may be lost, also if the first call has another number."""
    from tools.mailboxes import at_ranks, mailboxes

    from mpiqopt.topologies.lattices import Ring
    from mpiqopt.topologies.topology import Topology

    topology = Topology("ring", tuple(Ring(nodes=4).cycle()))
    values = np.arange(8).reshape(4, 2) * 1000
    for call in (0, 7):
        ends = [mailboxes(local, 2) for local in at_ranks(topology, 2, "ftqc", 3)]

        def swap(ends=ends):
            for one, other in (ends, ends[::-1]):
                other.receive(one.take(1).copy())

        ends[0].begin(call, values[:2], np.full(2, 20))
        for _ in range(5):
            ends[0].advance(0.0)
            swap()
        ends[1].begin(call, values[2:], np.full(2, 20))
        for _ in range(1000):
            for end in ends:
                end.advance(0.0)
            swap()
            if ends[0].finished and ends[1].finished:
                break
        for end in ends:
            assert end.finished
            assert np.array_equal(end.result[0], values.sum(axis=0) // 4)
