"""mpiqopt compress-bench: bytes, errors and speeds of compressors.

    $ mpiqopt compress-bench qsgd eden,bits=4 --size 100000 -o compressors.png

A row for each compressor with the fields of ``analysis.compressors.Measurement``. Nothing is printed before the last
one is measured, but on a terminal a line counts them.
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mpiqopt.cli.options import load_plugins, plugin_option
from mpiqopt.cli.output import print_if_possible
from mpiqopt.terminal import LiveLine, escape_for_terminal

if TYPE_CHECKING:
    from mpiqopt.analysis.compressors import Measurement


@click.command("compress-bench")
@click.argument("compressors", nargs=-1, metavar="[NAME[,KEY=VALUE]...]...")
@click.option(
    "--size",
    type=click.IntRange(min=1, max=2**63 - 1),
    default=1 << 20,
    show_default=True,
    help="Coordinates of the vector.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Type of the vector.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=7,
    show_default=True,
    help="Runs of each compressor, of which medians are printed.",
)
@plugin_option
@click.option("-o", "--output", metavar="FIGURE", help="Also draw to this file (.png, .pdf, .svg).")
def command(
    compressors: tuple[str, ...], size: int, dtype: str, repeat: int, plugins: tuple[str, ...], output: str | None
) -> None:
    """Measure compressors on a vector of normal variables: bytes, error and its bound, encoding and decoding.

    All of them, or those named, such as: qsgd eden,bits=4 flattened-one-bit,block_size=1024

    The error is the mean of |C(x) - x|^2 / |x|^2, its bound what theory says of it; times are multiples of the time
    to copy the vector.
    """
    from mpiqopt.analysis.compressors import (
        all_compressors,
        draw_measurements,
        measure_compressors,
        named_compressor,
        print_compressor_measurements,
    )
    from mpiqopt.analysis.figures import figure_path

    load_plugins(plugins)
    if output is not None:
        figure_path(output)  # before minutes of measuring
    chosen = [named_compressor(word) for word in compressors] or all_compressors()
    rows = _with_progress(measure_compressors(chosen, size, dtype, repeat), len(chosen))
    title = f"{size} {dtype} values, one core"
    if output is not None:
        draw_measurements(rows, title, output)
    print_compressor_measurements(rows, title)
    if output is not None:
        print_if_possible(f"drawn to {output}")


def _with_progress(rows: "Iterator[Measurement]", count: int) -> "list[Measurement]":
    """Return the measurements, after showing on a terminal how many of them are done."""
    line, done = LiveLine(sys.stderr), []
    for row in rows:
        done.append(row)
        line.show((f"measured {len(done)}/{count}",), (escape_for_terminal(row.label),))
    line.clear()
    return done
