"""Every coordinator gives every node the average on the grid, to the bit, and the sums of extra columns."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from tools.commands import TIMEOUT, with_tools
from tools.coordinated import DIRECTED_RING, GRAPHS, coordinate, coordinations, coordinators, graphs, oracle, usable
from tools.dense.coordinated import exact_average

from mpiqopt.errors import NumericalError


@pytest.mark.parametrize(
    ("values", "floor", "nearest"),
    [
        # floors have sums 2 and -5, whose thirds go down; nearest: sums 2 and -4, between 0 and 1, between -2 and -1
        ([-1.3, 0.7, 2.2], 0.0, 0.25),
        ([-1.3, -0.7, 0.2], -1.0, -0.75),
        # a mean that is an integer is its own floor and ceil
        ([-0.5, 0.5, 1.5], 0.5, 0.5),
        ([-0.1, -0.1, -0.1], -0.5, 0.0),
        # halves go to even numbers: 0, 2 and 0
        ([0.25, 0.75, -0.25], 0.0, 0.25),
    ],
)
@coordinations
@coordinators
def test_a_worked_example(coordinator, coordination, values, floor, nearest):
    """Three numbers on a directed ring, on the grid of halves; and the references of these tests agree."""
    rows = np.array(values)[:, None]
    for rounding, expected in (("floor", floor), ("nearest", nearest)):
        vector, _ = coordinate({**DIRECTED_RING, "nodes": 3}, coordinator, coordination, rows, 0.5, rounding)
        assert vector.tolist() == [expected]
        assert exact_average(rows, 0.5, rounding).tolist() == oracle(rows, 0.5, rounding).tolist() == [expected]


@graphs
@coordinations
@coordinators
def test_the_average_is_the_oracle(coordinator, coordination, graph):
    """Normal rows on a fine grid, from a centre that is near or far; d = 1 and d beyond a tile of packing.

    And the error of floor is in (-2 step, 0], that of nearest at most a step (and what rounding to doubles adds).
    """
    topology = GRAPHS[graph]
    nodes = topology[0]["nodes"] if isinstance(topology, list) else topology["nodes"]
    draw = np.random.default_rng(nodes)
    for d, rounding, previous, step in ((1, "floor", 0.0, 1e-3), (1100, "nearest", -1e4, 0.03), (7, "floor", 0.2, 0.7)):
        rows = draw.standard_normal((nodes, d))
        vector, _ = coordinate(topology, coordinator, coordination, rows, step, rounding, previous)
        np.testing.assert_array_equal(vector, oracle(rows, step, rounding))
        error = (vector - rows.mean(axis=0)) / step
        low, high = (-2, 0) if rounding == "floor" else (-1, 1)
        assert low - 1e-12 < error.min() <= error.max() <= high + 1e-12
        assert np.ptp(error) > 0.5 or d == 1


@pytest.mark.parametrize("count", [0, 1, 3])
@coordinations
@coordinators
def test_sums_come_with_the_average(coordinator, coordination, count):
    """Extra columns: their sums over the nodes, negative ones too, and the average is what it is without them."""
    draw = np.random.default_rng(count)
    rows, extra = draw.standard_normal((16, 4)), draw.integers(-9, 9, (16, count))
    for graph in ("torus-16", "random-digraph-16"):
        vector, sums = coordinate(GRAPHS[graph], coordinator, coordination, rows, 0.01, extra=extra)
        np.testing.assert_array_equal(vector, oracle(rows, 0.01))
        assert sums.tolist() == extra.sum(axis=0).tolist()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("graph", ["path-2", "directed-ring-5"])
@coordinations
@coordinators
def test_the_largest_integers_that_are_let_in(coordinator, coordination, graph):
    """Whatever passes the range check gives the oracle: up to 98 % of the limit and less, of one sign and of both.

    What the limit is, to three digits, the check itself says of numbers that are too large. Nodes that never agree,
    as an error of one unit can bring about, run into the time limit.
    """
    topology, draw = GRAPHS[graph], np.random.default_rng(5)
    nodes = topology["nodes"]
    with pytest.raises(NumericalError) as refusal:
        coordinate(topology, coordinator, coordination, np.full((nodes, 1), 2.0**62))
    limit = 2.0**62 / usable(str(refusal.value))
    assert limit > 2**30
    for top, low in product((0.98 * limit, 0.1 * limit, 0.02 * limit), (0.5, -1)):
        rows = np.floor(draw.uniform(low * top, top, (nodes, 6)))
        vector, _ = coordinate(topology, coordinator, coordination, rows)
        np.testing.assert_array_equal(vector, oracle(rows, 1.0))


INTERRUPTED = """
import gc
import sys
from tools.experiments import after, assembled
from mpiqopt.transport.serial import SerialFrames

def fail(*nodes):
    raise RuntimeError("on purpose")

def run(coordination):
    algorithm = {"name": "ftqc-dgd", "coordinator": "ftqc", "coordination": coordination, "step_size": 0.5}
    data = {"name": "synthetic", "samples": 8, "features": 3}
    experiment = assembled({"name": "ring", "nodes": 4}, {"name": "mean"}, algorithm, None, data)
    after(experiment, 3)
    SerialFrames.exchange = SerialFrames.pass_on = fail
    try:
        experiment.algorithm.step(after(experiment, 0), experiment.problem, experiment.network, experiment.streams)
    except RuntimeError as error:
        error.itself = error

run(sys.argv[1])
gc.collect()
print("collected")
"""


@coordinations
def test_an_error_in_a_call_can_be_collected(coordination):
    """With its traceback and the nodes, once it is part of a cycle of references. Freed memory is overwritten."""
    variables = {**with_tools(), "MALLOC_PERTURB_": "165"}
    python = [sys.executable, "-c", INTERRUPTED, coordination]
    result = subprocess.run(python, env=variables, capture_output=True, text=True, timeout=TIMEOUT)
    assert (result.returncode, result.stdout) == (0, "collected\n"), result.stderr
