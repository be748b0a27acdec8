"""Coordination in steps that all nodes take together: deterministic, the same on any number of ranks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mpiqopt._coordination import Delivery, Lockstep
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.coordination.traffic import FrameTraffic
from mpiqopt.errors import NumericalError
from mpiqopt.transport.transport import FrameExchange


class Agreement(NamedTuple):
    """What all nodes have found.

    low, high: floor(S/n) and ceil(S/n), int64 (d,), S the sum of the integers of all nodes; effort: steps that were
    taken, for the next call.
    """

    low: np.ndarray
    high: np.ndarray
    effort: int


class Settlement(NamedTuple):
    """What all nodes have found, where each keeps what it still has.

    mean: m, float64 (d,); effort: steps for the next call; age: of what nodes knew, in calls, at the mean.
    """

    mean: np.ndarray
    effort: int
    age: float = 0.0


# votes in a call: each has a sixth more steps before it, so that this many are thousands of times the usual steps
MOST_VOTES = 60


def require_votes(name: str, votes: int) -> None:
    """Raise NumericalError if a coordinator took more than MOST_VOTES."""
    if votes > MOST_VOTES:
        raise NumericalError(f"{name}: no agreement after {MOST_VOTES} votes; please report the graph and the values")


def first_lockstep_effort(diameter: int) -> int:
    """Return the steps before the first vote of the first call: a vote that fails costs little more than the steps."""
    return 4 * (diameter + 4)


def next_lockstep_effort(effort: int, votes: int) -> int:
    """Return the steps before the first vote of the next call: about every second call then needs two votes (ours).

    >>> next_lockstep_effort(100, votes=1), next_lockstep_effort(100, votes=2)
    (90, 105)
    """
    return max(1, effort * 9 // 10 if votes == 1 else effort * 105 // 100)


class FrameCoordination:
    """What both ways to coordinate by frames share: the protocol at this rank, and what its nodes have done and sent.

    Nodes are made at the first call, which says how long vectors are. Whoever lets them take steps or vote counts that
    in ``_steps_taken`` and ``_votes_taken``, int64 (hosted,); frames are counted where they are written.
    """

    _delivery: Delivery | None = None

    def __init__(self, local: LocalProtocol):
        self.local = local
        self._steps_taken, self._votes_taken = np.zeros((2, len(local.wiring.in_starts) - 1), np.int64)

    @property
    def name(self) -> str:
        """Name of the coordinator, for messages."""
        return self.local.protocol.name

    @property
    def bytes(self) -> int:
        """Bytes sent by the hosted nodes so far, headers, acknowledgements and repetitions included."""
        return int(self.sent.frame_bytes.sum())

    @property
    def sent(self) -> FrameTraffic:
        """What the hosted nodes have done and sent so far."""
        nodes = self._delivery
        if nodes is None:
            return FrameTraffic.none(len(self._steps_taken))
        return FrameTraffic(nodes.pieces, self._steps_taken, self._votes_taken, nodes.frames, nodes.frame_bytes)


class LockstepCoordination(FrameCoordination):
    """Steps, and now and then a vote: extremes are flooded for D steps, D the diameter.

    local: the coordinator at this rank; exchange: brings the frames of a step to the neighbouring ranks
    (``transport.transport.FrameExchange``).
    """

    mail_transport = "messages in steps"

    def __init__(self, local: LocalProtocol, exchange: FrameExchange):
        super().__init__(local)
        self._exchange = exchange

    def agree(self, values: np.ndarray, call: int, effort: int) -> Agreement:
        """Find floor(S/n) and ceil(S/n); collective.

        values: int64 (hosted, d), the same d in all calls; call: its number, which keys what nodes draw; effort: that
        of the last call, 0 in the first.
        """
        nodes, effort = self._call(values, call, effort, settles=False)
        low, high = nodes.result
        return Agreement(low, high, effort)

    def settle(
        self, values: np.ndarray, hat: np.ndarray, step: float, call: int, effort: int, ages: np.ndarray
    ) -> Settlement:
        """Find m near S/n, the same at all nodes, and hat_i += step (q_i - R_i); collective.

        R_i is what node i still has of the integers q_i, ``values``, so that sum_i (q_i - R_i) = n m. hat: float64
        (hosted, d), changed; step: a power of two; ages: of no use where all nodes wait for each other
        (``ledger.LedgerCoordination``); the others: as of ``agree``.
        """
        nodes, effort = self._call(values, call, effort, settles=True)
        return Settlement(nodes.settle(values, hat, step), effort)

    def _call(self, values: np.ndarray, call: int, effort: int, *, settles: bool) -> tuple[Lockstep, int]:
        """Let nodes find what they are to find; returns them, and the steps for the next call."""
        if self._delivery is None:
            self._delivery = Lockstep(self.local.wiring, self.local.rules(values.shape[1]))
        nodes = self._delivery
        nodes.begin(call, values, settles)
        if call and nodes.steps_to_find:
            self._find_again(nodes)
        steps = self.local.steps
        return nodes, self._vote_until_agreed(nodes, effort) if steps is None else self._take(nodes, steps)

    def _find_again(self, nodes: Lockstep) -> None:
        """Find what nodes of an earlier process of the run have found: in steps that it has counted."""
        self._steps(nodes, nodes.steps_to_find)
        nodes.frames[:] = nodes.frame_bytes[:] = 0

    def _take(self, nodes: Lockstep, steps: int) -> int:
        self._steps(nodes, nodes.steps_to_find + steps)
        if not nodes.finished:
            raise NumericalError(f"{self.name}: some nodes do not know the result after {steps} steps")
        self._steps_taken += steps
        return steps

    def _vote_until_agreed(self, nodes: Lockstep, effort: int) -> int:
        taken, target, votes = 0, effort or first_lockstep_effort(self.local.wiring.diameter), 0
        while True:
            self._steps(nodes, target - taken)
            self._steps_taken += target - taken
            taken, votes = target, votes + 1
            require_votes(self.name, votes)
            if self._vote(nodes):
                return next_lockstep_effort(taken, votes)
            target = taken + taken // 6 + 1

    def _steps(self, nodes: Lockstep, count: int) -> None:
        for _ in range(count):
            nodes.step()
            self._exchange.exchange(nodes)

    def _vote(self, nodes: Lockstep) -> bool:
        self._votes_taken += 1
        nodes.look_around()
        for _ in range(self.local.wiring.diameter):
            nodes.flood()
            self._exchange.exchange(nodes)
        return nodes.agreed

    @property
    def mpi_bytes(self) -> int:
        """Bytes handed to MPI so far."""
        return self._exchange.bytes

    def wait(self, news: Callable[[], bool], longest: Callable[[], float], width: int) -> None:
        """The next call begins at once: all nodes have trained."""

    def drain(self) -> None:
        """Nothing is ever on its way between calls."""

    def give_back(self, hat: np.ndarray) -> None:
        """Nothing ever comes too late for its call."""

    def close(self) -> None:
        """Give back what MPI holds; collective."""
        self._exchange.close()
