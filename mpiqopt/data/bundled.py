"""The small real data sets that come with scikit-learn: nothing is downloaded.

Their files are read directly, because importing scikit-learn takes longer than a small run. Should a future release
move them, its own loader is used.
"""

import gzip
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from mpiqopt.data.source import Source, Table, source_table
from mpiqopt.registry import register


@dataclass(frozen=True, kw_only=True)
class Bundled(Source):
    """Read a data set that comes with scikit-learn: the base of those below.

    >>> table = Iris().open(seed=0)
    >>> table.samples, table.features, table.rows(slice(0, 1)).tolist(), table.targets[0].tolist()
    (150, 4, [[5.1, 3.5, 1.4, 0.2]], 0.0)
    """

    samples: ClassVar[int]

    def count(self) -> int:
        """Return the number of samples, which is known."""
        return self.samples

    def is_small(self) -> bool:
        """Return True: the largest has 1797 samples of 64 features."""
        return True


def _file(name: str) -> Path:
    """Return the path of one of scikit-learn's data files; finding the package does not import it."""
    spec = find_spec("sklearn")
    (folder, *_) = (spec and spec.submodule_search_locations) or [""]
    return Path(folder) / "datasets" / "data" / name


def _numbers(name: str, delimiter: str | None, header: bool) -> np.ndarray:
    """Return the numbers (m, columns) of a text file, which may be compressed. Raises OSError."""
    path = _file(name)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return np.loadtxt(file, delimiter=delimiter, skiprows=int(header))


def _load(where: str, file: str, header: bool = True) -> Table:
    """Return the table of a csv file: features in all columns but the last, the target in the last."""
    try:
        columns = _numbers(file, ",", header)
    except OSError:
        from sklearn import datasets

        features, targets = getattr(datasets, f"load_{where.replace('-', '_')}")(return_X_y=True)
        return source_table(where, features, targets)
    return source_table(where, np.ascontiguousarray(columns[:, :-1]), columns[:, -1])


@register("data", "digits")
@dataclass(frozen=True, kw_only=True)
class Digits(Bundled):
    """1797 images of handwritten digits, 64 pixels of 0..16, 10 classes (UCI)."""

    samples = 1797

    def open(self, seed: int) -> Table:
        return replace(_load("digits", "digits.csv.gz", header=False), shape=(1, 8, 8))


@register("data", "breast-cancer")
@dataclass(frozen=True, kw_only=True)
class BreastCancer(Bundled):
    """569 tumours, 30 features of very different scale, 2 classes (Wisconsin, UCI)."""

    samples = 569

    def open(self, seed: int) -> Table:
        return _load("breast-cancer", "breast_cancer.csv")


@register("data", "iris")
@dataclass(frozen=True, kw_only=True)
class Iris(Bundled):
    """150 flowers, 4 features, 3 classes (Fisher 1936)."""

    samples = 150

    def open(self, seed: int) -> Table:
        return _load("iris", "iris.csv")


@register("data", "wine")
@dataclass(frozen=True, kw_only=True)
class Wine(Bundled):
    """178 wines, 13 features, 3 classes (UCI)."""

    samples = 178

    def open(self, seed: int) -> Table:
        return _load("wine", "wine_data.csv")


@register("data", "diabetes")
@dataclass(frozen=True, kw_only=True)
class Diabetes(Bundled):
    """442 patients, 10 raw features (not scaled), a number to predict (Efron et al. 2004)."""

    samples = 442

    def open(self, seed: int) -> Table:
        """Return the table of two files, one with the features and one with the targets."""
        try:
            features, targets = (_numbers(f"diabetes_{part}.csv.gz", None, False) for part in ("data_raw", "target"))
        except OSError:
            from sklearn.datasets import load_diabetes

            features, targets = load_diabetes(return_X_y=True, scaled=False)
        return source_table("diabetes", features, targets)
