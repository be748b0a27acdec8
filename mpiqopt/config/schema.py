"""The config's schema, read off the classes that check it: as JSON schema and as a page of documentation."""

from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from mpiqopt import registry
from mpiqopt.checking import model
from mpiqopt.config.parse import FAMILY_TABLES, PLAIN_TABLES


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the whole config."""
    tables = {name: _table(cls) for name, cls in PLAIN_TABLES.items()}
    for family in FAMILY_TABLES:
        tables[family] = {"oneOf": [_table(cls, name) for name, cls in registry.members(family).items()]}
    one = tables["topology"]
    tables["topology"] = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mpiqopt config",
        "type": "object",
        "properties": tables,
        "required": ["data", "problem", "topology", "algorithm"],
        "additionalProperties": False,
    }


def _table(cls: type, name: str | None = None) -> dict[str, Any]:
    schema = model(cls).model_json_schema()
    for key, family in _families(cls).items():
        schema["properties"][key]["enum"] = list(registry.members(family))
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


def markdown() -> str:
    """docs/config.md: every table, name and key with type, default and meaning."""
    lines = [
        "# Config keys",
        "",
        "<!-- made by `mpiqopt config-schema --markdown`; do not edit -->",
        "",
        "A config is a TOML file; paths in it are relative to it. Unknown tables and keys are errors; keys that",
        "were given and change nothing are named once. Integers may be written as 1e4, and are less than 2^63.",
        "`mpiqopt check CONFIG` prints a config with every default, `mpiqopt config-schema` a JSON schema for editors.",
        "",
        "A result file is a config, too: that of its run. Paths are then relative to the folder of the config that was",
        "run (attribute `config_folder` of the file) or, if that is gone, to the folder of the result file.",
        "",
    ]
    for name, cls in PLAIN_TABLES.items():
        lines += [f"## [{name}]", "", _text(cls), "", *_rows(cls, ()), ""]
    for family in FAMILY_TABLES:
        members = registry.members(family)
        base = _shared(list(members.values()))
        lines += [f"## [{family}]", "", f"`name` is one of: {', '.join(f'`{name}`' for name in members)}.", ""]
        if family == "topology":
            lines += [
                "Several `[[topology]]` tables are a network that varies in time: its graphs are used in turn.",
                "",
            ]
        if base:
            lines += ["Keys of all of them:", "", *_rows(next(iter(members.values())), (), only=base), ""]
        for name, cls in members.items():
            lines += [f'### {family}.name = "{name}"', "", _text(cls), ""]
            if any(field.name not in base for field in fields(cls)):
                lines += [*_rows(cls, base), ""]
    return "\n".join(lines).rstrip()


def _text(cls: type) -> str:
    return "\n".join(line.strip() for line in (cls.__doc__ or "").strip().splitlines())


def _shared(classes: list[type]) -> tuple[str, ...]:
    """Keys that mean the same, with the same default, in all classes."""
    first = {field.name: field.default for field in fields(classes[0])}
    hints = get_type_hints(classes[0], include_extras=True)
    return tuple(
        name
        for name, default in first.items()
        if all(
            any(field.name == name and field.default == default for field in fields(cls))
            and get_type_hints(cls, include_extras=True)[name] == hints[name]
            for cls in classes
        )
    )


def _rows(cls: type, skip: tuple[str, ...], only: tuple[str, ...] | None = None) -> list[str]:
    properties = _table(cls).get("properties", {})
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for field in fields(cls):
        if field.name in skip or (only is not None and field.name not in only):
            continue
        default = (
            "required" if field.default is MISSING else "" if field.default is None else f"`{_toml(field.default)}`"
        )
        schema = properties[field.name]
        meaning = schema.get("description", "").replace("|", "\\|")
        rows.append(f"| `{field.name}` | {_type(schema)} | {default} | {meaning} |")
    return rows


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def _type(schema: dict[str, Any]) -> str:
    """A type and its bounds in words."""
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
