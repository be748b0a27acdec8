"""What windows take on each rank, as it measures itself, and how long a round is to last for all of them."""

from typing import NamedTuple

import numpy as np

from mpiqopt.federation.measured_profile import measure_windows
from mpiqopt.federation.windows import Cost
from mpiqopt.network.bandwidth import measured_bandwidth
from mpiqopt.network.network import Network
from mpiqopt.neural.partial import Frozen
from mpiqopt.problems.client_training import Work
from mpiqopt.problems.problem import Problem
from mpiqopt.transport.agreement import agreed_on_all_ranks


class MeasuredWindows(NamedTuple):
    """What was measured.

    Attributes
    ----------
    own : of rank 0, relative to training the whole network there
    of_ranks : of the clients of each rank; times are parts of the round's length
    """

    own: list[Cost]
    of_ranks: list[list[Cost]]


def measure_ranks(
    problem: Problem, network: Network, seed: int, work: Work, frozen: Frozen, deadline: float | None
) -> MeasuredWindows:
    """Measure windows on every rank, and what it sends to rank 0 in a second; collective.

        t_q(w) = steps time of w on rank q + bytes of w/bandwidth of q

        round = deadline, or max(min_q t_q(all blocks), max_q min_w t_q(w))

    so that the fastest rank can train everything, and every rank something.

    Parameters
    ----------
    work : of a client in a round
    frozen : how frozen blocks are computed
    deadline : seconds of a round, None if there is none
    """
    transport = network.transport

    def measured() -> np.ndarray:
        profile = measure_windows(
            problem, problem.start(seed).astype(problem.dtype), work.optimizer, work.batch, frozen
        )
        steps = int(work.count_steps(problem.sizes).max())
        seconds = profile.full.seconds
        assert seconds is not None  # it was measured
        facts = np.array([[steps * seconds, profile.full.upload / bandwidth, 0.0, 0.0, 0.0]])
        return np.concatenate([facts, np.array(profile.costs)]).ravel()

    bandwidth = measured_bandwidth(transport)
    own = agreed_on_all_ranks(transport, measured)
    every = transport.concatenate(own, [len(own)] * transport.size).reshape(transport.size, -1, len(Cost._fields))
    facts, costs = every[:, 0], every[:, 1:]
    own_costs = [_cost(row, row[2]) for row in costs[0]]
    return MeasuredWindows(own_costs, costs_in_rounds(costs, facts[:, :2], deadline))


def costs_in_rounds(costs: np.ndarray, facts: np.ndarray, deadline: float | None) -> list[list[Cost]]:
    """Return the costs of windows on each rank, whose times are parts of the round's length.

    costs : (ranks, windows, 5), numbers of ``Cost``, relative to the whole network on the rank.
    facts : (ranks, 2), seconds of training and of sending the whole network. deadline : as of ``measure_ranks``.
    """
    seconds = facts[:, :1] * costs[:, :, 2] + facts[:, 1:] * costs[:, :, 4]
    whole = int(np.argmax(costs[0, :, 1] - costs[0, :, 0]))
    length = deadline or max(seconds[:, whole].min(), seconds.min(axis=1).max())
    ranks = zip(costs, seconds / length, strict=True)
    return [[_cost(row, taken) for row, taken in zip(rows, times, strict=True)] for rows, times in ranks]


def _cost(row: np.ndarray, time: float) -> Cost:
    """Return the cost that a row (first, last, time, memory, upload) has, with another time.

    What a rank can train whole it can train in part: of small networks measured memory is mostly noise.
    """
    return Cost(int(row[0]), int(row[1]), float(time), min(float(row[3]), 1.0), float(row[4]))
