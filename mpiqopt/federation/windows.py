"""Windows of a network's blocks: which of them a device can train, and which one it trains in a round.

>>> costs = [Cost(0, 2, 1.0, 1.0, 1.0), Cost(0, 0, 0.8, 0.6, 0.1), Cost(1, 2, 0.5, 0.4, 0.9), Cost(2, 2, 0.3, 0.2, 0.6)]
>>> possible = feasible_windows(costs, Limits(time=0.9, memory=0.7, upload=1.0))
>>> [str(cost.window) for cost in maximal_windows(possible)]
['0-0', '1-2']
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

from mpiqopt.emulation.devices import Limits
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

    def fits(self, limits: Limits) -> bool:
        """Return True if a device with such limits can train the window."""
        return self.time <= limits.time and self.memory <= limits.memory and self.upload <= limits.upload


def all_windows(blocks: int) -> list[Window]:
    """Return all windows of so many blocks, sorted."""
    return [Window(*ends) for ends in combinations_with_replacement(range(blocks), 2)]


def feasible_windows(costs: Sequence[Cost], limits: Limits) -> list[Cost]:
    """Return the windows that a device with such limits can train, in the order of ``costs``."""
    return [cost for cost in costs if cost.fits(limits)]


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
