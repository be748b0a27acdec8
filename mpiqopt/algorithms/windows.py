"""Portions of a network that are windows of its blocks, as far as each client's device can train them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiqopt.algorithms.federated_portions import NONE, Portions
from mpiqopt.emulation.devices import Devices, Limits
from mpiqopt.federation.feasible import FeasibleCosts, shares_of
from mpiqopt.federation.windows import Cost, draw_window, maximal_windows
from mpiqopt.network.parts import Parts
from mpiqopt.neural.partial import Block, Frozen, Partial

if TYPE_CHECKING:
    from mpiqopt.algorithms.federated_round import State


class Windows(Portions):
    """Windows of blocks. A part of a message is a block: its parameters and running statistics; beside: its scales.

    A client draws one of the maximal windows that fit the limits of its device in a round, uniformly.

    Parameters
    ----------
    blocks : of the network
    frozen : how blocks that are not trained are computed
    costs : of all windows, relative to the whole network, that times are emulated by and logged
    of_ranks : of all windows, that limits are compared with, of the clients of each rank; one for all of them
    rank_of : int64 (nodes,), whose costs are those of a client
    devices : of all clients
    weakest : True if all clients draw from what the weakest device can train
    seed : of the run

    Raises
    ------
    UsageError : a device can train no window, or none for sure
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        frozen: Frozen,
        costs: Sequence[Cost],
        of_ranks: Sequence[Sequence[Cost]],
        rank_of: np.ndarray,
        devices: Devices,
        weakest: bool,
        seed: int,
    ):
        held = np.array([[cost.first <= k <= cost.last for k in range(len(blocks))] for cost in costs])
        width = sum(part.stop - part.start for block in blocks for part in block.parts)
        scales = blocks[-1].scales.stop
        in_float = frozen.before == frozen.after == "float"
        super().__init__(
            Parts(width, [block.parts for block in blocks]),
            None if in_float or not scales else Parts(scales, [[block.scales] for block in blocks]),
            held,
            work=np.array([cost.time for cost in costs]),
            names=[f"window {cost.window}" for cost in costs],
            facts={"window_first": np.array([cost.first for cost in costs])}
            | {"window_last": np.array([cost.last for cost in costs])}
            | shares_of(costs),
        )
        self._frozen, self._scales, self._seed = frozen, np.zeros(scales, np.float32), seed
        self._maximal, self._rank_of, self._devices = [_MaximalWindows(each) for each in of_ranks], rank_of, devices
        least = [devices.least(device) for device in range(len(devices.tables))]
        self._weakest = Limits(*np.min(least, axis=0).tolist()) if weakest else None
        self._windows = [cost.window for cost in costs]
        self._number = {window: k for k, window in enumerate(self._windows)}
        for device, limits in enumerate(least):
            for rank in np.unique(rank_of[devices.classes == device]).tolist():
                self._maximal[rank].feasible.require(limits, f"devices[{device}]")
        if self._weakest:
            for each in self._maximal:
                each.feasible.require(self._weakest, "devices")

    def draw(self, clients: np.ndarray, t: int) -> np.ndarray:
        return np.array([self._drawn(client, t) for client in clients.tolist()], np.int64)

    def _drawn(self, client: int, t: int) -> int:
        limits = self._weakest or self._devices.limits(client, t)
        candidates = self._maximal[self._rank_of[client]].within(limits)
        return self._number[draw_window(candidates, self._seed, client, t).window] if candidates else NONE

    def partial(self, portion: int, state: "State") -> dict[str, Any]:
        scales = self._scales if self.beside is None else state.common[0]
        return {"partial": Partial(self._windows[portion], self._frozen, scales)}


class _MaximalWindows:
    """The maximal ones of the windows that fit some limits, found once for each set of windows."""

    def __init__(self, costs: Sequence[Cost]):
        self._all, self._found = list(costs), dict[bytes, list[Cost]]()
        self.feasible = FeasibleCosts(costs, [f"window {cost.window}" for cost in costs])

    def within(self, limits: Limits) -> list[Cost]:
        """Return the maximal windows that fit limits."""
        fits = self.feasible.fit(limits)
        key = fits.tobytes()
        if key not in self._found:
            self._found[key] = maximal_windows([self._all[k] for k in np.flatnonzero(fits)])
        return self._found[key]
