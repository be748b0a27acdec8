"""Coordination that waits for a quorum of the nodes only, whoever is late or silent."""

import time
from math import ceil
from typing import NamedTuple

import numpy as np

from mpiqopt._coordination import Ledger
from mpiqopt.coordination.lockstep import Agreement, Settlement
from mpiqopt.coordination.mailboxes import CallsByMail
from mpiqopt.coordination.protocol import CODERS, LocalProtocol
from mpiqopt.errors import NumericalError
from mpiqopt.transport.transport import FrameQueue


class Quorum(NamedTuple):
    """Whom a call waits for.

    share: of the nodes, more than 1/2; max_staleness: every so many calls it waits for all that answer; patience: s
    after which a node that says nothing is taken for silent.
    """

    share: float
    max_staleness: int
    patience: float

    def of(self, nodes: int) -> int:
        """Return how many nodes a call waits for.

        >>> Quorum(0.9, 10, 1.0).of(10), Quorum(0.51, 10, 1.0).of(2)
        (9, 2)
        """
        return max(ceil(self.share * nodes - 1e-9), nodes // 2 + 1)


class Silence(NamedTuple):
    """A hosted node that is silent, by emulation, between two times of ``time.perf_counter``."""

    node: int
    begin: float
    end: float


class LedgerCoordination(CallsByMail):
    """COLLECT by mailboxes with a quorum: ``mpiqopt._coordination.Ledger``.

    Parameters
    ----------
    local : the coordinator at this rank
    quorum : whom calls wait for
    silences : of hosted nodes, emulated
    frames, crowded, unreliable : as of ``mailboxes.MailboxCoordination``
    """

    _delivery: Ledger | None

    def __init__(
        self,
        local: LocalProtocol,
        quorum: Quorum,
        silences: list[Silence],
        frames: FrameQueue,
        crowded: bool,
        unreliable: bool = False,
    ):
        super().__init__(local, frames, crowded, unreliable)
        self._quorum, self._silences = quorum, silences

    def agree(self, values: np.ndarray, call: int, effort: int) -> Agreement:
        """Raise TypeError: without all nodes there is no mean of their integers, only what is new of it."""
        raise TypeError(f"{self.name} with a quorum settles what is new, and finds no points")

    def settle(
        self, values: np.ndarray, hat: np.ndarray, step: float, call: int, effort: int, ages: np.ndarray
    ) -> Settlement:
        """Find m near what came of S/n, the same at all nodes, and hat_i += step (q_i - R_i).

        R_i is what node i holds at the end, so that sum_i (q_i - R_i) is n m less what is on its way. Returns when
        those hosted nodes that are not silent have m, and have told it on.

        Parameters
        ----------
        values : int64 (hosted, d), the q_i
        hat : float64 (hosted, d), changed
        step : a power of two
        call : counts up by one
        effort : of no use here
        ages : int64 (hosted,), how many calls ago what nodes know was new
        """
        nodes, began = self._prepare(values.shape[1]), time.perf_counter()
        try:
            nodes.begin(call, values, step, ages, began)
            self._pump.until(nodes, lambda: nodes.finished and self._pump.has_taken(nodes))
            mean, age = nodes.close_call(values, hat)
        except ArithmeticError as error:
            raise NumericalError(f"{self.name}: {error}") from None
        self._duration = time.perf_counter() - began
        self._steps_taken += 1
        return Settlement(mean, 0, age)

    def _prepare(self, width: int) -> Ledger:
        """Return the nodes, which hear their neighbours from now on."""
        if self._delivery is None:
            wiring, (_, span, patience) = self.local.wiring, self._quorum
            count, coder = self._quorum.of(wiring.nodes), CODERS.index(self.local.coder)
            self._delivery = Ledger(wiring, width, coder, count, span, patience, self._unreliable)
            for silence in self._silences:
                self._delivery.silence(*silence)
        return self._delivery

    def drain(self) -> None:
        """Return when nothing is on its way in the network, and all know all results; collective, between calls."""
        self._pump.drain(self._delivery)
        if self._delivery is not None:
            self._delivery.forget()

    def give_back(self, hat: np.ndarray) -> None:
        """Subtract what came too late for its call from hat, float64 (hosted, d): nodes hold it no more."""
        if self._delivery is not None:
            self._delivery.give_back(hat)
