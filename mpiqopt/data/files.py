"""The base of sources that are files: where the file is, a second one for testing, and errors of one line."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from typing import Annotated, Any

from mpiqopt.data.source import SMALL, Source, Table, silence_source_readers
from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.files.inputs import require_input_file
from mpiqopt.files.textfiles import DAMAGED


@dataclass(frozen=True, kw_only=True)
class FileSource(Source):
    """Read samples from a file: the base of all formats, each of which defines ``table``.

    Rank 0 reads small files for all ranks. Whatever a reading library raises becomes a UsageError that names the key
    and the file.
    """

    path: Annotated[str, Field(description="the data file, relative to the config file")]
    test_path: Annotated[
        str | None,
        Field(description="a file of the same format with the samples that are held out, instead of test_fraction"),
    ] = None

    def __post_init__(self) -> None:
        if self.test_path is not None and self.test_fraction > 0:
            raise UsageError(
                f"data.test_fraction = {self.test_fraction:g}: data.test_path names the samples that are held out; "
                "want one of the two"
            )

    @abstractmethod
    def table(self, path: str, where: str, like: Table | None) -> Table:
        """Return the table of a file.

        Parameters
        ----------
        path, where:
            the file, and what messages call it ("data.path = a.csv")
        like:
            the table of the training samples if the file is ``test_path``: its features, labels and ``terms`` apply

        Raises
        ------
        Exception
            whatever the reading library raises; a UsageError names what is wrong
        """

    def open(self, seed: int) -> Table:
        """Return the table of ``path``; nothing of a file depends on the seed."""
        with self.reading() as where:
            return self.table(self.path, where, None)

    def held_out(self, table: Table) -> Table | None:
        """Return the table of ``test_path``, read in the terms of the training samples; None without one."""
        if self.test_path is None:
            return None
        with self.reading("test_path") as where:
            return self.table(self.test_path, where, table)

    def is_small(self) -> bool:
        """Return True if all files are there and have at most 16 MB together."""
        given = [path for path in (self.path, self.test_path) if path is not None]
        return all(isfile(path) for path in given) and sum(Path(path).stat().st_size for path in given) <= SMALL

    @contextmanager
    def reading(self, key: str = "path") -> Iterator[str]:
        """Yield what messages call a file, and turn whatever a reading library raises into a UsageError with it.

        key: "path" or "test_path". Raises UsageError for a file that is missing, empty, damaged or not readable; a
        MemoryError stays one.
        """
        path = getattr(self, key)
        where = f"data.{key} = {path}"
        require_input_file(path, where)
        if not isfile(path):
            raise UsageError(f"{where}: no such file")
        if Path(path).stat().st_size == 0:
            raise UsageError(f"{where}: the file is empty")
        try:
            with silence_source_readers():
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
    """Raise UsageError unless a file of arrays has those. file: what has their names, such as an h5py.File."""
    for key in keys:
        if key not in file:
            raise UsageError(f"{where}: has no array {key!r}; it has: {', '.join(file) or 'nothing'}")


def require_same_width_of_files(features: int, like: Table) -> None:
    """Raise UsageError unless a second file has as many features as the first."""
    if features != like.features:
        raise UsageError(f"it has {features} features, {like.where} {like.features}")
