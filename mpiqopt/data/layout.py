"""How a table of text is laid out, found in its first lines: what is between columns, decimals, header, row names.

Nothing is taken for granted that fits two readings: it is refused, with both, until a key decides.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from mpiqopt.errors import UsageError, clipped, quoted
from mpiqopt.files import textfiles

# lines that are looked at, as long as they are not too long together; a single line may be this long at most
LOOK, ENOUGH, BYTES, LONGEST = 100, 20, 1 << 20, 1 << 26
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
# what stands for a value that is not there; the first ones also among words
NOTHING = ("", "?", "NA", "N/A", "NaN", "nan", "NAN", "null", "NULL")
MISSING = (*NOTHING, "None", "-", ".")
NUMBERS = {
    mark: re.compile(rf"[ \t]*[+-]?((\d+{whole}|[{mark}]\d+)(e[+-]?\d+)?|inf|infinity)[ \t]*", re.IGNORECASE | re.ASCII)
    # "5." is a number; "5," is one and a comma
    for mark, whole in ((".", r"([.]\d*)?"), (",", r"(,\d+)?"))
}
INTEGER = re.compile(r"[ \t]*[+-]?\d+[ \t]*", re.ASCII)
GROUPED = re.compile(r"[ \t]*[+-]?[1-9]\d{0,2}(,\d{3})+[ \t]*", re.ASCII)
# the first line of a file for a spreadsheet
SEPARATOR = re.compile('"?sep=(.)"?')
# behind a number, in a table of numbers alone: elsewhere words may have one in them
INLINE = re.compile(r'(?<=[\d."])[ \t]+#[^\r\n]*')
TRUTH = {"true": 1.0, "false": 0.0}

Record = tuple[int, list[str]]


class Given(NamedTuple):
    """What the config says of the layout; None is to be found."""

    delimiter: str | None
    decimal: str | None
    header: bool | None
    encoding: str | None


class Layout(NamedTuple):
    """How a text is to be read.

    skip: lines before the first sample; header: its line, 0 if there is none; names: one a column, "" without one;
    fields: columns, with an empty one that a delimiter at the ends of lines makes; row_names: True if the header is
    one name short, as R writes it, so that the first column has none; kinds: "number", "word", "bool" or "empty" for
    each column; samples: the lines below the header that were looked at; inline: True in a table of numbers alone,
    where comments may stand behind them; returns: True if lines end in the way of old Macintoshes.
    """

    encoding: str
    delimiter: str
    decimal: str
    skip: int
    header: int
    names: tuple[str, ...] | None
    columns: int
    fields: int
    row_names: bool
    kinds: tuple[str, ...]
    samples: list[Record]
    inline: bool
    returns: bool


def is_number(word: str, decimal: str) -> bool:
    """Return True for what is read as a number; markers of missing values are none."""
    return NUMBERS[decimal].fullmatch(word) is not None


def is_missing(word: str) -> bool:
    """Return True for a marker of a missing number."""
    return word in MISSING


def without_comment(line: str) -> str:
    """Return a line of numbers without the comment that may stand behind them."""
    return INLINE.sub("", line) if "#" in line else line


def records(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    """Yield the fields of each sample, and its first line; comments and blank lines are passed over."""
    pulled: list[int] = []

    def text() -> Iterator[str]:
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                pulled.append(number)
                yield line.replace("\t", " ").strip() + "\n" if delimiter == " " else line

    try:
        for fields in csv.reader(text(), delimiter=delimiter, skipinitialspace=True):
            yield pulled[0], fields
            pulled.clear()
    except csv.Error as error:
        raise UsageError(f"line {pulled[-1] if pulled else 1}: {error}") from error


def find(file: BinaryIO, given: Given, where: str) -> Layout:
    """Return the layout of a file that is open at its begin. Raises UsageError that names the key which decides."""
    data, whole = _head(file, where)
    encoding = textfiles.encoding_of(data, given.encoding, where, "data.encoding")
    text = textfiles.decoded(data, given.encoding, where, "data.encoding", whole)
    if "\0" in text:  # such as text that was made UTF-32 twice
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UsageError(f"{where}: line {line}: is no text: a character that is 0")
    lines = list(io.StringIO(text, newline=None))
    if not whole and lines and not lines[-1].endswith("\n"):
        lines.pop()
    first = _first(lines, where)
    marked = SEPARATOR.fullmatch(lines[first].strip())
    if marked:
        lines[first] = "\n"
        given = given._replace(delimiter=given.delimiter or marked[1])
        _first(lines, where)
    returns = "\r" in text.replace("\r\n", "")
    bare = [*map(without_comment, lines)]
    if bare != lines:
        found = _found(bare, given, encoding, returns, where)
        if found.inline:
            return found
    return _found(lines, given, encoding, returns, where)


def _first(lines: list[str], where: str) -> int:
    """The place of the first line that is no comment. Raises UsageError."""
    for place, line in enumerate(lines):
        if line.strip() and not line.startswith("#"):
            return place
    raise UsageError(f"{where}: no data: blank lines and comments only")


def _found(lines: list[str], given: Given, encoding: str, returns: bool, where: str) -> Layout:
    delimiter, decimal, found = _dialect(lines, given, where)
    return _layout(found, delimiter, decimal, given, encoding, returns, where)


def _head(file: BinaryIO, where: str) -> tuple[bytes, bool]:
    """The first lines, and True if there are no more."""
    lines: list[bytes] = []
    size = 0
    while len(lines) < LOOK and (size < BYTES or len(lines) < ENOUGH):
        line = file.readline(LONGEST)
        if not line:
            return b"".join(lines), True
        size += len(line)
        if size >= LONGEST:
            raise UsageError(f"{where}: line {len(lines) + 1} does not end within {LONGEST >> 20} MB: no table")
        lines.append(line)
    return b"".join(lines), False


class _Reading(NamedTuple):
    """What lines come to under a delimiter and a decimal mark. even: part of the lines with most fields alike."""

    delimiter: str
    decimal: str
    records: list[Record]
    fields: int
    even: float
    numbers: float

    def said(self) -> str:
        return f"{self.fields} columns between {DELIMITERS.get(self.delimiter, quoted(self.delimiter))}"


def _dialect(lines: list[str], given: Given, where: str) -> tuple[str, str, list[Record]]:
    readings = [
        reading
        for delimiter in ([given.delimiter] if given.delimiter else DELIMITERS)
        if (reading := _read(lines, delimiter, given.decimal)) is not None
    ]
    if not readings:
        if given.delimiter:
            raise UsageError(f"{where}: no line has two fields with data.delimiter = {given.delimiter!r}")
        raise UsageError(f"{where}: a single column: want the target and features, or data.delimiter between them")
    even = max(reading.even for reading in readings)
    best = max((reading.even, reading.numbers) for reading in readings)
    found = [reading for reading in readings if (reading.even, reading.numbers) == best]
    first = found[0]
    # blanks may stand beside tabs: the same fields are the same reading
    others = [reading for reading in found[1:] if reading.records != first.records]
    if others and even == 1:
        raise UsageError(f"{where}: reads as {first.said()} or {others[0].said()}: say data.delimiter")
    _require_decimal(first, given, where)
    return first.delimiter, first.decimal, first.records


def _read(lines: list[str], delimiter: str, decimal: str | None) -> _Reading | None:
    """The better of the readings with decimal points and commas; None if the lines have single fields."""
    try:
        found = list(records(lines, delimiter))
    except UsageError:
        return None
    below = [fields for _, fields in found[1:]] or [found[0][1]]
    (fields, count), *_ = Counter(map(len, below)).most_common(1)
    if fields < 2:
        return None
    columns = list(zip(*(row for row in below if len(row) == fields), strict=True))
    mark = decimal or "."
    share = _share(columns, mark)
    if not decimal and share < 1 and (other := _share(columns, ",")) > share:
        mark, share = ",", other
    return _Reading(delimiter, mark, found, fields, count / len(below), share)


def _share(columns: list[tuple[str, ...]], decimal: str) -> float:
    """The part of the columns that are numbers."""
    return sum(_kind(column, decimal) == "number" for column in columns) / len(columns)


def _kind(column: Iterable[str], decimal: str) -> str:
    """What most values of a column are."""
    present = [word for word in column if not is_missing(word)]
    if not present:
        return "empty"
    if 2 * sum(is_number(word, decimal) for word in present) >= len(present):
        return "number"
    return "bool" if all(word.strip().lower() in TRUTH for word in present) else "word"


def _require_decimal(reading: _Reading, given: Given, where: str) -> None:
    """Raise UsageError if every comma in numbers may stand between thousands."""
    if reading.decimal == "." or given.decimal:
        return
    commas = [(line, word) for line, fields in reading.records for word in fields if "," in word and _is_comma(word)]
    if commas and all(GROUPED.fullmatch(word) for _, word in commas):
        line, word = commas[0]
        raise UsageError(
            f"{where}: line {line}: {quoted(word)} may be {word.strip().replace(',', '.', 1)} or "
            f"{word.strip().replace(',', '')}: say data.decimal = ',', or write numbers without commas"
        )


def _is_comma(word: str) -> bool:
    return is_number(word, ",") or GROUPED.fullmatch(word) is not None


def _layout(
    found: list[Record], delimiter: str, decimal: str, given: Given, encoding: str, returns: bool, where: str
) -> Layout:
    (line, first), below = found[0], found[1:]
    fields = Counter(len(row) for _, row in below).most_common(1)[0][0] if below else len(first)
    rows = [row for _, row in below if len(row) == fields]
    trailing = bool(rows) and fields > 2 and all(row[-1] == "" for row in rows) and len(first) <= fields
    trailing = trailing and (len(first) == fields - 1 or first[-1] == "")
    columns = fields - trailing
    words = first[:-1] if len(first) > columns and first[-1] == "" else first
    kinds = tuple(_kind([row[j] for row in rows] or [first[j]], decimal) for j in range(columns))
    short = len(words) == columns - 1
    if len(words) == columns:
        header = _has_header(words, rows, kinds, decimal, given.header, line, where)
    else:
        header = not any(is_number(word, decimal) for word in words) if given.header is None else given.header
    if len(words) != columns and not (short and header):
        what = "names" if header else "fields"
        counted = f"{len(words)} {what}, {columns} columns below"
        raise UsageError(f"{where}: line {line}: {counted} ({clipped(' '.join(', '.join(words).split()), 60)})")
    if header and not below:
        raise UsageError(f"{where}: no data below the header (line {line})")
    names = tuple(word.strip() for word in ([""] * short + list(words))) if header else None
    return Layout(
        encoding=encoding,
        delimiter=delimiter,
        decimal=decimal,
        skip=_last_line(found, line) if header else line - 1,
        header=line if header else 0,
        names=names,
        columns=columns,
        fields=fields,
        row_names=short,
        kinds=kinds,
        samples=below if header else found,
        inline=not {"word", "bool"} & set(kinds),
        returns=returns,
    )


def _last_line(found: list[Record], line: int) -> int:
    """The lines up to the header's end; names may have line breaks in them."""
    return line + sum(word.count("\n") for word in found[0][1])


def _has_header(
    first: list[str],
    rows: list[list[str]],
    kinds: tuple[str, ...],
    decimal: str,
    given: bool | None,
    line: int,
    where: str,
) -> bool:
    """True if the first line names the columns. Raises UsageError if it may be either."""
    if given is not None:
        return given
    if not rows:
        return not any(is_number(word, decimal) for word in first)
    numbers = [j for j, word in enumerate(first) if kinds[j] == "number" and is_number(word, decimal)]
    named = [j for j, word in enumerate(first) if kinds[j] == "number" and _is_name(word, decimal)]
    words = [j for j, kind in enumerate(kinds) if kind in ("word", "bool") and first[j].strip() not in NOTHING]
    again = [j for j in words if first[j] in {row[j] for row in rows}]
    whole = all(INTEGER.fullmatch(first[j]) for j in numbers)
    if named and (whole or not numbers):
        return True
    if not named and (again or (numbers and not whole)) and not (again and len(again) < len(words) and not numbers):
        return False
    if not named and not words:
        if _counts(first[first[0] == "" :]):
            raise _two(where, line, "counts 0, 1, 2, ... as pandas names columns")
        return False
    if not named and not numbers and not again:
        return True
    reason = f"{first[named[0]]!r} stands above numbers, {first[numbers[0]]!r} is one" if named else _both(first, words)
    raise _two(where, line, reason)


def _is_name(word: str, decimal: str) -> bool:
    return not is_missing(word) and not is_number(word, decimal)


def _both(first: list[str], words: list[int]) -> str:
    return f"{quoted(first[words[0]])} is a word like those below"


def _counts(first: list[str]) -> bool:
    return len(first) >= 3 and [word.strip() for word in first] == [str(j) for j in range(len(first))]


def _two(where: str, line: int, reason: str) -> UsageError:
    return UsageError(
        f"{where}: line {line} may be a header or a sample ({clipped(reason, 70)}): say data.header = true or false"
    )
