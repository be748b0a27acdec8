"""Odd values, texts and bytes, drawn at random: what people type, paste, export and lose half of."""

import json
import random
from collections.abc import Sequence
from typing import Any

# sizes that are refused, or are a run's own business, within seconds: nothing between a few nodes and gigabytes
SIZES = (
    0,
    1,
    -1,
    2,
    3,
    7,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    10**12,
    10**18,
    10**30,
    -(2**63),
)
FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e-3,
    1e-300,
    5e-324,
    1e300,
    1.7e308,
    -1e308,
    1e16,
    3.0,
    float("inf"),
    float("nan"),
)
NAMES = (
    "", " ", "ring", "zero", "auto", "none", "x" * 300, "a[b]", "[red]x[/red]", "[/]", "$x_1$", "$", "\\frac",
    "日本語", "é",
    "\x1b[31mred", "a\x07b", "tab\there", "two\nlines", "..", "../..", "/", "/dev/zero", "/dev/null", "/dev/full",
    "/proc/self/mem", "con%s%d%n", "{0}", "'; drop", '"', "1", "1e4", "true", "nan", "\u202eabc", "😀", "a" * 5000,
)  # fmt: skip
DIGITS = "7" * 5000


def value(rng: random.Random) -> Any:
    """Something of any type that TOML knows."""
    kind = rng.randrange(9)
    if kind < 2:
        return rng.choice(SIZES)
    if kind < 4:
        return rng.choice(FLOATS)
    if kind < 6:
        return rng.choice(NAMES)
    if kind == 6:
        return rng.random() < 0.5
    if kind == 7:
        return [value(rng) for _ in range(rng.randrange(4))]
    return {rng.choice(("name", "a", "", "日")): value(rng)}


def toml(item: Any) -> str:
    """A value as TOML writes it; integers of any length."""
    if isinstance(item, bool):
        return str(item).lower()
    if isinstance(item, str):
        return json.dumps(item, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(item, list):
        return f"[{', '.join(map(toml, item))}]"
    if isinstance(item, dict):
        return f"{{{', '.join(f'{key(name)} = {toml(part)}' for name, part in item.items())}}}"
    return str(item)


def key(name: str) -> str:
    plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if plain else toml(name)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """A file of which something is lost, added or changed anywhere."""
    return rng.choice((truncated, flipped, blanked, inserted, repeated, shuffled))(rng, content)


def truncated(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def flipped(rng: random.Random, content: bytes) -> bytes:
    """One to three bits are others; mostly of bytes that are not zero, as those are that nobody reads."""
    changed = bytearray(content)
    used = [i for i, byte in enumerate(content) if byte]
    for _ in range(rng.choice((1, 1, 1, 2, 3)) if content else 0):
        where = rng.choice(used) if used and rng.random() < 0.7 else rng.randrange(len(changed))
        changed[where] ^= 1 << rng.randrange(8)
    return bytes(changed)


def blanked(rng: random.Random, content: bytes) -> bytes:
    """A piece is zeros, as after a crash of the machine."""
    first = rng.randrange(len(content) + 1)
    size = min(rng.choice((1, 8, 64, 512, 4096)), len(content) - first)
    return content[:first] + bytes(size) + content[first + size :]


def inserted(rng: random.Random, content: bytes) -> bytes:
    words = (
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x1b[31m",
        b"\r\n",
        b"nan",
        b"=",
        b"[",
        b"]]",
        b'"',
        DIGITS.encode(),
    )
    where = rng.choice((0, len(content), rng.randrange(len(content) + 1)))
    return content[:where] + rng.choice((*words, rng.randbytes(3))) + content[where:]


def repeated(rng: random.Random, content: bytes) -> bytes:
    """A line stands there twice."""
    lines = content.splitlines(keepends=True) or [b"\n"]
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b"".join(lines)


def shuffled(rng: random.Random, content: bytes) -> bytes:
    """Two lines have changed places."""
    lines = content.splitlines(keepends=True)
    if len(lines) > 1:
        first, second = rng.sample(range(len(lines)), 2)
        lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


def some(rng: random.Random, items: Sequence, share: float) -> list:
    """Those of ``items`` that are drawn, each with the same probability."""
    return [item for item in items if rng.random() < share]
