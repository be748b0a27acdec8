"""How long a round takes at each client, as emulated: the same numbers on every rank."""

import numpy as np

from mpiqopt.emulation.devices import Devices
from mpiqopt.emulation.machines import draw_machine_factor
from mpiqopt.emulation.settings import LONGEST, Emulate, draw_factors
from mpiqopt.errors import UsageError
from mpiqopt.placement.placement import Placement
from mpiqopt.streams import random_stream

# emulated times are rounded to a part of a second, 1/TICKS
TICKS = 1e9


class ClientTimes:
    """The emulated seconds of a round at each client: download, training, upload.

    t_i = d_i + down/bandwidth + s_i u_i w_i E_i gradient_seconds/T_i + d'_i + up/bandwidth,

    s_i the slowdown, T_i <= 1 its device's limit of time, E_i the steps, w_i the work of a step relative to one of the
    whole network, u_i a factor of mean 1 (which ``Machines`` draws, too, for the node and round), d_i and d'_i the
    delays, drawn for each message if they have a distribution. Client i's link is (0, i), as for ``network.server``;
    one that ``emulate.links`` leaves out takes no time.

    Parameters
    ----------
    emulate : the table [emulate]; with ``gradient_seconds = 0`` training takes no time.
    place : of the nodes; all of them have a time on every rank.
    seed : of what is drawn, which depends on the node and the round.
    devices : of all nodes; by default none has limits.

    Examples
    --------
    >>> emulate = Emulate(slowdown=[1.0, 4.0], gradient_seconds=0.5, delay=0.25, bandwidth=100.0)
    >>> times = ClientTimes(emulate, Placement(2), seed=0)
    >>> times.seconds(np.array([0, 1]), round=0, steps=np.array([10, 10]), up_bytes=50, down_bytes=100).tolist()
    [7.0, 22.0]
    """

    def __init__(self, emulate: Emulate, place: Placement, seed: int, devices: Devices | None = None):
        self._emulate, self._seed, self._nodes = emulate, seed, place.nodes
        self._devices = devices or Devices((), place.nodes, seed)
        self._slowdown = emulate.factors(place.nodes)
        clients = np.arange(place.nodes)
        self._affected = emulate.affected(np.stack([np.zeros_like(clients), clients], axis=1))

    def seconds(
        self,
        cohort: np.ndarray,
        round: int,
        steps: np.ndarray,
        up_bytes: np.ndarray | int,
        down_bytes: np.ndarray | int,
        work: np.ndarray | float = 1.0,
    ) -> np.ndarray:
        """Return the seconds of a round at each client of the cohort, float64 (k,), at most LONGEST.

        Rounded to 1e-9 s: neither a sum like 0.1 + 0.2 nor the last bit of a machine's libm decides who is late.

        Parameters
        ----------
        cohort : clients, int64 (k,).
        round : its number.
        steps : gradients that each client computes, int64 (k,).
        up_bytes, down_bytes : of the client's messages, int or int64 (k,).
        work : of a step, relative to one that trains the whole network, float or float64 (k,).
        """
        transfers = self._delays(round)[cohort] + (up_bytes + down_bytes) / (self._emulate.bandwidth or np.inf)
        total = self._training(cohort, round, steps) * work + np.where(self._affected[cohort], transfers, 0.0)
        return np.rint(np.minimum(total, LONGEST) * TICKS) / TICKS

    def _training(self, cohort: np.ndarray, round: int, steps: np.ndarray) -> np.ndarray:
        """Return the seconds in which each client of the cohort trains the whole network, float64 (k,)."""
        emulate = self._emulate
        drawn = [draw_machine_factor(emulate, self._seed, node, round) for node in cohort.tolist()]
        times = np.array([self._devices.limits(node, round).time for node in cohort.tolist()])
        return self._slowdown[cohort] * drawn * steps * emulate.gradient_seconds / times

    def _delays(self, round: int) -> np.ndarray:
        """Return the delays of both messages of every client together, float64 (nodes,)."""
        emulate = self._emulate
        # its last number keeps it apart from the streams of gossip's rounds
        stream = random_stream(self._seed, "link", round, 1)
        both = draw_factors(emulate.delay_distribution, stream, 2 * self._nodes).reshape(-1, 2)
        return emulate.delay * both.sum(axis=1)


def require_clock(deadline: float | None, emulate: Emulate) -> None:
    """Raise UsageError if there is a deadline but trainings take as long as they take here.

    Who is late would differ from run to run.
    """
    if deadline is not None and emulate.gradient_seconds == 0:
        raise UsageError(
            f"algorithm.deadline = {deadline}: who is late would depend on this machine's speed; want "
            "emulate.gradient_seconds > 0"
        )
