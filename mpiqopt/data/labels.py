"""Labels and names of groups as numbers, and numbers back as words in messages."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mpiqopt.data.source import Table
from mpiqopt.errors import QUOTED, UsageError, clip_for_error_line, quote_in_error
from mpiqopt.files.names import sort_names

# names or labels that a line lists, however many there are
SHOWN = 8


def number_labels(where: str, labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Return labels as float64 of the same shape and, where they are words, those that 0, 1, ... stand for.

    Words are sorted by code points, so that the numbers do not depend on the order of the samples. Words that are all
    numbers ("1", "2") become these numbers. Raises UsageError for what is neither numbers nor words.

    >>> numbers, words = number_labels("animals", np.array(["dog", "cat", "dog"]))
    >>> numbers.tolist(), words
    ([1.0, 0.0, 1.0], ('cat', 'dog'))
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "fiubSUOT" or (labels.dtype == object and not all(map(_is_word, labels.flat))):
        raise UsageError(f"{where}: want targets that are real numbers or words, got type {labels.dtype}")
    try:
        return labels.astype(np.float64), None
    except (ValueError, TypeError):
        words, codes = np.unique(labels, return_inverse=True)
        return codes.astype(np.float64).reshape(labels.shape), tuple(map(label_text, words.tolist()))


def _is_word(label: Any) -> bool:
    return isinstance(label, (str, bytes))


def label_text(word: str | bytes) -> str:
    """Return a word of a file as text; bytes that are not UTF-8 are escaped (``\\xff``)."""
    return word.decode("utf-8", "backslashreplace") if isinstance(word, bytes) else str(word)


def renumber_labels(targets: np.ndarray, words: tuple[str, ...] | None, like: Table) -> np.ndarray:
    """Return the targets of a second file with the numbers that words have in the first, float64 of the same shape.

    targets, words: of the second file, as ``number_labels`` returns them; like: the table of the first. Raises
    UsageError for a word that the first file lacks, and if only one of the two has words.
    """
    if words is None or like.words is None:
        if words is not like.words:
            found, known = ("words", "numbers") if words else ("numbers", "words")
            raise UsageError(f"its targets are {found}, those of {like.where} {known}")
        return targets
    strange = [word for word in words if word not in like.words]
    if strange:
        raise UsageError(f"its label {quote_in_error(strange[0])} is none of {like.where}: {label_mapping(like.words)}")
    return np.array([like.words.index(word) for word in words], np.float64)[targets.astype(np.int64)]


def number_groups(names: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return which group each sample belongs to, int64 (m,), and the names of the groups in the order people count.

    names: (m,) words or numbers, the group of each sample.

    >>> group, found = number_groups(np.array(["n10", "n2", "n10"]))
    >>> group.tolist(), found
    ([1, 0, 1], ('n2', 'n10'))
    """
    values, codes = np.unique(names, return_inverse=True)
    found = [label_text(value) for value in values.tolist()]
    order = sort_names(found)
    places = {name: number for number, name in enumerate(order)}
    return np.array([places[name] for name in found], np.int64)[codes], tuple(order)


def label_mapping(words: Iterable[str]) -> str:
    """Say which number each word is: "no = 0, yes = 1"."""
    return list_few_labels([f"{word} = {number}" for number, word in enumerate(words)])


def list_few_labels(words: Sequence[str]) -> str:
    """Return the first ``SHOWN`` words, joined by commas, and how many there are if that is not all."""
    shown = clip_for_error_line(", ".join(words[:SHOWN]), 2 * QUOTED)
    return shown if len(words) <= SHOWN else f"{shown}, ... ({len(words)} in all)"
