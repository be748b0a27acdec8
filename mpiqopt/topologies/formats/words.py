"""Lines of a text as words: comments, separators and quotes as edge lists, adjacency lists and matrices have them."""

import csv
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.topologies.formats.links import at, number

NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", " ": "blanks"}
# what networkx writes after the ends of a link
DATA = re.compile(r"([^#{]*)(\{.*\})\s*(?:#.*)?")
OUTSIDE_QUOTES = re.compile(r'(?:[^"#]|"[^"]*"?)*')
QUOTED_OR_NOT = re.compile(r'"((?:[^"]|"")*)"|([^\s,"]+)')
# where blanks separate, a comma between digits is the point of a European number, or separates, too
DECIMAL_COMMA, BARE_BLANK = re.compile(r"\d,\d"), re.compile(r"[^\s,]\s+[^\s,]")


class Line(NamedTuple):
    """A line that is not empty. number: as an editor counts it. data: a link's attributes as networkx writes them."""

    number: int
    words: list[str]
    data: str = ""


class Rows(NamedTuple):
    """The lines of a file that are not empty. separated: what separates their words, such as "by commas"."""

    lines: list[Line]
    separated: str


def lines(text: str) -> list[str]:
    """Return all lines as an editor counts them: other characters that Unicode calls line ends are none."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def rows(text: str) -> Rows:
    """Return the lines of a text as words, without comments: from "#" on, or lines that begin with "%"."""
    bodies = list(_bodies(text))
    if bodies and all(body.startswith("\t") for _, body, _ in bodies):  # indented
        bodies = [(place, body.strip(), data) for place, body, data in bodies]
    mark = _separator([body for _, body, _ in bodies])
    marks = [mark] if mark else [other for other in NAMES if any(other in body for _, body, _ in bodies)]
    separated = f"by {' and '.join(NAMES[each] for each in marks) or 'nothing'}"
    return Rows([Line(place, _split(body, mark, place), data) for place, body, data in bodies], separated)


def _bodies(text: str) -> Iterator[tuple[int, str, str]]:
    """Number, words and data of each line that has any. Raises UsageError for attributes that do not end."""
    for place, line in enumerate(lines(text), 1):
        if line.lstrip().startswith(("%", "#")):
            continue
        found = DATA.fullmatch(line) if "{" in line else None
        if found:
            yield place, found[1].strip().rstrip(",;"), found[2]
            continue
        # a tab or comma at an end is an empty field
        body = (OUTSIDE_QUOTES.match(line)[0] if '"' in line else line.split("#")[0]).strip(" \f\v")
        if "{" in _unquoted(body):
            raise UsageError(at(place, "a { without its }: want attributes such as {'weight': 0.5}"))
        if body.strip():
            yield place, body, ""


def _separator(bodies: list[str]) -> str:
    """What separates the words of all lines; "" if blanks, tabs and commas do alike.

    Tabs and commas separate names with blanks only where such a name or an empty field is there.
    """
    plain = [_unquoted(body) for body in bodies]
    if any(";" in body for body in plain):
        return ";"
    several = [body for body in plain if len(body.split()) > 1]
    if several and all("\t" in body.strip() for body in several) and _whole(plain, "\t", ","):
        return "\t"
    return "," if any("," in body for body in plain) and _whole(plain, ",", "") else ""


def _unquoted(body: str) -> str:
    """A line with a letter in the place of each quoted word."""
    return re.sub(r'"(?:[^"]|"")*"', "Q", body) if '"' in body else body


def _whole(bodies: list[str], mark: str, other: str) -> bool:
    """True if a field between marks is a name with blanks, has the other separator, or is empty."""
    fields = (field.strip() for body in bodies if mark in body for field in body.split(mark))
    return any(not field or (other and other in field) or _is_name(field.split()) for field in fields)


def _is_name(words: list[str]) -> bool:
    """True if words belong together: several, not all of which are numbers."""
    return len(words) > 1 and any(np.isnan(number(word)) for word in words)


def _split(body: str, mark: str, line: int) -> list[str]:
    if mark:
        fields = next(csv.reader([body], delimiter=mark, skipinitialspace=True)) if '"' in body else body.split(mark)
        return [field.strip() for field in fields]
    if "," in body and DECIMAL_COMMA.search(_unquoted(body)) and BARE_BLANK.search(_unquoted(body)):
        raise UsageError(
            at(line, "blanks, and commas between digits: separate words by tabs or semicolons, or write 0.5 for 0,5")
        )
    if '"' in body:
        return [quoted.replace('""', '"') or plain for quoted, plain in QUOTED_OR_NOT.findall(body)]
    return body.replace(",", " ").split()
