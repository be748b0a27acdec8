"""Fields of a table of text: which are numbers, which are words, and which stand for a value that is missing."""

import re
from collections.abc import Iterable

# Markers of a missing value. Among words only NOTHING: "None" and "-" may be categories.
NOTHING = ("", "?", "NA", "N/A", "NaN", "nan", "NAN", "null", "NULL")
MISSING = (*NOTHING, "None", "-", ".")
NUMBERS = {
    mark: re.compile(rf"[ \t]*[+-]?((\d+{whole}|[{mark}]\d+)(e[+-]?\d+)?|inf|infinity)[ \t]*", re.IGNORECASE | re.ASCII)
    # "5." is a number; "5," is one and a comma
    for mark, whole in ((".", r"([.]\d*)?"), (",", r"(,\d+)?"))
}
INTEGER = re.compile(r"[ \t]*[+-]?\d+[ \t]*", re.ASCII)
GROUPED = re.compile(r"[ \t]*[+-]?[1-9]\d{0,2}(,\d{3})+[ \t]*", re.ASCII)
TRUTH = {"true": 1.0, "false": 0.0}


def is_csv_number(word: str, decimal: str) -> bool:
    """Return True for what is read as a number; markers of missing values are none. decimal: "." or ",".

    >>> is_csv_number("1.5e3", "."), is_csv_number("1,5", "."), is_csv_number("1,5", ","), is_csv_number("NA", ".")
    (True, False, True, False)
    """
    return NUMBERS[decimal].fullmatch(word) is not None


def is_csv_missing(word: str) -> bool:
    """Return True for a marker of a missing number."""
    return word in MISSING


def kind_of_fields(column: Iterable[str], decimal: str) -> str:
    """Return what most values of a column are: "number", "bool", "word", or "empty" if all are missing.

    Half of the values are enough for "number": the others are then refused by name, and not the column taken for words.

    >>> kind_of_fields(["1", "2.5", "x"], "."), kind_of_fields(["yes", "?"], "."), kind_of_fields(["", "NA"], ".")
    ('number', 'word', 'empty')
    """
    present = [word for word in column if not is_csv_missing(word)]
    if not present:
        return "empty"
    if 2 * sum(is_csv_number(word, decimal) for word in present) >= len(present):
        return "number"
    return "bool" if all(word.strip().lower() in TRUTH for word in present) else "word"


def is_csv_word(word: str, decimal: str) -> bool:
    """Return True for what is neither a number nor a marker of a missing one."""
    return not is_csv_missing(word) and not is_csv_number(word, decimal)


def may_be_grouped(word: str) -> bool:
    """Return True if commas in a number may stand between thousands, or be the decimal mark: "1,234"."""
    return is_csv_number(word, ",") or GROUPED.fullmatch(word) is not None
