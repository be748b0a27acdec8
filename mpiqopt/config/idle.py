"""Find keys that were given in a config and change nothing: the ``needs`` of their fields do not hold."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, get_origin, get_type_hints

from mpiqopt.config.config import Config
from mpiqopt.config.tables import LIST_TABLES
from mpiqopt.errors import LONG_PATH, clip_for_error_line, fits_in_error_line, list_in_error_line
from mpiqopt.field import Field, Need


def idle_keys_warning(config: Config) -> str:
    """Return one line that names the keys that change nothing and says why; "" if every key matters."""
    why = dict(_idle(config))
    if not why:
        return ""
    head = f"{clip_for_error_line(config.path, LONG_PATH)}: these keys change nothing: "
    whole = head + ", ".join(f"{key} ({reason})" for key, reason in why.items())
    return whole if fits_in_error_line(whole) else list_in_error_line(head, why, f", ... ({len(why)} in all)")


def _idle(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each of them as TABLE.KEY, and why it changes nothing."""
    for table, given, part in _parts(config):
        for key, needs in _needs(type(part)).items():
            values = [(need, _value(config, part, need.key)) for need in needs] if key in given else []
            reasons = [need.why(value) for need, value in values if not need.holds(value)]
            if reasons:
                yield f"{table}.{key}", reasons[0]


def _parts(config: Config) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield every table of the config: its name, its keys as given, and the part that was built from it."""
    for name, given in config.tables.items():
        if name == "topology":
            tables = given if isinstance(given, list) else [given]
            yield from ((name, table, graph) for table, graph in zip(tables, config.graphs, strict=True))
        elif name in LIST_TABLES:
            parts = enumerate(zip(given, getattr(config, name), strict=True))
            yield from ((f"{name}[{number}]", table, part) for number, (table, part) in parts)
        else:
            yield name, given, getattr(config, name)


def _needs(cls: type) -> dict[str, tuple[Need, ...]]:
    """Return the conditions under which each field of a dataclass matters, by name."""
    hints = get_type_hints(cls, include_extras=True)
    marks = {f.name: hints[f.name].__metadata__ for f in fields(cls) if get_origin(hints[f.name]) is Annotated}
    return {name: mark.needs for name, own in marks.items() for mark in own if isinstance(mark, Field)}


def _value(config: Config, part: Any, key: str) -> Any:
    """Return the value of a key or attribute of the part, or of TABLE.KEY of another one."""
    table, dot, name = key.rpartition(".")
    return getattr(getattr(config, table) if dot else part, name)
