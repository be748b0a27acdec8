"""Reads a result file with h5py and prints what is in it, for a process of its own: a damaged file may end it."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from mpiqopt.results.layout import REPRODUCIBLE

ZEROS = "zeros"


def contents(path: str | Path) -> dict[str, Any]:
    """attributes: of the file, as text; arrays: shape, type and a digest of each dataset, or the name of an error.

    The digest of nothing but zeros is ZEROS.
    """
    import h5py

    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
        attributes = {name: str(value) for name, value in file.attrs.items()}
        return {"attributes": attributes, "arrays": {name: _digest(file, name) for name in names}}


def _digest(file, name: str) -> list[str] | None:
    try:
        values = file[name][()]
    except AttributeError:  # a group
        return None
    except Exception as error:
        return [type(error).__name__]
    data = values.tobytes()
    return [str(values.shape), str(values.dtype), hashlib.sha256(data).hexdigest() if any(data) else ZEROS]


def reproducible(read: dict[str, Any]) -> dict[str, Any]:
    """Those arrays that are the same whenever the run is made."""
    return {name: digest for name, digest in read["arrays"].items() if name in (*REPRODUCIBLE, "final/x")}


def main(words: list[str]) -> int:
    try:
        print(json.dumps(contents(words[0])))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
