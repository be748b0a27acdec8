"""The emulated links between a server and the nodes."""

import time
from functools import cached_property

import numpy as np

from mpiqopt.emulation.links import RoundDelays


class Uplinks:
    """Waits for messages to and from the server.

    nodes : of the whole network, the server being node 0; delays : emulated links, None for those that there are.
    """

    def __init__(self, nodes: int, delays: RoundDelays | None):
        self._nodes, self._delays = nodes, delays

    def wait(self, size: float, cohort: np.ndarray | None = None) -> None:
        """Wait as long as the slowest message of ``size`` bytes takes between the server and the nodes of this rank.

        cohort: int64 (c,), the nodes that have one; by default all.
        """
        if self._delays is None:
            return
        among = np.zeros(self._nodes, bool)
        among[slice(None) if cohort is None else cohort] = True
        self._delays.delay(self._links, size, time.perf_counter(), among)

    @cached_property
    def _links(self) -> np.ndarray:
        """Links of the server to all nodes, int64 (nodes, 2)."""
        return np.stack([np.zeros(self._nodes, np.int64), np.arange(self._nodes)], axis=1)
