"""Arrays of NumPy, dense or sparse, in one file."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from mpiqopt.data.files import FileSource, require_keys, require_same_width_of_files
from mpiqopt.data.labels import label_mapping, label_text, number_groups, number_labels, renumber_labels
from mpiqopt.data.shapes import flat_samples
from mpiqopt.data.source import Features, Table, require_source_numbers, source_table
from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.field import Field
from mpiqopt.registry import register

# the arrays that save_npz of scipy writes in addition to "format" and "shape", by format
PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "coo": ("data", "row", "col"),
}


@register("data", "npz")
@dataclass(frozen=True, kw_only=True)
class Npz(FileSource):
    """Arrays ``X`` (samples, d) and ``y``; or, sparse, ``y`` and the arrays that scipy.sparse.save_npz writes.

    An ``X`` of shape (samples, height, width) or (samples, channels, height, width) has images. The ``format`` of
    sparse ones may be csr, csc, coo or bsr; without one the parts are taken as CSR. ``y`` may be words.
    """

    by: Annotated[
        str | None, Field(description="array (samples,) that names the node of each sample, for split = natural")
    ] = None

    def count(self) -> int:
        """Return the number of targets; of a compressed file no other array is read."""
        with self.reading() as where, np.load(self.path, allow_pickle=False) as file:
            require_keys(where, ("y",), file)
            return len(file["y"])

    def table(self, path: str, where: str, like: Table | None) -> Table:
        """Return the table of a file, whose arrays are read whole. Pickled objects are refused: they can run code."""
        with np.load(path, allow_pickle=False) as file:
            require_keys(where, ("y",) if self.by is None else ("y", self.by), file)
            targets, words = number_labels(where, file["y"])
            features = file["X"] if "X" in file else _sparse(where, file)
            names = None if self.by is None else file[self.by]
        said = {"format": "npz" if isinstance(features, np.ndarray) else "npz, sparse"}
        return _labelled_table(path, features, targets, words, names, said, like)


def _labelled_table(
    where: str,
    features: Features,
    targets: np.ndarray,
    words: tuple[str, ...] | None,
    names: np.ndarray | None,
    said: dict[str, str],
    like: Table | None,
) -> Table:
    """Return the table of arrays that were read.

    Parameters
    ----------
    where:
        what messages call the file
    features, targets, words:
        (m, d), dense or CSR, or images (m, h, w) or (m, c, h, w); float64 (m,) and what they stand for, as
        ``number_labels`` returns them
    names:
        (m,), the name of each sample's node, None without ``data.by``
    said:
        how the file was understood, for ``Table.read``
    like:
        the table of the training samples, if these are for testing

    Raises
    ------
    UsageError
        for shapes that do not fit, and labels that the training samples lack
    """
    features, shape = flat_samples(where, features)
    if like is not None:
        targets, words = renumber_labels(targets, words, like), like.words
        require_same_width_of_files(features.shape[-1], like)
    more: dict[str, Any] = {
        "shape": shape,
        "words": words,
        "read": said | ({"labels": label_mapping(words)} if words else {}),
    }
    if names is not None:
        if names.shape != targets.shape:
            raise UsageError(f"{where}: {names.shape} names of nodes for {targets.shape} targets")
        more["groups"], more["group_names"] = number_groups(names)
        more["read"]["nodes"] = f"{len(more['group_names'])} names"
    return source_table(where, features, targets, **more)


def _sparse(where: str, file: Any) -> Features:
    """Return the matrix that scipy's arrays stand for, in CSR. Raises UsageError for arrays that fit no format."""
    given = label_text(file["format"].item()) if "format" in file else "csr"
    if given not in PARTS:
        raise UsageError(f"{where}: its format is {quote_in_error(given)}; want one of {', '.join(PARTS)}")
    require_keys(where, (*PARTS[given], "shape"), file)
    data, *places = (file[name] for name in PARTS[given])
    require_source_numbers(where, data.dtype)
    for name, place in zip(PARTS[given][1:], places, strict=True):
        if place.dtype.kind not in "iu":
            raise UsageError(f"{where}: its {name} are of type {place.dtype}; want integers")
    shape = tuple(map(int, file["shape"]))
    if "format" not in file and len(places[1]) == shape[1] + 1 != shape[0] + 1:
        raise UsageError(f"{where}: its parts are those of CSC and no format is given; add format = 'csc' to the file")
    return _rows(given, data, places, shape)


def _rows(given: str, data: np.ndarray, places: list[np.ndarray], shape: tuple[int, ...]) -> Features:
    """Return the matrix of a format in CSR, entries of the same place added up."""
    from scipy import sparse

    kind = getattr(sparse, f"{given}_array")
    if given == "coo":
        rows = kind((data, tuple(places)), shape=shape)
    else:
        rows = kind((data, *places), shape=shape)
        rows.check_format(full_check=True)  # indices outside the shape would be read and written by the kernels
    rows = rows.tocsr()
    rows.sum_duplicates()
    return rows
