"""Rounds that end at a deadline: which updates are used, and what becomes of late ones."""

from typing import Literal, NamedTuple

import numpy as np

LateRule = Literal["discard", "apply"]
# What becomes of a client that was drawn, as /clients/sampled has it: of its update; it was too weak to take part; it
# was lost within the round; its update was used, and the server took the round back.
USED, DISCARDED, POSTPONED, LEFT_OUT, LOST, ROLLED_BACK = 1, 2, 3, 4, 5, 6
# decimals of a number of rounds: 0.6/0.2 is 3, not a little less or more
DECIMALS = 9


class Arrivals(NamedTuple):
    """What becomes of the updates of a round's cohort, k clients.

    outcome: int8 (k,), USED, DISCARDED or POSTPONED. applied_in: int64 (k,), the round in which the update is applied:
    this one, a later one, or -1 for never. seconds: how long the round lasts. busy_until: int64 (nodes,), to be handed
    to the next round.
    """

    outcome: np.ndarray
    applied_in: np.ndarray
    seconds: float
    busy_until: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """Return True for clients whose update is used in this round, bool (k,)."""
        return self.outcome == USED


def all_free(nodes: int) -> np.ndarray:
    """Return ``busy_until`` of the start, int64 (nodes,): no client is at work on a late update."""
    return np.full(nodes, -1, np.int64)


def free_clients(busy_until: np.ndarray, round: int) -> np.ndarray:
    """Return True for clients that may be drawn in a round, bool (nodes,): they are done with late updates."""
    return busy_until < round


def due_clients(busy_until: np.ndarray, round: int) -> np.ndarray:
    """Return the clients whose late update arrives in a round and is applied in it, sorted int64."""
    return np.flatnonzero(busy_until == round)


def arrivals(
    cohort: np.ndarray,
    seconds: np.ndarray,
    round: int,
    busy_until: np.ndarray,
    deadline: float | None = None,
    late: LateRule = "discard",
    min_clients: int = 1,
) -> Arrivals:
    """Return which updates of a round are used, and what becomes of the others. Changes none of its arguments.

    A round lasts T seconds: until all clients have sent their updates, at most to the deadline D; but where fewer than
    ``min_clients`` have arrived by then, until so many have. A client with t_i > T is late. It gives up ("discard") and
    may be drawn again for the next round; or it goes on ("apply"), and its update is applied ceil((t_i - T)/D) rounds
    later, that is ceil(t_i/D) - 1 unless the round was prolonged; until then it is drawn for none. A round in which
    some client is at work on a late update lasts D at least, so that the update is there in time.
    Source: ours; the rules as in Bonawitz et al. 2019, "Towards federated learning at scale: system design" (discard)
    and Xie, Koyejo, Gupta 2019, "Asynchronous federated optimization" (apply, stale).

    Parameters
    ----------
    cohort : clients that were drawn among the ``free_clients``, sorted int64 (k,).
    seconds : of the round at each of them, float64 (k,), as of ``ClientTimes``.
    round : its number, 0, 1, ...
    busy_until : int64 (nodes,), the round in which a late update of the client is applied; before: it is free.
    deadline : D in seconds; None: wait for all.
    late : "discard" or "apply".
    min_clients : of the cohort, that a round waits for.

    Examples
    --------
    >>> seconds = np.array([0.5, 1.0, 3.5])
    >>> first = arrivals(np.array([0, 1, 3]), seconds, 0, all_free(4), deadline=1.0, late="apply")
    >>> first.outcome.tolist(), first.applied_in.tolist(), first.seconds
    ([1, 1, 3], [0, 0, 3], 1.0)
    >>> free_clients(first.busy_until, 3).tolist(), due_clients(first.busy_until, 3).tolist()
    ([True, True, True, False], [3])
    """
    limit = np.inf if deadline is None else deadline
    length = _length(seconds, limit, min_clients, bool((busy_until >= round).any()))
    missed = seconds > length
    applied_in = np.where(missed, -1, round)
    if late == "apply":
        applied_in[missed] += 1 + round + _rounds_late(seconds[missed] - length, limit)
    busy_until = busy_until.copy()
    busy_until[cohort[missed]] = applied_in[missed]
    outcome = np.where(missed, POSTPONED if late == "apply" else DISCARDED, USED).astype(np.int8)
    return Arrivals(outcome, applied_in, length, busy_until)


def _length(seconds: np.ndarray, limit: float, min_clients: int, others_at_work: bool) -> float:
    """Return how long a round lasts, in seconds. others_at_work: on late updates of earlier rounds."""
    slowest = limit if others_at_work else float(seconds.max(initial=0.0))
    least = np.sort(seconds)[:min_clients].max(initial=0.0)
    return float(max(least, min(limit, slowest)))


def _rounds_late(behind: np.ndarray, limit: float) -> np.ndarray:
    """Return in how many rounds updates arrive that are so many seconds behind, int64, at least 1."""
    return np.maximum(np.ceil(np.round(behind / limit, DECIMALS)), 1).astype(np.int64)
