"""Stored messages of compressors: `python -m tools.messages NAME` in tests/ writes those of a new one."""

import json
from itertools import product
from pathlib import Path

import numpy as np

from mpiqopt.compressors.compressor import Compressor, Draw
from mpiqopt.compressors.eden import CENTROIDS
from mpiqopt.config.build import build_from_config
from mpiqopt.contracts.compressor import (
    decode_rows,
    encode_rows,
    example_keys,
)
from mpiqopt.registry import find_member
from tools import reference_compressors as plain
from tools.compressors import SETTINGS

MESSAGES = Path(__file__).parents[1] / "messages"


def stored(name: str) -> list[tuple[Compressor, np.ndarray, Draw, bytes, np.ndarray]]:
    """Compressor, vector, keys, message and decoded vector of each case in a file."""
    file = json.loads((MESSAGES / f"{name}.json").read_text())
    draw = Draw(file["round"], np.array([file["own"]], np.uint64), np.array([file["shared"]], np.uint64))
    return [
        (
            find_member("compressor", name)(**one["settings"]),
            np.array([file["x"]], one["dtype"]),
            draw,
            bytes.fromhex(one["message"]),
            np.array([one["decoded"]], one["dtype"]),
        )
        for one in file["cases"]
    ]


STORED_X = [0.5, -1.25, 0.0, 3.0, -0.001, 1e-9, 1.0, -2.875, 0.3, -0.7, 1.5]


def store(name: str) -> None:
    """Write the file of stored messages of a compressor: once, when it is new. `python -m tools.messages NAME`."""
    draw, lines = example_keys(1, seed=9), []
    for settings, dtype in product(SETTINGS.get(name, [{}]), ("float64", "float32")):
        c, x = find_member("compressor", name)(**settings), np.array([STORED_X], dtype)
        message = encode_rows(c, x, draw)
        y = decode_rows(c, message, x, draw)[0]
        if name in REFERENCES:
            y = REFERENCES[name][1](c, message.tobytes(), len(y), x.dtype, int(draw.own[0]), int(draw.shared[0]))
        values = {"message": message.tobytes().hex(), "decoded": y.tolist()}
        lines.append(json.dumps({"settings": settings, "dtype": dtype, **values}))
    head = {"round": draw.round, "own": int(draw.own[0]), "shared": int(draw.shared[0]), "x": STORED_X}
    cases = ",\n  ".join(lines)
    MESSAGES.mkdir(exist_ok=True)
    (MESSAGES / f"{name}.json").write_text(f'{json.dumps(head)[:-1]}, "cases": [\n  {cases}\n]}}\n')


REFERENCES = plain.references(CENTROIDS)


if __name__ == "__main__":
    import sys

    for build_from_config in sys.argv[1:]:
        store(build_from_config)
