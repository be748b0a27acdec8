"""Names of runs that are compared: by what differs between them.

A key that differs is named with its value, such as "dgd, step_size = 0.1" and "extra, step_size = 0.1"; algorithms and
topologies are known by their names alone.

>>> runs = [{("algorithm", "name"): "dgd", ("algorithm", "step_size"): step} for step in (0.1, 0.2)]
>>> [_name(run, runs, [("algorithm", "step_size")]) for run in runs]
['step_size = 0.1', 'step_size = 0.2']
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpiqopt.results.reader import Result
from mpiqopt.terminal import escape_for_terminal

Settings = dict[tuple[str, str], Any]

# what differs is named in this order
TABLES = (
    "algorithm",
    "compressor",
    "topology",
    "problem",
    "regularizer",
    "data",
    "emulate",
    "devices",
    "run",
    "record",
)
# of the tables run and record: what changes a trajectory; the rest is named only where nothing else tells runs apart
MATTERS = ("seed", "dtype", "start", "mapping_step")
# parts that are known by their names
BY_VALUE = (("algorithm", "name"), ("topology", "name"))
# characters in a line of a label
LINE = 60


def run_labels(results: list[Result]) -> tuple[str, list[str]]:
    """Return what runs have in common, and what to call each.

    Names are made of the keys of their configs that differ and were given in one of them; where these are not enough,
    of all that differ, and at last of the files' names. Lines have at most LINE characters.
    """
    if len(results) == 1:
        return "", [_broken(results[0].label())]
    runs = [run_settings(result) for result in results]
    given = {key for result in results for key in _flat(result.config)}
    differing = [key for key in _keys(runs) if key in given and _differs(key, runs)]
    chosen = [key for key in differing if key[0] not in ("run", "record") or key[1] in MATTERS]
    names = [_name(run, runs, chosen) for run in runs]
    if len(set(names)) < len(names):
        names = [_name(run, runs, differing) for run in runs]
    files = _files([result.path for result in results])
    named = [_with_file(name, file, names.count(name) > 1) for name, file in zip(names, files, strict=True)]
    return _broken(_common(runs)), [_broken(name) for name in named]


def run_settings(result: Result) -> Settings:
    """Return the values of a run's config by (table, key), those of defaults too.

    Values are as given where they were given, else as resolved; several topologies in turn are one. Those of devices
    are as resolved: defaults tell which class a value is of.
    """
    given = {name: table for name, table in result.config.items() if name != "devices"}
    known = _flat(result.resolved) | _flat(given)
    return {key: value for key, value in known.items() if key[0] in TABLES}


def _flat(tables: dict[str, Any]) -> Settings:
    """Return tables of tables as one, by (table, key).

    A list of tables, of topologies in turn or devices, counts as the one table that ``_in_turn`` makes of it.
    """
    return {
        (name, key): value
        for name, table in tables.items()
        for key, value in (_in_turn(table) if isinstance(table, list) else table).items()
    }


def _in_turn(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """Return graphs that take turns, or devices, as one table: names and other values one after the other."""
    keys = dict.fromkeys(key for table in tables for key in table)
    joined = {key: ", ".join(_said(table[key]) for table in tables if key in table) for key in keys}
    return joined | ({"name": "+".join(str(table.get("name")) for table in tables)} if "name" in keys else {})


def _keys(runs: list[Settings]) -> list[tuple[str, str]]:
    """Return all keys, in the order in which labels name them."""
    keys = dict.fromkeys(key for run in runs for key in run)
    return sorted(keys, key=lambda key: (TABLES.index(key[0]), key[1] != "name"))


def _differs(key: tuple[str, str], runs: list[Settings]) -> bool:
    """Return True if runs have different values, or some have one and others with the same part have none."""
    if len({_said(run[key]) for run in runs if key in run}) > 1:
        return True
    part = key[0], "name"
    having, lacking = ({run.get(part) for run in runs if (key in run) == has} for has in (True, False))
    return not having.isdisjoint(lacking)


def _name(run: Settings, runs: list[Settings], keys: list[tuple[str, str]]) -> str:
    """Return what to call a run, by the keys that are to be named."""
    return ", ".join(_parts(run, runs, keys))


def _parts(run: Settings, runs: list[Settings], keys: list[tuple[str, str]]) -> Iterator[str]:
    """Yield algorithms and graphs by their names, everything else as key = value.

    A key that the run has not, but another run with the same part, is named as "no KEY".
    """
    for table, key in keys:
        if (table, key) in run:
            value = _said(run[table, key])
            yield value if (table, key) in BY_VALUE else f"{_called(table, key, runs)} = {value}"
        elif any((table, key) in other and other.get((table, "name")) == run.get((table, "name")) for other in runs):
            yield f"no {_called(table, key, runs)}"


def _called(table: str, key: str, runs: list[Settings]) -> str:
    """Return a key, with its table where others have one of that name."""
    if key == "name":
        return table
    alone = all(other == table for run in runs for other, name in run if name == key)
    return key if alone else f"{table}.{key}"


def _common(runs: list[Settings]) -> str:
    """Return algorithm, compressor and graph, as far as they are the same."""
    keys = [(family, "name") for family in ("algorithm", "compressor", "topology")]
    same = [key for key in keys if key in runs[0] and not _differs(key, runs)]
    said = [str(runs[0][key]) for key in same if runs[0][key] != "identity"]
    nodes = ("topology", "nodes")
    if keys[-1] in same and nodes in runs[0] and not _differs(nodes, runs):
        said[-1] += f" {runs[0][nodes]}"
    return ", ".join(said)


def _files(paths: list[str]) -> list[str]:
    """Return the names of files, with their folders where names alone are not enough."""
    names = [Path(path).name for path in paths]
    return [name if names.count(name) == 1 else path for name, path in zip(names, paths, strict=True)]


def _with_file(name: str, file: str, is_needed: bool) -> str:
    """Return a name with its file, if that is needed to tell it from others."""
    return (f"{name} ({file})" if name else file) if is_needed else name


def _said(value: Any) -> str:
    """Return a value as people write it in TOML, strings without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"  # 0.3 and not 0.30000000000000004
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return str(value)


def _broken(text: str) -> str:
    """Return a label in lines that fit in a figure."""
    return "\n".join(textwrap.wrap(escape_for_terminal(text), LINE))
