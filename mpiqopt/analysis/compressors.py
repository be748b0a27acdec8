"""What compressors cost and lose, measured: bytes, errors, and encoding and decoding against copying the array."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.analysis.figures import as_they_are, defaults, distinct, legend_above, save, target_of, use_fonts_for
from mpiqopt.analysis.tables import Column, number, print_table
from mpiqopt.compressors.codec import Codec
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.config.build import member
from mpiqopt.config.overrides import typed
from mpiqopt.errors import UsageError
from mpiqopt.memory import require_memory
from mpiqopt.registry import members
from mpiqopt.terminal import columns, printable

# Keys that have no default, for a vector of normal variables.
EXAMPLES: dict[str, dict[str, Any]] = {"uniform": {"step": 0.0625}}
NODE = np.zeros(1, np.int64)
# where errors of 0 are drawn
EXACT = 1e-17


class Row(NamedTuple):
    """Measurements of one compressor.

    bits: of a coordinate; error: mean of |C(x) - x|^2 / |x|^2; bound: what is known of it, or None; encode, decode:
    multiples of the time to copy the array.
    """

    label: str
    bits: float
    error: float
    bound: float | None
    encode: float
    decode: float


def parse(word: str) -> tuple[str, Compressor]:
    """A compressor from NAME or NAME,KEY=VALUE,... Raises UsageError."""
    name, *settings = word.split(",")
    table: dict[str, Any] = {"name": name, **EXAMPLES.get(name, {})}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"{word}: {setting!r}: want KEY=VALUE")
        table[key] = typed(value, word)
    return word, member("compressor", table, word)


def everything() -> list[tuple[str, Compressor]]:
    """All compressors with their defaults."""
    return [parse(name) for name in members("compressor")]


def measure(compressors: list[tuple[str, Compressor]], size: int, dtype: str, repeat: int) -> Iterator[Row]:
    """Medians of ``repeat`` runs on a vector of normal variables, each next to a copy of the same vector."""
    require_memory(8 * size, f"--size {size}: as many numbers")
    x = np.random.default_rng(0).standard_normal(size).astype(dtype).reshape(1, -1)
    for label, compressor in compressors:
        yield _measured(label, Codec(compressor, size, x.dtype, 0, 1), x, repeat)


def _measured(label: str, codec: Codec, x: np.ndarray, repeat: int) -> Row:
    copy, decoded = np.empty_like(x), None
    times, errors = np.empty((repeat, 3)), []
    for round in range(repeat + 1):
        seconds = [_seconds(lambda: np.copyto(copy, x))]
        codec.seconds = 0.0
        messages = codec.encode(x, NODE, round)
        seconds.append(codec.seconds)
        decoded = codec.decode(messages, NODE, round)
        seconds.append(codec.seconds - seconds[1])
        if round:  # the first one pays for memory that is new
            times[round - 1] = seconds
            errors.append(float(np.sum((decoded - x) ** 2, dtype=np.float64) / np.sum(x**2, dtype=np.float64)))
    copying, encoding, decoding = np.median(times, axis=0)
    bits = 8 * codec.nbytes / x.shape[1]
    return Row(label, bits, float(np.mean(errors)), _bound(codec, x), encoding / copying, decoding / copying)


def _seconds(action: Callable[[], None]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _bound(codec: Codec, x: np.ndarray) -> float | None:
    """omega, 1 - delta, or what the resolution says of this vector."""
    compressor, width = codec.compressor, codec.stretches[0].width
    if compressor.omega(width) is not None:
        return compressor.omega(width)
    if compressor.delta(width) is not None:
        return 1 - compressor.delta(width)
    resolution = compressor.resolution(width)
    return None if resolution is None else resolution * x.shape[1] / float(np.sum(x**2, dtype=np.float64))


def print_rows(rows: list[Row], title: str) -> None:
    """Print the measurements as a table."""
    print(title)
    print_table(
        [
            Column("compressor", [printable(row.label) for row in rows], is_name=True),
            Column("bits/coordinate", [number("{:.3f}", row.bits) for row in rows]),
            Column("error", [f"{row.error:.3g}" for row in rows]),
            Column("bound", ["" if row.bound is None else f"{row.bound:.3g}" for row in rows]),
            Column("encode × copy", [number("{:.2f}", row.encode) for row in rows]),
            Column("decode × copy", [number("{:.2f}", row.decode) for row in rows]),
        ],
        columns(sys.stdout),
    )


def draw(rows: list[Row], title: str, output: str) -> None:
    """Draw error against size, and the two speeds, to a file."""
    target_of(output)
    with defaults():
        save(_figure(rows, title), output)


def _figure(rows: list[Row], title: str):
    from matplotlib.figure import Figure

    names = [printable(row.label) for row in rows]
    use_fonts_for(names)
    figure = Figure(figsize=(13, 0.22 * len(rows) + 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_errors(left, rows)
    _draw_speeds(right, rows, names)
    legend_above(figure, left.lines, names, title)
    return figure


def _draw_errors(axes, rows: list[Row]) -> None:
    for i, (row, (colour, _)) in enumerate(zip(rows, distinct(len(rows)), strict=True)):
        # an exact compressor cannot be drawn on a logarithmic axis
        axes.loglog(row.bits, max(row.error, EXACT), "os^vDPX"[i % 7], color=colour)
    exact = f" (0 drawn at {EXACT:g})" * any(row.error < EXACT for row in rows)
    axes.set(xlabel="bits per coordinate", ylabel=f"error, |C(x) − x|² / |x|²{exact}")
    axes.grid(True, alpha=0.3)


def _draw_speeds(axes, rows: list[Row], names: list[str]) -> None:
    places = np.arange(len(rows))
    axes.barh(places - 0.2, [row.encode for row in rows], 0.4, label="encode")
    axes.barh(places + 0.2, [row.decode for row in rows], 0.4, label="decode")
    axes.axvline(1, color="black", linestyle="dotted")
    axes.set_yticks(places, names)
    as_they_are(*axes.get_yticklabels())
    axes.invert_yaxis()
    axes.set(xlabel="time, multiples of copying the array", xscale="log")
    # above the bars, where it covers none
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
