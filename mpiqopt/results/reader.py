"""Reads result files."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.results import files
from mpiqopt.results.layout import NODE_QUANTITIES, QUANTITIES
from mpiqopt.results.lock import is_written

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
class Result:
    """A result file in memory: root attributes, the recorded columns, what each node did (if it says so), and n.

    config: as parsed TOML; resolved: the same with defaults, if the file has that. fingerprints: of what the run was
    made from; none in files of early versions.
    """

    path: str
    attributes: dict[str, Any]
    config: dict[str, Any]
    resolved: dict[str, Any]
    columns: dict[str, np.ndarray]
    nodes: int
    by_node: dict[str, np.ndarray]
    fingerprints: dict[str, str]

    def label(self) -> str:
        """What to call the run in a table or figure: algorithm and topology."""
        topology = self.config.get("topology", {})
        graph = topology["name"] if isinstance(topology, dict) else "varying"
        algorithm = self.config["algorithm"]
        how = " asynchronous" if algorithm.get("execution") == "asynchronous" else ""
        return f"{algorithm['name']}{how}, {graph} {self.nodes}"


def read(path: str | Path, columns: Collection[str] = QUANTITIES) -> Result:
    """Return a result file, with those of the ``columns`` that it has.

    Raises UsageError if it is missing, damaged or none.
    """
    _require_file(path)
    try:
        with files.reading(Path(path)) as file:
            if "config" not in file.attrs or "iteration" not in file:
                raise UsageError(f"{path}: not a result file of mpiqopt")
            attributes = files.attributes(file, ATTRIBUTES)
            if attributes["status"] == "running" and not is_written(Path(path)):
                attributes["status"] = "interrupted"
            records, nodes = len(file["iteration"]), int(file["topology"].attrs["nodes"])
            return Result(
                path=str(path),
                attributes=attributes,
                config=_config(attributes["config"]),
                resolved=_config(attributes.get("config_resolved", attributes["config"])),
                columns={name: _column(file[name], records) for name in columns if name in file},
                nodes=nodes,
                by_node={name: _column(file[f"nodes/{name}"], nodes) for name in NODE_QUANTITIES if _has(file, name)},
                fingerprints=dict(json.loads(attributes.get("fingerprints", "{}"))),
            )
    except files.UNREADABLE as error:
        raise UsageError(f"{path}: not a readable result file ({error})") from error


def read_data(path: str | Path) -> dict[str, np.ndarray]:
    """Return what a result file says of the nodes' data: samples (nodes,), and where there are such counts
    (nodes, classes), class (classes,) and groups (nodes,).

    Raises UsageError if it is missing, damaged or of an early version, which said nothing.
    """
    _require_file(path)
    try:
        with files.reading(Path(path)) as file:
            group, nodes = file["data"], int(file["topology"].attrs["nodes"])
            held = {"samples": _column(group["samples"], nodes)}
            if "groups" in group:
                held["groups"] = _words(group["groups"], nodes)
            if "counts" in group:
                label = group["class"]
                held["class"] = _column(label, len(label)) if label.dtype.kind == "f" else _words(label, len(label))
                held["counts"] = _column(group["counts"], nodes, len(label))
            return held
    except files.UNREADABLE as error:
        raise UsageError(f"{path}: does not say what nodes hold ({error}); give the config") from error


def _words(dataset, size: int) -> np.ndarray:
    """Texts, as many as there are. Raises ValueError."""
    words = dataset.asstr()[()]
    if words.shape != (size,):
        raise ValueError(f"{dataset.name}: {words.shape} texts, want {size}")
    return words


def _has(file, name: str) -> bool:
    return f"nodes/{name}" in file


def _column(dataset, *shape: int) -> np.ndarray:
    """Numbers of that shape. Raises ValueError."""
    if dataset.shape != shape or dataset.dtype.kind not in "iuf":
        wanted = " x ".join(map(str, shape))
        raise ValueError(f"{dataset.name}: {dataset.shape} of {dataset.dtype}, want {wanted} numbers")
    return dataset[()]


def _config(text: str) -> dict[str, Any]:
    """A config, of which the parts that name the run are there. Raises ValueError."""
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
    """The tables of a list, or the one that it is."""
    return table if isinstance(table, list) else [table]


def final_mean(path: str | Path) -> np.ndarray:
    """Return the mean of /final/x over nodes, (d,). Raises UsageError if there is none."""
    _require_file(path)
    try:
        with files.reading(Path(path)) as file:
            x = file["final/x"][()]
            if not x.size:
                raise ValueError("it is empty")
            return x.mean(axis=0)
    except files.UNREADABLE as error:
        raise UsageError(f"{path}: has no /final/x ({error})") from error


def _require_file(path: str | Path) -> None:
    try:
        if Path(path).is_file():
            return
        reason = "no plain file" if Path(path).exists() else "no such file"
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero
        reason = str(getattr(error, "strerror", None) or error)
    raise UsageError(f"{path}: {reason}")
