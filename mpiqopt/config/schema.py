"""The config's schema, read off the classes that check it: as JSON schema and as a page of documentation."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from mpiqopt import registry
from mpiqopt.config.tables import FAMILY_TABLES, LIST_TABLES, PLAIN_TABLES
from mpiqopt.field_checks import default_of, pydantic_model


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the whole config, for editors."""
    tables = {name: _table(cls) for name, cls in PLAIN_TABLES.items()}
    tables |= {name: _list_of(_table(cls)) for name, cls in LIST_TABLES.items()}
    for family in FAMILY_TABLES:
        tables[family] = {"oneOf": [_table(cls, name) for name, cls in registry.family_members(family).items()]}
    one = tables["topology"]
    tables["topology"] = {"anyOf": [one, _list_of(one)]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mpiqopt config",
        "type": "object",
        "properties": tables,
        "required": ["data", "problem", "topology", "algorithm"],
        "additionalProperties": False,
    }


def _list_of(table: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of tables of which there is one at least."""
    return {"type": "array", "items": table, "minItems": 1}


def _table(cls: type, name: str | None = None) -> dict[str, Any]:
    """Return the schema of one table; name: of a family's member, which the table has to give."""
    schema = pydantic_model(cls).model_json_schema()
    for key, family in _families(cls).items():
        schema["properties"][key]["enum"] = list(registry.family_members(family))
    if name is not None:
        schema["title"] = name
        schema["properties"] = {"name": {"const": name}, **schema.get("properties", {})}
        schema["required"] = ["name", *schema.get("required", [])]
    return schema


def _families(cls: type) -> dict[str, str]:
    """Return the keys whose value names a part, and the families of these."""
    hints = get_type_hints(cls, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: mark.family for name, each in marks.items() for mark in each if getattr(mark, "family", None)}


HEAD = """# Config keys

<!-- made by `mpiqopt config-schema --markdown`; do not edit -->

A config is a TOML file; paths in it are relative to it. Unknown tables and keys are errors; keys that
were given and change nothing are named once. Integers may be written as 1e4, and are less than 2^63.
`mpiqopt check CONFIG` prints a config with every default, `mpiqopt config-schema` a JSON schema for editors.

A result file is a config, too: that of its run. Paths are then relative to the folder of the config that was
run (attribute `config_folder` of the file) or, if that is gone, to the folder of the result file.
"""
LISTS = "Several `[[topology]]` tables are a network that varies in time: its graphs are used in turn."


def schema_markdown() -> str:
    """Return docs/config.md: every table, name and key with type, default and meaning."""
    heads = [(f"[{name}]", cls) for name, cls in PLAIN_TABLES.items()]
    heads += [(f"[[{name}]]", cls) for name, cls in LIST_TABLES.items()]
    plain = [line for head, cls in heads for line in [f"## {head}", "", _text(cls), "", *_rows(cls), ""]]
    families = [line for family in FAMILY_TABLES for line in _family(family)]
    return "\n".join([*HEAD.splitlines(), "", *plain, *families]).rstrip()


def _family(family: str) -> Iterator[str]:
    """Yield the lines on a family: keys that all members share once, then each member with keys of its own."""
    members = registry.family_members(family)
    shared = _shared(list(members.values()))
    yield from (f"## [{family}]", "", f"`name` is one of: {', '.join(f'`{name}`' for name in members)}.", "")
    if family == "topology":
        yield from (LISTS, "")
    if shared:
        yield from ("Keys of all of them:", "", *_rows(next(iter(members.values())), only=shared), "")
    for name, cls in members.items():
        yield from (f'### {family}.name = "{name}"', "", _text(cls), "")
        if any(field.name not in shared for field in fields(cls)):
            yield from (*_rows(cls, skip=shared), "")


def _text(cls: type) -> str:
    """Return a class's docstring without its indentation."""
    return "\n".join(line.strip() for line in (cls.__doc__ or "").strip().splitlines())


def _shared(classes: list[type]) -> tuple[str, ...]:
    """Return the keys that all classes have with the same type, meaning and default."""
    hints = [get_type_hints(cls, include_extras=True) for cls in classes]
    defaults = [{field.name: default_of(field) for field in fields(cls)} for cls in classes]
    return tuple(
        name
        for name, default in defaults[0].items()
        if all(name in own and own[name] == default for own in defaults)
        and all(own[name] == hints[0][name] for own in hints)
    )


def _rows(cls: type, skip: tuple[str, ...] = (), only: tuple[str, ...] | None = None) -> list[str]:
    """Return a Markdown table of a class's keys, all but ``skip``, or ``only`` these."""
    properties = _table(cls).get("properties", {})
    wanted = [field for field in fields(cls) if field.name not in skip and (only is None or field.name in only)]
    return [
        "| key | type | default | meaning |",
        "| --- | --- | --- | --- |",
        *(_row(field.name, properties[field.name], _default(default_of(field))) for field in wanted),
    ]


def _row(key: str, schema: dict[str, Any], default: str) -> str:
    """Return the row of a key; schema: its JSON schema."""
    meaning = schema.get("description", "").replace("|", "\\|")
    return f"| `{key}` | {_type(schema)} | {default} | {meaning} |"


def _default(value: Any) -> str:
    """Return a default as it is written in TOML; nothing for a key that may be left out."""
    if value is MISSING:
        return "required"
    return "" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    """Return a boolean, string or number as TOML has it."""
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def _type(schema: dict[str, Any]) -> str:
    """Return a type and its bounds in words.

    >>> _type({"type": "integer", "minimum": 0})
    'integer ≥ 0'
    >>> _type({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "auto"}]})
    'number > 0 or `"auto"`'
    """
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    if "enum" in schema:
        return ", ".join(f'`"{value}"`' for value in schema["enum"])
    bounds = [
        f"{sign} {schema[key]:g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in schema
    ]
    return " ".join([schema.get("type", "any"), ", ".join(bounds)]).strip()
