"""What a data source promises: as many targets as rows, and the same rows however and whenever they are asked for."""

from typing import Any

import numpy as np

from mpiqopt.contracts.contract import require, require_equal
from mpiqopt.data.source import Rows, Source, Table

SEED = 3


def _opened(source: Source) -> Table:
    source.prepare()
    return source.open(SEED)


def _dense(table: Table, which: Rows) -> np.ndarray:
    rows: Any = table.rows(which)
    if isinstance(rows, np.ndarray):
        return rows
    require(hasattr(rows, "toarray"), f"rows() returns a {type(rows).__name__}, want a NumPy or SciPy CSR array")
    return rows.toarray()


def table_has_a_target_for_each_row(source: Source) -> None:
    """Hold the table to targets (samples,) as float64 and features (samples, d) as numbers, all finite."""
    table = _opened(source)
    require(isinstance(table, Table), f"open() returns a {type(table).__name__}, want a Table")
    require(
        isinstance(table.targets, np.ndarray) and table.targets.dtype == np.float64 and table.targets.ndim == 1,
        f"targets are {getattr(table.targets, 'dtype', type(table.targets).__name__)} {np.shape(table.targets)}, want "
        "float64 (samples,)",
    )
    require(table.samples > 0, "the table has no samples")
    rows = _dense(table, slice(0, table.samples))
    wanted = (table.samples, table.features)
    require(rows.shape == wanted, f"rows are {rows.shape}, want (targets, features) = {wanted}")
    require(rows.dtype.kind in "fiub", f"features are {rows.dtype}, want real numbers")
    require(np.isfinite(rows).all(), f"{np.sum(~np.isfinite(rows))} features are not finite")
    require(np.isfinite(table.targets).all(), f"{np.sum(~np.isfinite(table.targets))} targets are not finite")


def rows_are_the_same_however_asked(source: Source) -> None:
    """Hold slices and ascending indices to the rows of the whole: every rank reads its own."""
    table = _opened(source)
    whole, m = _dense(table, slice(0, table.samples)), table.samples
    index = np.unique(np.random.default_rng(0).integers(0, m, 9))
    for which in (slice(m // 3, m // 2), slice(m - 1, m), slice(0, 0), np.arange(m)[m // 4 :: 3], index):
        require_equal(_dense(table, which), whole[which], f"rows({which if isinstance(which, slice) else 'indices'})")


def opened_again_it_is_the_same(source: Source) -> None:
    """Hold a second table to the bits of the first: ranks open their own, and a run is continued."""
    first, second = _opened(source), _opened(source)
    require_equal(second.targets, first.targets, "targets of a second table")
    everything = slice(0, first.samples)
    require_equal(_dense(second, everything), _dense(first, everything), "rows of a second table")


CHECKS = (table_has_a_target_for_each_row, rows_are_the_same_however_asked, opened_again_it_is_the_same)
