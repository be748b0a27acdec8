"""Who does what in a round of a federated method: known before anybody trains, and the same on all ranks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpiqopt.federation.client_times import ClientTimes
from mpiqopt.federation.cohort import draw_cohort
from mpiqopt.federation.deadline import Arrivals, all_free, arrivals, due_clients, free_clients
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem

if TYPE_CHECKING:
    from mpiqopt.algorithms.federated import FederatedAlgorithm


class Plan(NamedTuple):
    """Who does what in a round; arrays of clients are sorted int64.

    Attributes
    ----------
    cohort : clients that take part
    seconds : emulated, of each of them, float64
    arrivals : what becomes of their updates
    left_out : clients that were drawn and do not take part, being too weak
    due : clients whose late update arrives now
    senders : those whose updates are used now: in time, or due
    receivers : those to whom the server sends
    """

    cohort: np.ndarray
    seconds: np.ndarray
    arrivals: Arrivals
    left_out: np.ndarray
    due: np.ndarray
    senders: np.ndarray
    receivers: np.ndarray

    @property
    def trained(self) -> np.ndarray:
        """Return the clients that train: those of discarded updates give up, and nothing that they did is kept."""
        return self.cohort[self.arrivals.applied_in >= 0]


def plan_round(
    method: "FederatedAlgorithm", problem: Problem, network: Network, seed: int, t: int, busy: np.ndarray
) -> Plan:
    """Draw the clients of round t, and find out whose updates are used.

    seed : of the run. busy : int64 (nodes,), until which round clients are at work on late updates.
    """
    nodes = network.place.nodes
    drawn = draw_cohort(seed, t, nodes, method.cohort_size(nodes), free_clients(busy, t))
    down, up = message_bytes(method, problem, network)
    steps = method.work(t).count_steps(problem.all_sizes[drawn])
    seconds = ClientTimes(network.emulate, network.place, seed, network.devices).seconds(drawn, t, steps, up, down)
    weak = method.left_out(drawn, seconds)
    cohort, seconds = drawn[~weak], seconds[~weak]
    came = arrivals(cohort, seconds, t, busy, method.deadline, method.late, method.min_clients)
    due = due_clients(busy, t)
    senders = np.union1d(cohort[came.used], due)
    receivers = np.arange(nodes) if method.two_way else cohort
    return Plan(cohort, seconds, came, drawn[weak], due, senders, receivers)


def plans_ahead(
    method: "FederatedAlgorithm", problem: Problem, network: Network, seed: int, rounds: int
) -> Iterator[Plan]:
    """Yield the plans of the first rounds: nothing in them depends on what clients reach."""
    free = busy = all_free(network.place.nodes)
    for t in range(rounds):
        plan = plan_round(method, problem, network, seed, t, busy)
        busy = plan.arrivals.busy_until if method.applies_late else free
        yield plan


def message_bytes(method: "FederatedAlgorithm", problem: Problem, network: Network) -> tuple[int, int]:
    """Return the bytes of a message down and of one up."""
    width = method.width(problem)
    plain = width * problem.dtype.itemsize
    coded = network.codec(np.empty((0, width), problem.dtype)).nbytes if network.coded else plain
    return coded if method.two_way else plain, coded
