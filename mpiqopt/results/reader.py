"""Read result files, whole or still being written, and check that they are such."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.results import files
from mpiqopt.results.layout import DEVICE_FACTS, NODE_QUANTITIES, QUANTITIES, VECTORS
from mpiqopt.results.lock import is_being_written

# numbers of a dataset that are summed at a time
PIECE = 1 << 20
# What every result file says of its run.
ATTRIBUTES = {
    "config": str,
    "status": str,
    "stop_reason": str,
    "run_id": str,
    "created": str,
    "mpiqopt_version": str,
    "mpi_library": str,
    "ranks": int,
}


@dataclass(frozen=True)
class Clients:
    """Keep what the group /clients says of the nodes that train for a server.

    Attributes
    ----------
    rounds:
        the quantities that were asked for of ``layout.CLIENT_QUANTITIES``, (rounds, clients) each
    totals:
        of the quantities that were asked for, float64 (2, clients) each: in how many rounds the client has a value but
        0 and NaN, and the sum of these values
    device:
        int (clients,), the class of devices of each client: a position in the facts
    facts:
        float64 (devices,) by the names of ``layout.DEVICE_FACTS``, "slowdown" at least
    whole_bytes:
        of a message of the whole network that is sent as it is; None in files of early versions
    """

    rounds: dict[str, np.ndarray]
    totals: dict[str, np.ndarray]
    device: np.ndarray
    facts: dict[str, np.ndarray]
    whole_bytes: int | None

    @property
    def classes(self) -> int:
        """Return how many classes of devices there are."""
        return len(self.facts["slowdown"])


@dataclass(frozen=True)
class Result:
    """Keep a result file in memory.

    Attributes
    ----------
    path:
        of the file
    attributes:
        of its root group, those of ATTRIBUTES among them; ``status`` "running" is "interrupted" if no run is at work
    config, resolved:
        the config as parsed TOML, and the same with all defaults (without them in files of early versions)
    columns:
        the recorded quantities, of ``layout.QUANTITIES`` (records,) each, of ``layout.VECTORS`` (records, k)
    nodes:
        n
    by_node:
        what each node did, ``layout.NODE_QUANTITIES``, (n,) each, if the file says so
    fingerprints:
        of what the run was made from; none in files of early versions
    axes:
        the coordinates of axes of ``columns`` that have some: "class", numbers or words, "device", slowdowns, and
        "kind", words
    clients:
        what each client did, None if the file does not say so
    """

    path: str
    attributes: dict[str, Any]
    config: dict[str, Any]
    resolved: dict[str, Any]
    columns: dict[str, np.ndarray]
    nodes: int
    by_node: dict[str, np.ndarray]
    fingerprints: dict[str, str]
    axes: dict[str, np.ndarray]
    clients: Clients | None

    def label(self) -> str:
        """Return what to call the run in a table or figure: "dgd, ring 8"."""
        topology = self.config.get("topology", {})
        graph = topology["name"] if isinstance(topology, dict) else "varying"
        algorithm = self.config["algorithm"]
        how = " asynchronous" if algorithm.get("execution") == "asynchronous" else ""
        return f"{algorithm['name']}{how}, {graph} {self.nodes}"


def read_result(
    path: str | Path,
    columns: Collection[str] = (*QUANTITIES, *VECTORS),
    rounds: Collection[str] = (),
    totals: Collection[str] = (),
) -> Result:
    """Return a result file, with those of the ``columns`` that it has.

    path: of the file, which a run may be writing; columns: names of QUANTITIES and VECTORS; rounds: of
    CLIENT_QUANTITIES, which have a value for each client in each round and so may take much memory; totals: of those,
    too, summed over rounds. Raises UsageError if it is missing, damaged or not a result file.

    >>> from mpiqopt.results.writer import Writer
    >>> from mpiqopt.topologies.lattices import Ring
    >>> from mpiqopt.topologies.topology import topology_in_turn
    >>> config = '[algorithm]\\nname = "dgd"\\n[topology]\\nname = "ring"'
    >>> said = {name: kind() for name, kind in ATTRIBUTES.items()} | {"config": config}
    >>> writer = Writer.create(Path("run.h5"), said, topology_in_turn(["ring"], [Ring(nodes=4).make()]))
    >>> writer.append({"iteration": 0, "objective": 0.5})
    >>> writer.finish("finished", "", np.zeros((4, 2)), transport="")
    True
    >>> result = read_result("run.h5")
    >>> result.label(), result.attributes["status"], result.columns["objective"].tolist()
    ('dgd, ring 4', 'finished', [0.5])
    """
    _require_file(path)
    try:
        with files.open_sealed(Path(path)) as file:
            if "config" not in file.attrs or "iteration" not in file:
                raise UsageError(f"{path}: not a result file of mpiqopt")
            attributes = files.read_attributes(file, ATTRIBUTES)
            if attributes["status"] == "running" and not is_being_written(Path(path)):
                attributes["status"] = "interrupted"
            records, nodes = len(file["iteration"]), int(file["topology"].attrs["nodes"])
            return Result(
                path=str(path),
                attributes=attributes,
                config=_config(attributes["config"]),
                resolved=_config(attributes.get("config_resolved", attributes["config"])),
                columns={name: _recorded(file, name, records) for name in columns if name in file},
                nodes=nodes,
                by_node={
                    name: _column(file[f"nodes/{name}"], nodes) for name in NODE_QUANTITIES if f"nodes/{name}" in file
                },
                fingerprints=dict(json.loads(attributes.get("fingerprints", "{}"))),
                axes={name: _label(file[name]) for name in ("class", "device", "kind") if _has_coordinates(file, name)},
                clients=_clients(file["clients"], rounds, totals) if "clients" in file else None,
            )
    except files.UNREADABLE as error:
        raise UsageError(f"{path}: not a readable result file ({error})") from error


def read_division(path: str | Path) -> dict[str, np.ndarray]:
    """Return what a result file says of the nodes' data, by name.

    "samples": int (nodes,); where targets are classes "counts": int (nodes, classes), and "class": (classes,), numbers
    or words; with ``split = "natural"`` "groups": (nodes,) words. Raises UsageError if the file is missing, damaged or
    of an early version, which said nothing.
    """
    _require_file(path)
    try:
        with files.open_sealed(Path(path)) as file:
            group, nodes = file["data"], int(file["topology"].attrs["nodes"])
            found = {"samples": _column(group["samples"], nodes)}
            if "groups" in group:
                found["groups"] = _words(group["groups"], nodes)
            if "counts" in group:
                found["class"] = _label(group["class"])
                found["counts"] = _column(group["counts"], nodes, len(found["class"]))
            return found
    except files.UNREADABLE as error:
        raise UsageError(f"{path}: does not say what nodes hold ({error}); give the config") from error


def _recorded(file: Any, name: str, records: int) -> np.ndarray:
    """Return a recorded quantity, (records,) or (records, k). Raises ValueError if it has another shape."""
    return _column(file[name], records, *([len(file[VECTORS[name].axis])] if name in VECTORS else []))


def _clients(group: Any, rounds: Collection[str], totals: Collection[str]) -> Clients:
    """Return the group /clients with some of its quantities; without classes of devices all clients are in one.

    Raises ValueError if shapes differ, or a class does not exist.
    """
    count, clients = len(group["round"]), len(group["client"])
    device, facts = np.zeros(clients, int), {"slowdown": np.ones(1)}
    if "device" in group:
        device, said = _column(group["device"], clients), group["device"].attrs
        facts = {name: np.atleast_1d(said[name]) for name in DEVICE_FACTS if name in said}
    classes = len(facts["slowdown"])
    if clients and not 0 <= device.min() <= device.max() < classes:
        raise ValueError(f"/clients/device: of {classes} classes one is {device.max()}")
    if any(len(values) != classes for values in facts.values()):
        raise ValueError("/clients/device: its attributes differ in the number of classes")
    found = {name: _column(group[name], count, clients) for name in rounds if name in group}
    sums = {name: _totals(group[name], count, clients) for name in totals if name in group}
    whole = group.attrs.get("whole_bytes")
    return Clients(found, sums, device, facts, None if whole is None else int(whole))


def _totals(dataset: Any, rounds: int, clients: int) -> np.ndarray:
    """Return ``Clients.totals`` of a dataset (rounds, clients), which is read in pieces."""
    totals = np.zeros((2, clients))
    step = max(PIECE // max(clients, 1), 1)
    for first in range(0, rounds, step):
        last = min(first + step, rounds)
        values = _column(dataset, rounds, clients, rows=slice(first, last)).astype(np.float64)
        known = np.isfinite(values) & (values != 0)
        totals += np.stack([known.sum(axis=0), np.where(known, values, 0.0).sum(axis=0)])
    return totals


def _has_coordinates(file: Any, name: str) -> bool:
    """Return True if an axis is there and is more than a size: those without coordinates are int8."""
    return name in file and file[name].dtype.kind != "i"


def _label(dataset: Any) -> np.ndarray:
    """Return the coordinates of an axis, numbers or texts."""
    size = len(dataset)
    return _column(dataset, size) if dataset.dtype.kind == "f" else _words(dataset, size)


def _words(dataset: Any, size: int) -> np.ndarray:
    """Return a dataset of texts, (size,). Raises ValueError if it has another shape."""
    words = dataset.asstr()[()]
    if words.shape != (size,):
        raise ValueError(f"{dataset.name}: {words.shape} texts, want {size}")
    return words


def _column(dataset: Any, *shape: int, rows: slice = slice(None)) -> np.ndarray:
    """Return a dataset of numbers, or some rows. Raises ValueError for other values, and for another shape."""
    if dataset.shape != shape or dataset.dtype.kind not in "iuf":
        wanted = " x ".join(map(str, shape))
        raise ValueError(f"{dataset.name}: {dataset.shape} of {dataset.dtype}, want {wanted} numbers")
    return dataset[rows]


def _config(text: str) -> dict[str, Any]:
    """Return a config as parsed TOML. Raises ValueError unless it names the algorithm and the topology."""
    import tomllib

    tables = tomllib.loads(text)
    if not all(isinstance(part, dict) for table in tables.values() for part in _parts(table)):
        raise ValueError("its config is no tables of keys")
    topology = tables.get("topology")
    named = [tables.get("algorithm"), topology if not isinstance(topology, list) else {"name": ""}]
    if not all(isinstance(table, dict) and isinstance(table.get("name"), str) for table in named):
        raise ValueError("its config names no algorithm or no topology")
    return tables


def _parts(table: Any) -> list:
    """Return the tables of a list, or a single one as a list."""
    return table if isinstance(table, list) else [table]


def final_mean(path: str | Path) -> np.ndarray:
    """Return the mean of /final/x over nodes, (d,), in its type. Raises UsageError if the run has not ended."""
    _require_file(path)
    try:
        with files.open_sealed(Path(path)) as file:
            if "final/point" in file:  # one row for all nodes
                return file["final/point"][()]
            x = file["final/x"][()]
            if not x.size:
                raise ValueError("it is empty")
            return x.mean(axis=0)
    except files.UNREADABLE as error:
        raise UsageError(f"{path}: has no /final/x ({error})") from error


def _require_file(path: str | Path) -> None:
    """Raise UsageError, with the reason, unless a plain file is there."""
    try:
        if Path(path).is_file():
            return
        reason = "no plain file" if Path(path).exists() else "no such file"
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero
        reason = str(getattr(error, "strerror", None) or error)
    raise UsageError(f"{path}: {reason}")
