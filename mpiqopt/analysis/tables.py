"""Tables on the screen: as wide as it is, with numbers that are whole.

>>> columns = [Column("run", ["a", "b"], is_name=True), Column("rounds", ["100", "250"]), Column("MB", ["1.5", "3.8"])]
>>> [[column.heading for column in table] for table in split_columns(columns, width=15)]
[['run', 'rounds'], ['run', 'MB']]
"""

from typing import NamedTuple

import numpy as np

from mpiqopt.terminal import shorten_for_terminal

# what a column takes beside its text: blanks around it and a line
FRAME = 3
# rows of a table that shows some of many
MOST_ROWS = 12
# of a name that is shortened: enough to know it by
SHORTEST_NAME = 8


class Column(NamedTuple):
    """A column of a table.

    heading, cells: texts. is_name: True for names, which may be shortened and stand to the left; others are numbers and
    stay whole.
    """

    heading: str
    cells: list[str]
    is_name: bool = False

    @property
    def width(self) -> int:
        """Return how many characters it takes, frame included."""
        return max(map(len, (self.heading, *self.cells))) + FRAME


def summary_rows(records: int, most: int = MOST_ROWS) -> np.ndarray:
    """Return the positions of at most ``most`` records: first, last and evenly spaced ones between.

    >>> summary_rows(101, most=5).tolist()
    [0, 25, 50, 75, 100]
    """
    return (
        np.unique(np.linspace(0, records - 1, min(records, most)).round().astype(int)) if records else np.empty(0, int)
    )


def format_number(form: str, value: float) -> str:
    """Return a number in the format ``form``, or with three digits where that loses more than half a per cent.

    >>> format_number("{:.3f}", 1.5), format_number("{:.3f}", 0.00012345)
    ('1.500', '0.000123')
    """
    text = form.format(int(value) if "d}" in form else value)
    return f"{value:.3g}" if abs(float(text) - value) > 0.005 * abs(value) else text


def print_heading(name: str, meaning: str, width: int | None) -> None:
    """Print what a table shows: name and meaning in one line, or a line each where they do not fit."""
    line = f"{name}: {meaning}"
    lines = (
        [line]
        if width is None or len(line) <= width
        else [shorten_for_terminal(each, width) for each in (name, meaning)]
    )
    print("\n".join(lines))


def print_table(columns: list[Column], width: int | None) -> None:
    """Print a table, or several below each other that have the first column in common, none wider than ``width``.

    width: characters of a line; None for any.
    """
    for number, band in enumerate(split_columns(columns, width)):
        print("\n" * (number > 0), end="")
        _print(band)


def split_columns(columns: list[Column], width: int | None) -> list[list[Column]]:
    """Return columns split into tables that fit in ``width``, each with the first column.

    A first column of names is shortened, to SHORTEST_NAME at least, so that one more column fits beside it.
    """
    if width is None:
        return [columns]
    first, *rest = columns
    if first.is_name:
        remaining = width - FRAME - max(column.width for column in rest)
        first = first._replace(
            cells=[shorten_for_terminal(cell, max(remaining, SHORTEST_NAME)) for cell in first.cells]
        )
    found, taken = [[first]], first.width
    for column in rest:
        if taken + column.width > width + 1 and len(found[-1]) > 1:  # no line at the right end
            found.append([first])
            taken = first.width
        found[-1].append(column)
        taken += column.width
    return found


def _print(columns: list[Column]) -> None:
    """Print one table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False)
    for column in columns:
        table.add_column(column.heading, justify="left" if column.is_name else "right", no_wrap=True)
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    # names are names, whatever brackets and colons are in them
    console = Console(width=sum(column.width for column in columns), markup=False, emoji=False, highlight=False)
    console.print(table)


def bytes_for_tables(count: float, digits: int = 4) -> str:
    """Return a number of bytes with a decimal unit, rounded to ``digits`` digits and at most four.

    >>> bytes_for_tables(163840), bytes_for_tables(163840, 2), bytes_for_tables(999.96)
    ('163.8 kB', '160 kB', '1 kB')
    """
    count = float(f"{count:.{digits}g}")
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
