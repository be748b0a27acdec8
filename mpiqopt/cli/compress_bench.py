"""mpiqopt compress-bench"""

import sys

import click

from mpiqopt.cli.output import said
from mpiqopt.terminal import LiveLine, printable


@click.command("compress-bench")
@click.argument("compressors", nargs=-1, metavar="[NAME[,KEY=VALUE]...]...")
@click.option(
    "--size", type=click.IntRange(min=1, max=2**63 - 1), default=1 << 20, show_default=True, help="Coordinates."
)
@click.option("--dtype", type=click.Choice(["float64", "float32"]), default="float64", show_default=True)
@click.option("--repeat", type=click.IntRange(min=1), default=7, show_default=True, help="Runs of each; medians count.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Python file that registers more parts.")
@click.option("-o", "--output", metavar="FIGURE", help="Draw to this file too (.png, .pdf, .svg).")
def command(compressors, size, dtype, repeat, plugins, output) -> None:
    """Measure compressors on a vector of normal variables: bytes, error and its bound, encoding and decoding.

    All of them, or those named, such as: qsgd eden,bits=4 flattened-one-bit,block_size=1024
    """
    from mpiqopt import registry
    from mpiqopt.analysis.compressors import (
        all_compressors,
        draw_measurements,
        measure_compressors,
        named_compressor,
        print_measurements,
    )
    from mpiqopt.analysis.figures import figure_path

    for plugin in plugins:
        registry.load_plugin(plugin)
    if output is not None:
        figure_path(output)  # before minutes of measuring
    chosen = [named_compressor(word) for word in compressors] or all_compressors()
    line, rows = LiveLine(sys.stderr), []
    for row in measure_compressors(chosen, size, dtype, repeat):
        rows.append(row)
        line.show((f"measured {len(rows)}/{len(chosen)}",), (printable(row.label),))
    line.clear()
    title = f"{size} {dtype} values, one core"
    if output is not None:
        draw_measurements(rows, title, output)
    print_measurements(rows, title)
    if output is not None:
        said(f"drawn to {output}")
