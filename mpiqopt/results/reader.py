"""Reads result files."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.results import files
from mpiqopt.results.layout import NODE_QUANTITIES, QUANTITIES


@dataclass(frozen=True)
class Result:
    """A result file in memory: root attributes, the recorded columns, what each node did (if it says so), and n."""

    path: str
    attributes: dict[str, Any]
    columns: dict[str, np.ndarray]
    nodes: int
    by_node: dict[str, np.ndarray]

    @property
    def config(self) -> dict[str, Any]:
        """The config as parsed TOML."""
        import tomllib

        return tomllib.loads(self.attributes["config"])

    def label(self) -> str:
        """What to call the run in a table or figure: algorithm and topology."""
        topology = self.config.get("topology", {})
        graph = topology["name"] if isinstance(topology, dict) else "varying"
        algorithm = self.config["algorithm"]
        how = " asynchronous" if algorithm.get("execution") == "asynchronous" else ""
        return f"{algorithm['name']}{how}, {graph} {self.nodes}"


def read(path: str | Path, columns: Collection[str] = QUANTITIES) -> Result:
    """A result file, with those of the ``columns`` that it has. Raises UsageError if it is missing or none."""
    _require_file(path)
    try:
        with files.reading(Path(path)) as file:
            if "config" not in file.attrs or "iteration" not in file:
                raise UsageError(f"{path}: not a result file of mpiqopt")
            return Result(
                path=str(path),
                attributes={name: _plain(value) for name, value in file.attrs.items()},
                columns={name: file[name][()] for name in columns if name in file},
                nodes=int(file["topology"].attrs["nodes"]),
                by_node={name: file[f"nodes/{name}"][()] for name in NODE_QUANTITIES if f"nodes/{name}" in file},
            )
    except files.UNREADABLE as error:
        raise UsageError(f"{path}: not a readable result file ({error})") from error


def final_mean(path: str | Path) -> np.ndarray:
    """Mean of /final/x over nodes, (d,). Raises UsageError if there is none."""
    _require_file(path)
    try:
        with files.reading(Path(path)) as file:
            return file["final/x"][()].mean(axis=0)
    except files.UNREADABLE as error:
        raise UsageError(f"{path}: has no /final/x ({error})") from error


def _require_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise UsageError(f"{path}: {'no plain file' if Path(path).exists() else 'no such file'}")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
