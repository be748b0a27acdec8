"""Encoding, decoding, transforms and votes against copying the same array: tables of README.md.

usage: python benchmarks/kernels.py   (a minute; one core, quiet machine)

Everything is timed in turn with a copy of the same array, in one process; medians of ratios of neighbours.
"""

import time
from collections.abc import Callable, Hashable

import numpy as np

from mpiqopt._compressors import Grid, Levels, Signs, fill_keys, hadamard, sum_bits
from mpiqopt.compressors.eden import CENTROIDS

REPEAT = 15
BLOCK, BUCKET = 4096, 512


def times(actions: dict[Hashable, Callable[[], None]], repeat: int = REPEAT) -> dict[Hashable, np.ndarray]:
    """Seconds of each in every round but the first: all of them in turn, so that other load meets all alike."""
    seconds = {name: [] for name in actions}
    for _ in range(repeat + 1):
        for name, action in actions.items():
            begin = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - begin)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def codecs(size: int = 1 << 24) -> None:
    x = np.random.default_rng(0).standard_normal((1, size))
    y = np.empty_like(x)
    keys = np.empty(size // BUCKET, np.uint64)
    fill_keys(0, 0, 0, np.zeros(1, np.int64), 0, keys)
    room = np.empty(BLOCK)
    bit, flat = Signs("constant", 3.0), Signs("root-mean-square", 3.0)
    byte, qsgd = Grid(8, "given", 127, 127, 127, 0.0625), Grid(8, "norm", 127, 127, 127)
    eden = Levels(np.concatenate([-np.array(CENTROIDS[2])[::-1], CENTROIDS[2]]), 2)
    blocks, buckets = (size // BLOCK, BLOCK), (size // BUCKET, BUCKET)
    cases = {
        # label: kernel, shape, encode's and decode's further arguments
        "one bit after the transform": (bit, (1, size), (keys[:1],), ()),
        "flattened-one-bit, blocks of 4096, all of it": (
            flat,
            blocks,
            (keys[: blocks[0]],) * 2 + (room,),
            (keys, room),
        ),
        "uniform, stochastic, 8 bits": (byte, (1, size), (keys[:1],), ()),
        "qsgd, 8 bits, one norm": (qsgd, (1, size), (keys[:1],), ()),
        "qsgd, 8 bits, buckets of 512": (qsgd, buckets, (keys,), ()),
        "eden, 2 bits, blocks of 4096, all of it": (eden, blocks, (keys[: blocks[0]], room), (keys, room)),
    }
    actions = {}
    for label, (kernel, shape, encoding, decoding) in cases.items():
        d = len(room) if shape is blocks else shape[1]
        messages = np.empty((shape[0], kernel.nbytes(d)), np.uint8)
        rotation = tuple(a[: shape[0]] if a is keys else a for a in decoding)
        actions[label, "copy"] = lambda: np.copyto(y, x)
        actions[label, "encode"] = lambda k=kernel, s=shape, m=messages, e=encoding: k.encode(x.reshape(s), m, *e)
        actions[label, "decode"] = lambda k=kernel, s=shape, m=messages, r=rotation: k.decode(m, y.reshape(s), *r)
    t = times(actions)
    print("| 2^24 float64 values | encode × copy | decode × copy |\n| --- | --- | --- |")
    for label in cases:
        copy = t[label, "copy"]
        print(f"| {label} | {np.median(t[label, 'encode'] / copy):.2f} | {np.median(t[label, 'decode'] / copy):.2f} |")
    rng = np.random.default_rng(1)
    t = times(
        {
            "copy": lambda: np.copyto(y, x),
            "bit": lambda: np.packbits(x[0] + (6 * rng.random(size) - 3) >= 0),
            "byte": lambda: np.floor(x[0] * 16 + rng.random(size) + 127).clip(0, 254).astype(np.uint8),
        },
        4,
    )
    print(f"| NumPy: dithered bit | {np.median(t['bit'] / t['copy']):.1f} | |")
    print(f"| NumPy: stochastic 8 bits | {np.median(t['byte'] / t['copy']):.1f} | |")


def transforms() -> None:
    print("\n| Hadamard transform | float64, ns a value | × copy | float32, ns a value | float32 / float64 |")
    print("| --- | --- | --- | --- | --- |")
    for levels in (12, 14, 16, 20, 24):
        size, often = 1 << levels, max(1, (1 << 18) >> levels)
        arrays = {dtype: np.random.default_rng(0).standard_normal((1, size)).astype(dtype) for dtype in "df"}
        copy = np.empty_like(arrays["d"])

        t = times(
            {
                # the same array again and again: it is as near to the processor as its size permits
                "copy": lambda a=arrays["d"], c=copy, k=often: [np.copyto(c, a) for _ in range(k)],
                "d": lambda a=arrays["d"], k=often: [hadamard(a) for _ in range(k)],
                "f": lambda a=arrays["f"], k=often: [hadamard(a) for _ in range(k)],
            },
            15,
        )
        double, single = (1e9 * np.median(t[dtype]) / (size * often) for dtype in "df")
        ratios = np.median(t["d"] / t["copy"]), np.median(t["f"] / t["d"])
        print(f"| 2^{levels} | {double:.3f} | {ratios[0]:.2f} | {single:.3f} | {ratios[1]:.2f} |", flush=True)


def votes(n: int = 64, d: int = 1 << 20) -> None:
    messages = np.random.default_rng(0).integers(0, 256, (n, d // 8), dtype=np.uint8)
    counts = np.empty(d, np.int32)
    t = times(
        {
            "here": lambda: sum_bits(messages, counts),
            "numpy": lambda: np.unpackbits(messages, axis=1, bitorder="little").sum(axis=0, dtype=np.int32),
        },
        7,
    )
    here, numpy = (1e3 * np.median(t[name]) for name in ("here", "numpy"))
    print(f"\n{n} one-bit messages of 2^20: {here:.2f} ms, unpackbits + sum {numpy:.0f} ms, ", end="")
    print(f"{np.median(t['numpy'] / t['here']):.0f} times faster")


if __name__ == "__main__":
    codecs()
    transforms()
    votes()
