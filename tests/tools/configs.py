"""Configs that are wrong in all ways that a text can be: mutated from the shipped ones, and made of the schema."""

import copy
import random
import tomllib
from pathlib import Path
from typing import Any

from tools import odd

SHIPPED = Path(__file__).parents[2] / "configs"
SMALL = {
    "run": {"iterations": 12},
    "data": {"name": "synthetic", "task": "classification", "samples": 40, "features": 4},
    "problem": {"name": "logistic", "l2": 0.1},
    "topology": {"name": "ring", "nodes": 4},
    "algorithm": {"name": "gradient-tracking"},
}
# values that hold the machine up beside what they show
BOUNDS = {"nodes": (2, 12), "samples": (13, 60), "features": (1, 6), "iterations": (0, 20), "classes": (2, 4)}
BOUNDS |= {"characters": (900, 9000), "context": (1, 9)}
PLAIN = ("run", "record", "checkpoint", "emulate", "devices")
# parts that need a file or a network
FOREIGN = ("csv", "npz", "hdf5", "libsvm", "idx", "images", "text", "mnist-5k", "file", "openml")


def text(rng: random.Random, schema: dict[str, Any]) -> bytes:
    """A config that may be wrong in none, one or several ways."""
    tables = mutated(rng, base(rng, schema), schema)
    written = as_toml(rng, tables).encode("utf-8", "surrogatepass")
    if rng.random() < 0.25:
        written = rng.choice(TEXTUAL)(rng, written)
    return b"\xef\xbb\xbf" + written if rng.random() < 0.05 else written


def base(rng: random.Random, schema: dict[str, Any]) -> dict[str, Any]:
    """A config that may well be right."""
    if rng.random() < 0.35:
        tables = tomllib.loads(rng.choice(sorted(SHIPPED.glob("*.toml"))).read_text())
        tables.setdefault("run", {})["iterations"] = rng.randint(0, 20)
        return tables
    if rng.random() < 0.5:
        return copy.deepcopy(SMALL)
    return generated(rng, schema)


def generated(rng: random.Random, schema: dict[str, Any]) -> dict[str, Any]:
    """Any parts with some of their keys, values within the schema's bounds."""
    tables = {"run": {"iterations": rng.randint(0, 20)}}
    for family, table in schema["properties"].items():
        if family in PLAIN:
            if rng.random() < 0.3:
                _set_plain(tables, family, [_keys(rng, part, 0.2) for part in members(table) * rng.randint(1, 3)])
            continue
        if family in ("regularizer", "compressor") and rng.random() < 0.6:
            continue
        parts = [part for part in members(table) if part["title"] not in FOREIGN]
        tables[family] = _keys(rng, rng.choice(parts), 0.3)
    return tables


def _set_plain(tables: dict[str, Any], name: str, drawn: list[dict[str, Any]]) -> None:
    """Give a plain table the first of the drawn keys; a list of tables all of them."""
    if name == "devices":
        tables[name] = drawn
    else:
        tables.setdefault(name, {}).update(drawn[0])


def members(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of a family's parts; of a plain table or a list of them, the one that there is."""
    if "anyOf" in table or "items" in table:
        return members(table["anyOf"][0] if "anyOf" in table else table["items"])
    return table.get("oneOf", [table])


def _keys(rng: random.Random, table: dict[str, Any], share: float) -> dict[str, Any]:
    required = table.get("required", ())
    kept = {name: of for name, of in table["properties"].items() if name in required or rng.random() < share}
    return {name: rng.randint(*BOUNDS[name]) if name in BOUNDS else allowed(rng, of) for name, of in kept.items()}


def allowed(rng: random.Random, schema: dict[str, Any]) -> Any:
    """A value that a key's schema allows, or nearly."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "anyOf" in schema:
        return allowed(rng, rng.choice([part for part in schema["anyOf"] if part.get("type") != "null"]))
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = min(schema.get("maximum", schema.get("exclusiveMaximum", low + 3)), low + 10**6)
    kinds = {
        "integer": lambda: rng.randint(int(low), int(max(high, low))),
        "number": lambda: rng.choice((low + (high - low) * rng.random(), 10.0 ** rng.uniform(-6, 0))),
        "boolean": lambda: rng.random() < 0.5,
        "string": lambda: rng.choice(odd.NAMES),
        "array": lambda: [allowed(rng, schema.get("items", {})) for _ in range(rng.randrange(4))],
    }
    return kinds.get(schema.get("type"), lambda: odd.value(rng))()


def mutated(rng: random.Random, tables: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """No change, one or a few."""
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3))):
        name = rng.choice(list(tables) or ["run"])
        rng.choice((_value, _value, _value, _known, _known, _without, _unknown, _table))(rng, tables, name, schema)
    return tables


def _value(rng: random.Random, tables: dict, name: str, schema: dict) -> None:
    """A key's value is any other."""
    if isinstance(tables.get(name), dict) and tables[name]:
        tables[name][rng.choice(list(tables[name]))] = odd.value(rng)


def _known(rng: random.Random, tables: dict, name: str, schema: dict) -> None:
    """A key that the table's part has is there with an odd value, or an allowed one."""
    table, known = tables.get(name), schema["properties"].get(name)
    if name == "devices" and isinstance(table, list) and table:
        table = rng.choice(table)
    if not isinstance(table, dict) or known is None:
        return
    part = rng.choice(members(known))
    if name not in PLAIN and rng.random() < 0.8:
        part = next((each for each in members(known) if each["title"] == table.get("name")), part)
    field = rng.choice(list(part["properties"]))
    table[field] = odd.value(rng) if rng.random() < 0.7 else allowed(rng, part["properties"][field])


def _without(rng: random.Random, tables: dict, name: str, schema: dict) -> None:
    table = tables.get(name)
    if isinstance(table, dict) and table and rng.random() < 0.7:
        del table[rng.choice(list(table))]
    else:
        tables.pop(name, None)


def _unknown(rng: random.Random, tables: dict, name: str, schema: dict) -> None:
    """A key or table that does not exist, often by a slip."""
    table = tables.get(name)
    if isinstance(table, dict) and rng.random() < 0.7:
        word = rng.choice([*table, *odd.NAMES])
        table[word[:-1] if rng.random() < 0.5 else word.upper()] = odd.value(rng)
    else:
        tables[rng.choice([f"{name}s", *odd.NAMES])] = rng.choice(({}, odd.value(rng)))


def _table(rng: random.Random, tables: dict, name: str, schema: dict) -> None:
    """A whole table is something else: a scalar, a list of tables, nested."""
    was = tables.get(name, {})
    tables[name] = rng.choice((odd.value(rng), [was], [was, was], [], {name: was}, {"name": was}, {}))


def as_toml(rng: random.Random, tables: dict[str, Any]) -> str:
    """TOML text; now and then a number of thousands of digits."""
    lines = [f"{odd.key(name)} = {odd.toml(each)}" for name, each in tables.items() if not _is_table(each)]
    for name, each in tables.items():
        for table in (each if isinstance(each, list) else [each]) if _is_table(each) else ():
            lines += [f"[[{odd.key(name)}]]" if isinstance(each, list) else f"[{odd.key(name)}]"]
            lines += [f"{odd.key(k)} = {_item(rng, v)}" for k, v in table.items()]
    return "\n".join(lines) + "\n"


def _is_table(item: Any) -> bool:
    return isinstance(item, dict) or (isinstance(item, list) and bool(item) and all(isinstance(x, dict) for x in item))


def _item(rng: random.Random, item: Any) -> str:
    number = isinstance(item, int | float) and not isinstance(item, bool)
    if number and rng.random() < 0.01:
        return rng.choice(
            (odd.DIGITS, f"0.{odd.DIGITS}", f"1e{odd.DIGITS}", f"0x{odd.DIGITS}", "1979-05-27", "07:32:00")
        )
    return odd.toml(item)


def _nested(rng: random.Random, written: bytes) -> bytes:
    """Arrays, tables or keys, one inside the other, many times."""
    depth = rng.choice((3, 90, 3000, 100_000))
    name = rng.choice(("run", "data", "algorithm"))
    return (
        written
        + rng.choice(
            (
                f"[x]\ny = {'[' * depth}{']' * depth}\n",
                f"[x]\ny = {'{a=' * depth}1{'}' * depth}\n",
                f"[{name}{'.a' * depth}]\n",
                f"[x]\n{'a.' * min(depth, 3000)}b = 1\n",
            )
        ).encode()
    )


def _foreign(rng: random.Random, written: bytes) -> bytes:
    """Another encoding, other line ends, or nothing but noise."""
    return rng.choice(
        (
            written.replace(b"\n", b"\r\n"),
            written.replace(b"\n", b"\r"),
            written.decode(errors="replace").encode("utf-16"),
            written + b"# caf\xe9\n",
            b"",
            b"\n" * 1000,
            rng.randbytes(300),
            b"\x89HDF\r\n\x1a\n" + rng.randbytes(64),
            written + b'title = """' + b"\n" * 50,
            b"x" * 100_000 + written,
        )
    )


TEXTUAL = (odd.damaged, odd.damaged, odd.inserted, odd.repeated, _nested, _foreign)
