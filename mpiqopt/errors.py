"""Errors that a user can mend, errors of numbers, and how an error becomes one line on standard error."""

import errno
import os
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from mpiqopt.terminal import escape_for_terminal

# characters of a line on standard error, and what it begins with
WIDTH, PREFIX = 200, "mpiqopt: "
LINE = WIDTH - len(PREFIX)
# characters of a file's name that a line has space for, whatever else it says
LONG_PATH = 100
# and what is left of it where the rest is whole then
SHORT_PATH = 70
# what PyTorch's message says before it names the size that it cannot get
CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory: "
# and what it says where oneDNN cannot get memory
PRIMITIVE = "could not create a primitive", "could not execute a primitive", "could not create a memory object"
# characters of a value that a message quotes
QUOTED = 60


class UsageError(Exception):
    """A wrong command line, config or input file.

    The message is one line that says where (file, table, key), what was got and what is allowed.
    The command line prints it and exits with status 2.
    """


@contextmanager
def errors_name_file(path: str) -> Iterator[None]:
    """Put a file's name in front of the message of a UsageError that is raised inside.

    >>> with errors_name_file("ring.toml"):
    ...     raise UsageError("run.seed = -1: want at least 0")
    Traceback (most recent call last):
    mpiqopt.errors.UsageError: ring.toml: run.seed = -1: want at least 0
    """
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


class AgreedError(UsageError):
    """A UsageError that all ranks raise together, so that all end without ``MPI_Abort``; rank 0 prints it."""


class Wrong(NamedTuple):
    """A wrong key of a config, as TABLE.KEY, and the sentence about it, which begins with the key."""

    key: str
    message: str


class WrongKeys(UsageError):
    """All wrong keys that were found in one config; ``wrong`` lists them, the message joins them."""

    def __init__(self, wrong: Iterable[Wrong]) -> None:
        self.wrong = tuple(wrong)
        super().__init__("; ".join(each.message for each in self.wrong))


class NotFinite(ArithmeticError):
    """A vector that cannot be compressed: a value is NaN, infinite or beyond 2^1022.

    row: which of the rows that were to be encoded; the caller knows the node and the iteration.
    """

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row}: a value is NaN, infinite or beyond 2^1022")
        self.row = row


class NumericalError(Exception):
    """A run that cannot go on because of its numbers.

    The message is one line that says where. The command line prints it and exits with status 1.
    """


def out_of_memory_error_line(error: BaseException) -> str:
    """Return the line on an error for lack of memory, with the size where it is known; "" for other errors.

    NumPy's MemoryError, Python's own, and libraries that could not be loaded for lack of memory are told apart.
    """
    if isinstance(error, (OSError, ImportError)):  # a library could not be loaded
        lacking = getattr(error, "errno", None) == errno.ENOMEM or "failed to map segment" in str(error)
        return f"not enough memory: {error}" if lacking else ""
    if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, of a GPU: where it is raised, PyTorch is imported
        return f"not enough memory: {error}"
    if type(error) is RuntimeError and CPU_ALLOCATOR in str(error):  # PyTorch's, which names the size, too
        return f"not enough memory: {str(error).partition(CPU_ALLOCATOR)[2]}"
    if type(error) is RuntimeError and str(error) in PRIMITIVE:  # PyTorch's oneDNN, which does not say why
        return f"not enough memory, or a layer that oneDNN does not have: {error}"
    if not isinstance(error, MemoryError):
        return ""
    if str(error):  # NumPy names the size, Python nothing
        return f"not enough memory: {error}"
    import resource

    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
    return f"not enough memory: this process wants more than the {taken:.1f} GB that it has taken"


def error_line(message: str) -> str:
    r"""Return what to print of a message: PREFIX and one line of at most WIDTH characters that any terminal may get.

    >>> error_line("ring.toml: run.seed = -1:\n  want at least 0")
    'mpiqopt: ring.toml: run.seed = -1: want at least 0'
    """
    return PREFIX + _fitted(escape_for_terminal(" ".join(message.split())), LINE)


def _fitted(line: str, width: int) -> str:
    """Return the line in ``width`` characters: up to a colon it names a file, then it says what is wrong.

    Files in the folder of the first go by their names, as in a config; what is too long still loses its middle, so that
    the key and what is allowed can be read.
    """
    if len(line) <= width:
        return line
    first, colon, rest = line.partition(": ")
    folder = os.path.dirname(first)
    rest = rest.replace(f"{folder}/", "") if folder else rest
    left = width - len(colon) - len(rest)
    first = clip_for_error_line(first, left if left >= SHORT_PATH else LONG_PATH)
    return first + colon + clip_for_error_line(rest, width - len(first) - len(colon))


def clip_for_error_line(text: str, most: int) -> str:
    """Return the text without its middle if it has more characters than ``most``.

    >>> clip_for_error_line("abcdefghijklmnopqrstuvwxyz", 12)
    'abcdefg...yz'
    """
    if len(text) <= most:
        return text
    tail = (most - 3) // 4
    return f"{text[: most - 3 - tail]}...{text[-tail:]}"


def fits_in_error_line(message: str) -> bool:
    """Return True if ``error_line`` does not have to cut the message."""
    return len(message) <= LINE


def list_in_error_line(head: str, items: Iterable[str], more: str = ", ...") -> str:
    """Return the head and as many of the items as fit in a line of standard error, at least one.

    more: what stands for the items that are left out.
    """
    first, *rest = items
    line = head + first
    for item in rest:
        if not fits_in_error_line(f"{line}, {item}{more}"):
            return line + more
        line += f", {item}"
    return line


class _Quoting(reprlib.Repr):
    """Writes ``repr`` of values as people may type them: of any length, depth and number of digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 3, QUOTED, QUOTED, QUOTED

    def repr_int(self, value: int, level: int) -> str:
        try:
            return super().repr_int(value, level)
        except ValueError:  # Python writes no more digits
            return f"a number of about {round(value.bit_length() * 0.30103)} digits"


_quoting = _Quoting()


def quote_in_error(value: Any) -> str:
    """Return the ``repr`` of a value that a user gave, without the middle of a long one.

    >>> quote_in_error([1, 2, "x" * 100])
    "[1, 2, 'xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx']"
    """
    return _quoting.repr(value)


def brief_error(error: BaseException, most: int = LINE) -> str:
    r"""Return an error's type and message in one printable line of at most ``most`` characters (20 at least).

    >>> brief_error(ValueError("shapes differ:\n(3,) and (4,)"))
    'ValueError: shapes differ: (3,) and (4,)'
    """
    words = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    text, most = escape_for_terminal(words), max(most, 20)
    return text if len(text) <= most else text[: most - 3] + "..."
