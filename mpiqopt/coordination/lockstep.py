"""Coordination in steps that all nodes take together: deterministic, the same on any number of ranks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mpiqopt._coordination import Lockstep, Nodes
from mpiqopt.coordination.wiring import Wiring
from mpiqopt.errors import NumericalError


class Agreement(NamedTuple):
    """low, high: floor(S/n) and ceil(S/n), int64 (d,), S the sum of the integers of all nodes. effort: steps taken."""

    low: np.ndarray
    high: np.ndarray
    effort: int


# votes in a call: each has a sixth more steps before it, so that this many are thousands of times the usual steps
MOST_VOTES = 60


def require_votes(protocol: str, votes: int) -> None:
    """Raise NumericalError if there were too many."""
    if votes > MOST_VOTES:
        raise NumericalError(
            f"{protocol}: no agreement after {MOST_VOTES} votes; please report the graph and the values"
        )


def first_effort(wiring: Wiring) -> int:
    """Steps before the first vote of the first call; a vote that fails costs little more than the steps."""
    return 4 * (wiring.diameter + 4)


def next_effort(effort: int, votes: int) -> int:
    """Steps before the first vote of the next call: tuned until about every second call needs two votes (ours)."""
    return max(1, effort * 9 // 10 if votes == 1 else effort * 105 // 100)


class Sending:
    """What the hosted nodes have sent; they are there from the first call on."""

    wiring: Wiring
    _nodes: Nodes | None = None

    @property
    def bytes(self) -> int:
        """Sent by the hosted nodes so far, headers, acknowledgements and repetitions included."""
        return int(self._nodes.bytes_sent.sum()) if self._nodes is not None else 0

    @property
    def sent(self) -> tuple[np.ndarray, np.ndarray]:
        """Pieces and bytes sent by each hosted node so far, int64 (hosted,)."""
        if self._nodes is None:
            nothing = np.zeros(len(self.wiring.in_starts) - 1, np.int64)
            return nothing, nothing
        return self._nodes.pieces, self._nodes.bytes_sent


class LockstepCoordination(Sending):
    """Steps, and now and then a vote: extremes are flooded for D steps, D the diameter."""

    def __init__(self, wiring: Wiring, protocol: str, seed: int, exchange):
        self.wiring, self.protocol, self._seed, self._exchange = wiring, protocol, seed, exchange
        self.gain = wiring.gain

    def agree(self, values: np.ndarray, call: int, effort: int) -> Agreement:
        """Collective. values: int64 (hosted, d), the same d in all calls; call: its number, which keys the routes;
        effort: that of the last."""
        if self._nodes is None:
            self._nodes = Lockstep(self.wiring, self.protocol, values.shape[1], self._seed)
        nodes = self._nodes
        nodes.begin(call, values)
        if self.protocol == "tree":
            self._steps(nodes, self.wiring.height)
            return Agreement(*nodes.result, self.wiring.height)
        taken, target, votes = 0, effort or first_effort(self.wiring), 0
        while True:
            self._steps(nodes, target - taken)
            taken, votes = target, votes + 1
            require_votes(self.protocol, votes)
            if self._vote(nodes):
                return Agreement(*nodes.result, next_effort(taken, votes))
            target = taken + taken // 6 + 1

    def _steps(self, nodes: Lockstep, count: int) -> None:
        for _ in range(count):
            nodes.step()
            self._exchange.exchange(nodes)

    def _vote(self, nodes: Lockstep) -> bool:
        nodes.look_around()
        for _ in range(self.wiring.diameter):
            nodes.flood()
            self._exchange.exchange(nodes)
        return nodes.agreed

    @property
    def mpi_bytes(self) -> int:
        """Handed to MPI so far."""
        return self._exchange.bytes

    chosen = "messages in steps"

    def wait(self, news: Callable[[], bool], longest: Callable[[], float], width: int) -> None:
        """The next call begins at once."""

    def settle(self) -> None:
        """Nothing is ever on its way between calls."""

    def close(self) -> None:
        """Collective."""
        self._exchange.close()
