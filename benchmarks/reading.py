"""Reading tables: a CSV file against pandas alone, a sparse LIBSVM file against scikit-learn alone.

    python benchmarks/reading.py [--rows 250000] [--columns 40] [--repeat 7] [--libsvm FILE]

Numbers of %.17g, some 800 bytes a line; what is timed ends with the features side by side in memory, as a run has them,
and for pandas with its table. Both alternate; medians of wall time, and of the ratios of neighbours.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from mpiqopt.registry import find_member


def loaded(name: str, path: Path) -> None:
    """Read a file as a run of one process does."""
    table = find_member("data", name)(path=str(path)).open(0)
    table.rows(slice(0, table.samples))


def compared(bare: Callable[[], object], own: Callable[[], object], repeat: int) -> tuple[float, float, float]:
    """Medians of both, in seconds, and of their ratio."""
    bare(), own()
    pairs = [(timed(bare), timed(own)) for _ in range(repeat)]
    ratio = statistics.median(mine / theirs for theirs, mine in pairs)
    return *(statistics.median(column) for column in zip(*pairs, strict=True)), ratio


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def write(folder: Path, rows: int, columns: int) -> tuple[Path, Path]:
    """A CSV file with a header, and a LIBSVM file of which a tenth is not zero."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((rows, columns))
    table, sparse = folder / "table.csv", folder / "table.svm"
    np.savetxt(table, values, "%.17g", ",", header=",".join(f"c{j}" for j in range(columns)), comments="")
    values[rng.random(values.shape) < 0.9] = 0
    dump_svmlight_file(values, np.sign(values[:, 0]), str(sparse), zero_based=False)
    return table, sparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--libsvm", type=Path, metavar="FILE", help="instead of one that is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table, sparse = write(Path(folder), options.rows, options.columns)
        sparse = options.libsvm or sparse
        print("| file | MB | alone, s | mpiqopt, s | ratio |\n| --- | --- | --- | --- | --- |")
        for path, name, bare in (
            (table, "csv", lambda: pandas.read_csv(table)),
            (sparse, "libsvm", lambda: load_svmlight_file(str(sparse))),
        ):
            alone, own, ratio = compared(bare, lambda path=path, name=name: loaded(name, path), options.repeat)
            print(f"| {name} | {path.stat().st_size / 1e6:.0f} | {alone:.2f} | {own:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
