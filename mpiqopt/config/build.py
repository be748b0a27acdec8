"""From tables to checked parts: every wrong key is found and named with what is allowed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mpiqopt import registry
from mpiqopt.algorithms.algorithm import Algorithm
from mpiqopt.config.config import PATHS, Config
from mpiqopt.config.tables import FAMILY_TABLES, LIST_TABLES, PLAIN_TABLES
from mpiqopt.errors import QUOTED, UsageError, Wrong, WrongKeys, clip_for_error_line, errors_name_file, quote_in_error
from mpiqopt.registry import suggest_word

Table = dict[str, Any]


class _Parts(dict[str, Any]):
    """The parts that were built so far, by table, and the wrong keys of the tables that gave none."""

    def __init__(self, wrong: Iterable[Wrong]):
        super().__init__()
        self.wrong = [*wrong]

    def add(self, name: str, make: Callable[..., Any], *arguments: Any) -> None:
        """Store what ``make`` returns under ``name``, or the wrong keys that it raises."""
        try:
            self[name] = make(*arguments)
        except WrongKeys as error:
            self.wrong += error.wrong


def build_config(tables: Table, text: str, path: str, folder: str) -> Config:
    """Return the config that tables describe.

    Parameters
    ----------
    tables : of the whole config, as parsed
    text : the same as TOML text, stored with the results
    path : where the text comes from, for messages
    folder : what relative paths in it are relative to

    Raises
    ------
    WrongKeys
        With all keys that are wrong, in the order of the tables.
    """
    parts = _Parts(_wrong_tables(tables))
    unusable = {each.key for each in parts.wrong}
    for name, cls in PLAIN_TABLES.items():
        if name not in unusable:
            parts.add(name, _build, cls, tables.get(name, {}), name)
    for name, cls in LIST_TABLES.items():
        if name not in unusable:
            parts.add(name, _build_each, cls, tables.get(name, []), name)
    for family in FAMILY_TABLES:
        if family not in unusable:
            for table in tables_of_family(tables.get(family, {}), _default(family, parts.get("algorithm"))):
                parts.add(family, build_member, family, table, folder)
    if parts.wrong:
        raise WrongKeys(parts.wrong)
    del parts["topology"]  # made again where it is wanted: ``Config.graphs``
    return Config(path=path, text=text, tables=tables, folder=folder, **parts)


def _default(family: str, algorithm: Algorithm | None) -> Table:
    """Return the keys that a family's table has by default; the method, built before, says which compressor."""
    if family == "compressor":
        return {"name": (algorithm and algorithm.default_compressor) or "identity"}
    return {"name": "zero"} if family == "regularizer" else {}


def tables_of_family(given: Table | list[Table], default: Table | None = None) -> list[Table]:
    """Return a family's tables: several [[topology]] as they are, else the one table, completed by ``default``."""
    return given if isinstance(given, list) else [(default or {}) | given]


def _wrong_tables(tables: Table) -> Iterator[Wrong]:
    """Yield the tables that are unknown, or values where a table is wanted."""
    known = [*PLAIN_TABLES, *LIST_TABLES, *FAMILY_TABLES]
    for name, value in tables.items():
        key = clip_for_error_line(name, QUOTED)
        if name not in known:
            yield Wrong(key, f"{key}: unknown table{suggest_word(name, known)}; tables: {', '.join(known)}")
        elif name in LIST_TABLES:
            if not _are_tables(value):
                yield Wrong(key, f"{key} = {quote_in_error(value)}: want tables [[{name}]]")
        elif not isinstance(value, dict) and not (name == "topology" and _are_tables(value)):
            yield Wrong(key, f"{key} = {quote_in_error(value)}: want a table [{name}]")


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(each, dict) for each in value)


def build_from_config(family: str, table: Table, path: str) -> Any:
    """Return the part that a family's table describes, as in the config at ``path``.

    Raises UsageError. An example:

    >>> build_from_config("topology", {"name": "ring", "nodes": 4}, "my.toml").nodes
    4
    """
    with errors_name_file(path):
        return build_member(family, table, str(Path(path).parent))


def build_member(family: str, table: Table, folder: str) -> Any:
    """Return the part that a family's table describes, its paths relative to ``folder`` resolved. Raises WrongKeys."""
    cls = _class_of(family, table.get("name"))
    part = _build(cls, {key: value for key, value in table.items() if key != "name"}, family)
    if isinstance(part, Algorithm):
        part = part.in_folder(folder)
    given = {key: getattr(part, key, None) for key in PATHS}
    return replace(part, **{key: str(Path(folder) / path) for key, path in given.items() if path is not None})


def _class_of(family: str, name: Any) -> type:
    """Return the class that a family's key ``name`` selects. Raises WrongKeys with those that there are."""
    if not isinstance(name, str):
        said = ": missing; allowed: " if name is None else f" = {quote_in_error(name)}: want one of "
        raise _wrong_key(f"{family}.name", said + ", ".join(registry.family_members(family)))
    try:
        return registry.find_member(family, name)
    except UsageError as error:
        known = registry.family_members(family)
        said = str(error) if name in known else f"unknown{suggest_word(name, known)}; known: {', '.join(known)}"
        raise _wrong_key(f"{family}.name", f" = {quote_in_error(name)}: {said}") from error


def _wrong_key(key: str, said: str) -> WrongKeys:
    return WrongKeys([Wrong(key, key + said)])


def _build(cls: type, table: Table, where: str) -> Any:
    """Return an instance of a dataclass from a table. Raises WrongKeys with key, value and what is allowed.

    where: name of the table, with which keys begin in messages.
    """
    from mpiqopt.field_checks import check_fields  # pydantic, which ranks > 0 do without

    known = [field.name for field in fields(cls)]
    foreign = [_foreign(cls, key, known, where) for key in table if key not in known]
    try:
        part = cls(**check_fields(cls, {key: value for key, value in table.items() if key in known}, where))
    except WrongKeys as error:
        raise WrongKeys([*foreign, *error.wrong]) from None
    except UsageError as error:  # of several keys together
        raise WrongKeys([*foreign, Wrong(_key_of(str(error)), str(error))]) from error
    except TypeError as error:  # a plugin's class that lacks an abstract method
        raise WrongKeys([*foreign, Wrong(where, f"{where}: {error}")]) from error
    if foreign:
        raise WrongKeys(foreign)
    return part


def _build_each(cls: type, tables: list[Table], where: str) -> tuple[Any, ...]:
    """Return an instance of a dataclass from each table of a list. Raises WrongKeys with those of all of them."""
    parts = _Parts([])
    for number, table in enumerate(tables):
        parts.add(f"{where}[{number}]", _build, cls, table, f"{where}[{number}]")
    if parts.wrong:
        raise WrongKeys(parts.wrong)
    return tuple(parts.values())


def _foreign(cls: type, key: str, known: list[str], where: str) -> Wrong:
    """Return the sentence on a key that the part does not have, with those that it has."""
    full = f"{where}.{clip_for_error_line(key, QUOTED)}"
    name = f" {cls.name!r}" if hasattr(cls, "name") else ""
    keys = ", ".join(known) or "it has none"
    return Wrong(full, f"{full}: unknown key{suggest_word(key, known)}; keys of {where}{name}: {keys}")


def _key_of(message: str) -> str:
    """Return the TABLE.KEY that a message begins with."""
    return message.partition(" ")[0].rstrip(":")
