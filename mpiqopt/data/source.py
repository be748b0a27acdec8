"""What a data source is: its fields are the keys of ``[data]``, and it opens as a table of samples."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from mpiqopt.errors import QUOTED, UsageError, clipped, quoted
from mpiqopt.field import Field, only
from mpiqopt.files.names import in_order

Rows = slice | np.ndarray
# bytes of a source up to which rank 0 reads all of it
SMALL = 1 << 24
# splits that are drawn
DRAWN = ("iid", "dirichlet", "inner-dirichlet", "pathological")
# names and labels that are listed, of any number
SHOWN = 8


@dataclass(frozen=True)
class Table:
    """All samples of a source, of which a rank reads only the rows it needs.

    targets: (samples,) float64, one per sample in file order; features: d; rows(which): the features of the
    samples ``which`` (a slice or ascending indices), float (k, d) or a SciPy CSR array. where: for messages.
    solution: (d,) the planted parameter of synthetic data. names: of the features, where the source has names; words:
    those that the targets 0, 1, ... stand for; groups: int64 (samples,), which of ``group_names`` a sample belongs to,
    for split = "natural". read: how the source was understood, a few words by subject ("header": "line 3"). terms: what
    the source itself needs to read another file in the same way, for ``Source.held_out``.
    """

    where: str
    targets: np.ndarray
    features: int
    rows: Callable[[Rows], Any]
    solution: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    words: tuple[str, ...] | None = None
    groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
    read: dict[str, str] = field(default_factory=dict)
    terms: Any = None

    @property
    def samples(self) -> int:
        return len(self.targets)


def in_memory(where: str, features, targets: np.ndarray, **more: Any) -> Table:
    """A table of arrays that are loaded already; more: its other fields.

    Raises UsageError for shapes that do not fit.
    """
    require_numbers(where, features.dtype)
    targets = np.asarray(targets, np.float64)
    if features.ndim != 2 or targets.shape != (features.shape[0],):
        raise UsageError(
            f"{where}: want features (samples, d) and as many targets, got shapes {features.shape} and {targets.shape}"
        )
    return Table(where, targets, features.shape[1], lambda which: features[which], **more)


def require_numbers(where: str, dtype: np.dtype) -> None:
    """Raise UsageError unless features are real numbers."""
    if dtype.kind not in "fiub":
        raise UsageError(f"{where}: want features that are real numbers, got type {dtype}")


def numbered(where: str, labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Return labels as float64 and, where they are words, those that 0, 1, ... stand for: sorted by code points.

    Words that are all numbers are these numbers. Raises UsageError for what is neither.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "fiubSUOT" or (labels.dtype == object and not all(map(_is_word, labels.flat))):
        raise UsageError(f"{where}: want targets that are real numbers or words, got type {labels.dtype}")
    try:
        return labels.astype(np.float64), None
    except (ValueError, TypeError):
        words, codes = np.unique(labels, return_inverse=True)
        return codes.astype(np.float64).reshape(labels.shape), tuple(map(text_of, words.tolist()))


def _is_word(label: Any) -> bool:
    return isinstance(label, (str, bytes))


def text_of(word: str | bytes) -> str:
    """Return a word that a file holds as text; bytes that are none are escaped."""
    return word.decode("utf-8", "backslashreplace") if isinstance(word, bytes) else str(word)


def renumbered(targets: np.ndarray, words: tuple[str, ...] | None, like: "Table") -> np.ndarray:
    """Return the targets of a second file with the numbers of the first one's words. Raises UsageError for others."""
    if words is None or like.words is None:
        if words is not like.words:
            found, known = ("words", "numbers") if words else ("numbers", "words")
            raise UsageError(f"its targets are {found}, those of {like.where} {known}")
        return targets
    strange = [word for word in words if word not in like.words]
    if strange:
        raise UsageError(f"its label {quoted(strange[0])} is none of {like.where}: {mapping(like.words)}")
    return np.array([like.words.index(word) for word in words], np.float64)[targets.astype(np.int64)]


def grouped(names: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return which group each sample belongs to, int64, and the names of the groups in the order that people count.

    names: (samples,) words or numbers.
    """
    values, codes = np.unique(names, return_inverse=True)
    found = [text_of(value) for value in values.tolist()]
    order = in_order(found)
    places = {name: number for number, name in enumerate(order)}
    return np.array([places[name] for name in found], np.int64)[codes], tuple(order)


def mapping(words: Iterable[str]) -> str:
    """Say which number each word is: "no = 0, yes = 1"."""
    return few([f"{word} = {number}" for number, word in enumerate(words)])


def few(words: Sequence[str]) -> str:
    """Return as many of the words as are quickly read, and how many there are if that is not all."""
    shown = clipped(", ".join(words[:SHOWN]), 2 * QUOTED)
    return shown if len(words) <= SHOWN else f"{shown}, ... ({len(words)} in all)"


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings of reading libraries: what matters of them is said in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A place that samples come from, and how they are spread over the nodes."""

    split: Annotated[
        Literal["contiguous", "iid", "by-label", "dirichlet", "inner-dirichlet", "pathological", "natural"],
        Field(
            description="contiguous: node i holds samples floor(i m/n) .. floor((i+1) m/n)-1 in file order; iid: the "
            "same after a random permutation; by-label: after sorting by label; dirichlet: each label's samples in "
            "proportions drawn from Dirichlet(alpha); inner-dirichlet: sizes are given, and each node draws "
            "Dirichlet(alpha) proportions of labels; pathological: each node holds classes_per_node labels; natural: "
            "each node holds the samples that the data say are its own"
        ),
    ] = "contiguous"
    alpha: Annotated[
        float,
        Field(
            gt=0,
            description="concentration of the dirichlet splits; small is uneven",
            needs=(only("split", ("dirichlet", "inner-dirichlet")),),
        ),
    ] = 0.5
    classes_per_node: Annotated[
        int,
        Field(ge=1, description="labels of a node in the pathological split", needs=(only("split", "pathological"),)),
    ] = 2
    sizes: Annotated[
        Literal["equal", "linear", "square", "exponential"] | list[Annotated[float, Field(gt=0)]],
        Field(
            description="samples of node i, in proportion to: equal: 1; linear: i + 1; square: (i + 1)^2; exponential: "
            "e^i; or positive numbers, one for each node",
            needs=(only("split", ("contiguous", "iid", "by-label", "inner-dirichlet")),),
        ),
    ] = "equal"
    label_noise: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="probability that the label of a training sample is another one, any with the same; samples "
            "are divided by their true labels, and held-out samples keep theirs",
        ),
    ] = 0.0
    seed: Annotated[
        int | None,
        Field(
            ge=0,
            lt=2**63,
            description="seed of what is drawn of the data (split, held-out samples, wrong labels, synthetic data); "
            "by default run.seed",
            needs=(only("is_drawn", True, "nothing of the data is drawn"),),
        ),
    ] = None
    scale: Annotated[
        Literal["none", "standard", "unit-rows"],
        Field(
            description="standard: zero mean and unit variance of each feature (sparse data: variance only); "
            "unit-rows: each sample divided by its Euclidean norm"
        ),
    ] = "none"
    intercept: Annotated[bool, Field(description="append a feature that is always 1, after scaling")] = False
    test_fraction: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="part of the samples, drawn at random, that is held out for /test_loss and /accuracy",
        ),
    ] = 0.0

    name: ClassVar[str]  # that it is registered under
    draws: ClassVar[bool] = False  # True if ``open`` draws samples from its seed

    @property
    def is_drawn(self) -> bool:
        """True if anything of the data depends on their seed."""
        return self.draws or self.split in DRAWN or self.test_fraction > 0 or self.label_noise > 0

    @abstractmethod
    def open(self, seed: int) -> Table:
        """The table. seed: for data that are drawn. Raises UsageError where there is nothing usable."""

    def held_out(self, table: Table) -> Table | None:
        """Return the samples that a file of their own holds out, in the terms of ``table``; None without such a file.

        The same features, and the same numbers for the same words.
        """
        return None

    def count(self) -> int | None:
        """Return how many samples there are, if that is quick to find, where opening the table takes longer.

        Raises UsageError like ``open``. Asked on rank 0.
        """
        return None

    def nbytes(self) -> int:
        """Return the bytes that all features take in memory, if that is known before; else 0."""
        return 0

    def prepare(self) -> None:  # noqa: B027 (most sources have nothing to prepare)
        """What one process does before all open the table, such as a download."""

    def is_small(self) -> bool:
        """Return True if rank 0 opens the table for all ranks and hands out the shares; asked on rank 0."""
        return False
