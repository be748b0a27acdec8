"""Windows of a network's blocks: what they take, which are not part of others, and which one is trained in a round.

>>> costs = [Cost(0, 0, 0.8, 0.6, 0.1), Cost(1, 2, 0.5, 0.4, 0.9), Cost(2, 2, 0.3, 0.2, 0.6)]
>>> [str(cost.window) for cost in maximal_windows(costs)]
['0-0', '1-2']
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

from mpiqopt.neural.partial import Window
from mpiqopt.streams import random_stream


class Cost(NamedTuple):
    """What training a window takes, relative to training the whole network: time, peak memory, uploaded bytes."""

    first: int
    last: int
    time: float
    memory: float
    upload: float

    @property
    def window(self) -> Window:
        """Return the window."""
        return Window(self.first, self.last)


def all_windows(blocks: int) -> list[Window]:
    """Return all windows of so many blocks, sorted."""
    return [Window(*ends) for ends in combinations_with_replacement(range(blocks), 2)]


def maximal_windows(costs: Sequence[Cost]) -> list[Cost]:
    """Return the windows that are in no other one of these, sorted. Source: Pfeiffer et al., "CoCoFL", TMLR 2023."""
    windows = {cost.window: cost for cost in costs}
    return [
        cost
        for window, cost in sorted(windows.items())
        if not any(other != window and other.contains(window) for other in windows)
    ]


def draw_window(costs: Sequence[Cost], seed: int, client: int, round: int) -> Cost:
    """Return one of at least one window, drawn uniformly by (seed, client, round) alone."""
    return costs[int(random_stream(seed, "window", client, round).integers(len(costs)))]
