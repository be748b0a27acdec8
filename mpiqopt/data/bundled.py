"""The small real data sets that come with scikit-learn: nothing is downloaded.

Their files are read directly, because importing scikit-learn takes longer than a small run; should a future
release move them, its own loader is used.
"""

import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from mpiqopt.data.source import Source, Table, in_memory
from mpiqopt.registry import register


@dataclass(frozen=True, kw_only=True)
class Bundled(Source):
    """A data set that comes with scikit-learn."""

    samples: ClassVar[int]

    def count(self) -> int:
        return self.samples

    def is_small(self) -> bool:
        return True


def _file(name: str) -> Path:
    return Path(find_spec("sklearn").submodule_search_locations[0]) / "datasets" / "data" / name


def _numbers(name: str, delimiter: str | None, header: bool) -> np.ndarray:
    path = _file(name)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return np.loadtxt(file, delimiter=delimiter, skiprows=int(header))


def _load(where: str, file: str, delimiter: str | None = ",", header: bool = True) -> Table:
    """Features in all columns but the last, the target in the last."""
    try:
        columns = _numbers(file, delimiter, header)
    except OSError:
        from sklearn import datasets

        features, targets = getattr(datasets, f"load_{where.replace('-', '_')}")(return_X_y=True)
        return in_memory(where, features, targets)
    return in_memory(where, np.ascontiguousarray(columns[:, :-1]), columns[:, -1])


@register("data", "digits")
@dataclass(frozen=True, kw_only=True)
class Digits(Bundled):
    """1797 images of handwritten digits, 64 pixels of 0..16, 10 classes (UCI)."""

    samples = 1797

    def open(self, seed: int) -> Table:
        return _load("digits", "digits.csv.gz", header=False)


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
        try:
            features, targets = (_numbers(f"diabetes_{part}.csv.gz", None, False) for part in ("data_raw", "target"))
        except OSError:
            from sklearn.datasets import load_diabetes

            features, targets = load_diabetes(return_X_y=True, scaled=False)
        return in_memory("diabetes", features, targets)
