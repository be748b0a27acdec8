"""A pseudo-terminal to run commands in, of any width, which may change."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

from tools.commands import TIMEOUT, command, environment

# what moves the cursor or changes colours
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command with standard output and error in a pseudo-terminal. ``text``: what it has written so far."""

    def __init__(self, *arguments: str, columns: int, folder: Path, **variables: str):
        self._master, slave = pty.openpty()
        self.resize(columns)
        given = {key: value for key, value in environment().items() if key not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command(*map(str, arguments)),
            cwd=folder,
            env={**given, "TERM": "xterm", **variables},
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self.text = ""

    def resize(self, columns: int) -> None:
        """Make the terminal so wide from here on."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read_until(self, is_enough: Callable[[str], bool]) -> str:
        """Read on until the new text is enough, or the command has ended; returns the new text."""
        begin, end = len(self.text), time.monotonic() + TIMEOUT
        while not is_enough(self.text[begin:]) and time.monotonic() < end:
            if select.select([self._master], [], [], 1.0)[0]:
                try:
                    self.text += os.read(self._master, 1 << 16).decode()
                except OSError:  # nobody writes any more
                    break
        return self.text[begin:]

    def finish(self) -> int:
        """Read to the end; returns the exit status."""
        self.read_until(lambda text: False)
        os.close(self._master)
        return self.process.wait(TIMEOUT)


def rows(text: str) -> list[str]:
    """Return the rows that a terminal shows one after the other, those that are written over too."""
    return [row.rstrip("\n") for row in re.split(r"\r\n|\n|\r", ESCAPE.sub("", text)) if row.strip()]


def shown(*arguments: str, columns: int, folder: Path, **variables: str) -> list[str]:
    """Return the rows of a command that has to succeed."""
    terminal = Terminal(*arguments, columns=columns, folder=folder, **variables)
    assert terminal.finish() == 0, terminal.text
    return rows(terminal.text)
