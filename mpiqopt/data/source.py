"""What a data source is: its fields are the keys of ``[data]``, and it opens as a table of samples."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.field import Field, only

# Which samples: a slice, or their numbers in ascending order.
Rows = slice | np.ndarray
# Features of k samples: an array (k, d), or a SciPy CSR array of that shape, whose module ranks > 0 must not import.
Features = Any
# Bytes of a source up to which rank 0 reads all of it and sends the others their shares (16 MB): many ranks need not
# all ask the file system for the same small file.
SMALL = 1 << 24
# splits that depend on the seed
DRAWN = ("iid", "dirichlet", "inner-dirichlet", "resource-dirichlet", "pathological")


@dataclass(frozen=True)
class Table:
    """Describe all samples of a source, of which a rank reads only the rows it needs.

    Attributes
    ----------
    where:
        what messages call the source
    targets:
        float64 (m,), one per sample in file order; every rank has all of them, to divide them in the same way
    features:
        d, the number of features
    rows:
        function from the numbers of k samples (a slice, or ascending) to their features, float (k, d) or a SciPy CSR
        array of that shape; called once per rank, for its own samples
    solution:
        float64 (d,), the planted parameter of synthetic data, row after row where there are several classes
    names:
        d names of the features, where the source has names
    words:
        those that the targets 0, 1, ... stand for, where they are words
    groups, group_names:
        int64 (m,), which of the names a sample belongs to, for ``split = "natural"``
    read:
        how the source was understood, a few words by subject: ``{"header": "line 3"}``; ``mpiqopt check`` prints it
    shape:
        of one sample, whose numbers are its features in C order: (channels, height, width) of an image, (T,) of a text;
        None where the source knows of none
    vocabulary:
        the characters that the features 0, 1, ... of a text stand for, None for other samples
    terms:
        what the source itself needs to read a second file in the same way, in ``Source.held_out``
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
    shape: tuple[int, ...] | None = None
    vocabulary: str | None = None

    @property
    def samples(self) -> int:
        """Return m, the number of samples."""
        return len(self.targets)


def source_table(where: str, features: Features, targets: np.ndarray, **more: Any) -> Table:
    """Return a table of arrays that are loaded already.

    Parameters
    ----------
    where:
        what messages call the source
    features:
        real numbers (m, d), or a sparse SciPy array of that shape that can be indexed by rows
    targets:
        (m,), converted to float64
    more:
        other fields of ``Table``, by name

    Raises
    ------
    UsageError
        for features that are no real numbers, and for shapes that do not fit

    Examples
    --------
    >>> table = source_table("two points", np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1]))
    >>> table.samples, table.features, table.rows(slice(1, 2)).tolist()
    (2, 2, [[3.0, 4.0]])
    """
    require_source_numbers(where, features.dtype)
    targets = np.asarray(targets, np.float64)
    if features.ndim != 2 or targets.shape != (features.shape[0],):
        raise UsageError(
            f"{where}: want features (samples, d) and as many targets, got shapes {features.shape} and {targets.shape}"
        )
    return Table(where, targets, features.shape[1], lambda which: features[which], **more)


def require_source_numbers(where: str, dtype: np.dtype) -> None:
    """Raise UsageError unless features are real numbers."""
    if dtype.kind not in "fiub":
        raise UsageError(f"{where}: want features that are real numbers, got type {dtype}")


@contextmanager
def silence_source_readers() -> Iterator[None]:
    """Suppress the warnings of reading libraries: what matters becomes an error of one line, the rest is noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Read samples from somewhere, and say how they are divided among the nodes: the base of every ``data.name``.

    The fields of a derived class are the keys of ``[data]``; it has to define ``open``. Objects are frozen: rank 0
    sends them to all ranks. The order of the calls, once per run:

    1. on rank 0 ``count`` and ``nbytes`` (what they answer may refuse the run before anything is read), then
       ``prepare``, such as a download, and ``is_small``;
    2. ``open`` and ``held_out``, on rank 0 alone if the source is small, else on every rank;
    3. ``Table.rows``, by who has the table, with the samples of the nodes that a rank hosts.

    Everything drawn comes from ``seed``, so that each rank finds the same table.

    Examples
    --------
    Samples (i, 1) with the target 2 i + 1, of which each node takes consecutive ones:

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Line(Source):
    ...     samples: int = 4
    ...     def open(self, seed):
    ...         i = np.arange(float(self.samples))
    ...         return source_table("line", np.stack([i, np.ones_like(i)], axis=1), 2 * i + 1)
    >>> table = Line(samples=3).open(seed=0)
    >>> table.targets.tolist(), table.rows(slice(0, 2)).tolist()
    ([1.0, 3.0, 5.0], [[0.0, 1.0], [1.0, 1.0]])

    With ``@register("data", "line")`` above the class, a config may say ``data.name = "line"``, ``samples = 3``.
    """

    split: Annotated[
        Literal[
            "contiguous",
            "iid",
            "by-label",
            "dirichlet",
            "inner-dirichlet",
            "resource-dirichlet",
            "pathological",
            "natural",
        ],
        Field(
            description="contiguous: node i has samples floor(i m/n) .. floor((i+1) m/n)-1 in file order; iid: the "
            "same after a random permutation; by-label: after sorting by label; dirichlet: each label's samples in "
            "proportions drawn from Dirichlet(alpha); inner-dirichlet: sizes are given, and each node draws "
            "Dirichlet(alpha) proportions of labels; resource-dirichlet: each label's samples go to the classes of "
            "[[devices]] in proportions drawn from Dirichlet(alpha); pathological: each node has classes_per_node "
            "labels; natural: each node has the samples that the data say are its own"
        ),
    ] = "contiguous"
    alpha: Annotated[
        float,
        Field(
            gt=0,
            description="concentration of the dirichlet splits; small is uneven",
            needs=(only("split", ("dirichlet", "inner-dirichlet", "resource-dirichlet")),),
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
            needs=(only("split", ("contiguous", "iid", "by-label", "inner-dirichlet", "resource-dirichlet")),),
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
        Literal["none", "standard", "unit-rows", "images"],
        Field(
            description="standard: zero mean and unit variance of each feature (sparse data: variance only); "
            "unit-rows: each sample divided by its Euclidean norm; images: zero mean and unit variance of each channel "
            "over all its pixels"
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
    shape: Annotated[
        Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] | None,
        Field(
            description="of one sample, [channels, height, width] of an image, where features are its numbers row by "
            "row; by default as the source knows it"
        ),
    ] = None
    augment: Annotated[
        list[Literal["flip", "shift"]] | None,
        Field(
            description="what networks train on instead of the images: flip: every other one, at random, left-right "
            "reversed; shift: moved by up to augment_pixels in each direction, at random",
            needs=(
                only("problem.name", "torch"),
                only("algorithm.augments", True, "only clients of federated methods, and centralized, change images"),
            ),
        ),
    ] = None
    augment_pixels: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="most pixels by which images are shifted; those that come in are 0",
            needs=(only("shifts", True, "data.augment has no 'shift'"),),
        ),
    ] = 2

    name: ClassVar[str]  # that it is registered under
    draws: ClassVar[bool] = False  # True if ``open`` draws samples from its seed

    @property
    def is_drawn(self) -> bool:
        """Return True if anything of the data depends on their seed."""
        return self.draws or self.split in DRAWN or self.test_fraction > 0 or self.label_noise > 0

    @property
    def shifts(self) -> bool:
        """Return True if images are shifted."""
        return "shift" in (self.augment or ())

    @abstractmethod
    def open(self, seed: int) -> Table:
        """Return the table of all samples, the same on every rank that asks.

        seed: where data are drawn, what their random numbers follow from; ``data.seed``, by default ``run.seed``.
        Raises UsageError, with the key that is to blame, where there is nothing usable.
        """

    def held_out(self, table: Table) -> Table | None:
        """Return the table of a separate test file, None without one (``data.test_fraction`` then applies).

        table: that of the training samples, as ``open`` returned it. The result has the same features in the same
        order and the same numbers for the same words. Raises UsageError where the two files do not fit together.
        """
        return None

    def count(self) -> int | None:
        """Return the number of samples if that is much quicker than ``open``, else None; called on rank 0.

        Raises UsageError like ``open``.
        """
        return None

    def nbytes(self) -> int:
        """Return the bytes of all features in memory if they are known before ``open``, else 0.

        A run that would not fit in memory is refused by it before anything is read.
        """
        return 0

    def prepare(self) -> None:  # noqa: B027 (most sources have nothing to prepare)
        """Do what one process has to do before all ranks open the table, such as a download."""

    def is_small(self) -> bool:
        """Return True if rank 0 is to open the table for all ranks and hand out the shares; called on rank 0."""
        return False
