"""Portions of a network that are windows of its blocks, as far as each client's device can train them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiqopt.algorithms.federated_portions import NONE, Portions
from mpiqopt.emulation.devices import Devices, Limits
from mpiqopt.errors import UsageError
from mpiqopt.federation.windows import Cost, draw_window, maximal_windows
from mpiqopt.network.parts import Parts
from mpiqopt.neural.partial import Block, Frozen, Partial

if TYPE_CHECKING:
    from mpiqopt.algorithms.federated_plan import Plan
    from mpiqopt.algorithms.federated_round import State

RESOURCES = Limits._fields


class Windows(Portions):
    """Windows of blocks. A part of a message is a block: its parameters and running statistics; beside: its scales.

    A client draws one of the maximal windows that fit the limits of its device in a round, uniformly.

    Parameters
    ----------
    blocks : of the network
    frozen : how blocks that are not trained are computed
    costs : of windows, by the rank of the client; the first are those that times are emulated by
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
        costs: Sequence[Sequence[Cost]],
        rank_of: np.ndarray,
        devices: Devices,
        weakest: bool,
        seed: int,
    ):
        first = costs[0]
        held = np.array([[cost.first <= k <= cost.last for k in range(len(blocks))] for cost in first])
        width = sum(part.stop - part.start for block in blocks for part in block.parts)
        scales = blocks[-1].scales.stop
        in_float = frozen.before == frozen.after == "float"
        super().__init__(
            Parts(width, [block.parts for block in blocks]),
            None if in_float or not scales else Parts(scales, [[block.scales] for block in blocks]),
            held,
            np.array([cost.time for cost in first]),
        )
        self._frozen, self._scales, self._seed = frozen, np.zeros(scales, np.float32), seed
        self._costs, self._rank_of, self._devices = [_Costs(each) for each in costs], rank_of, devices
        least = [devices.least(device) for device in range(len(devices.tables))]
        self._weakest = Limits(*np.min(least, axis=0).tolist()) if weakest else None
        self._windows = [cost.window for cost in first]
        self._number = {window: k for k, window in enumerate(self._windows)}
        for device, limits in enumerate(least):
            for rank in np.unique(rank_of[devices.classes == device]).tolist():
                self._costs[rank].require(device, self._weakest or limits, self._weakest is not None)

    def draw(self, clients: np.ndarray, t: int) -> np.ndarray:
        return np.array([self._drawn(client, t) for client in clients.tolist()], np.int64)

    def _drawn(self, client: int, t: int) -> int:
        limits = self._weakest or self._devices.limits(client, t)
        candidates = self._costs[self._rank_of[client]].maximal(limits)
        return self._number[draw_window(candidates, self._seed, client, t).window] if candidates else NONE

    def partial(self, portion: int, state: "State") -> dict[str, Any]:
        scales = self._scales if self.beside is None else state.common[0]
        return {"partial": Partial(self._windows[portion], self._frozen, scales)}

    def columns(self, plan: "Plan") -> dict[str, np.ndarray]:
        ends = np.full((2, len(plan.portions)), -1, np.int64)
        ends[:, plan.cohort] = np.array(self._windows)[plan.portions[plan.cohort]].T
        return {"window_first": ends[0], "window_last": ends[1]}


class _Costs:
    """The costs of windows as one array, and the maximal ones for each set that fits some limits."""

    def __init__(self, costs: Sequence[Cost]):
        self._all, self._maximal = list(costs), dict[bytes, list[Cost]]()
        self._numbers = np.array([[getattr(cost, resource) for resource in RESOURCES] for cost in costs])

    def maximal(self, limits: Limits) -> list[Cost]:
        """Return the maximal ones of the windows that fit limits."""
        fits = (self._numbers <= limits).all(axis=1)
        key = fits.tobytes()
        if key not in self._maximal:
            self._maximal[key] = maximal_windows([self._all[k] for k in np.flatnonzero(fits)])
        return self._maximal[key]

    def require(self, device: int, limits: Limits, weakest: bool) -> None:
        """Raise UsageError, which names the limit of a class of devices, if no window fits the limits."""
        if self.maximal(limits):
            return
        where = "algorithm.windows = 'weakest': " if weakest else ""
        least = self._numbers.min(axis=0)
        for resource, limit, needed in zip(RESOURCES, limits, least.tolist(), strict=True):
            if needed > limit:
                key = resource if weakest else f"devices[{device}].{resource}"
                raise UsageError(f"{where}{key} = {limit:g}: no window takes so little: want at least {needed:.3g}")
        # each limit by itself leaves a window: the one that exceeds its limits by the smallest factor
        factor = (self._numbers / limits).max(axis=1)
        best = int(np.argmin(factor))
        wanted = ", ".join(f"{name} {need:.3g}" for name, need in zip(RESOURCES, self._numbers[best], strict=True))
        given = ", ".join(f"{name} {limit:.3g}" for name, limit in zip(RESOURCES, limits, strict=True))
        raise UsageError(
            f"{where}devices[{device}]: no window fits all limits ({given}); window {self._all[best].window} wants "
            f"{wanted}"
        )
