"""Promises of a data source: as many targets as rows, and the same rows however and whenever they are asked for.

>>> from mpiqopt.data.synthetic import Synthetic
>>> rows_are_the_same_however_asked(Synthetic(samples=20, features=3)) is None  # holds
True
"""

from math import prod
from typing import Any

import numpy as np

from mpiqopt.contracts.contract import promise, promise_equal
from mpiqopt.data.source import Rows, Source, Table

SEED = 3


def _opened(source: Source) -> Table:
    """Return the table of a source, prepared as a run does it."""
    source.prepare()
    return source.open(SEED)


def _dense(table: Table, which: Rows) -> np.ndarray:
    """Return some rows as a NumPy array; raise Broken if they are neither that nor sparse."""
    rows: Any = table.rows(which)
    if isinstance(rows, np.ndarray):
        return rows
    promise(hasattr(rows, "toarray"), f"rows() returns a {type(rows).__name__}, want a NumPy or SciPy CSR array")
    return rows.toarray()


def table_has_a_target_for_each_row(source: Source) -> None:
    """Check for targets (samples,) as float64 and features (samples, d) as numbers, all finite.

    Integers and booleans are numbers, too; they are converted to the run's type.
    """
    table = _opened(source)
    promise(isinstance(table, Table), f"open() returns a {type(table).__name__}, want a Table")
    promise(
        isinstance(table.targets, np.ndarray) and table.targets.dtype == np.float64 and table.targets.ndim == 1,
        f"targets are {getattr(table.targets, 'dtype', type(table.targets).__name__)} {np.shape(table.targets)}, want "
        "float64 (samples,)",
    )
    promise(table.samples > 0, "the table has no samples")
    rows = _dense(table, slice(0, table.samples))
    wanted = (table.samples, table.features)
    promise(rows.shape == wanted, f"rows are {rows.shape}, want (targets, features) = {wanted}")
    promise(rows.dtype.kind in "fiub", f"features are {rows.dtype}, want real numbers")
    promise(np.isfinite(rows).all(), f"{np.sum(~np.isfinite(rows))} features are not finite")
    promise(np.isfinite(table.targets).all(), f"{np.sum(~np.isfinite(table.targets))} targets are not finite")


def rows_are_the_same_however_asked(source: Source) -> None:
    """Check that slices and ascending indices give the rows of the whole: every rank reads its own.

    Also empty slices, and single rows at the end.
    """
    table = _opened(source)
    whole, m = _dense(table, slice(0, table.samples)), table.samples
    index = np.unique(np.random.default_rng(0).integers(0, m, 9))
    for which in (slice(m // 3, m // 2), slice(m - 1, m), slice(0, 0), np.arange(m)[m // 4 :: 3], index):
        promise_equal(_dense(table, which), whole[which], f"rows({which if isinstance(which, slice) else 'indices'})")


def opened_again_it_is_the_same(source: Source) -> None:
    """Check that a second table has the bits of the first.

    Ranks open their own, and a continued run opens one again.
    """
    first, second = _opened(source), _opened(source)
    promise_equal(second.targets, first.targets, "targets of a second table")
    everything = slice(0, first.samples)
    promise_equal(_dense(second, everything), _dense(first, everything), "rows of a second table")


def shape_is_that_of_the_rows(source: Source) -> None:
    """Check that a shape has as many numbers as there are features, and that those of a text are tokens.

    Networks reshape rows by it, and look tokens up in a table of the vocabulary's size.
    """
    table = _opened(source)
    size = table.features if table.shape is None else prod(table.shape)
    promise(size == table.features, f"shape {table.shape} has {size} numbers, want {table.features}, the features")
    if table.vocabulary is not None:
        rows, size = _dense(table, slice(0, table.samples)), len(table.vocabulary)
        promise(table.shape is not None, "a table with a vocabulary has no shape")
        promise(np.isin(rows, np.arange(size)).all(), f"some tokens are none of 0 .. {size - 1}, the vocabulary's")


CHECKS = (
    table_has_a_target_for_each_row,
    rows_are_the_same_however_asked,
    opened_again_it_is_the_same,
    shape_is_that_of_the_rows,
)
