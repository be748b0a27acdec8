"""Split the lines of a text into words: comments, separators and quotes of edge lists, adjacency lists and matrices."""

import csv
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.topologies.formats.links import at_line, finite_number

NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", " ": "blanks"}
# what networkx writes after the ends of a link
DATA = re.compile(r"([^#{]*)(\{.*\})\s*(?:#.*)?")
OUTSIDE_QUOTES = re.compile(r'(?:[^"#]|"[^"]*"?)*')
QUOTED_OR_NOT = re.compile(r'"((?:[^"]|"")*)"|([^\s,"]+)')
COLON = re.compile(r'([^:,;"]+|"[^"]*"):(?:\s+|$)(.*)')
# where blanks separate, a comma between digits is the point of a European number, or separates, too
DECIMAL_COMMA, BARE_BLANK = re.compile(r"\d,\d"), re.compile(r"[^\s,]\s+[^\s,]")


class Line(NamedTuple):
    """Keep a line that is not empty.

    number: as an editor counts it, from 1 on; data: a link's attributes as networkx writes them, {'weight': 0.5}.
    """

    number: int
    words: list[str]
    data: str = ""


class Rows(NamedTuple):
    """Keep the lines of a file that are not empty.

    separated: what separates their words, such as "by commas"; colons: True if one stood after the first name of each
    line, as in adjacency lists.
    """

    lines: list[Line]
    separated: str
    colons: bool


def editor_lines(text: str) -> list[str]:
    """Return all lines as an editor counts them: other characters that Unicode calls line ends are none."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def words_of_lines(text: str) -> Rows:
    """Return the lines of a text as words, without comments: from "#" on, or lines that begin with "%".

    >>> found = words_of_lines("# links\\nNew York; Rome; 0.5\\nRome; Oslo; 0.5\\n")
    >>> found.separated, found.lines[0]
    ('by semicolons', Line(number=2, words=['New York', 'Rome', '0.5'], data=''))
    """
    found = list(_bodies(text))
    if found and all(body.startswith("\t") for _, body, _ in found):  # indented
        found = [(place, body.strip(), data) for place, body, data in found]
    colons = bool(found) and all(COLON.fullmatch(body) for _, body, _ in found)
    if colons:
        mark = ", " if any("," in body for _, body, _ in found) else " "
        found = [(place, COLON.sub(rf"\1{mark}\2", body).rstrip(mark), data) for place, body, data in found]
    bodies = [body for _, body, _ in found]
    present = [mark for mark in NAMES if mark in text and any(mark in body for body in bodies)]
    mark = _separator(bodies, present)
    separated = f"by {' and '.join(NAMES[each] for each in ([mark] if mark else present)) or 'nothing'}"
    return Rows([Line(place, _split(body, mark, place), data) for place, body, data in found], separated, colons)


def _bodies(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield number, words and data of each line that has any. Raises UsageError for attributes that do not end."""
    for place, line in enumerate(editor_lines(text), 1):
        if "#" in line or "%" in line or "{" in line:
            body, data = _without_comment(line, place)
        else:
            body, data = line, ""
        # a tab or comma at an end is an empty field
        body = body.strip(" \f\v")
        if body and not body.isspace():
            yield place, body, data


def _without_comment(line: str, place: int) -> tuple[str, str]:
    """Return words and data of a line."""
    if line.lstrip().startswith("%"):
        return "", ""
    found = DATA.fullmatch(line)
    if found:
        return found[1].strip().rstrip(",;"), found[2]
    body = (OUTSIDE_QUOTES.match(line) or [""])[0] if '"' in line else line.split("#")[0]
    if "{" in _unquoted(body):
        raise UsageError(at_line(place, "a { without its }: want attributes such as {'weight': 0.5}"))
    return body, ""


def _separator(bodies: list[str], present: list[str]) -> str:
    """Return what separates the words of all lines; "" if blanks, tabs and commas do alike.

    bodies: lines without comments; present: the separators in them. Semicolons always separate. Tabs and commas do so
    alone only where a name with blanks or an empty field is there: else they may stand next to blanks.
    """
    if present in ([], [" "], ["\t"]):
        return ""
    plain = [_unquoted(body) for body in bodies]
    if any(";" in body for body in plain):
        return ";"
    several = [body for body in plain if len(body.split()) > 1] if "\t" in present else []
    if several and all("\t" in body.strip() for body in several) and _whole(plain, "\t", ","):
        return "\t"
    return "," if any("," in body for body in plain) and _whole(plain, ",", "") else ""


def _unquoted(body: str) -> str:
    """Return a line with a letter in the place of each quoted word."""
    return re.sub(r'"(?:[^"]|"")*"', "Q", body) if '"' in body else body


def _whole(bodies: list[str], mark: str, other: str) -> bool:
    """Return True if a field between marks is a name with blanks, has the other separator, or is empty."""
    fields = (field.strip() for body in bodies if mark in body for field in body.split(mark))
    return any(not field or (other and other in field) or _is_name(field.split()) for field in fields)


def _is_name(words: list[str]) -> bool:
    """Return True if words belong together: several, not all of which are numbers."""
    return len(words) > 1 and any(np.isnan(finite_number(word)) for word in words)


def _split(body: str, mark: str, line: int) -> list[str]:
    """Return the words of a line. mark: what separates them, "" for blanks, tabs and commas alike."""
    if mark:
        fields = next(csv.reader([body], delimiter=mark, skipinitialspace=True)) if '"' in body else body.split(mark)
        return [field.strip() for field in fields]
    if "," in body and DECIMAL_COMMA.search(_unquoted(body)) and BARE_BLANK.search(_unquoted(body)):
        raise UsageError(
            at_line(
                line, "blanks, and commas between digits: separate words by tabs or semicolons, or write 0.5 for 0,5"
            )
        )
    if '"' in body:
        return [quoted.replace('""', '"') or plain for quoted, plain in QUOTED_OR_NOT.findall(body)] or [""]
    return body.replace(",", " ").split()
