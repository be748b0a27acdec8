"""Standard streams that may be closed, full, or not read any more."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class _Watched(io.FileIO):
    """Standard output that stores why a write failed: the error is raised once, and what comes later is dropped."""

    refused: OSError | None = None

    def isatty(self) -> bool:
        """Return True on a terminal, but never under Open MPI.

        It gives the first rank a terminal of its own, wherever the launcher's output goes.
        """
        return "OMPI_COMM_WORLD_RANK" not in os.environ and super().isatty()

    def write(self, data: Any, /) -> int:
        """Write bytes and return how many; drop them after the first error, which is raised."""
        if self.refused is not None:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            self.refused = error
            raise


class _Forgiving(io.FileIO):
    """Standard error to which everything seems to be written: lost messages must not stop what they report on."""

    def write(self, data: Any, /) -> int:
        """Write bytes if that is possible, and return their number in any case."""
        with suppress(OSError):
            super().write(data)
        return len(data)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Keep a stream that cannot be written to from ending a command with a traceback or another exit status.

    Inside of the ``with`` standard output is a ``_Watched`` and standard error a ``_Forgiving`` stream; streams that
    were replaced, as in notebooks and tests, stay.
    """
    _occupy_closed()
    given = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        _guarded(sys.stdout, sys.__stdout__, _Watched),
        _guarded(sys.stderr, sys.__stderr__, _Forgiving),
    )
    try:
        yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        sys.stdout, sys.stderr = given


def _occupy_closed() -> None:
    """Open something at the numbers of closed streams: the next file that is opened would get them, and all messages.

    What is at that of standard output takes nothing, as a closed one; messages get lost.
    """
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, flags)  # the lowest that is free
            stream = os.fdopen(number, "r" if name == "stdin" else "w")
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _guarded(stream: Any, real: Any, kind: type[io.FileIO]) -> Any:
    """Return a stream over the file of a real one; others, such as a notebook's, as they are."""
    if stream is not real:
        return stream
    raw = kind(stream.fileno(), "w", closefd=False)
    # names of files may hold what is no character
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=kind is _Forgiving or raw.isatty()
    )


def refusal() -> str:
    """Return why standard output could not be written to.

    It is "" if all was written, or if its reader has gone, as in `mpiqopt doctor | head`.
    """
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    refused = getattr(raw, "refused", None)
    return "" if refused is None or isinstance(refused, BrokenPipeError) else f"standard output: {refused.strerror}"


def print_if_possible(text: str) -> bool:
    """Print a line that may get lost; return True if it was written."""
    import click

    try:
        click.echo(text)
    except OSError:
        return False
    return True


def output_result(text: str) -> bool:
    """Print what a command is there to print; return True if that was possible, and say why if not."""
    from mpiqopt.cli import complain

    if print_if_possible(text):
        return True
    if refusal():
        complain(refusal())
    return False
