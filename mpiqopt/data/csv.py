"""Tables of text: commas, semicolons, tabs or blanks between columns, read by pandas.

pandas reads fast but says little of what is wrong, and takes some wrong files for right ones. So the layout is found
first (``csv_layout``), and a file that pandas refuses is read again in Python, to name the line and the field.
"""

import io
import mmap
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

import numpy as np

from mpiqopt.data import csv_layout
from mpiqopt.data.column_roles import Content, Heads, Roles
from mpiqopt.data.columns import Columns
from mpiqopt.data.csv_fields import MISSING, NOTHING, is_csv_missing, is_csv_number
from mpiqopt.data.csv_layout import Given, Layout
from mpiqopt.data.source import Table
from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.field import Field
from mpiqopt.files import textfiles
from mpiqopt.registry import register

# lines that are comments, and comments behind numbers
WHOLE_COMMENT = re.compile(rb"(?<![^\r\n])#[^\r\n]*")
COMMENT = re.compile(csv_layout.INLINE.pattern.encode())
PLAIN = re.compile(r"[0-9eE.+ -]*")
UTF8 = ("utf-8", "utf-8-sig")
# the first release of pandas whose numbers are rounded exactly unless another way is asked for
EXACT = (3, 1)


@register("data", "csv")
@dataclass(frozen=True, kw_only=True)
class Csv(Columns):
    """A table of text, one sample a line; blank lines and lines that begin with # are passed over.

    May be compressed (gzip, bzip2, xz). What is between columns, the decimal mark and whether there is a header are
    found; what fits two readings is refused until a key decides. Rank 0 reads a file of up to 16 MB for all; of a
    larger one every rank reads all and keeps its own rows.
    """

    delimiter: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=1,
            description="between columns; by default a comma, semicolon, tab, bar or blanks, as found",
        ),
    ] = None
    header: Annotated[
        bool | None, Field(description="whether the first line names the columns; by default as found")
    ] = None
    decimal: Annotated[
        str | None, Field(min_length=1, max_length=1, description='decimal mark, "." or ","; by default as found')
    ] = None
    encoding: Annotated[
        str | None,
        Field(min_length=1, description="of the text, such as latin-1; by default UTF-8, or by the file's mark"),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delimiter is not None and (not self.delimiter.isascii() or self.delimiter in '"\n\r#'):
            raise UsageError(
                f"data.delimiter = {self.delimiter!r}: want ',', ';', a tab or another single ASCII character"
            )
        if self.decimal not in (None, ".", ","):
            raise UsageError(f"data.decimal = {self.decimal!r}: want '.' or ','")
        if self.decimal is not None and self.decimal == self.delimiter:
            raise UsageError(f"data.decimal = {self.decimal!r}: is data.delimiter, too")

    def count(self) -> int | None:
        """Return the number of samples of a small file, by reading its lines; None where some may be dropped."""
        if not self.is_small() or self.missing == "drop":
            return None
        with self.reading() as where:
            found = self._layout(self.path, where)
            return sum(1 for _ in _records(self.path, found))

    def table(self, path: str, where: str, like: Table | None) -> Table:
        """Return the table of a file: find its layout, say what columns are for, read those that are used."""
        found = self._layout(path, where)
        heads = Heads(found.names, found.kinds, found.row_names)
        roles = self.roles(heads, where) if like is None else self.roles_of_test(heads, like.terms, where)
        if like is None:
            self.require_numbers(heads, roles, where, lambda column: _example(found, heads, column))
        else:
            heads = self.heads_of_test(heads, roles, like.terms)
        content = _Lines(path, where, found, heads, roles)
        return self.make_table(path, where, heads, roles, content, _understood(path, found), like)

    def _layout(self, path: str, where: str) -> Layout:
        with textfiles.open_decompressed_textfile(path) as file:
            return csv_layout.find_layout(file, Given(self.delimiter, self.decimal, self.header, self.encoding), where)


def _understood(path: str, found: Layout) -> dict[str, str]:
    """Return how a text was read, in a few words by subject."""
    between = csv_layout.DELIMITERS.get(found.delimiter, quote_in_error(found.delimiter))
    decimal = ", decimal commas" if found.decimal == "," else ""
    encoding = "" if found.encoding == "utf-8" else f", {found.encoding.removesuffix('-sig')}"
    return {
        "format": f"csv, {between} between columns{decimal}{encoding}{textfiles.textfile_compression(path)}",
        "header": f"line {found.header}" if found.header else "none",
    }


def _example(found: Layout, heads: Heads, column: int) -> str:
    """Return where the first word of a column stands that is no number, and the word."""
    for line, fields in found.samples:
        if len(fields) > column and not (
            is_csv_missing(fields[column]) or is_csv_number(fields[column], found.decimal)
        ):
            return f"line {line}, {heads.label(column)}: {quote_in_error(fields[column])}"
    return heads.label(column)


def _records(path: str, found: Layout) -> Iterator[csv_layout.Record]:
    """Yield line and fields of each sample. Slow: only to count a few, and to say where something is wrong."""
    with (
        textfiles.open_decompressed_textfile(path) as file,
        io.TextIOWrapper(file, found.encoding, newline=None) as lines,
    ):
        text = map(csv_layout.without_csv_comment, lines) if found.inline else lines
        yield from (each for each in csv_layout.csv_records(text, found.delimiter) if each[0] > found.skip)


class _Lines(Content):
    """Read the used columns of a text file, with the same result as ``csv_layout.csv_records`` but by pandas.

    found: the layout of the file; heads, roles: of its columns. Raises UsageError, with line, column and field, for a
    line of another number of fields and for a field that is no number.
    """

    def __init__(self, path: str, where: str, found: Layout, heads: Heads, roles: Roles) -> None:
        self.path, self.where, self.found, self.heads = path, where, found, heads
        words = roles.words(heads.kinds) | ({roles.index} if heads.kinds[0] == "word" or found.row_names else set())
        used = {j for j in (*roles.features, roles.target, roles.by, roles.index) if j is not None}
        self._numbers = sorted(used - words)
        self._known: dict[int, np.ndarray] = {}
        try:
            self._frame = self._read()
        except UnicodeDecodeError:
            self._require_text()
            raise
        self._require_whole_lines()
        self.samples = len(self._frame)

    def numbers(self, column: int) -> np.ndarray:
        """Return a column as float64 (m,), NaN where a value is missing."""
        if column not in self._known:  # a table may have very many columns, and pandas takes its time for each
            self._known[column] = self._frame[column].to_numpy(np.float64)
        return self._known[column]

    def words(self, column: int) -> Any:
        return self._frame[column]

    def place(self, row: int, column: int) -> str:
        """Return line, column and field of a sample, found by reading the text once more."""
        for number, (line, fields) in enumerate(_records(self.path, self.found)):
            if number == row:
                return f"line {line}, {self.heads.label(column)}: {quote_in_error(fields[column])}"
        return self.heads.label(column)

    def _require_text(self) -> None:
        """Raise UsageError for the first line that is not of the encoding, if there is one."""
        textfiles.read_textfile(self.path, self.found.encoding, self.where, "data.encoding")

    def _read(self) -> Any:
        """Return all columns as a pandas DataFrame. Raises UsageError for fields that are no numbers."""
        from pandas.errors import ParserWarning

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ParserWarning)  # a field too many
                return self._read_at_once() if self._is_plain() else self._read_in_pieces()
        except (ValueError, ParserWarning) as error:
            reason = error
        if "inside string" in str(reason):
            *_, (line, _) = _records(self.path, self.found)
            raise UsageError(f"{self.where}: line {line}: a quotation mark that is not closed")
        if not isinstance(reason, UnicodeDecodeError):
            self._require_right()
        self._require_text()
        raise UsageError(f"{self.where}: not readable as csv: {' '.join(str(reason).split())}")

    def _is_plain(self) -> bool:
        """Return True if pandas may open the file itself, which is faster: it has no comments or bytes of 0."""
        found, numbers = self.found, len(self._numbers)
        if found.encoding not in UTF8 or found.returns or found.skip > 1 or textfiles.is_compressed_textfile(self.path):
            return False
        if numbers == found.fields:  # neither # nor zero is part of a number: they would be errors
            return True
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b"#") < 0 and content.find(b"\0") < 0

    def _read_at_once(self) -> Any:
        """Let pandas read the file; again in pieces if it fails or takes a column of numbers for something else."""
        import pandas
        from pandas.errors import ParserWarning

        options = self._options(pandas.__version__)
        if len(self._numbers) == self.found.fields:
            # it finds types faster than it obeys, and blanks before what are no numbers come to no number
            del options["dtype"], options["skipinitialspace"]
        try:
            frame = pandas.read_csv(self.path, skiprows=self.found.skip, **options)
        except (ValueError, ParserWarning):  # comments, perhaps
            return self._read_in_pieces()
        kinds = [dtype.kind for dtype in frame.dtypes]
        return frame if all(kinds[j] in "fiu" for j in self._numbers) else self._read_in_pieces()

    def _read_in_pieces(self) -> Any:
        """Let pandas read the file without its comments, by way of ``_Pieces``."""
        import pandas

        with textfiles.open_decompressed_textfile(self.path) as file:
            return pandas.read_csv(_Pieces(file, self.found, self.where), **self._options(pandas.__version__))

    def _options(self, version_of_pandas: str) -> dict[str, Any]:
        """Return the arguments of ``pandas.read_csv``: only what the layout says counts, none of pandas' guesses."""
        found = self.found
        version = tuple(int(part) for part in version_of_pandas.split(".")[:2])
        exact = {} if version >= EXACT else {"float_precision": "round_trip"}
        numbers = set(self._numbers)
        return {
            "sep": r"\s+" if found.delimiter == " " else found.delimiter,
            "decimal": found.decimal,
            "header": None,
            "names": range(found.fields),
            "index_col": False,
            "dtype": {j: np.float64 if j in numbers else str for j in range(found.fields)},
            "keep_default_na": False,
            "na_values": _missing(found.fields, numbers),
            "skipinitialspace": True,
            **exact,
        }

    def _require_right(self) -> None:
        """Raise UsageError for the first line with a wrong number of fields, or a field that is no number."""
        for line, fields in _records(self.path, self.found):
            self._require_fields(line, fields)
            for j in () if _are_plain(fields) else self._numbers:
                if not (is_csv_number(fields[j], self.found.decimal) or is_csv_missing(fields[j])):
                    wrong = f"{self.heads.label(j)}: {quote_in_error(fields[j])} is no number{_cure(fields[j])}"
                    raise UsageError(f"{self.where}: line {line}, {wrong}")

    def _require_fields(self, line: int, fields: list[str]) -> None:
        """Raise UsageError for a wrong number of fields; a delimiter at the end may be there or not."""
        columns = self.found.columns
        most = columns + (self.found.fields > columns and fields[columns:] == [""])
        if not columns <= len(fields) <= most:
            raise UsageError(f"{self.where}: line {line}: {len(fields)} fields, but {columns} columns")

    def _require_whole_lines(self) -> None:
        """Raise UsageError for a line that lacks fields: pandas takes those at its end for missing values."""
        frame, columns = self._frame, self.found.columns
        surplus = self.found.fields > columns and frame[columns].notna().any()
        if surplus or frame[columns - 1].isna().any():
            for line, fields in _records(self.path, self.found):
                self._require_fields(line, fields)


def _are_plain(fields: list[str]) -> bool:
    """Return True if Python reads all fields as numbers: a quick test that nearly all lines pass."""
    if PLAIN.fullmatch(" ".join(fields)) is None:
        return False
    try:
        return len([float(field) for field in fields]) > 0
    except ValueError:
        return False


def _missing(fields: int, numbers: set[int]) -> Any:
    """Return the markers of missing values for pandas, by column if that differs. numbers: columns of numbers."""
    if len(numbers) == fields:
        return list(MISSING)
    return {j: list(MISSING if j in numbers else NOTHING) for j in range(fields)}


def _cure(word: str) -> str:
    """Say what to do about a field that is no number, and that it is a comma if it is."""
    return ": say data.decimal = ','" if is_csv_number(word, ",") else ", as most of the column are"


class _Pieces:
    """Be a file for pandas: the text in UTF-8 and whole lines, from the first sample on and without comments.

    file: open at its begin, decompressed; found: its layout. Raises UsageError, with the line, for a byte that is 0,
    which pandas would take for the end of a field.
    """

    def __init__(self, file: BinaryIO, found: Layout, where: str) -> None:
        self._where, self._line, self._inline = where, found.skip, found.inline
        binary = found.encoding in UTF8 and not found.returns
        self._file: Any = file if binary else io.TextIOWrapper(file, found.encoding, newline=None)
        if binary and found.encoding == "utf-8-sig":
            file.read(3)
        for _ in range(found.skip):
            self._file.readline()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self, size: int = -1) -> bytes:
        """Return about ``size`` bytes, up to the end of a line; all that is left if it is negative."""
        piece = self._file.read(size)
        piece += self._file.readline() if size >= 0 else self._file.read(0)
        data = piece if isinstance(piece, bytes) else piece.encode()
        if b"\0" in data:
            line = self._line + data.count(b"\n", 0, data.index(b"\0")) + 1
            raise UsageError(f"{self._where}: line {line}: is no text: a byte that is 0")
        if b"#" in data:
            data = WHOLE_COMMENT.sub(b"", COMMENT.sub(b"", data) if self._inline else data)
        self._line += data.count(b"\n")
        # an empty answer is the end
        return data or (b"\n" if piece else b"")
