"""LIBSVM's lines of index:value, plain or compressed, read by scikit-learn.

scikit-learn's reader is fast, knows no words as labels and names no line of what is wrong. A file that it refuses is
read again in Python, which does both.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np

from mpiqopt.data.files import FileSource
from mpiqopt.data.labels import label_mapping, label_text, number_labels, renumber_labels
from mpiqopt.data.source import Features, Table, source_table
from mpiqopt.errors import QUOTED, UsageError, clip_for_error_line, quote_in_error
from mpiqopt.field import Field
from mpiqopt.files import textfiles
from mpiqopt.registry import register

UTF8_MARK = b"\xef\xbb\xbf"
NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)
INDEX = re.compile(rb"\d+")


@register("data", "libsvm")
@dataclass(frozen=True, kw_only=True)
class LibSVM(FileSource):
    """``label index:value ...`` per line, also compressed (gzip, bzip2, xz); read by scikit-learn, sparse.

    Labels may be words. Rank 0 reads a file of up to 16 MB for all; of a larger one every rank reads all and keeps its
    own rows.
    """

    features: Annotated[int | None, Field(ge=1, description="number of features; by default the largest index")] = None
    index_base: Annotated[
        Literal["auto", 0, 1], Field(description="what the first feature is called; auto: 0 if that occurs, else 1")
    ] = "auto"

    def table(self, path: str, where: str, like: Table | None) -> Table:
        """Return the table of a file, features in CSR. ``terms``: the index of the first feature, 0 or 1."""
        features, labels, words = _loaded(path, where)
        base = self._base(features) if like is None else like.terms
        width = self.features if like is None else like.features
        rows = _based(features, base, width, path, where, self._width(like))
        if like is not None:
            labels, words = renumber_labels(labels, words, like), like.words
        said = {"format": "libsvm" + textfiles.textfile_compression(path), "index base": f"{base}"}
        if words:
            said["labels"] = label_mapping(words)
        return source_table(path, rows, labels, words=words, read=said, terms=base)

    def _base(self, features: Features) -> int:
        """Return the index of the first feature: 0 or 1. features: CSR, with the indices of the file."""
        if self.index_base != "auto":
            return self.index_base
        return int(features.indices.size > 0 and features.indices.min() > 0)

    def _width(self, like: Table | None) -> str:
        """Say what limits the indices, for a message."""
        return f"data.features = {self.features}" if like is None else f"{like.where} has {like.features} features"


def _based(features: Features, base: int, width: int | None, path: str, where: str, wanted: str) -> Any:
    """Return the rows (m, width) with indices from 0 on. Raises UsageError, with the line, for one outside of these.

    base: index of the first feature; width: how many there are, by default as many as occur; wanted: what says so.
    """
    from scipy.sparse import csr_matrix

    indices = features.indices
    indices -= base
    most = int(indices.max()) + 1 if indices.size else 0
    if indices.size and (indices.min() < 0 or (width is not None and most > width)):
        wrong = int(np.flatnonzero((indices < 0) | (indices >= (width or most)))[0])
        line = _line_of(path, int(np.searchsorted(features.indptr, wrong, side="right")) - 1)
        reason = wanted if indices[wrong] >= 0 else f"data.index_base = {base}"
        raise UsageError(f"{where}: line {line}: index {indices[wrong] + base}, but {reason}")
    return csr_matrix((features.data, indices, features.indptr), shape=(features.shape[0], width or most))


def _loaded(path: str, where: str) -> tuple[Any, np.ndarray, tuple[str, ...] | None]:
    """Return features (CSR) with the indices of the file, labels as numbers, and the words that they were, if any."""
    from sklearn.datasets import load_svmlight_file

    try:
        with _text(path, where) as file:
            features, labels = load_svmlight_file(file, zero_based=True)
        return features, labels, None
    except (ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())
    lines = list(_lines(path, where))
    given = [words[0] for _, words in lines]
    if 2 * sum(NUMBER.fullmatch(label) is not None for label in given) >= len(given):
        raise UsageError(f"{where}: {_wrong(lines, words=False) or f'not readable as libsvm: {reason}'}")
    wrong = _wrong(lines, words=True)
    if wrong:
        raise UsageError(f"{where}: {wrong}")
    codes, words = number_labels(where, np.array([label_text(label) for label in given]))
    rows = b"\n".join(b" ".join([b"%d" % code, *parts[1:]]) for code, (_, parts) in zip(codes, lines, strict=True))
    features, labels = load_svmlight_file(io.BytesIO(rows), zero_based=True)
    return features, labels, words


def _text(path: str, where: str) -> BinaryIO:
    """Open the text of a file in an encoding that has ASCII in it, without a byte order mark."""
    file = textfiles.open_decompressed_textfile(path)
    head = file.read(4)
    textfiles.require_no_other_textfile(head, where)
    file.seek(0)
    if head.startswith(UTF8_MARK):
        file.read(len(UTF8_MARK))
    elif any(head.startswith(mark) for mark in textfiles.MARKS):
        file.close()
        return io.BytesIO(textfiles.read_textfile(path, None, where, "data.path").encode())
    return file


def _lines(path: str, where: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the words of every line that has some, without comments, and the line's number."""
    with _text(path, where) as file:
        for number, line in enumerate(file, 1):
            words = line.partition(b"#")[0].split()
            if words:
                yield number, words


def _line_of(path: str, row: int) -> int:
    """Return the number of the line of a sample. row: its number, from 0 on."""
    return next(number for place, (number, _) in enumerate(_lines(path, path)) if place == row)


def _wrong(lines: list[tuple[int, list[bytes]]], words: bool) -> str:
    """Say what is wrong with the first line that is; "" if none is. words: labels may be any."""
    for number, (label, *pairs) in lines:
        reason = _wrong_label(label, words) or _wrong_pairs(pairs)
        if reason:
            return f"line {number}: {reason}"
    return ""


def _wrong_label(label: bytes, words: bool) -> str:
    """Say what is wrong with a label; "" if nothing is."""
    if b"," in label:
        return f"several labels, {quote_in_error(label_text(label))}; want one"
    if b":" in label:
        return f"no label before {quote_in_error(label_text(label))}"
    if not words and not NUMBER.fullmatch(label):
        return f"the label {quote_in_error(label_text(label))} is no number, but most are"
    return ""


def _wrong_pairs(pairs: list[bytes]) -> str:
    """Say what is wrong with the first wrong index:value of a line; "" if none is. qid:value, of rankings, may be."""
    last = -1
    for pair in pairs:
        index, colon, value = pair.partition(b":")
        if index == b"qid" and colon:
            continue
        if not (INDEX.fullmatch(index) and NUMBER.fullmatch(value)):
            return f"{quote_in_error(label_text(pair))} is no index:value"
        if len(index) > 10 or int(index) >= 2**31:
            return f"index {clip_for_error_line(label_text(index), QUOTED)}: want less than 2^31"
        if int(index) <= last:
            return f"index {int(index)} comes after {last}; want ascending ones"
        last = int(index)
    return ""
