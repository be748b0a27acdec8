"""Which clients take part in a round, and which of them are lost in it."""

import numpy as np

from mpiqopt.streams import random_stream


def draw_cohort(seed: int, round: int, nodes: int, size: int, eligible: np.ndarray | None = None) -> np.ndarray:
    """Return the clients of a round, sorted int64 (k,): ``size`` of the eligible ones, uniform without replacement.

    Every client draws one number and those with the smallest take part. So the cohort is a function of (seed, round)
    alone, the same on every rank; a larger one contains a smaller one; and a client that may not take part changes
    nothing for the others but that the next in line takes its place.

    Parameters
    ----------
    seed, round : of the run, and the number of the round.
    nodes : number of clients.
    size : how many take part; all that are eligible if there are no more, and then nothing is drawn.
    eligible : bool (nodes,), True for clients that may take part; by default all.

    Examples
    --------
    >>> draw_cohort(seed=0, round=3, nodes=4, size=4).tolist()
    [0, 1, 2, 3]
    >>> small, large = (draw_cohort(seed=0, round=3, nodes=100, size=size) for size in (5, 10))
    >>> len(small), set(small.tolist()) <= set(large.tolist())
    (5, True)
    """
    candidates = np.arange(nodes) if eligible is None else np.flatnonzero(eligible)
    if size >= len(candidates):
        return candidates
    turn = random_stream(seed, "cohort", round).random(nodes)[candidates]
    return np.sort(candidates[np.argsort(turn, kind="stable")[:size]])  # stable: equal numbers in the order of ids


def draw_lost(seed: int, round: int, nodes: int, probability: float) -> np.ndarray:
    """Return which clients would be lost in a round if they took part, bool (nodes,): each with this probability.

    A function of (seed, round) alone; with probability 0 nothing is drawn.
    """
    if not probability:
        return np.zeros(nodes, bool)
    return random_stream(seed, "dropout", round).random(nodes) < probability
