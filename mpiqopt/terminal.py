"""Texts for a terminal of any width: columns, shortened names, and a line that is written over."""

import os
from itertools import product
from typing import TextIO

# columns of a terminal that does not tell its width
USUAL = 80
# a column of text that is narrower than this goes below its name
NARROW = 24
# so many facts of a live line may be abbreviated to fit
ESSENTIAL = 3
CLEAR = "\r\x1b[2K"


def terminal_width(stream: TextIO | None) -> int | None:
    """Return how many characters wide rows on a stream may be; None if nothing says so, as for files and pipes.

    COLUMNS says so, and a terminal, which may be narrower. Off a terminal COLUMNS counts only without LINES: the two
    together describe the terminal of a parent (GNU readline sets them), COLUMNS alone is what somebody wants.
    """
    asked = os.environ.get("COLUMNS", "")[:6]
    limits = [int(asked)] if asked.isdecimal() and int(asked) else []
    if stream is not None and is_terminal(stream):
        return min([*limits, _of_terminal(stream) or (limits or [USUAL])[0]])
    return None if "LINES" in os.environ else min(limits, default=None)


def is_terminal(stream: TextIO | None) -> bool:
    """Return True if a stream is there and is a terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def _of_terminal(stream: TextIO) -> int:
    """Return the columns of a terminal, 0 if it does not know."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


def escape_for_terminal(text: str) -> str:
    r"""Return a name with what would move the cursor, or is no character at all, as escapes.

    >>> print(escape_for_terminal("a\tb\x1b[2K"))
    a\tb\x1b[2K
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def shorten_for_terminal(text: str, width: int) -> str:
    """Return a name in at most ``width`` characters, an ellipsis in its middle: both ends tell names apart.

    >>> shorten_for_terminal("breast-cancer.npz", 10)
    'breas….npz'
    """
    if len(text) <= width:
        return text
    tail = max(width - 1, 0) // 2
    return text[: max(width - 1 - tail, 0)] + "…" + text[len(text) - tail :]


def two_terminal_columns(rows: list[tuple[str, str]], width: int | None, indent: str = "") -> str:
    """Return names, each with a text beside it, as aligned lines that end with a newline.

    rows: (name, text). width: characters of a line; None for lines of any length. A long text goes on below its first
    line; where less than NARROW is left beside the names it stands below its name.

    >>> print(two_terminal_columns([("nodes", "8 on 2 ranks"), ("rounds", "16")], 40, "# "), end="")
    # nodes   8 on 2 ranks
    # rounds  16
    """
    term = max(len(name) for name, _ in rows)
    if width is None:
        return "".join(f"{indent}{name:<{term}}  {text}\n" for name, text in rows)
    return "".join(f"{line}\n" for name, text in rows for line in _entry(name, text, term, width, indent))


def _entry(name: str, text: str, term: int, width: int, indent: str) -> list[str]:
    """Return the lines of one name, ``term`` characters wide, and its text."""
    first, rest = f"{indent}{name:<{term}}  ", indent + " " * (term + 2)
    if width - len(first) >= NARROW:
        return wrap_for_terminal(text, width, first, rest) or [first.rstrip()]
    return [indent + name, *wrap_for_terminal(text, width, indent + "    ", indent + "    ")]


def wrap_for_terminal(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Return the lines of a text, whose words stay whole, none longer than ``width`` unless a word is.

    first, rest: what the first line and the others begin with.
    """
    import textwrap  # where it is used: many ranks start at once

    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def duration(seconds: float) -> str:
    """Return a time as people write it.

    >>> duration(75.2), duration(3600)
    ('1:15', '1:00:00')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class LiveLine:
    """A line on a terminal that is written over, never longer than the terminal is wide at that moment.

    Nothing is shown elsewhere. A stream that can no longer be written to does not stop the command that reports on it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        # in a dumb terminal nothing can be written over
        self.live = is_terminal(stream) and os.environ.get("TERM") != "dumb"
        self._open = False

    def show(self, *facts: tuple[str, ...]) -> None:
        """Show the facts that fit, the first of them first, each in one of its forms: longer ones come first.

        >>> LiveLine(None).show(("iteration 100/1000", "100/1000"), ("3 min left",))  # no terminal: shows nothing
        """
        if self.live:
            self._open = True
            # in the last column some terminals begin a new row
            self.write(CLEAR + fit_on_terminal(facts, (terminal_width(self.stream) or USUAL) - 1))

    def clear(self) -> None:
        """Leave an empty line, where others may write."""
        if self._open:
            self._open = False
            self.write(CLEAR)

    def write(self, text: str) -> None:
        """Write to the stream, if that is possible."""
        if self.stream is None:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            self.live = False


def fit_on_terminal(facts: tuple[tuple[str, ...], ...], width: int) -> str:
    """Return the first facts, as many as fit in ``width``; to show ESSENTIAL of them they may be in shorter forms.

    >>> fit_on_terminal((("iteration 100/1000", "100/1000"), ("3 min left",)), 20)
    '100/1000  3 min left'
    """
    for count in range(len(facts), 0, -1):
        shapes = product(*facts[:count]) if count <= ESSENTIAL else [[forms[0] for forms in facts[:count]]]
        lines = [line for line in map("  ".join, shapes) if len(line) <= width]
        if lines:
            return max(lines, key=len)
    return ""
