"""The group /final of a result file: the last iterates of all nodes, and what axes are called."""

from collections.abc import Sequence

import h5py
import numpy as np

from mpiqopt.placement.shared_rows import is_shared
from mpiqopt.results.datasets import make_axis, store_numbers, store_texts

Names = Sequence[str] | None

# Bytes of /final/x from which one row for all nodes is written once, and of a row: HDF5 takes some 70 for each that is
# mapped to it.
REPEATED, MAPPED_ROW = 1 << 24, 1 << 10


def write_final(file: h5py.File, x: np.ndarray, names: dict[str, Names]) -> None:
    """Write the group /final, with /final/x (node, coordinate).

    Large ``shared_rows`` are written once, as /final/point (coordinate,); /final/x then is a virtual dataset whose rows
    are all that one, for readers the same.

    Parameters
    ----------
    file:
        without such a group
    x:
        iterates (nodes, d), in the type of the run
    names:
        of the axes "node" and "coordinate", where these have some
    """
    final = file.create_group("final")
    axes = [make_axis(final, name, size) for name, size in zip(("node", "coordinate"), x.shape, strict=True)]
    if is_shared(x) and x.nbytes > REPEATED and x[0].nbytes >= MAPPED_ROW:
        store_numbers(final, "point", x[0])
        final["point"].attrs["long_name"] = "last iterate, the same at all nodes"
        final["point"].dims[0].attach_scale(axes[1])
        _repeat(final["point"], len(x))
    else:
        store_numbers(final, "x", x)
    final["x"].attrs["long_name"] = "last iterate of every node"
    for dimension, axis in zip(final["x"].dims, axes, strict=True):
        dimension.attach_scale(axis)
    _name_axes(final, names)


def _repeat(point: h5py.Dataset, nodes: int) -> None:
    """Write the virtual dataset "x" beside ``point`` (d,), (nodes, d), each of whose rows is read there."""
    layout = h5py.VirtualLayout((nodes, *point.shape), point.dtype)
    # ".": whatever the file is called, in memory, when it is published and after it was moved
    source = h5py.VirtualSource(".", point.name, point.shape)
    for node in range(nodes):
        layout[node] = source
    point.parent.create_virtual_dataset("x", layout)


def _name_axes(final: h5py.Group, names: dict[str, Names]) -> None:
    """Write the names along the axes of /final/x, as coordinates by the conventions of netCDF."""
    named = {axis: values for axis, values in names.items() if values}
    for axis, values in named.items():
        store_texts(final, f"{axis}_name", values)
        final[f"{axis}_name"].dims[0].attach_scale(final[axis])
    if named:
        final["x"].attrs["coordinates"] = " ".join(f"{axis}_name" for axis in named)
