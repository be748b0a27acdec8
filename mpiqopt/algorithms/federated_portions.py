"""What of the model each client of a round trains and sends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiqopt.network.parts import Parts
from mpiqopt.problems.client_training import ClientTrainer
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams

if TYPE_CHECKING:
    from mpiqopt.algorithms.federated_plan import Plan
    from mpiqopt.algorithms.federated_round import State

# The number of the portion of a client that can train none: it does not take part.
NONE = -1


class Portions:
    """The portions of the model that clients train, numbered 0, 1, ...: here one, all of it.

    A portion consists of parts of a message. Every part is averaged over those clients of a round that send it.

    Parameters
    ----------
    parts : of a message
    beside : parts, as many, of the float32 numbers that travel with a message and are never coded; none by default
    held : bool (portions, parts), which parts a client of each portion sends; by default one portion has all
    received : bool (portions, parts), which parts it downloads; by default all
    work : float64 (portions,), what a training step takes, relative to one of the whole model; by default 1
    names : of the portions, for messages; by default they have none
    facts : (portions,) each, what the client log says of them, by the names of its columns; none by default
    """

    def __init__(
        self,
        parts: Parts,
        beside: Parts | None = None,
        held: np.ndarray | None = None,
        received: np.ndarray | None = None,
        work: np.ndarray | None = None,
        names: Sequence[str] = (),
        facts: dict[str, np.ndarray] | None = None,
    ):
        self.parts, self.beside = parts, beside
        self.held = np.ones((1, len(parts)), bool) if held is None else held
        self.received = np.ones_like(self.held) if received is None else received
        self.work = np.ones(len(self.held)) if work is None else work
        self.names, self.facts = list(names), facts or {}

    def draw(self, clients: np.ndarray, t: int) -> np.ndarray:
        """Return the portion of each client in round t, int64 (k,); NONE for one that is too weak."""
        return np.zeros(len(clients), np.int64)

    def trainer(self, problem: Problem, streams: Streams, portion: int) -> ClientTrainer:
        """Return what trains a portion: points and what is trained are whole rows (d,)."""
        return problem.client_trainer(streams)

    def partial(self, portion: int, state: "State") -> dict[str, Any]:
        """Return the arguments of ``ClientTrainer.train`` that say what to train; none for all of the model."""
        return {}

    def columns(self, plan: "Plan") -> dict[str, np.ndarray]:
        """Return what the client log says of what the clients of a round train, (nodes,) by the names of its columns.

        That is nothing of a client that trains nothing: -1, or NaN.
        """
        columns = {}
        for name, values in self.facts.items():
            columns[name] = np.full(len(plan.portions), -1 if values.dtype.kind == "i" else np.nan, values.dtype)
            columns[name][plan.cohort] = values[plan.portions[plan.cohort]]
        return columns
