"""What clients of a round send, and what the server hears of it."""

from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.federated_portions import Portions
from mpiqopt.network.network import Network
from mpiqopt.network.parted_mean import PartedMean

BESIDE = np.dtype(np.float32)


class Heard(NamedTuple):
    """What the server hears in a round.

    Attributes
    ----------
    mean : (width,), of each part over the clients that send it, 0 where nobody does; (groups, width) of groups
    beside : float32, the mean of what travels beside, likewise; None without it
    coverage : float64 (parts,), the weight of the clients that send a part, relative to that of all that send some
    """

    mean: np.ndarray
    beside: np.ndarray | None
    coverage: np.ndarray


class Uploads:
    """The uploads of a round, whose bytes are counted when they begin.

    Parameters
    ----------
    network, portions : of the run
    senders : int64 (c,), clients, ascending
    held : bool (c, parts), which parts each of them sends
    weights : float64 (c,), of their updates
    dtype : of messages
    groups, echo : as of ``CohortServer.begin``

    Attributes
    ----------
    messages : mean of the messages
    beside : mean of what travels beside them, uncoded; None without it
    """

    def __init__(
        self,
        network: Network,
        portions: Portions,
        senders: np.ndarray,
        held: np.ndarray,
        weights: np.ndarray,
        dtype: np.dtype,
        *,
        groups: np.ndarray | None = None,
        echo: bool = False,
    ):
        self._dtype = dtype
        # summed in one order: what all send counts for exactly 1
        total = np.add.reduce(weights[:, None], axis=0)
        self._coverage = np.add.reduce(weights[:, None] * held, axis=0) / np.where(total > 0, total, 1.0)
        cohort, parts, beside = network.server.cohort, portions.parts, portions.beside
        self.messages = cohort.begin_parts(
            parts, held, senders, weights, network.coded, dtype, groups=groups, echo=echo
        )
        self.beside: PartedMean | None = None
        if beside is not None:
            self.beside = cohort.begin_parts(beside, held, senders, weights, False, BESIDE, rounds=0)

    def finish(self) -> Heard:
        """Return what the server hears, collective."""
        beside = None if self.beside is None else self.beside.finish(BESIDE)
        return Heard(self.messages.finish(self._dtype), beside, self._coverage)
