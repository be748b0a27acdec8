"""Datasets of a result file: arrays with checksums, texts, and axes as netCDF-4 writes them."""

from collections.abc import Sequence

import h5py
import numpy as np

# What netCDF readers (xarray) expect as the label of an axis that has no coordinates.
NO_COORDINATES = b"This is a netCDF dimension but not a netCDF variable.%10d"
# The most rows of a chunk.
LARGEST = 8192


def store_numbers(group: h5py.Group, name: str, values: np.ndarray) -> None:
    """Write an array with a checksum, which any reader of HDF5 checks."""
    group.create_dataset(name, data=values, fletcher32=True)


def store_texts(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Write strings. Checksums are for numbers: those of strings would be of their addresses."""
    group.create_dataset(name, data=[value.encode("utf-8", "replace") for value in values], dtype=h5py.string_dtype())


def make_axis(group: h5py.Group, name: str, size: int, unlimited: bool = False) -> h5py.Dataset:
    """Return a new axis without coordinates, as netCDF-4 writes it. unlimited: it can grow."""
    extent = {"maxshape": (None,), "chunks": (LARGEST,)} if unlimited else {}  # nothing is ever written to it
    scale = group.create_dataset(name, (size,), "int8", **extent)
    scale.make_scale()
    scale.attrs["NAME"] = np.bytes_(NO_COORDINATES % size)
    return scale
