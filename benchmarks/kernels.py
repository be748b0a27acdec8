"""Encoding, decoding, transforms, votes and gradients against copying or reading the same array: tables of README.md.

usage: python benchmarks/kernels.py            (minutes; one core, quiet machine)
       python benchmarks/kernels.py codecs     (the first table alone; also: coders, gradients, transforms, votes)

Everything is timed in turn with a copy of the same array, in one process; medians of ratios of neighbours. Tables of
codecs, coders and gradients have all levels of kernels that the processor has, each in a process of its own.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np

from mpiqopt._compressors import Levels, Signs, UniformGrid, fill_keys, hadamard, require_finite, sum_bits
from mpiqopt._coordination import pack, unpack
from mpiqopt._losses import LinearModel
from mpiqopt._processor import LEVELS, lacking
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


def level_ratios(name: str) -> dict[str, dict[str, list[float]]]:
    """Ratios by level and label: what function ``name`` finds in a process for each level."""
    found = {}
    for level in LEVELS:
        if not lacking(level):
            run = subprocess.run(
                [sys.executable, __file__, "--ratios", name],
                env=os.environ | {"MPIQOPT_KERNELS": level},
                capture_output=True, text=True, check=True, timeout=900,
            )  # fmt: skip
            found[level] = json.loads(run.stdout)
    return found


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    name, family, model = (
        next((v.strip() for k, v in facts.items() if k.strip() == key), "")
        for key in ("model name", "cpu family", "model")
    )
    return f"{name} (family {family}, model {model})"


def table(head: str, columns: list[str], found: dict[str, dict[str, list[float]]]) -> None:
    print(f"\n{processor()}\n")
    print(f"| {head} | " + " | ".join(f"{level}: {c}" for level in found for c in columns) + " |")
    print("| --- |" + " --- |" * (len(found) * len(columns)))
    for label in next(iter(found.values())):
        print(f"| {label} | " + " | ".join(f"{r:.2f}" for level in found for r in found[level][label]) + " |")


def codecs() -> None:
    table("2^22 float64 values, times the copy", ["encode", "decode"], level_ratios("codec_ratios"))


def codec_ratios(size: int = 1 << 22) -> dict[str, list[float]]:
    """Medians of encoding and of decoding over copying."""
    x = np.random.default_rng(0).standard_normal((1, size))
    y = np.empty_like(x)
    keys = np.empty(size // BUCKET, np.uint64)
    fill_keys(0, 0, 0, np.zeros(1, np.int64), 0, keys)
    scratch = np.empty(BLOCK)
    bit, sign, flat = Signs("constant", 3.0), Signs("mean", 1.0), Signs("root-mean-square", 3.0)
    byte, qsgd = UniformGrid(8, "given", 127, 127, 127, 0.0625), UniformGrid(8, "norm", 127, 127, 127)
    eden = Levels(np.concatenate([-np.array(CENTROIDS[2])[::-1], CENTROIDS[2]]), 2)
    blocks, buckets = (size // BLOCK, BLOCK), (size // BUCKET, BUCKET)
    cases = {
        # label: kernel, shape, encode's and decode's further arguments
        "one-bit, dithered": (bit, (1, size), (keys[:1],), ()),
        "scaled-sign": (sign, (1, size), (), ()),
        "flattened-one-bit, blocks of 4096": (flat, blocks, (keys[: blocks[0]],) * 2 + (scratch,), (keys, scratch)),
        "uniform, stochastic, 8 bits": (byte, (1, size), (keys[:1],), ()),
        "qsgd, 8 bits, one norm": (qsgd, (1, size), (keys[:1],), ()),
        "qsgd, 8 bits, buckets of 512": (qsgd, buckets, (keys,), ()),
        "eden, 2 bits, blocks of 4096": (eden, blocks, (keys[: blocks[0]], scratch), (keys, scratch)),
    }
    actions = {}
    for label, (kernel, shape, encoding, decoding) in cases.items():
        d = len(scratch) if shape is blocks else shape[1]
        messages = np.empty((shape[0], kernel.nbytes(d)), np.uint8)
        rotation = tuple(a[: shape[0]] if a is keys else a for a in decoding)
        actions[label, "copy"] = lambda: np.copyto(y, x)
        actions[label, "encode"] = lambda k=kernel, s=shape, m=messages, e=encoding: k.encode(x.reshape(s), m, *e)
        actions[label, "decode"] = lambda k=kernel, s=shape, m=messages, r=rotation: k.decode(m, y.reshape(s), *r)
    t = times(actions)
    return {
        label: [float(np.median(t[label, way] / t[label, "copy"])) for way in ("encode", "decode")] for label in cases
    }


def coders() -> None:
    table("integers, times the copy", ["pack", "unpack", "bits a value"], level_ratios("coder_ratios"))


def coder_ratios() -> dict[str, list[float]]:
    """Medians of packing and of unpacking over copying, and bits a value."""
    found = {}
    for d in (100_000, 1_000_000):
        for spread in (2, 20):
            x = np.rint(spread * np.random.default_rng(0).standard_normal(d)).astype(np.int64)
            y, packed = np.empty_like(x), [pack(x, coder) for coder in range(3)]
            actions = {"copy": lambda x=x, y=y: np.copyto(y, x)}
            for coder in range(3):
                actions[coder, "pack"] = lambda x=x, c=coder: pack(x, c)
                actions[coder, "unpack"] = lambda p=packed[coder], d=d, y=y: unpack(p, d, y)
            t = times(actions)
            for coder, label in enumerate(("tiles", "rice", "range")):
                ratios = [float(np.median(t[coder, way] / t["copy"])) for way in ("pack", "unpack")]
                found[f"{label}, d = {d}, spread {spread}"] = [*ratios, 8 * len(packed[coder]) / d]
    return found


def gradients() -> None:
    found = level_ratios("gradient_ratios")
    table("logistic loss, 8 nodes of 200 samples", ["µs", "times reading"], found)


def gradient_ratios() -> dict[str, list[float]]:
    """Microseconds of all gradients, and their median over that of reading the samples once."""
    found = {}
    for d in (20, 1000):
        rng = np.random.default_rng(0)
        samples, targets = rng.standard_normal((1600, d)), np.where(rng.random(1600) < 0.5, 1.0, -1.0)
        model = LinearModel("logistic", samples, targets, np.arange(0, 1601, 200), features=d)
        x, gradient, rows = rng.standard_normal((8, d)), np.empty((8, d)), samples.reshape(1, -1)
        actions = {"read": lambda r=rows: require_finite(r), "all": lambda m=model, x=x, g=gradient: m.evaluate(x, g)}
        t = times(actions, 200)
        found[f"d = {d}"] = [1e6 * float(np.median(t["all"])), float(np.median(t["all"] / t["read"]))]
    return found


def against_numpy(size: int = 1 << 22) -> None:
    x, rng = np.random.default_rng(0).standard_normal(size), np.random.default_rng(1)
    y = np.empty_like(x)
    t = times(
        {
            "copy": lambda: np.copyto(y, x),
            "bit": lambda: np.packbits(x + (6 * rng.random(size) - 3) >= 0),
            "byte": lambda: np.floor(x * 16 + rng.random(size) + 127).clip(0, 254).astype(np.uint8),
        },
        4,
    )
    print(f"\nNumPy, times the copy: dithered bit {np.median(t['bit'] / t['copy']):.1f}, ", end="")
    print(f"stochastic 8 bits {np.median(t['byte'] / t['copy']):.1f}")


def transforms() -> None:
    print("\n| Hadamard transform | float64, ns a value | × copy | float32, ns a value | float32 / float64 |")
    print("| --- | --- | --- | --- | --- |")
    for log2_size in (12, 14, 16, 20, 24):
        size, often = 1 << log2_size, max(1, (1 << 18) >> log2_size)
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
        print(f"| 2^{log2_size} | {double:.3f} | {ratios[0]:.2f} | {single:.3f} | {ratios[1]:.2f} |", flush=True)


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
    if sys.argv[1:2] == ["--ratios"]:
        print(json.dumps(globals()[sys.argv[2]]()))
    else:
        parts = {f.__name__: f for f in (codecs, coders, gradients, against_numpy, transforms, votes)}
        for name in sys.argv[1:] or parts:
            parts[name]()
