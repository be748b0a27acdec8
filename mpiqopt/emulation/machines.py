"""Machines that are slower than they are: how long gradients and trainings take."""

import time

from mpiqopt.emulation.settings import LONGEST, Emulate, drawn
from mpiqopt.placement.placement import Placement
from mpiqopt.streams import generator


class Machines:
    """How long trainings are to take at the hosted nodes."""

    def __init__(self, emulate: Emulate, place: Placement, seed: int):
        self._emulate, self._seed, self._first = emulate, seed, place.first
        self._factors = emulate.factors(place.nodes)[place.first : place.last]

    def seconds(self, node: int, round: int, steps: int, taken: float) -> float:
        """Of a training of ``steps`` gradients at the hosted node ``node``, which really took ``taken``."""
        emulate = self._emulate
        plain = steps * emulate.gradient_seconds if emulate.gradient_seconds else taken
        factor = self._factors[node]
        if emulate.slowdown_distribution != "fixed":
            stream = generator(self._seed, "machine", self._first + node, round)
            factor = factor * drawn(emulate.slowdown_distribution, stream, 1)[0]
        return max(taken, min(factor * plain, LONGEST))

    def delay(self, round: int, began: float) -> None:
        """Return when gradients at all hosted nodes, taken one after the other here, would be there."""
        taken = time.perf_counter() - began
        hosted = len(self._factors)
        longest = max(self.seconds(i, round, 1, taken / hosted) for i in range(hosted))
        time.sleep(max(0.0, longest - taken))
