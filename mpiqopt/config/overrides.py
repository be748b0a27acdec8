"""Overrides of the command line, ``--set TABLE.KEY=VALUE``: values as people type them."""

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from mpiqopt import registry
from mpiqopt.config.tables import FAMILY_TABLES
from mpiqopt.config.toml import NotTOML, read_toml
from mpiqopt.errors import QUOTED, UsageError

# What people type on the command line, of which TOML knows other forms or none.
WORDS = {"True": "true", "False": "false"}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def apply_overrides(tables: dict[str, Any], words: Iterable[str]) -> None:
    """Replace values in tables by ``TABLE.KEY=VALUE`` words, in place. Raises UsageError for other forms.

    Of a key that is a table itself, such as problem.options, one value may be replaced.

    >>> tables = {"run": {"seed": 0}}
    >>> apply_overrides(tables, ["run.seed=7", "algorithm.step_size=.5", "problem.options.width=8"])
    >>> tables
    {'run': {'seed': 7}, 'algorithm': {'step_size': 0.5}, 'problem': {'options': {'width': 8}}}
    """
    # names first: they decide which keys are left, and other overrides are for the part that is named last
    for word in sorted(words, key=lambda word: not word.partition("=")[0].strip().endswith(".name")):
        _override_one(tables, word)


def _override_one(tables: dict[str, Any], word: str) -> None:
    key, equals, value = word.partition("=")
    table, dot, name = key.strip().partition(".")
    if not (equals and dot and table and name):
        raise UsageError(f"--set {word}: want TABLE.KEY=VALUE")
    target = tables.setdefault(table, {})
    if not isinstance(target, dict):
        raise UsageError(f"--set {word}: the config's {table} is not a single table")
    before, parsed = target.get("name"), parse_override_word(value.strip(), f"--set {word}")
    outer, dot, inner = name.partition(".")
    if dot:
        if not isinstance(target.setdefault(outer, {}), dict):
            raise UsageError(f"--set {word}: {table}.{outer} is not a table")
        target[outer] = target[outer] | {inner: parsed}
        return
    target[name] = parsed
    if name == "name" and table in FAMILY_TABLES:
        _drop_foreign_keys(tables, table, before, parsed)


def _drop_foreign_keys(tables: dict[str, Any], family: str, before: Any, now: Any) -> None:
    """Drop the keys of a family's table that the new part does not have and the one named before had."""
    foreign = _keys(family, before) - _keys(family, now)
    tables[family] = {key: value for key, value in tables[family].items() if key == "name" or key not in foreign}


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
