"""Machines that are slower than they are: how long gradients and trainings take."""

import time

from mpiqopt.emulation.devices import Devices
from mpiqopt.emulation.settings import LONGEST, Emulate, draw_factors
from mpiqopt.placement.placement import Placement
from mpiqopt.streams import random_stream


class Machines:
    """How long gradients and trainings are to take at the hosted nodes.

    A training of E gradients takes slowdown_i E gradient_seconds (or slowdown_i times what it took here), times a drawn
    factor of mean 1 if the slowdown has a distribution; never less than it really took. Where the device of the node
    has a limit of time, slowdown_i is divided by what it is in the round.

    Parameters
    ----------
    emulate : the table [emulate].
    place : which nodes this rank hosts.
    seed : of the drawn factors, which depend on node and round, not on ranks.
    devices : of all nodes; None if their limits do not matter.
    """

    def __init__(self, emulate: Emulate, place: Placement, seed: int, devices: Devices | None = None):
        self._emulate, self._seed, self._first, self._devices = emulate, seed, place.first, devices
        self._factors = emulate.factors(place.nodes)[place.first : place.last]

    def seconds(self, node: int, round: int, steps: int, taken: float) -> float:
        """Return the seconds of ``steps`` gradients at hosted node ``node``, which took ``taken`` seconds here."""
        emulate = self._emulate
        plain = steps * emulate.gradient_seconds if emulate.gradient_seconds else taken
        client = self._first + node
        factor = self._factors[node] * draw_machine_factor(emulate, self._seed, client, round)
        if self._devices is not None:
            factor /= self._devices.limits(client, round).time
        return max(taken, min(factor * plain, LONGEST))

    def delay(self, round: int, began: float) -> None:
        """Sleep until gradients of all hosted nodes would be there, which were computed here from ``began`` on.

        Nodes are machines of their own: the slowest decides. began: as time.perf_counter counts.
        """
        taken = time.perf_counter() - began
        hosted = len(self._factors)
        longest = max(self.seconds(i, round, 1, taken / hosted) for i in range(hosted))
        time.sleep(max(0.0, longest - taken))


def draw_machine_factor(emulate: Emulate, seed: int, node: int, round: int) -> float:
    """Return the drawn factor, of mean 1, of the time that node ``node`` of the network takes in a round."""
    if emulate.slowdown_distribution == "fixed":
        return 1.0
    return float(draw_factors(emulate.slowdown_distribution, random_stream(seed, "machine", node, round), 1)[0])
