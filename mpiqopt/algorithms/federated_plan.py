"""Who does what in a round of a federated method: known before anybody trains, and the same on all ranks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpiqopt.algorithms.federated_portions import NONE, Portions
from mpiqopt.federation.client_times import ClientTimes
from mpiqopt.federation.cohort import draw_cohort, draw_lost
from mpiqopt.federation.deadline import Arrivals, all_free, arrivals, due_clients, free_clients
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem

if TYPE_CHECKING:
    from mpiqopt.algorithms.federated import FederatedAlgorithm


class Late(NamedTuple):
    """Which clients are at work on late updates.

    Attributes
    ----------
    busy : int64 (nodes,), until which round; before it the client is free
    portions : int64 (nodes,), what of the model they train
    """

    busy: np.ndarray
    portions: np.ndarray


class Plan(NamedTuple):
    """Who does what in a round; arrays of clients are sorted int64.

    Attributes
    ----------
    cohort : clients that take part
    seconds : emulated, of each of them, float64
    arrivals : what becomes of their updates
    left_out : clients that were drawn and do not take part, being too weak
    lost : clients that were drawn and are lost before they have sent anything
    due : clients whose late update arrives now
    senders : those whose updates are used now: in time, or due
    receivers : those to whom the server sends
    portions : int64 (nodes,), what the clients of the cohort train, and those at work on late updates
    sent : the bytes of each one's messages
    """

    cohort: np.ndarray
    seconds: np.ndarray
    arrivals: Arrivals
    left_out: np.ndarray
    lost: np.ndarray
    due: np.ndarray
    senders: np.ndarray
    receivers: np.ndarray
    portions: np.ndarray
    sent: "MessageBytes"

    @property
    def trained(self) -> np.ndarray:
        """Return the clients that train: those of discarded updates give up, and nothing that they did is kept."""
        return self.cohort[self.arrivals.applied_in >= 0]

    def receivers_of_parts(self, chosen: Portions) -> list[np.ndarray]:
        """Return who downloads each part, where clients get what they train."""
        received = chosen.received[self.portions[self.receivers]]
        return [self.receivers[each] for each in received.T]

    @property
    def late(self) -> Late:
        """Return which clients are at work on late updates after the round."""
        return Late(self.arrivals.busy_until, self.portions)


def none_late(nodes: int) -> Late:
    """Return the start: no client is at work on a late update."""
    return Late(all_free(nodes), np.zeros(nodes, np.int64))


def plan_round(method: "FederatedAlgorithm", problem: Problem, network: Network, seed: int, t: int, late: Late) -> Plan:
    """Draw the clients of round t and what they train, and find out whose updates are used.

    seed : of the run. late : clients that are at work on late updates.
    """
    nodes, chosen = network.place.nodes, method.portions(problem, network, seed)
    drawn = draw_cohort(seed, t, nodes, method.cohort_size(nodes), free_clients(late.busy, t))
    portions = late.portions.copy()
    portions[drawn] = chosen.draw(drawn, t)
    steps = method.work(t).count_steps(problem.all_sizes[drawn])
    sent = MessageBytes(method, problem, network, chosen)
    work = chosen.work[portions[drawn]]
    times = ClientTimes(network.emulate, network.place, seed, network.devices)
    seconds = times.seconds(drawn, t, steps, sent.up(portions[drawn]), sent.down(portions[drawn]), work)
    weak = method.left_out(drawn, seconds) | (portions[drawn] == NONE)
    lost = draw_lost(seed, t, nodes, method.drop_out)[drawn] & ~weak
    cohort, seconds = drawn[~weak & ~lost], seconds[~weak & ~lost]
    came = arrivals(cohort, seconds, t, late.busy, method.deadline, method.late, method.min_clients)
    due = due_clients(late.busy, t)
    senders = np.union1d(cohort[came.used], due)
    receivers = np.arange(nodes) if method.two_way else drawn[~weak]
    return Plan(cohort, seconds, came, drawn[weak], drawn[lost], due, senders, receivers, portions, sent)


def plans_ahead(
    method: "FederatedAlgorithm", problem: Problem, network: Network, seed: int, rounds: int
) -> Iterator[Plan]:
    """Yield the plans of the first rounds: nothing in them depends on what clients reach."""
    nobody = late = none_late(network.place.nodes)
    for t in range(rounds):
        plan = plan_round(method, problem, network, seed, t, late)
        late = plan.late if method.applies_late else nobody
        yield plan


class MessageBytes:
    """The bytes of messages up and down.

    portions : of the clients
    """

    def __init__(self, method: "FederatedAlgorithm", problem: Problem, network: Network, portions: Portions):
        self._network, self._dtype = network, problem.dtype
        sizes = portions.parts.sizes
        beside = np.zeros_like(sizes) if portions.beside is None else 4 * portions.beside.sizes
        coded = np.array([self._coded(size) for size in sizes.tolist()], np.int64)
        self._up = (portions.held * (coded + beside)).sum(axis=1)
        self._down = (portions.received * (sizes * self._dtype.itemsize + beside)).sum(axis=1)
        if method.two_way:
            self._down = np.full_like(self._down, self._coded(portions.parts.width) + beside.sum())

    def up(self, portions: np.ndarray) -> np.ndarray:
        """Return the bytes that clients of these portions send, int64 (k,); 0 for NONE."""
        return np.where(portions == NONE, 0, self._up[portions])

    def down(self, portions: np.ndarray) -> np.ndarray:
        """Return the bytes that they download, likewise: what they train, or the coded change of the whole model."""
        return np.where(portions == NONE, 0, self._down[portions])

    def _coded(self, width: int) -> int:
        if not self._network.coded or not width:
            return width * self._dtype.itemsize
        return self._network.codec(np.empty((0, width), self._dtype)).nbytes
