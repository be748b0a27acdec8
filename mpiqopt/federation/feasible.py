"""Which of several things to train fit the limits of a device; a refusal that names the limit if none does."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Context

import numpy as np

from mpiqopt.emulation.devices import Limits
from mpiqopt.errors import UsageError
from mpiqopt.federation.windows import Cost

RESOURCES = Limits._fields


class FeasibleCosts:
    """Costs as one array, so that many clients can be compared with them in every round.

    Parameters
    ----------
    costs : relative to training the whole network
    names : of what they are the costs of, such as "window 0-3"

    >>> costs = FeasibleCosts([Cost(0, 1, 1.0, 1.0, 1.0), Cost(1, 1, 0.4, 0.3, 0.6)], ["width 1", "width 0.5"])
    >>> costs.fit(Limits(time=0.5, memory=0.5, upload=1.0)).tolist()
    [False, True]
    >>> costs.require(Limits(time=0.1, memory=0.5, upload=1.0), "devices[2]")
    Traceback (most recent call last):
    mpiqopt.errors.UsageError: devices[2].time = 0.1: too little for anything to train: want at least 0.4
    """

    def __init__(self, costs: Sequence[Cost], names: Sequence[str]):
        self._names = list(names)
        self._numbers = np.array([[getattr(cost, resource) for resource in RESOURCES] for cost in costs])

    def fit(self, limits: Limits) -> np.ndarray:
        """Return which of them a device with such limits can train, bool (costs,)."""
        return np.all(self._numbers <= np.array(limits), axis=1)

    def require(self, limits: Limits, where: str) -> None:
        """Raise UsageError if none fits, which names the limit. where: the key that has the limits, "devices[0]"."""
        if self.fit(limits).any():
            return
        for resource, limit, needed in zip(RESOURCES, limits, self._numbers.min(axis=0).tolist(), strict=True):
            if needed > limit:
                only = f": there is only {self._names[0]}" if len(self._names) == 1 else ""
                said = f"too little for anything to train: want at least {_rounded_up(needed)}{only}"
                raise UsageError(f"{where}.{resource} = {limit:g}: {said}")
        # each limit by itself leaves something: what exceeds them by the smallest factor
        best = int(np.argmin((self._numbers / limits).max(axis=1)))
        wanted = _listed(map(_rounded_up, self._numbers[best].tolist()))
        given = _listed(f"{limit:g}" for limit in limits)
        raise UsageError(f"{where}: nothing fits all limits ({given}); {self._names[best]} wants {wanted}")


def _rounded_up(value: float) -> str:
    """Return a number with three digits that is not less, as text: a limit of so much is enough.

    >>> _rounded_up(0.13045), _rounded_up(0.4)
    ('0.131', '0.4')
    """
    return f"{float(Context(prec=3, rounding=ROUND_CEILING).create_decimal(repr(value))):g}"


def _listed(values: Iterable[str]) -> str:
    """Return "time .., memory .., upload .."."""
    return ", ".join(f"{name} {value}" for name, value in zip(RESOURCES, values, strict=True))


def shares_of(costs: Sequence[Cost]) -> dict[str, np.ndarray]:
    """Return time and memory of costs as the client log calls them, float64 (costs,) each."""
    return {f"{name}_share": np.array([getattr(cost, name) for cost in costs]) for name in ("time", "memory")}
