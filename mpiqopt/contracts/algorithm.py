"""Promises of a method: a state that steps leave alone, that keeps its form and that a checkpoint can store.

On small problems of 8 nodes in a ring, with full batches where the method is to reach the optimum.

>>> from mpiqopt.algorithms.gradient_tracking import GradientTracking
>>> method = GradientTracking(step_size=0.1)
>>> rounds_are_as_predicted(method) is None, every_node_reaches_the_optimum(method) is None  # both hold
(True, True)
"""

import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm
from mpiqopt.config.parse import parse
from mpiqopt.contracts.contract import promise, promise_equal
from mpiqopt.results import checkpoint
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.run.state import require_same_state_form, state_form
from mpiqopt.transport.serial import SerialTransport

NODES = 8
# samples of an epoch and of a minibatch that make a method one of full gradients
FULL = {"batch_size": "all", "large_batch_size": "all", "epoch_length": 3}
NETWORK = {"name": "torch", "model": "mlp", "options": {"hidden": [4, 3]}, "loss": "squared", "l2": 0.01}
IN_BACKGROUND = "not claimed: its nodes train in the background"


def small_experiment(
    method: Algorithm, loss: str = "least-squares", l2: float = 0.3, h: bool = False, **run: Any
) -> Experiment:
    """Return the objects of a run of a method on a small problem; on a small network if it trains blocks of one.

    Parameters
    ----------
    method: with numbers or 'auto'. loss, l2: of the problem, whose data are 107 synthetic samples with 5 features.
    h: True for the l1 norm, if the method takes it. run: keys of the table [run], such as start or dtype.
    """
    import tomli_w

    given = {field.name: getattr(method, field.name) for field in fields(method)}
    tables = {
        "run": run,
        "data": {"name": "synthetic", "samples": 107, "features": 5},
        "problem": {"name": loss, "l2": l2} if not method.trains_blocks else NETWORK,
        "topology": {"name": "ring", "nodes": NODES},
        "algorithm": {"name": method.name, **{key: value for key, value in given.items() if value is not None}},
        "regularizer": {"name": "l1", "weight": 0.02} if h and method.proximal else {"name": "zero"},
    }
    return assemble(parse(tomli_w.dumps(tables), "test"), SerialTransport())


def state_after(made: Experiment, iterations: int, state: Any = None) -> Any:
    """Return the state after so many iterations.

    state: to go on from; None for the start.
    """
    arguments = made.problem, made.network, made.streams
    state = made.algorithm.init(made.start, *arguments) if state is None else state
    for _ in range(iterations):
        state = made.algorithm.step(state, *arguments)
    return state


def state_copies(state: Any) -> dict[str, np.ndarray]:
    """Return the arrays and numbers of a state, by name, copied."""
    return {name: np.copy(value) for name, value in checkpoint.flat_state(state).items()}


def require_same_state(found: Any, wanted: dict[str, np.ndarray], when: str) -> None:
    """Raise Broken unless a state has the bits of another's ``state_copies``.

    when: ends the message, which names the first field that differs.
    """
    for name, value in state_copies(found).items():
        promise_equal(value, wanted[name], f"{name} of the state {when}")


def state_is_a_named_tuple_of_rows(method: Algorithm) -> None:
    """Check that init() returns a NamedTuple with x first and arrays with a row for each node.

    Records, checkpoints and memory predictions rely on it.
    """
    made = small_experiment(method, start="normal")
    state_form(method.name, state_after(made, 0), made.start)


def types_and_shapes_stay(method: Algorithm) -> None:
    """Check that six steps, in double and single precision, keep the forms of the start.

    A state that grows or changes its type could not be restored from a checkpoint.
    """
    for dtype in ("float64", "float32"):
        made = small_experiment(method, h=True, dtype=dtype, start="normal")
        state = state_after(made, 0)
        before = state_form(method.name, state, made.start)
        for iteration in range(1, 7):
            state = state_after(made, 1, state)
            require_same_state_form(f"{method.name} (run.dtype = {dtype})", before, state, iteration)


def step_leaves_its_state_alone(method: Algorithm) -> str | None:
    """Check that steps make new arrays.

    The loop compares states and writes them in the meantime.
    """
    made = small_experiment(method, h=True, start="normal")
    state = state_after(made, 4)
    before = state_copies(state)
    state_after(made, 2, state)
    require_same_state(state, before, "that step() got is changed by it")
    return None


def same_state_gives_same_bits(method: Algorithm) -> str | None:
    """Check that step() is a function of the state and the number of rounds so far.

    Hidden state in the method would make a resumed run another one.
    """
    if method.in_background:
        return IN_BACKGROUND
    made = small_experiment(method, h=True, start="normal")
    state = state_after(made, 4)
    rounds = made.network.traffic.rounds
    next_one = state_after(made, 1, state)
    first = state_copies(next_one)
    state_after(made, 1, next_one)  # a later iteration in between must not matter
    made.network.traffic.rounds = rounds
    require_same_state(state_after(made, 1, state), first, "is another when step() is called again")
    return None


def checkpoint_goes_on(method: Algorithm) -> str | None:
    """Check that a state that was written and read again leads to the iterates of one that was not.

    Four iterations, a checkpoint and three more against seven in a row, to the bit.
    """
    if method.in_background:
        return IN_BACKGROUND
    whole = state_copies(state_after(small_experiment(method, h=True, start="normal"), 7))
    one, other = (small_experiment(method, h=True, start="normal") for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.h5"
        counters = {"evaluations": one.problem.evaluations}
        progress = {name: kind() for name, kind in checkpoint.PROGRESS.items()} | {"derived": {}}
        checkpoint.save_checkpoint(path, state_after(one, 4), progress, counters, one.network, durable=False)
        saved, counters = checkpoint.read_progress(path), {"evaluations": other.problem.evaluations}
        state = checkpoint.restore_checkpoint(path, saved or {}, state_after(other, 0), counters, other.network)
    require_same_state(state_after(other, 3, state), whole, "after a checkpoint is another")
    return None


def rounds_are_as_predicted(method: Algorithm) -> str | None:
    """Check ``mixed_variables`` and ``rounds_per_variable()`` against the rounds that are counted.

    `mpiqopt check` predicts bytes by them.
    """
    if method.variable_traffic:
        return "not claimed: its traffic depends on the values"
    made = small_experiment(method)
    start = state_after(made, 0)
    before = made.network.counters()["rounds"]
    state_after(made, 5, start)
    counted, predicted = made.network.counters()["rounds"] - before, 5 * made.algorithm.rounds()
    promise(
        counted == predicted,
        f"5 iterations take {counted} rounds, want {predicted}: mixed_variables times rounds_per_variable()",
    )
    return None


def objective_falls(method: Algorithm) -> str | None:
    """Check that the step, automatic unless one is given, halves the gap of the mean of the data in 300 iterations.

    F is 1/2 of the mean squared distance to the data; a step that a method cannot take makes it grow.
    """
    if method.trains_blocks:
        return "not claimed: it wants a network"
    made = small_experiment(method, "mean", l2=0.0, start="normal")
    begin = made.evaluate(made.start).objective
    features = np.add.reduceat(made.shares.features, made.shares.offsets[:-1]) / made.problem.sizes[:, None]
    best = made.evaluate(np.repeat(features.mean(axis=0)[None], NODES, axis=0)).objective
    end = made.evaluate(state_after(made, 300).x).objective
    promise(
        end - best <= (begin - best) / 2,
        f"F is {begin:.3g} at the start and {end:.3g} after 300 iterations, {best:.3g} at the optimum",
    )
    return None


def every_node_reaches_the_optimum(method: Algorithm) -> str | None:
    """Check that a method that is ``exact`` reaches a gradient mapping and a consensus of rounding size.

    On least squares with full batches and, if the method takes it, the l1 norm, in 1500 iterations.
    """
    if not method.exact:
        return "not claimed: exact = False"
    full: dict[str, Any] = {key: value for key, value in FULL.items() if hasattr(method, key)}
    made = small_experiment(replace(method, **full), h=True)
    found = made.evaluate(state_after(made, 1500).x)
    promise(
        found.stationarity <= 1e-14 and found.consensus <= 1e-14,
        f"stationarity {found.stationarity:.2g} and consensus {found.consensus:.2g} after 1500 iterations, want 1e-14",
    )
    return None


CHECKS = (
    state_is_a_named_tuple_of_rows,
    types_and_shapes_stay,
    step_leaves_its_state_alone,
    same_state_gives_same_bits,
    checkpoint_goes_on,
    rounds_are_as_predicted,
    objective_falls,
    every_node_reaches_the_optimum,
)
