"""Overrides of the command line, ``--set TABLE.KEY=VALUE``: values as people type them."""

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from mpiqopt import registry
from mpiqopt.config.tables import FAMILY_TABLES, LIST_TABLES
from mpiqopt.config.toml import NotTOML, read_toml
from mpiqopt.errors import QUOTED, UsageError

# What people type on the command line, of which TOML knows other forms or none.
WORDS = {"True": "true", "False": "false"}
# a table of a list, such as devices[1]
NUMBERED = re.compile(r"(?P<name>[\w-]+)\[(?P<number>\d{1,4})\]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def apply_overrides(tables: dict[str, Any], words: Iterable[str]) -> None:
    """Replace values in tables by ``TABLE.KEY=VALUE`` words, in place. Raises UsageError for other forms.

    Of a key that is a table itself, such as problem.options, one value may be replaced. Of a list of tables the first
    is ``TABLE[0]``; the number behind the last adds one.

    >>> tables = {"run": {"seed": 0}}
    >>> apply_overrides(tables, ["run.seed=7", "algorithm.step_size=.5", "problem.options.width=8"])
    >>> tables
    {'run': {'seed': 7}, 'algorithm': {'step_size': 0.5}, 'problem': {'options': {'width': 8}}}
    >>> tables = {"devices": [{"share": 2.0}]}
    >>> apply_overrides(tables, ["devices[0].time=.5", "devices[1].memory=.25"])
    >>> tables
    {'devices': [{'share': 2.0, 'time': 0.5}, {'memory': 0.25}]}
    """
    # names first: they decide which keys are left, and other overrides are for the part that is named last
    for word in sorted(words, key=lambda word: not word.partition("=")[0].strip().endswith(".name")):
        _override_one(tables, word)


def _override_one(tables: dict[str, Any], word: str) -> None:
    key, equals, value = word.partition("=")
    table, dot, name = key.strip().partition(".")
    if not (equals and dot and table and name):
        raise UsageError(f"--set {word}: want TABLE.KEY=VALUE")
    target = _target(tables, table, word)
    before, parsed = target.get("name"), parse_override_word(value.strip(), f"--set {word}")
    outer, dot, inner = name.partition(".")
    if dot:
        if not isinstance(target.setdefault(outer, {}), dict):
            raise UsageError(f"--set {word}: {table}.{outer} is not a table")
        target[outer] = target[outer] | {inner: parsed}
        return
    target[name] = parsed
    family = table.partition("[")[0]
    if name == "name" and family in FAMILY_TABLES:
        _drop_foreign_keys(target, family, before, parsed)


def _target(tables: dict[str, Any], name: str, word: str) -> dict[str, Any]:
    """Return the table that a word of the command line means, an empty one if there is none yet."""
    numbered = NUMBERED.fullmatch(name)
    if numbered is None:
        target = tables.setdefault(name, [] if name in LIST_TABLES else {})
        if not isinstance(target, dict):
            cure = f"; want {name}[0].KEY=VALUE" if isinstance(target, list) else ""
            raise UsageError(f"--set {word}: the config's {name} is not a single table{cure}")
        return target
    name, number = numbered["name"], int(numbered["number"])
    several = tables.setdefault(name, [])
    if not isinstance(several, list) or not all(isinstance(each, dict) for each in several):
        raise UsageError(f"--set {word}: the config's {name} is no list of tables [[{name}]]")
    if number > len(several):
        raise UsageError(f"--set {word}: the next one of the tables [[{name}]] is {name}[{len(several)}]")
    if number == len(several):
        several.append({})
    return several[number]


def _drop_foreign_keys(table: dict[str, Any], family: str, before: Any, now: Any) -> None:
    """Drop the keys of a family's table that the new part does not have and the one named before had."""
    for key in (_keys(family, before) - _keys(family, now)) & table.keys() - {"name"}:
        del table[key]


def _keys(family: str, name: Any) -> set[str]:
    """Return the keys of a part; none if there is no such part."""
    known = registry.family_members(family)
    return {field.name for field in fields(known[name])} if isinstance(name, str) and name in known else set()


def parse_override_word(value: str, where: str) -> Any:
    """Return what a word on the command line means: TOML, a number or boolean as other languages have it, or a string.

    where: what to call the word in messages. Raises UsageError.

    >>> [parse_override_word(word, "--set") for word in ("1e4", "True", "ring", "[1, 2]")]
    [10000.0, True, 'ring', [1, 2]]
    """
    try:
        value.encode()
        read = read_toml(f"value = {WORDS.get(value, value)}")
        return read["value"] if len(read) == 1 else value  # a line break began another key
    except NotTOML:
        return _number(value) if NUMBER.fullmatch(value) and len(value) <= QUOTED else value
    except UnicodeEncodeError:
        raise UsageError(f"{where}: not UTF-8") from None
    except RecursionError:
        raise UsageError(f"{where}: values in values, too deep to be read") from None


def _number(word: str) -> int | float:
    return int(word) if word.lstrip("+-").isdecimal() else float(word)
