"""HeteroFL: every device trains a network as wide as it can."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

import numpy as np

from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.algorithms.federated_portions import NONE, Portions
from mpiqopt.emulation.devices import Devices
from mpiqopt.errors import UsageError, errors_name_file
from mpiqopt.federation.counted_costs import full_memory, full_time
from mpiqopt.federation.feasible import FeasibleCosts, shares_of
from mpiqopt.federation.windows import Cost
from mpiqopt.field import Field
from mpiqopt.network.network import Network
from mpiqopt.network.parts import Parts
from mpiqopt.problems.client_training import ClientTrainer
from mpiqopt.problems.narrow import Narrow
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


@register("algorithm", "heterofl")
@dataclass(frozen=True, kw_only=True)
class HeteroFL(FedAvg):
    """FedAvg whose clients train, and send, the leading channels and units of each layer, as many as their device can.

        x_k+ = x_k + a_g sum_i p_i (y_i - x)_k/sum_i p_i   over the clients of the round whose network has coordinate k

    A client takes the largest of ``widths`` whose time, memory and upload, as counted, fit the limits of its device
    ([[devices]]). Hidden layers of a network of width w are divided by w while it is trained (the paper's scaler).
    Running statistics of batch normalisation are those of clients that train the whole width alone.
    Source: Diao, Ding, Tarokh, "HeteroFL: computation and communication efficient federated learning for heterogeneous
    clients", ICLR 2021.
    """

    fits_devices = True
    trains_blocks = True

    widths: Annotated[
        list[Annotated[float, Field(gt=0, le=1)]],
        Field(
            min_length=1,
            description="parts of the channels and units of each layer that clients may train, rounded up, from 1 down",
        ),
    ] = field(default_factory=lambda: [1.0, 0.5, 0.25])
    masked_loss: Annotated[
        bool,
        Field(
            description="the loss of a client knows the classes alone that it has samples of: outputs of the others "
            "count as 0, and do not move"
        ),
    ] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.widths[0] != 1 or any(b >= a for a, b in pairwise(self.widths)):
            raise UsageError(f"algorithm.widths = {self.widths}: want 1.0 first, and each smaller than the one before")
        if self.personal:
            raise UsageError("algorithm.personal: 'heterofl' averages all layers; want none, or fedavg")
        if self.keep_optimizer:
            raise UsageError(
                "algorithm.keep_optimizer = true: a client of 'heterofl' may train another width each time"
            )

    def make_portions(self, problem: Problem, network: Network, seed: int) -> Portions:
        batch = int(problem.all_sizes.max()) if self.batch_size == "all" else self.batch_size
        return Widths(problem, self.widths, self.masked_loss, batch, network.devices)


class Widths(Portions):
    """Networks of some widths, widest first. A part is what a width has and the next smaller one has not.

    The last part are the running statistics of the widest network: those of narrower ones are of other numbers, and
    are not sent. All clients get them, for batches of one sample.

    Parameters
    ----------
    problem : of the widest network
    widths : descending from 1
    masked : True if a client's loss knows the classes of its samples alone
    batch : samples of a step, for what training takes
    devices : of all clients

    Raises
    ------
    UsageError : the network has no narrower ones, or a device cannot train the narrowest
    """

    def __init__(self, problem: Problem, widths: Sequence[float], masked: bool, batch: int, devices: Devices):
        self._narrow, self._masked = [_narrow(problem, width, masked) for width in widths], masked
        self._trainers: dict[int, ClientTrainer] = {}
        wide = self._narrow[0]
        weights = [np.sort(narrow.coordinates[: narrow.weights]) for narrow in self._narrow]
        shells = [np.setdiff1d(wider, narrower, assume_unique=True) for wider, narrower in pairwise(weights)]
        parts = Parts(problem.d, [*shells, weights[-1], wide.coordinates[wide.weights :]])
        numbers = np.arange(len(widths))
        inside, widest = numbers >= numbers[:, None], numbers[:, None] == 0
        held = np.hstack([inside, widest])
        uploads = (held * parts.sizes).sum(axis=1) / problem.d
        costs = [_cost(narrow, wide, batch, upload) for narrow, upload in zip(self._narrow, uploads, strict=True)]
        names = [f"width {width:g}" for width in widths]
        super().__init__(
            parts,
            held=held,
            received=np.hstack([inside, np.ones_like(widest)]),
            work=np.array([cost.time for cost in costs]),
            names=names,
            facts={"width": np.array(widths)} | shares_of(costs),
        )
        self._devices, self._feasible = devices, FeasibleCosts(costs, names)
        for device in range(len(devices.tables)):
            self._feasible.require(devices.least(device), f"devices[{device}]")

    def draw(self, clients: np.ndarray, t: int) -> np.ndarray:
        fits = np.array([self._feasible.fit(self._devices.limits(client, t)) for client in clients.tolist()])
        return np.where(fits.any(axis=1), fits.argmax(axis=1), NONE) if len(clients) else np.zeros(0, np.int64)

    def trainer(self, problem: Problem, streams: Streams, portion: int) -> ClientTrainer:
        if portion == 0 and not self._masked:
            return problem.client_trainer(streams)
        if portion not in self._trainers:
            self._trainers[portion] = problem.narrow_trainer(self._narrow[portion], streams)
        return self._trainers[portion]


def _narrow(problem: Problem, width: float, masked: bool) -> Narrow:
    """Return the network of a width. Raises UsageError if it is no part of the wide one."""
    with errors_name_file(f"algorithm.widths: width {width:g}"):
        return problem.narrow(width, masked)


def _cost(narrow: Narrow, wide: Narrow, batch: int, upload: float) -> Cost:
    """Return what training a narrow network takes, relative to training the wide one. upload: part that is sent."""
    return Cost(
        0,
        len(narrow.counts) - 1,
        full_time(narrow.counts) / full_time(wide.counts),
        full_memory(narrow.counts, batch) / full_memory(wide.counts, batch),
        upload,
    )
