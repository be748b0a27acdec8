"""Measurements of compressors: bytes, errors, and the times to encode and decode.

>>> [(label, compressor)] = [named_compressor("qsgd,levels=8")]
>>> [row] = measure_compressors([(label, compressor)], size=1024, dtype="float64", repeat=3)
>>> row.label, row.bits < 8, row.error < row.bound
('qsgd,levels=8', True, True)
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpiqopt.analysis.figures import (
    curve_styles,
    figure_path,
    legend_above,
    matplotlib_defaults,
    save_figure,
    use_fonts_for,
    without_math,
)
from mpiqopt.analysis.tables import Column, format_number, print_table
from mpiqopt.compressors.codec import Codec
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.compressors.shortener import Shortener
from mpiqopt.config.build import build_from_config
from mpiqopt.config.overrides import parse_override_word
from mpiqopt.errors import UsageError
from mpiqopt.memory import require_memory
from mpiqopt.registry import family_members
from mpiqopt.terminal import escape_for_terminal, terminal_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Keys that have no default, for a vector of normal variables.
EXAMPLES: dict[str, dict[str, Any]] = {"uniform": {"step": 0.0625}}
NODE = np.zeros(1, np.int64)
# where errors of 0 are drawn
EXACT = 1e-17


class Measurement(NamedTuple):
    """Measurements of one compressor.

    Attributes
    ----------
    label: as on the command line.
    bits: of a message, for each coordinate; the mean where it varies.
    error: mean of |C(x) - x|^2 / |x|^2.
    bound: what is known of ``error``: omega, 1 - delta or a resolution; None if nothing is.
    encode, decode: times, as multiples of the time to copy the array.
    """

    label: str
    bits: float
    error: float
    bound: float | None
    encode: float
    decode: float


def named_compressor(word: str) -> tuple[str, Compressor]:
    """Return the word and the compressor that NAME or NAME,KEY=VALUE,... means.

    Raises UsageError for an unknown name or key, or a value that is not allowed. Keys without default get those of
    EXAMPLES.
    """
    name, *settings = word.split(",")
    table: dict[str, Any] = {"name": name, **EXAMPLES.get(name, {})}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"{word}: {setting!r}: want KEY=VALUE")
        table[key] = parse_override_word(value, word)
    return word, build_from_config("compressor", table, word)


def all_compressors() -> list[tuple[str, Compressor]]:
    """Return all compressors with their defaults, each with its name."""
    return [named_compressor(name) for name in family_members("compressor")]


def measure_compressors(
    compressors: list[tuple[str, Compressor]], size: int, dtype: str, repeat: int
) -> Iterator[Measurement]:
    """Yield the measurements of each compressor as they are done.

    Parameters
    ----------
    compressors: (label, compressor), as of ``named_compressor``.
    size: coordinates of the vector, independent N(0, 1). dtype: "float64" or "float32".
    repeat: runs of each, of which medians count; one more comes first and does not count.

    Raises UsageError if there is no memory for so many numbers. Every run is timed next to a copy of the same vector,
    so that a machine that is slower for a while slows down both.
    """
    require_memory(8 * size, f"--size {size}: as many numbers")
    x = np.random.default_rng(0).standard_normal(size).astype(dtype).reshape(1, -1)
    for label, compressor in compressors:
        yield _measured(label, Codec(compressor, size, x.dtype, 0, 1), x, repeat)


def _measured(label: str, codec: Codec, x: np.ndarray, repeat: int) -> Measurement:
    """Return the medians of ``repeat`` runs of one compressor on the row x (1, size)."""
    copy, decoded = np.empty_like(x), None
    shortener = Shortener(codec) if codec.compressor.varies else None
    times, errors, sizes = np.empty((repeat, 3)), [], []
    for round in range(repeat + 1):
        seconds = [_seconds(lambda: np.copyto(copy, x))]
        codec.seconds = 0.0
        messages = codec.encode(x, NODE, round)
        shorter = None if shortener is None else shortener.shorten(messages)
        seconds.append(codec.seconds)
        if shortener is not None and shorter is not None:
            shortener.restore(shorter.of(NODE), messages, np.empty(1, np.int64))
        decoded = codec.decode(messages, NODE, round)
        seconds.append(codec.seconds - seconds[1])
        if round:  # the first one pays for memory that is new
            times[round - 1] = seconds
            sizes.append(codec.nbytes if shorter is None else int(shorter.sizes[0]))
            errors.append(float(np.sum((decoded - x) ** 2, dtype=np.float64) / np.sum(x**2, dtype=np.float64)))
    copying, encoding, decoding = np.median(times, axis=0)
    bits = 8 * float(np.mean(sizes)) / x.shape[1]
    return Measurement(label, bits, float(np.mean(errors)), _bound(codec, x), encoding / copying, decoding / copying)


def _seconds(action: Callable[[], None]) -> float:
    """Return how long an action takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _bound(codec: Codec, x: np.ndarray) -> float | None:
    """Return omega, 1 - delta, or what the resolution says of this vector; None if nothing is known.

    A resolution is an absolute error of a coordinate, squared: relative to |x|^2/d it becomes a relative one.
    """
    compressor, width = codec.compressor, codec.stretches[0].width
    omega, delta = compressor.omega(width), compressor.delta(width)
    if omega is not None:
        return omega
    if delta is not None:
        return 1 - delta
    resolution = compressor.resolution(width)
    return None if resolution is None else resolution * x.shape[1] / float(np.sum(x**2, dtype=np.float64))


def print_compressor_measurements(rows: list[Measurement], title: str) -> None:
    """Print the measurements as a table below ``title``, as wide as the terminal."""
    print(title)
    print_table(
        [
            Column("compressor", [escape_for_terminal(row.label) for row in rows], is_name=True),
            Column("bits/coordinate", [format_number("{:.3f}", row.bits) for row in rows]),
            Column("error", [f"{row.error:.3g}" for row in rows]),
            Column("bound", ["" if row.bound is None else f"{row.bound:.3g}" for row in rows]),
            Column("encode × copy", [format_number("{:.2f}", row.encode) for row in rows]),
            Column("decode × copy", [format_number("{:.2f}", row.decode) for row in rows]),
        ],
        terminal_width(sys.stdout),
    )


def draw_measurements(rows: list[Measurement], title: str, output: str) -> None:
    """Draw error against size, and the two speeds, to the file ``output``.

    Raises UsageError if it cannot be written, or holds something else than a figure.
    """
    figure_path(output)
    with matplotlib_defaults():
        save_figure(_figure(rows, title), output)


def _figure(rows: list[Measurement], title: str) -> "Figure":
    """Return the figure: errors to the left, speeds to the right."""
    from matplotlib.figure import Figure

    names = [escape_for_terminal(row.label) for row in rows]
    use_fonts_for(names)
    figure = Figure(figsize=(13, 0.22 * len(rows) + 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_errors(left, rows)
    _draw_speeds(right, rows, names)
    legend_above(figure, left.lines, names, title)
    return figure


def _draw_errors(axes: "Axes", rows: list[Measurement]) -> None:
    """Draw a mark for each compressor: bits per coordinate across, error up, both logarithmic.

    Errors below EXACT, of compressors that lose nothing, are drawn there.
    """
    for i, (row, (colour, _)) in enumerate(zip(rows, curve_styles(len(rows)), strict=True)):
        # an exact compressor cannot be drawn on a logarithmic axis
        axes.loglog(row.bits, max(row.error, EXACT), "os^vDPX"[i % 7], color=colour)
    exact = f" (0 drawn at {EXACT:g})" * any(row.error < EXACT for row in rows)
    axes.set(xlabel="bits per coordinate", ylabel=f"error, |C(x) − x|² / |x|²{exact}")
    axes.grid(True, alpha=0.3)


def _draw_speeds(axes: "Axes", rows: list[Measurement], names: list[str]) -> None:
    """Draw two bars for each compressor: encoding and decoding."""
    places = np.arange(len(rows))
    axes.barh(places - 0.2, [row.encode for row in rows], 0.4, label="encode")
    axes.barh(places + 0.2, [row.decode for row in rows], 0.4, label="decode")
    axes.axvline(1, color="black", linestyle="dotted")
    axes.set_yticks(places, names)
    without_math(*axes.get_yticklabels())
    axes.invert_yaxis()
    axes.set(xlabel="time, multiples of copying the array", xscale="log")
    # above the bars, where it covers none
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
