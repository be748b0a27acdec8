"""Matrix Market, by SciPy: square matrices that say themselves whether they are symmetric."""

from io import BytesIO

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.topologies.formats.links import Given, Links, require_nodes
from mpiqopt.topologies.formats.matrix import matrix_links


def read(given: Given) -> Links:
    """Read a Matrix Market file: coordinates or an array, symmetric or not, a pattern without values or numbers.

    Sizes are looked at before SciPy makes arrays of them. Raises UsageError, or what SciPy raises.
    """
    from scipy.io import mminfo, mmread
    from scipy.sparse import coo_array

    rows, columns, entries, layout, field, _ = mminfo(BytesIO(given.content))
    if rows != columns or field == "complex":
        raise UsageError(f"a {field} matrix of {rows} rows and {columns} columns, want a square one of real numbers")
    if max(entries, rows * columns * (layout == "array") // 2) > len(given.content):
        raise UsageError(f"{entries} entries, but the file has {len(given.content)} bytes")
    require_nodes(rows)
    found = coo_array(mmread(BytesIO(given.content), spmatrix=False))
    found.sum_duplicates()
    kept = found.data != 0
    values = np.full(kept.sum(), np.nan) if field == "pattern" else found.data[kept]
    if np.isinf(values).any() or (field != "pattern" and np.isnan(values).any()):
        raise UsageError("an entry is no finite number")
    names = tuple(map(str, range(1, rows + 1)))
    said = {"format": f"mtx ({layout}, {field})"}
    return matrix_links(names, found.row[kept], found.col[kept], values, np.zeros(rows, np.int64), said)
