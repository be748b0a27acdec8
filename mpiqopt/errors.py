"""Errors that a user can mend, and those of numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

# characters that a message of the command line may have
LINE = 190


class UsageError(Exception):
    """A wrong command line, config or input file.

    The message is one line that says where (file, table, key), what was got and what is allowed.
    The command line prints it and exits with status 2.
    """


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the file's name in front of the message of a UsageError."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


class AgreedError(UsageError):
    """A UsageError that all ranks raise together, so that each can end in order."""


class NotFinite(ArithmeticError):
    """A vector that cannot be compressed: a value is NaN, infinite or beyond 2^1022. row: which of those given."""

    def __init__(self, row: int):
        super().__init__(f"row {row}: a value is NaN, infinite or beyond 2^1022")
        self.row = row


class NumericalError(Exception):
    """A run that cannot go on because of its numbers. The message is one line that says where."""


def brief(error: BaseException, most: int = LINE) -> str:
    """Return an error's type and message in one printable line of at most so many characters (20 at least)."""
    words = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    most = max(most, 20)
    return text if len(text) <= most else text[: most - 3] + "..."
