"""Standard streams as they may be: closed, full, or not read any more."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class _Watched(io.FileIO):
    """Standard output that remembers why it took nothing: the error is raised once, and what comes later is lost."""

    refused: OSError | None = None

    def isatty(self) -> bool:
        """Open MPI gives the first rank a terminal of its own, wherever the launcher's output goes."""
        return "OMPI_COMM_WORLD_RANK" not in os.environ and super().isatty()

    def write(self, data) -> int | None:
        if self.refused is not None:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            self.refused = error
            raise


class _Forgiving(io.FileIO):
    """Standard error to which everything seems to be written: lost messages must not stop what they tell of."""

    def write(self, data) -> int:
        with suppress(OSError):
            super().write(data)
        return len(data)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Let no stream that takes nothing stop a command with a traceback, nor change its exit status at the end."""
    _occupy_closed()
    given = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _over(sys.stdout, sys.__stdout__, _Watched), _over(sys.stderr, sys.__stderr__, _Forgiving)
    try:
        yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        sys.stdout, sys.stderr = given


def _occupy_closed() -> None:
    """Put something at the numbers of closed streams: the next file that is opened would get them, and all messages.

    What is at that of standard output takes nothing, as a closed one; messages get lost.
    """
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, flags)  # the lowest that is free
            stream = os.fdopen(number, "r" if name == "stdin" else "w")
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _over(stream, real, kind: type[io.FileIO]):
    """A stream over the file of a real one; others, such as a notebook's, as they are."""
    if stream is not real:
        return stream
    raw = kind(stream.fileno(), "w", closefd=False)
    # names of files may hold what is no character
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=kind is _Forgiving or raw.isatty()
    )


def refusal() -> str:
    """Return why standard output took nothing; "" if it took all, or its reader has gone: `mpiqopt doctor | head`."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    refused = getattr(raw, "refused", None)
    return "" if refused is None or isinstance(refused, BrokenPipeError) else f"standard output: {refused.strerror}"


def said(text: str) -> bool:
    """Print a line that may get lost; returns True if it did not."""
    import click

    try:
        click.echo(text)
    except OSError:
        return False
    return True


def printed(text: str) -> bool:
    """Print what a command is there to print, outside of click; returns True if it could, and says why not."""
    from mpiqopt.cli import complain

    if said(text):
        return True
    if refusal():
        complain(refusal())
    return False
