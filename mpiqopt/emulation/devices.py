"""Devices of different strength: the config tables [[devices]], which client has which, and its limits in a round."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field, only
from mpiqopt.streams import random_stream

Part = Annotated[float, Field(gt=0, le=1)]
# in whose rounds a device's time counts; what trains only what a device can, and so asks for memory and upload
OF_CLIENTS = (only("algorithm.federated", True, "the method has no clients"),)
OF_LIMITS = (only("algorithm.fits_devices", True, "the method trains the whole network on every device"),)
Limit = Part | Annotated[list[Part], Field(min_length=2, max_length=2)]


@dataclass(frozen=True, kw_only=True)
class DeviceClass:
    """A class of devices. Limits are parts of what training the whole network takes: 1 is enough for all of it.

    A limit [low, high] is drawn uniformly for each client and round. Clients have classes in blocks, in the order of
    the tables. With one table or none all are alike. ``time`` counts in rounds of clients, ``memory`` and ``upload``
    with methods that train on each device what it can.
    """

    share: Annotated[float, Field(gt=0, description="of the clients, relative to the shares of the other classes")] = (
        1.0
    )
    time: Annotated[
        Limit,
        Field(
            description="what such a device computes in a round; it is 1/time times slower than the strongest",
            needs=OF_CLIENTS,
        ),
    ] = 1.0
    memory: Annotated[
        Limit,
        Field(description="how much of the memory of training the whole network it has", needs=OF_LIMITS),
    ] = 1.0
    upload: Annotated[
        Limit, Field(description="how much of the whole network it can upload in a round", needs=OF_LIMITS)
    ] = 1.0

    @property
    def lacks_memory(self) -> bool:
        """True if it may have less memory than training the whole network takes."""
        return bool(np.min(self.memory) < 1)


class Limits(NamedTuple):
    """What a device can do in a round, as parts of what training the whole network takes."""

    time: float
    memory: float
    upload: float

    @property
    def full(self) -> bool:
        """True if the device can train the whole network."""
        return min(self) >= 1


class Devices:
    """The devices of all clients, the same on every rank.

    Clients have classes in the order of the tables, in blocks: of n clients the first n share_1/(sum of shares),
    rounded, are of the first class.

    Parameters
    ----------
    tables : the classes; none for one class that can do everything.
    nodes : number of clients.
    seed : of the run; what is drawn depends on the client and the round alone.

    Attributes
    ----------
    tables : the classes, at least one
    classes : int64 (nodes,), the class of each client

    Raises
    ------
    UsageError : a class has no client, or a limit [low, high] is the wrong way round

    >>> devices = Devices([DeviceClass(), DeviceClass(time=0.5, upload=[0.5, 1.0])], 4, seed=0)
    >>> devices.classes.tolist(), devices.limits(0, 3).full, devices.limits(2, 3).time
    ([0, 0, 1, 1], True, 0.5)
    """

    def __init__(self, tables: "list[DeviceClass] | tuple[DeviceClass, ...]", nodes: int, seed: int):
        self.tables, self._seed = tuple(tables) or (DeviceClass(),), seed
        self._require_ranges()
        shares = np.array([each.share for each in self.tables])
        ends = np.rint(np.cumsum(shares) / shares.sum() * nodes).astype(np.int64)
        counts = np.diff(ends, prepend=0)
        if (counts == 0).any():
            empty = int(np.argmin(counts > 0))
            raise UsageError(f"devices[{empty}].share = {shares[empty]:g}: no client of {nodes} is of this class")
        self.classes = np.repeat(np.arange(len(counts)), counts)

    def _require_ranges(self) -> None:
        """Raise UsageError for a limit [low, high] whose ends are the wrong way round."""
        for device, table in enumerate(self.tables):
            for name in Limits._fields:
                limit = getattr(table, name)
                if isinstance(limit, list) and limit[0] > limit[1]:
                    raise UsageError(f"devices[{device}].{name} = {limit}: want [low, high], the smaller number first")

    @property
    def slow(self) -> bool:
        """True if some device computes more slowly than the strongest."""
        return any(self.least(device).time < 1 for device in range(len(self.tables)))

    def limits(self, client: int, round: int) -> Limits:
        """Return the limits of a client in a round."""
        table = self.tables[int(self.classes[client])]
        stream = random_stream(self._seed, "device", client, round)
        return Limits(*(_drawn(limit, stream) for limit in (table.time, table.memory, table.upload)))

    def least(self, device: int) -> Limits:
        """Return the smallest limits of a class that may be drawn."""
        return self._ends(device, min)

    def most(self, device: int) -> Limits:
        """Return the largest limits of a class that may be drawn."""
        return self._ends(device, max)

    def _ends(self, device: int, of: Callable[[list[float]], float]) -> Limits:
        table = self.tables[device]
        limits = table.time, table.memory, table.upload
        return Limits(*(of(limit) if isinstance(limit, list) else limit for limit in limits))


def _drawn(limit: float | list[float], stream: np.random.Generator) -> float:
    """Return a limit, drawn from the stream if it is a range; each takes one number of it."""
    number = stream.random()
    return limit[0] + (limit[1] - limit[0]) * number if isinstance(limit, list) else limit


class DeviceGroups(NamedTuple):
    """Clients by their devices, as results tell them apart.

    Attributes
    ----------
    classes : int64 (nodes,), the class of each client
    facts : float64 (classes,) by name: "slowdown", and where there are several tables [[devices]] the ends of limits,
        "time_low", "time_high", ..., "upload_high"
    """

    classes: np.ndarray
    facts: dict[str, np.ndarray]

    @property
    def size(self) -> int:
        """Return how many classes there are."""
        return len(self.facts["slowdown"])


def group_devices(devices: Devices, slowdowns: np.ndarray) -> DeviceGroups:
    """Return the classes of devices: the tables if there are several, else the distinct slowdowns, ascending.

    slowdowns: float64 (nodes,), of every client; that of a table is the mean of its clients.

    >>> group_devices(Devices((), 3, seed=0), np.array([4.0, 1.0, 4.0]))
    DeviceGroups(classes=array([1, 0, 1]), facts={'slowdown': array([1., 4.])})
    """
    if len(devices.tables) == 1:
        distinct, classes = np.unique(slowdowns, return_inverse=True)
        return DeviceGroups(classes, {"slowdown": distinct})
    facts = {"slowdown": np.bincount(devices.classes, slowdowns) / np.bincount(devices.classes)}
    for number, name in enumerate(Limits._fields):
        for end, limits in (("low", devices.least), ("high", devices.most)):
            facts[f"{name}_{end}"] = np.array([limits(device)[number] for device in range(len(devices.tables))])
    return DeviceGroups(devices.classes, facts)


def name_devices(facts: dict[str, np.ndarray]) -> list[str]:
    """Return what to call classes of devices; facts: of ``DeviceGroups``.

    >>> tables = [DeviceClass(), DeviceClass(time=0.5, upload=[0.5, 1.0])]
    >>> name_devices(group_devices(Devices(tables, 4, seed=0), np.ones(4)).facts)
    ['full strength', 'time 0.5, upload 0.5 to 1']
    """
    return [_name(facts, device) for device in range(len(facts["slowdown"]))]


def _name(facts: dict[str, np.ndarray], device: int) -> str:
    slowdown = f"slowdown {facts['slowdown'][device]:g}"
    if "time_low" not in facts:
        return slowdown
    limits = {name: limit_text(facts, name, device) for name in Limits._fields}
    said = [f"{name} {limit}" for name, limit in limits.items() if limit != "1"]
    said += [] if facts["slowdown"][device] == 1 else [slowdown]
    return ", ".join(said) or "full strength"


def limit_text(facts: dict[str, np.ndarray], name: str, device: int) -> str:
    """Return a limit of a class, "0.5" or "0.5 to 1"; name: of ``Limits``."""
    ends = dict.fromkeys(f"{facts[f'{name}_{end}'][device]:g}" for end in ("low", "high"))
    return " to ".join(ends)
