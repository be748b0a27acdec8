"""What sources that are files have in common: where the file is, a second one for testing, and errors of one line."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from typing import Annotated, Any

from mpiqopt.data.source import SMALL, Source, Table, quiet
from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.files.inputs import require_file
from mpiqopt.files.textfiles import DAMAGED


@dataclass(frozen=True, kw_only=True)
class FileSource(Source):
    """Samples in a file. A format says how to read it, in ``table``."""

    path: Annotated[str, Field(description="the data file, relative to the config file")]
    test_path: Annotated[
        str | None,
        Field(description="a file of the same format with the samples that are held out, instead of test_fraction"),
    ] = None

    def __post_init__(self):
        if self.test_path is not None and self.test_fraction > 0:
            raise UsageError(
                f"data.test_fraction = {self.test_fraction:g}: data.test_path names the samples that are held out; "
                "want one of the two"
            )

    @abstractmethod
    def table(self, path: str, where: str, like: Table | None) -> Table:
        """Read a file. where: what messages call it; like: that of the training samples, if this one is for testing.

        Raises UsageError, or whatever the reading library does.
        """

    def open(self, seed: int) -> Table:
        with self.reading() as where:
            return self.table(self.path, where, None)

    def held_out(self, table: Table) -> Table | None:
        if self.test_path is None:
            return None
        with self.reading("test_path") as where:
            return self.table(self.test_path, where, table)

    def is_small(self) -> bool:
        given = [path for path in (self.path, self.test_path) if path is not None]
        return all(isfile(path) for path in given) and sum(Path(path).stat().st_size for path in given) <= SMALL

    @contextmanager
    def reading(self, key: str = "path") -> Iterator[str]:
        """Turn whatever a reading library says into one line that names the file, by what is yielded."""
        path = getattr(self, key)
        where = f"data.{key} = {path}"
        require_file(path, where)
        if not isfile(path):
            raise UsageError(f"{where}: no such file")
        if Path(path).stat().st_size == 0:
            raise UsageError(f"{where}: the file is empty")
        try:
            with quiet():
                yield where
        except UsageError as error:
            raise UsageError(str(error) if where in str(error) else f"{where}: {error}") from error
        except MemoryError:
            raise
        except DAMAGED as error:
            raise UsageError(f"{where}: a damaged archive: {error}") from error
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(f"{where}: not readable as {self.name}: {reason}") from error


def require_keys(where: str, keys: tuple[str, ...], file: Any) -> None:
    """Raise UsageError unless a file of arrays has those."""
    for key in keys:
        if key not in file:
            raise UsageError(f"{where}: has no array {key!r}; it has: {', '.join(file) or 'nothing'}")
