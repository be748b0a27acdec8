"""Datasets of an HDF5 file, of which each rank reads its own rows."""

from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np

from mpiqopt.data.files import FileSource, require_keys, require_same_width_of_files
from mpiqopt.data.labels import label_mapping, number_groups, number_labels, renumber_labels
from mpiqopt.data.shapes import sample_shape
from mpiqopt.data.source import Rows, Table, require_source_numbers
from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.field import Field
from mpiqopt.registry import register

# Soft links that lead to soft links: HDF5 itself follows no more, and a circle of links would never end.
LINKS = 16


@register("data", "hdf5")
@dataclass(frozen=True, kw_only=True)
class Hdf5(FileSource):
    """Datasets ``X`` (samples, d) and ``y`` (samples,), which may be words.

    An ``X`` of shape (samples, height, width) or (samples, channels, height, width) has images.

    Rank 0 reads a file of up to 16 MB for all; of a larger one each rank reads the rows of the nodes that it hosts.
    """

    x_key: Annotated[str, Field(description="dataset of the features")] = "X"
    y_key: Annotated[str, Field(description="dataset of the targets")] = "y"
    by: Annotated[
        str | None, Field(description="dataset (samples,) that names the node of each sample, for split = natural")
    ] = None

    def count(self) -> int:
        """Return the length of the dataset of features; its values are not read."""
        with self.reading() as where, _opened(self.path) as file:
            return len(_dataset(where, file, self.x_key))

    def table(self, path: str, where: str, like: Table | None) -> Table:
        """Return the table of a file: targets are read now, features when rows of them are asked for."""
        with _opened(path) as file:
            features, labels = (_dataset(where, file, key) for key in (self.x_key, self.y_key))
            require_source_numbers(where, features.dtype)
            size = features.shape
            shape = sample_shape(where, size)
            if (len(size) != 2 and shape is None) or labels.shape != size[:1]:
                wanted = f"want {self.x_key} (samples, d) and {self.y_key} (samples,)"
                raise UsageError(f"{where}: {wanted}, got {size} and {labels.shape}")
            width = prod(size[1:])
            targets, words = number_labels(where, _values(labels))
            groups, group_names = (None, ()) if self.by is None else self._groups(where, file, size[:1])
        if like is not None:
            targets, words = renumber_labels(targets, words, like), like.words
            require_same_width_of_files(width, like)
        said = {"format": "hdf5"} | ({"labels": label_mapping(words)} if words else {})
        if group_names:
            said["nodes"] = f"{self.by!r}, {len(group_names)} names"

        def rows(which: Rows) -> np.ndarray:
            with _opened(path) as file:
                return file[self.x_key][which].reshape(-1, width)

        more: dict[str, Any] = {
            "words": words,
            "groups": groups,
            "group_names": group_names,
            "read": said,
            "shape": shape,
        }
        return Table(path, targets, width, rows, **more)

    def _groups(self, where: str, file: Any, shape: tuple[int]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return ``number_groups`` names of nodes. shape: (m,), which they have to have."""
        names = _dataset(where, file, self.by or "")
        if names.shape != shape:
            raise UsageError(f"{where}: want {self.by} (samples,), a name for each of {shape[0]}, got {names.shape}")
        return number_groups(_values(names))


def _opened(path: str) -> Any:
    """Return an h5py.File to read, without locks, which many file systems do not have."""
    import h5py

    return h5py.File(path, locking=False)


def _values(dataset: Any) -> np.ndarray:
    """Return all values of a dataset, strings as text."""
    import h5py

    return (dataset.asstr(errors="backslashreplace") if h5py.check_string_dtype(dataset.dtype) else dataset)[()]


def _dataset(where: str, file: Any, key: str) -> Any:
    """Return the h5py.Dataset of that name. Raises UsageError unless its numbers are in this file.

    Fingerprints and checks of a run cover the files that the config names, and no others that these lead to.
    """
    import h5py

    _require_inside(where, file, key, LINKS)
    require_keys(where, (key,), file)
    dataset = file[key]
    if not isinstance(dataset, h5py.Dataset):
        raise UsageError(f"{where}: {quote_in_error(key)} is a group; want a dataset")
    if dataset.shape is None:
        raise UsageError(f"{where}: {quote_in_error(key)} holds nothing")
    if dataset.is_virtual or dataset.external:
        how = "a virtual dataset" if dataset.is_virtual else "stored outside"
        raise UsageError(
            f"{where}: {quote_in_error(key)} is {how}: its numbers are in other files; copy them into one file"
        )
    return dataset


def _require_inside(where: str, file: Any, key: str, most: int) -> None:
    """Raise UsageError if a link on the way to a dataset leads out of the file. most: soft links that are followed."""
    import h5py

    way = ""
    for part in filter(None, key.split("/")):
        parent, way = way or "/", f"{way}/{part}"
        link = file[parent].get(part, getlink=True) if parent in file and hasattr(file[parent], "keys") else None
        if isinstance(link, h5py.ExternalLink):
            other = quote_in_error(link.filename)
            raise UsageError(
                f"{where}: {quote_in_error(way[1:])} is a link to another file, {other}: copy it, or name that one"
            )
        if isinstance(link, h5py.SoftLink) and most:
            leads = link.path if link.path.startswith("/") else f"{parent}/{link.path}"
            _require_inside(where, file, leads, most - 1)
