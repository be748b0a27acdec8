"""The base class of methods whose nodes hand on mass, in common rounds or at everybody's own pace."""

import time
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from mpiqopt.algorithms.local_steps import WithLocalSteps
from mpiqopt.field import Field, only
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.problems.training import Descent, Trained
from mpiqopt.streams import Streams

if TYPE_CHECKING:  # imported where a method needs it: many ranks start at once
    from mpiqopt.coordination.mailboxes import AsynchronousPush


@dataclass(frozen=True, kw_only=True)
class AtOwnPace(WithLocalSteps):
    """A method whose nodes hand on mass: vectors whose sums over all nodes, and all frames on the way, stay.

    Its state is a NamedTuple with x (hosted, d), the ratios u_i/w_i; mass, float64 (hosted, width), of which the first
    d columns are u_i and the last is w_i; and t. In synchronous execution an iteration is a common round; in
    asynchronous execution it is ``interval`` seconds in which each node acts whenever it has a gradient.
    """

    directed = True
    extra_values = 1  # the weight

    execution: Annotated[
        Literal["synchronous", "asynchronous"],
        Field(description="synchronous: rounds common to all nodes; asynchronous: every node at its own pace"),
    ] = "synchronous"
    interval: Annotated[
        float,
        Field(gt=0, description="s of an iteration", needs=(only("execution", "asynchronous"),)),
    ] = 0.02

    @property
    def in_background(self) -> bool:
        return self.execution == "asynchronous"

    @property
    def trains(self) -> bool:
        return self.in_background

    @property
    def variable_traffic(self) -> bool:
        return self.in_background

    @property
    def tolerates_loss(self) -> bool:
        return self.in_background

    @property
    def batch(self) -> int:
        """Return ``batch_size`` as a ``Descent`` has it."""
        return 0 if self.batch_size == "all" else self.batch_size

    @abstractmethod
    def round(self, state: Any, problem: Problem, network: Network, rng: Streams) -> Any:
        """Return the state after a common round; parameters as of ``step``."""

    @abstractmethod
    def training(self, t: int) -> Descent:
        """Return what a node does alone from x_i, in asynchronous execution, before it acts; t: of the iteration."""

    @abstractmethod
    def act(self, node: int, state: Any, trained: Trained, push: "AsynchronousPush") -> None:
        """Add to the mass of a hosted node what its training has brought, and hand on shares of it.

        state: with arrays that are to be changed in place, but for x. push: of this width.
        """

    def step(self, state: Any, problem: Problem, network: Network, rng: Streams) -> Any:
        if self.in_background:
            return self._interval(state, problem, network)
        return self.round(state, problem, network, rng)

    def _interval(self, state: Any, problem: Problem, network: Network) -> Any:
        """Let the hosted nodes train and hand on mass for one interval; returns the state after it."""
        training, push = problem.background_trainer(), network.coordination.asynchronous_push(state.mass.shape[1])
        own = {key: rows.copy() for key, rows in state._asdict().items() if isinstance(rows, np.ndarray) and key != "x"}
        state, x, end = state._replace(**own), state.x, time.perf_counter() + self.interval
        while True:
            training.start(x, x, x, self.training(state.t), state.t)
            push.until(lambda: training.news() or time.perf_counter() >= end)
            push.pull(state.mass)
            if time.perf_counter() >= end:
                return after_round(state, state.mass)
            x = x.copy()  # workers read the rows of the one before
            trained = training.collect(x, state.t + 1)
            for node in np.flatnonzero(trained.active):
                self.act(node, state, trained, push)
                x[node] = ratios(state.mass[node : node + 1], x)[0]

    def drained(self, state: Any, network: Network) -> Any:
        """Return the state with the mass that was on its way added, so that a checkpoint loses none."""
        if not self.in_background:
            return state
        mass = state.mass.copy()
        network.coordination.asynchronous_push(mass.shape[1]).pull(mass)
        return after_round(state, mass)._replace(t=state.t)


def start_of_mass(x: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Return the mass at the start: (u_i, others, w_i) = (x_i, others, 1), float64."""
    return np.hstack([*(rows.astype(np.float64) for rows in (x, *others)), np.ones((len(x), 1))])


def ratios(mass: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return u_i/w_i, as many columns as x and of its type."""
    return (mass[:, : x.shape[1]] / mass[:, -1:]).astype(x.dtype)


def after_round(state: Any, mass: np.ndarray) -> Any:
    """Return the state after an iteration that led to ``mass``."""
    return state._replace(x=ratios(mass, state.x), mass=mass, t=state.t + 1)
