"""Data files of several formats."""

from pathlib import Path

import h5py
import numpy as np

SYNTHETIC = {"name": "synthetic", "task": "classification", "samples": 83, "features": 7}


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path.name


def hdf5(path: Path, **arrays) -> str:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path.name


def npz(path: Path, **arrays) -> str:
    """By default a sparse matrix of one value."""
    sparse = {"data": [1.0], "indices": [0], "indptr": [0, 1, 1], "shape": [2, 3], "y": [0, 1]}
    np.savez(path, **({**sparse, **arrays} if "X" not in arrays else arrays))
    return path.name


def idx(path: Path, values: np.ndarray) -> str:
    """A file as MNIST has it: header and numbers big-endian."""
    kinds = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    head = bytes([0, 0, kinds[values.dtype.str[1:]], values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return write(path, head + values.astype(values.dtype.newbyteorder(">")).tobytes())


def image(path: Path, pixels: np.ndarray) -> str:
    """A PNG or JPEG file by Pillow, in its folders. pixels: uint8 (h, w) or (h, w, 3)."""
    import PIL.Image

    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)
    return path.name


def write_samples(kind: str, path, features, targets) -> str:
    from scipy.sparse import csr_array
    from sklearn.datasets import dump_svmlight_file

    if kind == "csv":
        np.savetxt(path, np.column_stack([features, targets]), delimiter=",", header="a,b,c,d,e,f,target", comments="")
    elif kind == "libsvm":
        dump_svmlight_file(features, targets, str(path), zero_based=False)
    elif kind == "parquet":
        import pandas

        pandas.DataFrame(np.column_stack([features, targets]), columns=[*"abcdef", "target"]).to_parquet(path)
    elif kind == "idx":  # the labels lie beside it
        idx(path, np.abs(features))
        idx(Path(path).with_name("labels.idx"), targets.astype(np.uint8))
    elif kind == "images":
        for number, (row, target) in enumerate(zip(features, targets, strict=True)):
            image(Path(path) / f"{target:g}" / f"{number}.png", np.uint8(np.abs(row) * 50).reshape(2, 3))
    elif kind == "text":
        Path(path).write_text(" ".join(map(str, features.ravel())))
    elif kind == "npz":
        np.savez(path, X=features, y=targets)
    elif kind == "sparse npz":
        rows = csr_array(features)
        np.savez(path, data=rows.data, indices=rows.indices, indptr=rows.indptr, shape=rows.shape, y=targets)
    else:
        with h5py.File(path, "w") as file:
            file["X"], file["y"] = features, targets
    return str(path)
