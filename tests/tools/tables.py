"""Tables of text that were damaged on the way, and another reading of them, by nothing but what was said of them."""

import io
import random
import re

from mpiqopt.data.csv_layout import DELIMITERS
from mpiqopt.data.source import Table

PIECES = (b'"', b",", b";", b"\n", b"\r", b"#", b" ", b"\t", b"\0", b"-", b"e", b".", b"nan", b"?", b"\xff", b'"x"')
ENCODINGS = ("utf-16", "utf-16-le", "latin-1", "utf-8-sig", "utf-32")


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return what is left of a text after a mishap or a few."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(MISHAPS)(rng, content) if content else content
    return content


def _flipped(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def _cut(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    return rng.choice((content[:place], content[place:]))


def _put_in(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + rng.choice(PIECES) + content[place:]


def _field_lost(rng: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    line = rng.randrange(len(lines))
    lines[line] = lines[line].rsplit(rng.choice((b",", b";", b" ")), 1)[0]
    return b"\n".join(lines)


def _line_moved(rng: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    line = lines.pop(rng.randrange(len(lines)))
    return b"\n".join(rng.choice((lines, [line, *lines], [*lines, line])))


def _encoded(rng: random.Random, content: bytes) -> bytes:
    return content.decode("latin-1").encode(rng.choice(ENCODINGS), "replace")


MISHAPS = (_flipped, _flipped, _cut, _put_in, _put_in, _field_lost, _line_moved, _encoded)


def by_what_is_said(content: bytes, table: Table) -> list[list[float]]:
    """Return the numbers of a text without quotation marks, line by line."""
    said = table.read["format"]
    encoding = next((name for name in ("utf-16", "utf-32") if name in said), "utf-8-sig")
    mark = next(mark for mark, name in DELIMITERS.items() if f" {name} between" in said)
    point = "," if "decimal commas" in said else "."
    header = int(table.read["header"].removeprefix("line ").replace("none", "0"))
    lines = io.StringIO(content.decode(encoding), newline=None).read().split("\n")
    below = [line for line in lines[header:] if line.strip() and not line.startswith(("#", "sep="))]
    samples = []
    for line in below:
        bare = re.sub(r"(?<=[0-9.])[ \t]+#.*", "", line)
        fields = bare.split() if mark == " " else bare.split(mark)
        fields = fields["left out" in table.read :]
        fields = fields[: table.features + 1] if "".join(fields[table.features + 1 :]) == "" else fields
        samples.append([float(field.replace(point, ".")) for field in fields])
    return samples
