"""A text that every Python has: the sources of its standard library."""

import os
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from mpiqopt.data.source import Table
from mpiqopt.data.text import Text
from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.registry import register

# written by whoever built or set up this Python, for this machine
LOCAL = ("_sysconfigdata", "sitecustomize", "usercustomize")


@register("data", "python-text")
@dataclass(frozen=True, kw_only=True)
class PythonText(Text):
    """Windows of the characters of Python's own modules, STDLIB/*.py in the order of their names: English and code.

    The text differs between versions of Python: version and checksum are stored with the results. The vocabulary does
    not.
    """

    characters: Annotated[int, Field(ge=1, description="most that are read, of all files together")] = 1_000_000

    def open(self, seed: int) -> Table:
        table = self.windows("python-text", "name", self.characters)
        return replace(table, read=table.read | {"Python": platform.python_version()})

    def is_small(self) -> bool:
        """Return True: ranks may have other Pythons."""
        return True

    def texts(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield name and source of each module. Raises UsageError for a Python without them, as in an archive."""
        folder = Path(sysconfig.get_paths()["stdlib"])
        names = sorted(name for name in _listed(folder) if name.endswith(".py") and not name.startswith(LOCAL))
        if not names:
            raise UsageError(f"data.name = 'python-text': no sources of the standard library in {folder}")
        yield from ((name, (folder / name).read_text("utf-8", "replace")) for name in names)


def _listed(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []
