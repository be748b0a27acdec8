"""Every iterate of every method against a dense-matrix reference in NumPy (tools/dense, from docs/algorithms.md)."""

from itertools import islice, product

import networkx
import numpy as np
import pytest
from tools.dense.networks import metropolis, one_peer
from tools.dense.objectives import LOSSES
from tools.dense.trajectories import METHODS, assert_follows
from tools.experiments import GRAPHS, assembled, states
from tools.methods import GENERAL

from mpiqopt.algorithms.ftqc import FTQCAlgorithm
from mpiqopt.algorithms.proxgt import ProxGT
from mpiqopt.algorithms.stochastic import Minibatch, Scheduled
from mpiqopt.errors import UsageError

# Smaller than some nodes' shares and larger than others', so that both ways of drawing a batch are met.
SETTINGS = {
    "proxgt-sa": {"batch_size": 5},
    "proxgt-sr-o": {"batch_size": 3, "large_batch_size": 11, "epoch_length": 7},
    "proxgt-sr-e": {"batch_size": 4, "epoch_length": 5},
    # averages on a grid are the same whatever coordinates; of innovations those of a tree are known
    "ftqc-admm": {"code": "points"},
    "ftqc-dgd": {"code": "points"},
    # of ftqc the remainders are drawn
    "coordinated-prox-gradient": {"coordinator": "tree"},
    "diloco": {"local_steps": 3},  # hundreds of AdamW's steps near an optimum blow rounding up
}
CLASSES = {"name": "synthetic", "samples": 107, "features": 5, "task": "classification", "split": "dirichlet"}
DATA = {
    "least-squares": {"name": "synthetic", "samples": 107, "features": 5},
    "logistic": CLASSES,
    "mean": CLASSES,
    "softmax": {**CLASSES, "classes": 3},
}
ITERATIONS = 40
CODED = [name for name, cls in GENERAL.items() if issubclass(cls, FTQCAlgorithm)]
INNOVATIONS = {"code": "innovations", "coordinator": "tree"}


def method(name: str, **settings) -> dict:
    """The config's [algorithm]; with a step at which no method blows rounding errors up on these data."""
    defaults = {"gossip_rounds": 3, "chebyshev": True} if issubclass(GENERAL[name], ProxGT) else {}
    return {"name": name, "step_size": 0.05, **SETTINGS.get(name, {}), **defaults, **settings}


def example(topology, algorithm: dict, loss: str = "logistic", regularizer=None, start: str = "normal", **run):
    """An experiment with unequal shares and both smooth regularisers; h = l1 where the method takes it."""
    if regularizer is None and GENERAL[algorithm["name"]].proximal:
        regularizer = {"name": "l1", "weight": 0.02}
    problem = {"name": loss, "l2": 0.05, "nonconvex": 0.03}
    return assembled(topology, problem, algorithm, regularizer, DATA[loss], seed=4, start=start, **run)


def variants() -> list:
    """Every method; ProxGT with plain and Chebyshev gossip and with K = 1 and K = 3; both codes of averages."""
    cases = []
    for name, cls in GENERAL.items():
        gossip = product((1, 3), (False, True)) if issubclass(cls, ProxGT) else [()]
        for choice in gossip:
            settings = dict(zip(("gossip_rounds", "chebyshev"), choice, strict=False))
            cases.append(pytest.param(method(name, **settings), id="-".join([name, *map(str, choice)])))
        if issubclass(cls, FTQCAlgorithm):
            cases.append(pytest.param(method(name, **INNOVATIONS), id=f"{name}-innovations"))
    return cases


def test_every_method_has_a_reference():
    """A new method is not finished until its mathematics is written a second time, in tools/dense."""
    assert set(GENERAL) <= set(METHODS)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("algorithm", variants())
def test_iterates_are_those_of_the_definition(algorithm, graph):
    """Logistic loss, very unequal shares, h = l1 for proximal methods, a start that is not zero."""
    topology, edges = GRAPHS[graph]
    experiment = example(topology, algorithm)
    if topology["nodes"] > 1:
        assert np.ptp(experiment.problem.sizes) > 5
    assert_follows(experiment, [metropolis(edges)], ITERATIONS)


@pytest.mark.parametrize("name", [name for name, cls in GENERAL.items() if issubclass(cls, Minibatch)])
def test_minibatches(name):
    """Those of iteration t are drawn by t, not by how many gradients were taken before."""
    topology, edges = GRAPHS["ring-8"]
    assert_follows(example(topology, method(name, batch_size=5)), [metropolis(edges)], ITERATIONS)


@pytest.mark.parametrize("schedule", ["inverse", "inverse-sqrt"])
@pytest.mark.parametrize("name", [name for name, cls in GENERAL.items() if issubclass(cls, Scheduled)])
def test_steps_that_shrink(name, schedule):
    topology, edges = GRAPHS["ring-8"]
    assert_follows(example(topology, method(name, schedule=schedule, decay=0.1)), [metropolis(edges)], ITERATIONS)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", CODED)
def test_every_loss_with_innovations(name, loss):
    """From zero, on a ring, with the remainders at the root of a tree."""
    topology, edges = GRAPHS["ring-8"]
    assert_follows(example(topology, method(name, **INNOVATIONS), loss, start="zero"), [metropolis(edges)], ITERATIONS)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", GENERAL)
def test_every_loss(name, loss):
    """From zero, on a ring."""
    topology, edges = GRAPHS["ring-8"]
    assert_follows(example(topology, method(name), loss, start="zero"), [metropolis(edges)], ITERATIONS)


@pytest.mark.parametrize(
    "regularizer",
    [
        {"name": "elastic-net", "weight": 0.1, "l1_ratio": 0.3},
        {"name": "group-l1", "weight": 0.05, "group_size": 2},
        {"name": "box", "lower": -0.1, "upper": 0.2},
        {"name": "nonnegative"},
    ],
    ids=lambda table: table["name"],
)
@pytest.mark.parametrize("name", [name for name, cls in GENERAL.items() if cls.proximal])
def test_every_regularizer(name, regularizer):
    """l1 and no h at all are in the other tests. Five coordinates in groups of two: the last group is short."""
    topology, edges = GRAPHS["grid-9"]
    assert_follows(example(topology, method(name), "least-squares", regularizer), [metropolis(edges)], ITERATIONS)


def alternating() -> list:
    """Topologies that vary with the round, and their matrices in turn."""
    two = [GRAPHS["ring-8"], ({"name": "star", "nodes": 8}, networkx.star_graph(7))]
    return [
        pytest.param({"name": "one-peer-exponential", "nodes": 8}, one_peer(8), id="one-peer-8"),
        pytest.param({"name": "one-peer-exponential", "nodes": 5}, one_peer(5), id="one-peer-5"),
        pytest.param([table for table, _ in two], [metropolis(edges) for _, edges in two], id="ring+star"),
    ]


def plain(name: str, **settings) -> dict:
    """``method`` without Chebyshev gossip."""
    return method(name, **({"chebyshev": False} if issubclass(GENERAL[name], ProxGT) else {}), **settings)


@pytest.mark.parametrize(("topology", "matrices"), alternating())
@pytest.mark.parametrize("name", [name for name, cls in GENERAL.items() if not cls.fixed_symmetric])
def test_a_varying_topology_takes_its_matrices_in_turn(name, topology, matrices):
    """Those of an iteration for each of its variables; the next go on behind them: three rounds fit no cycle of two."""
    assert_follows(example(topology, plain(name)), matrices, ITERATIONS)


@pytest.mark.parametrize(
    "algorithm",
    [method(name) for name, cls in GENERAL.items() if cls.fixed_symmetric or issubclass(cls, ProxGT)],
    ids=lambda table: table["name"],
)
@pytest.mark.parametrize(("topology", "matrices"), alternating())
def test_methods_for_one_symmetric_matrix_refuse_others(algorithm, topology, matrices):
    """EXTRA and its kin and Chebyshev polynomials are defined for one symmetric W."""
    with pytest.raises(UsageError, match="needs one symmetric mixing matrix"):
        example(topology, algorithm)


@pytest.mark.parametrize("name", [name for name, cls in GENERAL.items() if not cls.proximal])
def test_methods_without_prox_refuse_a_regularizer(name):
    """Silently solving another problem is the worst that could happen."""
    with pytest.raises(UsageError, match="no proximal step"):
        example(GRAPHS["ring-8"][0], method(name), regularizer={"name": "l1"})


@pytest.mark.parametrize("name", GENERAL)
def test_float32_stays_float32(name):
    """Every array of the state but memories and the mass of push-sum.

    Within rounding (6e-8 an operation) of the reference in double.
    """
    topology, edges = GRAPHS["ring-8"]
    experiment = example(topology, method(name), dtype="float32")
    state = list(islice(states(experiment), 3))[-1]
    fields = [field for key, field in state._asdict().items() if isinstance(field, np.ndarray) and key != "mass"]
    counters = {np.dtype(np.int64)}  # of clients' steps
    assert {field.dtype for field in fields} - counters == {np.dtype(np.float32)}
    assert_follows(example(topology, method(name), dtype="float32"), [metropolis(edges)], ITERATIONS, rtol=2e-5)
