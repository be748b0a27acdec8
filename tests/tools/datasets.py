"""Data files that are wrong in ways of their own format: CSV, Parquet, LIBSVM, NPZ, HDF5."""

import bz2
import gzip
import io
import lzma
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tools import odd

SPLITS = ("contiguous", "iid", "by-label", "dirichlet", "inner-dirichlet", "pathological", "natural")
FORMATS = {"csv": "d.csv", "libsvm": "d.svm", "npz": "d.npz", "hdf5": "d.h5", "parquet": "d.parquet"}
PACKED = (gzip.compress, bz2.compress, lzma.compress)


def write(rng: random.Random, folder: Path) -> dict[str, Any]:
    """Make a file, or something that is none; returns the table [data] that names it."""
    name = rng.choice(list(FORMATS))
    path = folder / FORMATS[name]
    WRITERS[name](rng, path)
    keys = _keys(rng, name)
    if rng.random() < 0.1:
        keys["test_path"] = rng.choice((path.name, f"2{path.name}", "none"))
        WRITERS[name](rng, path.with_name(f"2{path.name}"))
    if name in ("csv", "libsvm") and rng.random() < 0.15:
        path.write_bytes(rng.choice(PACKED)(path.read_bytes()))
    if rng.random() < 0.25:
        path.write_bytes(odd.damaged(rng, path.read_bytes()))
    if rng.random() < 0.06:
        replaced(rng, path)
    return {"name": name, "path": path.name, **keys}


def _keys(rng: random.Random, name: str) -> dict[str, Any]:
    keys = {
        "scale": rng.choice(("none", "standard", "unit-rows")),
        "split": rng.choice(SPLITS),
        "test_fraction": rng.choice((0.0, 0.2, 0.5, 0.99)),
        "intercept": rng.random() < 0.5,
    }
    division = {
        "sizes": rng.choice(("linear", "square", "exponential", [1.0] * 4, [1e308, 1e-308, 1.0, 3.0], [1.0, 2.0], [])),
        "classes_per_node": rng.choice((1, 2, 3, 99, 2**63)),
        "label_noise": rng.choice((0.1, 0.99, 1e-300)),
        "alpha": rng.choice((0.01, 1e-308, 1e308)),
    }
    columns = {
        "target": rng.choice((-1, 0, 1, 99, -99, 2**63, "y", "", "[b]")),
        "features": rng.choice(([0], ["x0", 1], [], ["none"], [True], [0, 0])),
        "ignore": rng.choice(([0], ["x0"], [-1], [], [99])),
        "categories": rng.choice(("all", [0], ["x0"], "none", [])),
        "missing": rng.choice(("refuse", "drop", "mean", "zero", "fill")),
        "by": rng.choice((0, "x0", "y", 99)),
    }
    own = {
        "parquet": columns,
        "csv": {
            **columns,
            "delimiter": rng.choice((",", ";", "\t", " ", "\n", '"', "\u2028", "::")),
            "header": rng.random() < 0.5,
            "decimal": rng.choice((",", ".", "x", "")),
            "encoding": rng.choice(("latin-1", "utf-16", "utf-8", "none", "base64", "idna", "cp037")),
        },
        "libsvm": {
            "features": rng.choice((1, 3, 4, 100, 2**31, 2**63)),
            "index_base": rng.choice(("auto", 0, 1, 2)),
        },
        "npz": {"by": rng.choice(("y", "X", "none"))},
        "hdf5": {
            "by": rng.choice(("y", "X", "none")),
            "x_key": rng.choice(("X", "x", "", "/", "g/X", "[b]")),
            "y_key": rng.choice(("y", "X", "", ".")),
        },
    }
    chosen = {key: value for key, value in keys.items() if rng.random() < 0.4}
    often = 0.05 if name in ("csv", "parquet") else 0.15
    return chosen | {key: value for key, value in (division | own.get(name, {})).items() if rng.random() < often}


def replaced(rng: random.Random, path: Path, devices: bool = True) -> None:
    """Not a file any more: gone, empty, a folder, a pipe, a link that leads nowhere or to itself.

    devices: a link to a device, too; where nothing is written, because root may write a file in the device's place.
    """
    path.unlink()
    links = ("/dev/zero", "/dev/null") if devices else ()
    rng.choice(
        (
            lambda: None,
            path.touch,
            path.mkdir,
            lambda: os.mkfifo(path),
            lambda: path.symlink_to("nowhere"),
            lambda: path.symlink_to(path.name),
            *(lambda link=link: path.symlink_to(link) for link in links),
        )
    )()


def arrays(rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Samples and targets, of which some are of no use."""
    draw = np.random.default_rng(rng.getrandbits(64))
    samples, features = rng.choice((0, 1, 2, 5, 40, 40, 40, 40)), rng.choice((1, 1, 3, 3, 3, 0))
    x = draw.standard_normal((samples, features))
    y = rng.choice(
        (
            lambda: np.where(draw.random(samples) < 0.5, -1.0, 1.0),
            lambda: draw.integers(0, 3, samples).astype(float),
            lambda: draw.standard_normal(samples),
            lambda: np.ones(samples),
            lambda: np.arange(samples) - 7.0,
        )
    )()
    with np.errstate(all="ignore"):
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            x, y = rng.choice(DEFECTS)(rng, x, y)
    return x, y


def _with(array: np.ndarray, rng: random.Random, value: float) -> np.ndarray:
    array = array.copy()
    if array.size:
        array.flat[rng.randrange(array.size)] = value
    return array


EXTREME = (np.nan, np.inf, -np.inf, 1e308, -1.7e308, 1e200, 1e-320, 2.0**63, 1e30)
DEFECTS: tuple[Callable, ...] = (
    lambda rng, x, y: (_with(x, rng, rng.choice(EXTREME)), y),
    lambda rng, x, y: (x, _with(y, rng, rng.choice(EXTREME))),
    lambda rng, x, y: (x * 0, y),
    lambda rng, x, y: (np.full_like(x, rng.choice((1.0, 1e308, 1e-308))), y),
    lambda rng, x, y: (np.concatenate([x[:, :1] * 0 + 3, x[:, 1:]], axis=1), y),
    lambda rng, x, y: (x * rng.choice((1e308, 1e160, 1e-160, 1e-308)), y),
    lambda rng, x, y: (x, y * 0),
    lambda rng, x, y: (x[:1], y[:1]),
    lambda rng, x, y: (np.repeat(x[:1], len(x), axis=0), y),
)


def _csv(rng: random.Random, path: Path) -> None:
    x, y = arrays(rng)
    mark = rng.choice((",", ",", ";", "\t", " "))
    rows = [[repr(v) for v in row] for row in np.column_stack([x, y]).tolist()]
    rng.choice((*[lambda: None] * 4, lambda: _foreign_table(rng, rows)))()
    if rng.random() < 0.5:
        names = [f"x{i}" for i in range(x.shape[1])] + ["y"]
        rows.insert(0, rng.choice((names, names[:-1], names * 2, ["y"] * len(names), ["[b]", "\x1b[31m", "$x$", ""])))
    for _ in range(rng.choice((0, 0, 1, 2))):
        _spoil(rng, rows)
    body = "\n".join(mark.join(row) for row in rows)
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"))
    path.write_bytes(body.encode(encoding, "replace"))


def _foreign_table(rng: random.Random, rows: list[list[str]]) -> None:
    """Words, dates, truth values, gaps, decimal commas and numbers of rows, as other programs write them."""
    words = rng.choice((("no", "yes"), ("True", "False"), ("2024-01-01", "2024-01-02"), ("", "NA"), ("a b", "c,d")))
    for number, row in enumerate(rows):
        if words[0] == "":
            row[:] = [rng.choice(("", "?", "NA")) if rng.random() < 0.1 else word for word in row]
        elif rng.random() < 0.9:
            row[-1] = rng.choice(words)
        if words[0] == "no":
            row.insert(0, str(number))
        if words[0] == "a b":
            row[:] = [word.replace(".", ",") for word in row]


def _parquet(rng: random.Random, path: Path) -> None:
    import pandas

    x, y = arrays(rng)
    frame = pandas.DataFrame(np.column_stack([x, y]))
    frame.columns = [f"x{j}" for j in range(x.shape[1])] + ["y"]
    extra = rng.choice((None, None, "word", None, b"bytes", True, pandas.Timestamp("2024-01-01"), [1.0, 2.0], 3))
    if extra is not None:
        frame["extra"] = [extra if rng.random() < 0.9 else None for _ in range(len(frame))]
    if rng.random() < 0.3:
        frame["y"] = frame["y"].astype(rng.choice((str, "category")))
    frame.to_parquet(path, index=rng.choice((None, True, False)))


def _spoil(rng: random.Random, rows: list[list[str]]) -> None:
    """A cell or a line of text is not what it should be."""
    if not rows:
        return
    row = rng.choice(rows)
    cell = rng.randrange(len(row)) if row else 0
    words = (
        "",
        "word",
        "nan",
        "1e999",
        "inf",
        odd.DIGITS,
        '"',
        '"1"',
        "1,5",
        "0x10",
        "1_0",
        "\x00",
        "é",
        "-",
        "--",
        "#",
        "\x1b[2J",
    )
    rng.choice(
        (
            lambda: row.append("1"),
            lambda: row and row.pop(),
            lambda: row and row.__setitem__(cell, rng.choice(words)),
            lambda: row and row.__setitem__(cell, rng.choice(words)),
            lambda: rows.append([]),
            lambda: rows.append(["# comment"]),
            lambda: rows.append([rng.choice(words)]),
            lambda: rows.append(["1"] * 5000),
            rows.clear,
        )
    )()


def _libsvm(rng: random.Random, path: Path) -> None:
    x, y = arrays(rng)
    rows = [
        [repr(t), *(f"{i + 1}:{v!r}" for i, v in enumerate(row))] for t, row in zip(y.tolist(), x.tolist(), strict=True)
    ]
    words = (
        "0:1",
        "-1:2",
        "1:1",
        "2147483648:1",
        "4294967296:1",
        "9223372036854775808:1",
        "1:",
        ":1",
        "1:word",
        "1:nan",
    )
    words += (
        "1:1e999",
        "a:1",
        "qid:3",
        "1:2:3",
        "#",
        "1.5:2",
        f"{odd.DIGITS}:1",
        f"1:{odd.DIGITS}",
        "\x00",
        "1 : 2",
        "1,2",
        "999999999:1",
    )
    for _ in range(rng.choice((0, 1, 1, 2)) if rows else 0):
        row = rng.choice(rows)
        row.insert(rng.randrange(len(row) + 1), rng.choice(words))
    path.write_text("\n".join(map(" ".join, rows)), errors="replace")


def _foreign(rng: random.Random, array: np.ndarray) -> np.ndarray:
    """The array with another type or shape."""
    return rng.choice(
        (
            lambda: array.astype(np.float32),
            lambda: np.nan_to_num(array).clip(-1e9, 1e9).astype(np.int64),
            lambda: array.astype(bool),
            lambda: array.astype(complex),
            lambda: array.astype("S8"),
            lambda: array.astype("U8"),
            lambda: array.astype(">f8"),
            lambda: array.astype(np.float16),
            lambda: array.astype(np.longdouble),
            lambda: np.nan_to_num(array).clip(0, 255).astype(np.uint8),
            lambda: np.zeros(array.shape, [("a", "f8"), ("b", "i4")]),
            lambda: array[..., None],
            lambda: array.ravel(),
            lambda: array.T,
            lambda: array[:-1],
            lambda: np.float64(3),
            lambda: np.zeros((0,)),
            lambda: np.asfortranarray(array),
        )
    )()


def _parts(rng: random.Random) -> dict[str, np.ndarray]:
    x, y = arrays(rng)
    with np.errstate(all="ignore"):
        parts = {"X": _foreign(rng, x) if rng.random() < 0.3 else x, "y": _foreign(rng, y) if rng.random() < 0.3 else y}
    if rng.random() < 0.1:
        parts.pop(rng.choice(list(parts)))
    if rng.random() < 0.1:
        parts[rng.choice(odd.NAMES[:20]).replace("/", "_") or "_"] = x
    return parts


def _npz(rng: random.Random, path: Path) -> None:
    parts = _sparse(rng) if rng.random() < 0.4 else _parts(rng)
    if rng.random() < 0.05:
        parts["X"] = np.array([{"a": 1}, None], dtype=object)
    packed = io.BytesIO()
    rng.choice((np.savez, np.savez_compressed))(
        packed, **{name.replace("\x00", ""): part for name, part in parts.items()}
    )
    path.write_bytes(packed.getvalue())


def _sparse(rng: random.Random) -> dict[str, np.ndarray]:
    """What save_npz writes, and what it would never write."""
    x, y = arrays(rng)
    if rng.random() < 0.3:
        return _saved(rng.choice(("csc", "coo", "bsr", "dia")), x) | {"y": y}
    rows, columns = np.nonzero(x)
    parts = {
        "data": x[rows, columns],
        "indices": columns.astype(rng.choice((np.int32, np.int64))),
        "indptr": np.append(0, np.cumsum(np.bincount(rows, minlength=len(x)))),
        "shape": np.array(x.shape),
        "y": y,
    }
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(list(parts))
        parts[name] = rng.choice(
            (
                lambda part=parts[name]: _foreign(rng, part),
                lambda part=parts[name]: part[:-1],
                lambda part=parts[name]: part[:0],
                lambda part=parts[name]: part[::-1],
                lambda: np.zeros(3) + 2.0**40,
                lambda part=parts[name]: np.full(part.shape, np.nan),
            )
        )()
    return parts


def _saved(kind: str, x: np.ndarray) -> dict[str, np.ndarray]:
    """What scipy writes of a matrix in a format."""
    from scipy.sparse import coo_array, save_npz

    packed = io.BytesIO()
    save_npz(packed, coo_array(x).asformat(kind))
    packed.seek(0)
    with np.load(packed) as parts:
        return dict(parts)


def _hdf5(rng: random.Random, path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, part in _parts(rng).items():
            part = np.asarray(part)
            if part.dtype.kind in "US":
                part = part.astype(h5py.string_dtype())
            if part.dtype != np.longdouble:
                file[name or "_"] = part
        if rng.random() < 0.3:
            _forged(rng, file)


def _forged(rng: random.Random, file) -> None:
    """What HDF5 can say and a table cannot be: groups, links that lead nowhere, sizes beyond any machine."""
    import h5py

    name = rng.choice(("X", "y"))
    if name in file:
        del file[name]
    rng.choice(
        (
            lambda: file.create_group(name),
            lambda: file.__setitem__(name, h5py.SoftLink("/nowhere")),
            lambda: file.__setitem__(name, h5py.ExternalLink("none.h5", "/x")),
            lambda: file.__setitem__(name, h5py.ExternalLink(Path(file.filename).name, "/X")),
            lambda: file.create_dataset(name, (2**40, 3), "f8", chunks=(1024, 3)),
            lambda: file.create_dataset(name, (10**9,), "f4", chunks=(1024,)),
            lambda: file.create_dataset(name, data=h5py.Empty("f8")),
            lambda: file.create_dataset(name, (40, 2**31), "f4", chunks=(1, 1024)),
            lambda: file.create_dataset(name, (5,), dtype=h5py.vlen_dtype(np.float64)),
            lambda: file.create_dataset(name, (5,), dtype=h5py.ref_dtype),
            lambda: file.create_dataset(name, data=np.datetime64("2020-01-01").astype("i8")),
            lambda: file.create_dataset(name, data=[b"a", b"\xff", b""]),
            lambda: file.create_virtual_dataset(name, h5py.VirtualLayout((5, 2), "f8")),
            lambda: file.create_dataset(name, (5, 2), "f8", external=[("raw", 0, 80)]),
        )
    )()


WRITERS = {"csv": _csv, "parquet": _parquet, "libsvm": _libsvm, "npz": _npz, "hdf5": _hdf5}
