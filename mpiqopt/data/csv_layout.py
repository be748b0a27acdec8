"""Find how a table of text is laid out from its first lines: delimiter, decimal mark, header and row names.

Every delimiter and decimal mark is tried. The reading wins under which most lines have the same number of fields, and
then most columns are numbers. What fits two readings is refused, with both in the message, until a key of the config
decides: a wrong guess would train on the wrong numbers without a word.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from mpiqopt.data.csv_fields import (
    GROUPED,
    INTEGER,
    NOTHING,
    is_csv_number,
    is_csv_word,
    kind_of_fields,
    may_be_grouped,
)
from mpiqopt.errors import UsageError, clip_for_error_line, quote_in_error
from mpiqopt.files import textfiles

# The layout is found in LOOK lines, or in ENOUGH of them if those have BYTES already. A line of more than LONGEST bytes
# is no table: without that limit a binary file of one line would be read whole.
LOOK, ENOUGH, BYTES, LONGEST = 100, 20, 1 << 20, 1 << 26
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
# the first line of a file for a spreadsheet
SEPARATOR = re.compile('"?sep=(.)"?')
# A comment behind a number, in a table of numbers alone: elsewhere a word may have a # in it.
INLINE = re.compile(r'(?<=[\d."])[ \t]+#[^\r\n]*')

# The number of a line, from 1 on, and its fields.
Record = tuple[int, list[str]]


class Given(NamedTuple):
    """Keep what the config says of the layout; None is to be found."""

    delimiter: str | None
    decimal: str | None
    header: bool | None
    encoding: str | None


class Layout(NamedTuple):
    """Describe how a text is to be read.

    Attributes
    ----------
    encoding, delimiter, decimal:
        of the text; a delimiter " " stands for any number of blanks and tabs
    skip:
        lines before the first sample
    header:
        number of the header's line, 0 if there is none
    names:
        one per column, "" where the header has none; None without a header
    columns, fields:
        number of columns, and the same with the empty one that a delimiter at the ends of lines makes
    row_names:
        True if the header is one name short, as R writes it, so that the first column has no name
    kinds:
        "number", "word", "bool" or "empty" for each column: what most values are
    samples:
        the lines below the header that were looked at
    inline:
        True in a table of numbers alone, where comments may stand behind them
    returns:
        True if some lines end in a lone carriage return, as on old Macintoshes
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


def without_csv_comment(line: str) -> str:
    """Return a line of numbers without the comment that may stand behind them."""
    return INLINE.sub("", line) if "#" in line else line


def csv_records(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    """Yield the first line and the fields of each sample; comments and blank lines are passed over.

    A field in quotation marks may have line breaks in it. Raises UsageError, with the line, for what is no csv.

    >>> list(csv_records(["# made by hand", "1, 2", "", '3, "a b"'], ","))
    [(2, ['1', '2']), (4, ['3', 'a b'])]
    """
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


def find_layout(file: BinaryIO, given: Given, where: str) -> Layout:
    """Return the layout of a text, from its first lines.

    Parameters
    ----------
    file:
        the text, decompressed, open at its begin
    given:
        what the config says already
    where:
        what messages call the file

    Raises
    ------
    UsageError
        for what is no table, and for what fits two readings, with the key of the config that decides

    Examples
    --------
    >>> text = b"name;height;age\\nEva;1,70;31\\nTom;1,85;28\\n"
    >>> found = find_layout(io.BytesIO(text), Given(None, None, None, None), "people.csv")
    >>> found.delimiter, found.decimal, found.header, found.kinds
    (';', ',', 1, ('word', 'number', 'number'))
    """
    data, whole = _head(file, where)
    encoding = textfiles.textfile_encoding(data, given.encoding, where, "data.encoding")
    text = textfiles.decode_textfile(data, given.encoding, where, "data.encoding", whole)
    if "\0" in text:  # such as text that was made UTF-32 twice
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UsageError(f"{where}: line {line}: is no text: a character that is 0")
    lines = list(io.StringIO(text, newline=None))
    if not whole and lines and not lines[-1].endswith("\n"):
        lines.pop()
    first = _first_line(lines, where)
    marked = SEPARATOR.fullmatch(lines[first].strip())
    if marked:
        lines[first] = "\n"
        given = given._replace(delimiter=given.delimiter or marked[1])
        _first_line(lines, where)
    returns = "\r" in text.replace("\r\n", "")
    bare = [*map(without_csv_comment, lines)]
    if bare != lines:  # what looks like comments is one only if all else is numbers
        found = _layout_of_lines(bare, given, encoding, returns, where)
        if found.inline:
            return found
    return _layout_of_lines(lines, given, encoding, returns, where)


def _first_line(lines: list[str], where: str) -> int:
    """Return the place of the first line that is no comment. Raises UsageError if there is none."""
    for place, line in enumerate(lines):
        if line.strip() and not line.startswith("#"):
            return place
    raise UsageError(f"{where}: no data: blank lines and comments only")


def _head(file: BinaryIO, where: str) -> tuple[bytes, bool]:
    """Return the first lines, and True if there are no more."""
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
    """Rate what lines come to under a delimiter and a decimal mark.

    fields: the most frequent number of fields; even: part of the lines that have it; numbers: part of the columns that
    are numbers.
    """

    delimiter: str
    decimal: str
    records: list[Record]
    fields: int
    even: float
    numbers: float

    def __str__(self) -> str:
        return f"{self.fields} columns between {DELIMITERS.get(self.delimiter, quote_in_error(self.delimiter))}"


def _best_reading(lines: list[str], given: Given, where: str) -> _Reading:
    """Return the best reading of all delimiters. Raises UsageError if there is none, or two that are as good."""
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
        raise UsageError(f"{where}: reads as {first} or {others[0]}: say data.delimiter")
    _require_decimal(first, given, where)
    return first


def _read(lines: list[str], delimiter: str, decimal: str | None) -> _Reading | None:
    """Return the better of the readings with decimal points and commas; None if the lines have single fields."""
    try:
        found = list(csv_records(lines, delimiter))
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
    """Return the part of the columns that are numbers."""
    return sum(kind_of_fields(column, decimal) == "number" for column in columns) / len(columns)


def _require_decimal(reading: _Reading, given: Given, where: str) -> None:
    """Raise UsageError if every comma in numbers may stand between thousands: 1,234 is 1234 or 1.234."""
    if reading.decimal == "." or given.decimal:
        return
    commas = [
        (line, word) for line, fields in reading.records for word in fields if "," in word and may_be_grouped(word)
    ]
    if commas and all(GROUPED.fullmatch(word) for _, word in commas):
        line, word = commas[0]
        raise UsageError(
            f"{where}: line {line}: {quote_in_error(word)} may be {word.strip().replace(',', '.', 1)} or "
            f"{word.strip().replace(',', '')}: say data.decimal = ',', or write numbers without commas"
        )


def _layout_of_lines(lines: list[str], given: Given, encoding: str, returns: bool, where: str) -> Layout:
    """Return the layout of lines by their best reading. Raises UsageError."""
    reading = _best_reading(lines, given, where)
    (line, first), below = reading.records[0], reading.records[1:]
    fields = Counter(len(row) for _, row in below).most_common(1)[0][0] if below else len(first)
    rows = [row for _, row in below if len(row) == fields]
    columns = fields - _is_last_empty(first, rows, fields)
    words = first[:-1] if len(first) > columns and first[-1] == "" else first
    kinds = tuple(kind_of_fields([row[j] for row in rows] or [first[j]], reading.decimal) for j in range(columns))
    short = len(words) == columns - 1
    if len(words) == columns:
        header = _has_header(words, rows, kinds, reading.decimal, given.header, line, where)
    else:
        header = _requires_header(words, columns, reading.decimal, given.header, line, where)
    if header and not below:
        raise UsageError(f"{where}: no data below the header (line {line})")
    return Layout(
        encoding=encoding,
        delimiter=reading.delimiter,
        decimal=reading.decimal,
        skip=_last_line(reading.records, line) if header else line - 1,
        header=line if header else 0,
        names=tuple(word.strip() for word in ([""] * short + list(words))) if header else None,
        columns=columns,
        fields=fields,
        row_names=short,
        kinds=kinds,
        samples=below if header else reading.records,
        inline=not {"word", "bool"} & set(kinds),
        returns=returns,
    )


def _is_last_empty(first: list[str], rows: list[list[str]], fields: int) -> bool:
    """Return True if all lines end in a delimiter, but perhaps the first, so that the last field is no column."""
    if not rows or fields <= 2 or any(row[-1] != "" for row in rows) or len(first) > fields:
        return False
    return len(first) == fields - 1 or first[-1] == ""


def _requires_header(words: list[str], columns: int, decimal: str, given: bool | None, line: int, where: str) -> bool:
    """Return True for a header one name short. Raises UsageError for any other wrong number of fields."""
    header = not any(is_csv_number(word, decimal) for word in words) if given is None else given
    if header and len(words) == columns - 1:
        return True
    counted = f"{len(words)} {'names' if header else 'fields'}, {columns} columns below"
    raise UsageError(f"{where}: line {line}: {counted} ({clip_for_error_line(' '.join(', '.join(words).split()), 60)})")


def _last_line(found: list[Record], line: int) -> int:
    """Return the line that the header ends in; names may have line breaks in them."""
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
    """Return True if the first line names the columns. Raises UsageError if it may be a sample as well.

    It is a header if a word stands above a column of numbers; a sample if a number with decimals stands there, or a
    word that occurs below, too. With both signs, or with neither, data.header has to decide.
    """
    if given is not None:
        return given
    if not rows:
        return not any(is_csv_number(word, decimal) for word in first)
    numbers = [j for j, word in enumerate(first) if kinds[j] == "number" and is_csv_number(word, decimal)]
    named = [j for j, word in enumerate(first) if kinds[j] == "number" and is_csv_word(word, decimal)]
    words = [j for j, kind in enumerate(kinds) if kind in ("word", "bool") and first[j].strip() not in NOTHING]
    again = [j for j in words if first[j] in {row[j] for row in rows}]
    whole = all(INTEGER.fullmatch(first[j]) for j in numbers)
    if named and (whole or not numbers):
        return True
    if not named and (again or (numbers and not whole)) and not (again and len(again) < len(words) and not numbers):
        return False
    if not named and not words:
        if _is_count(first[first[0] == "" :]):
            raise _undecided(where, line, "counts 0, 1, 2, ... as pandas names columns")
        return False
    if not named and not numbers and not again:
        return True
    if named:
        raise _undecided(where, line, f"{first[named[0]]!r} stands above numbers, {first[numbers[0]]!r} is one")
    raise _undecided(where, line, f"{quote_in_error(first[words[0]])} is a word like those below")


def _is_count(first: list[str]) -> bool:
    """Return True for 0, 1, 2, ..., as pandas names columns without names."""
    return len(first) >= 3 and [word.strip() for word in first] == [str(j) for j in range(len(first))]


def _undecided(where: str, line: int, reason: str) -> UsageError:
    return UsageError(
        f"{where}: line {line} may be a header or a sample ({clip_for_error_line(reason, 70)}): "
        "say data.header = true or false"
    )
