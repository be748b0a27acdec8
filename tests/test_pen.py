"""The coordinator ``pen``: FTQC's pieces, and one node says m instead of a vote."""

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from tools.coordinated import GRAPHS, example
from tools.dense.objectives import Objective
from tools.experiments import assembled, states

from mpiqopt._coordination import Lockstep
from mpiqopt.analysis.rounds import measure_network, predict_round
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.coordination.protocols.pen import mixing_steps
from mpiqopt.errors import UsageError
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.topologies.topology import Topology

METHODS = ["ftqc-dgd", "ftqc-admm"]
PEN = {"coordinator": "pen", "code": "innovations"}
PROBLEM = {"name": "logistic", "l2": 0.05}
DATA = {"name": "synthetic", "samples": 1000, "features": 10, "task": "classification"}
HALF = {"activation": "bernoulli", "activation_probability": 0.5}


def problem_a(topology: str = "erdos-renyi", **algorithm):
    """Logistic regression on 1000 synthetic samples, at 10 nodes."""
    table = {"name": "ftqc-dgd", **PEN, **algorithm}
    return assembled({"name": topology, "nodes": 10}, PROBLEM, table, None, DATA)


@pytest.mark.parametrize("activation", [{}, HALF], ids=["all", "half"])
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", METHODS)
def test_the_books_balance_after_every_round(name, graph, activation):
    """n C is the sum of all hat_i, as fractions, and nodes have the same bits."""
    rounds = list(islice(states(example(GRAPHS[graph], {"name": name, **PEN, "step_size": "auto", **activation})), 30))
    for state in rounds:
        for column, common in zip(state.grid.hat.T.tolist(), state.grid.mean[0].tolist(), strict=True):
            assert sum(map(Fraction, column)) == len(column) * Fraction(common)
        assert np.all(state.x == state.x[0])
    assert len(np.unique([state.x[0, 0] for state in rounds])) > 7


@pytest.mark.parametrize("coder", ["tile", "rice", "range"])
def test_each_call_is_what_the_author_has(coder):
    """What nodes keep adds up to S - n m in ten calls on a directed ring, where integers are wide and narrow."""
    nodes = 6
    ring = Topology("directed-ring", tuple(find_member("topology", "directed-ring")(nodes=nodes).cycle()))
    local = LocalProtocol.of("pen", ring, Placement(nodes))._replace(coder=coder)
    lockstep, rng = Lockstep(local.wiring, local.rules(7)), np.random.default_rng(0)
    for call in range(10):
        values, hat = rng.integers(-(10 ** (call + 1)), 10 ** (call + 1), (nodes, 7)), np.zeros((nodes, 7))
        lockstep.begin(call, values, True)
        for step in range(local.steps):
            assert not lockstep.finished
            if step <= mixing_steps(nodes - 1):  # all pieces are somewhere
                y, z = lockstep.mass
                assert (y.tolist(), z) == ((2 * values.sum(axis=0)).tolist(), 2 * nodes)
            lockstep.step()
            lockstep.deliver()
        assert lockstep.finished
        m = lockstep.settle(values, hat, 1.0)
        assert hat.sum(axis=0).tolist() == (nodes * m).tolist()
        assert np.abs(m - values.mean(axis=0)).max() < 10 ** (call + 1)


@pytest.mark.parametrize("topology", ["erdos-renyi", "ring", "directed-ring", "random-digraph"])
def test_it_reaches_the_optimum(topology):
    """A gap of 1e-10 on problem A."""
    experiment = problem_a(topology)
    best = experiment.problem.value_and_grad(np.tile(Objective(experiment).minimiser(), (10, 1)))[0].mean()
    gaps = [experiment.problem.value_and_grad(s.x)[0].mean() - best for s in islice(states(experiment), 80)]
    assert gaps[-1] < 1e-10 < gaps[5]


def test_check_predicts_its_bytes():
    experiment = problem_a()
    said = predict_round(
        experiment.algorithm.protocol,
        measure_network(experiment.network.topology),
        experiment.problem.d,
        experiment.algorithm.late_innovation,
        settles=True,
    ).bytes
    spent = [experiment.network.counters()["bytes"] for _ in islice(states(experiment), 51)]
    assert said / 1.5 < np.diff(spent)[20:].mean() < said * 1.5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"code": "points"}, "finds no points"),
        ({"coordination": "mailboxes"}, "'lock-step'"),
        ({"execution": "asynchronous"}, "'synchronous'"),
    ],
)
def test_what_it_cannot_do_is_refused(settings, words):
    with pytest.raises(UsageError, match=words) as error:
        problem_a(**settings)
    assert ": algorithm.coordinator = 'pen': " in str(error.value)
    assert len(str(error.value)) <= 200
