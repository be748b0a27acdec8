"""Text as windows of characters, for networks that predict the next one; and the user's own text files."""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import numpy as np

from mpiqopt.data.source import SMALL, Source, Table
from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.field import Field
from mpiqopt.files.names import sort_names
from mpiqopt.files.textfiles import read_textfile
from mpiqopt.registry import register

# The characters of the tokens 0, 1, ..., the same for all texts, so that the number of outputs does not depend on the
# text: a line's end, printable ASCII, and one that stands for every other.
VOCABULARY = "\n" + "".join(map(chr, range(32, 127))) + "\N{REPLACEMENT CHARACTER}"
TOKENS = np.array([max(VOCABULARY.find(chr(code)), 0) or len(VOCABULARY) - 1 for code in range(128)], np.uint8)
TOKENS[ord("\n")] = 0
TAB = 4


def tokenize(text: str) -> np.ndarray:
    """Return the tokens of a text, uint8; its lines end in "\\n" whatever they end in, and tabs are blanks up to 4.

    >>> tokens = tokenize("a\\tb\\r\\n\u00e9")
    >>> "".join(VOCABULARY[token] for token in tokens)
    'a   b\\n\ufffd'
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n").expandtabs(TAB)
    codes = np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), np.uint32)
    return TOKENS[np.minimum(codes, len(TOKENS) - 1)]


@dataclass(frozen=True, kw_only=True)
class Text(Source):
    """Cut texts into windows of characters, each a sample: the base of the sources of text.

    A window has context + 1 tokens, numbers of characters in ``Table.vocabulary``; windows follow each other without
    overlap and cross no end of a file, whose last characters, too few for a window, are left out. The target is the
    last token; the file is the sample's group.
    """

    context: Annotated[
        int, Field(ge=1, le=1 << 20, description="characters before the last one of a window; a sample has one more")
    ] = 64

    @abstractmethod
    def texts(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield name and content of each file, in order. key: that names the files. Raises UsageError."""

    def windows(self, where: str, key: str, characters: int | None) -> Table:
        """Return the table of all windows.

        Parameters
        ----------
        where, key:
            what messages call the source, and the key that names its files
        characters:
            how many are read of all files together, None for all

        Raises
        ------
        UsageError
            if no file has as many characters as a window
        """
        width, left, names, pieces = self.context + 1, characters, [], []
        for name, text in self.texts(key):
            tokens = tokenize(text)[:left]
            left = None if left is None else left - len(tokens)
            if len(tokens) >= width:
                names.append(name)
                pieces.append(tokens[: len(tokens) // width * width].reshape(-1, width))
            if left == 0:
                break
        if not pieces:
            raise UsageError(f"{where}: no file has {width} characters; want data.context + 1 or more")
        return _table(where, names, pieces)


def _table(where: str, names: list[str], pieces: list[np.ndarray]) -> Table:
    """Return the table of the windows of each file, uint8 (k, width) of tokens. names: of the files."""
    tokens = np.concatenate(pieces)
    files = f"{len(names)}: {names[0]} .. {names[-1]}" if len(names) > 1 else names[0]
    read = {
        "format": f"text, windows of {tokens.shape[1]} characters",
        "files": files,
        # Of the samples' tokens: other files, or another Python, are seen in it.
        "SHA-256": hashlib.sha256(tokens.data).hexdigest(),
    }
    return Table(
        where,
        tokens[:, -1].astype(np.float64),
        tokens.shape[1],
        lambda which: tokens[which],
        shape=(tokens.shape[1],),
        vocabulary=VOCABULARY,
        groups=np.repeat(np.arange(len(names)), list(map(len, pieces))),
        group_names=tuple(names),
        read=read,
    )


@register("data", "text")
@dataclass(frozen=True, kw_only=True)
class TextFiles(Text):
    """Windows of the characters of a text file, or of those of a folder, in the order of their names.

    Files may be compressed. Characters that are not ASCII are all the same token.
    """

    path: Annotated[str, Field(description="a file or a folder, relative to the config file")]
    test_path: Annotated[str | None, Field(description="a file or a folder with the text that is held out")] = None
    files: Annotated[str, Field(min_length=1, description="which files of a folder are read, with * and ?")] = "*.txt"
    encoding: Annotated[
        str | None, Field(min_length=1, description="such as latin-1; by default UTF-8, or by the file's mark")
    ] = None
    characters: Annotated[
        int | None, Field(ge=1, description="most that are read, of all files of path together; by default all")
    ] = None

    def open(self, seed: int) -> Table:
        return self.windows(self.path, "path", self.characters)

    def held_out(self, table: Table) -> Table | None:
        """Return the table of ``test_path``, None without one."""
        return None if self.test_path is None else self.windows(self.test_path, "test_path", None)

    def is_small(self) -> bool:
        """Return True if all files have at most 16 MB together."""
        keys = [key for key in ("path", "test_path") if getattr(self, key) is not None]
        return sum(os.stat(path).st_size for key in keys for path in self._paths(key) if os.path.exists(path)) <= SMALL

    def texts(self, key: str) -> Iterator[tuple[str, str]]:
        for path in self._paths(key):
            yield Path(path).name, read_textfile(path, self.encoding, f"data.{key} = {path}", "data.encoding")

    def _paths(self, key: str) -> list[str]:
        """Return the files that a key names, in order. Raises UsageError for a folder without any."""
        path = getattr(self, key)
        if not os.path.isdir(path):
            return [path]
        try:
            names = [name for name in os.listdir(path) if fnmatchcase(name, self.files)]
        except OSError as error:
            raise UsageError(f"data.{key} = {path}: {error.strerror}") from error
        found = [str(Path(path) / name) for name in sort_names(names) if os.path.isfile(Path(path) / name)]
        if not found:
            raise UsageError(f"data.files = {quote_in_error(self.files)}: the folder {path} has no such file")
        return found
