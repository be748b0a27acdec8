"""mpiqopt profile: what training each window of a network takes on this device.

    $ mpiqopt profile cocofl.toml -o profile.json --plot profile.png

What was measured before an interruption stays in profile.json.part; the same command goes on from there.
"""

import sys
import time
from typing import TYPE_CHECKING

import click

from mpiqopt.cli.options import config_options, load_config
from mpiqopt.cli.output import print_if_possible
from mpiqopt.terminal import LiveLine, duration

if TYPE_CHECKING:
    from mpiqopt.analysis.device_profile import DeviceProfiler, PartFile


@click.command("profile")
@config_options
@click.option("-o", "--output", metavar="FILE", required=True, help="Profile to write (.json).")
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Steps of each window, of which medians are taken.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Samples of a step; by default those of the algorithm.")
@click.option("--plot", "figure", metavar="FIGURE", help="Also draw to this file (.png, .pdf, .svg).")
def command(
    config_path: str,
    overrides: tuple[str, ...],
    plugins: tuple[str, ...],
    output: str,
    repeats: int,
    batch: int | None,
    figure: str | None,
) -> None:
    """Measure what training each window of the network of CONFIG takes on this device, for algorithm.profile.

    Time of a step and peak of resident memory are those of the CPU, each window in a process of its own; the uploaded
    bytes are counted. All are relative to training the whole network. Interrupted, it goes on where it was.
    """
    from mpiqopt.analysis.device_profile import DeviceProfiler, PartFile
    from mpiqopt.analysis.figures import figure_path
    from mpiqopt.analysis.window_tables import print_profile
    from mpiqopt.federation.profiles import profile_path, write_profile

    if figure is not None:
        figure_path(figure)  # before minutes of measuring
    profile_path(output)
    profiler = DeviceProfiler(load_config(config_path, overrides, plugins), batch, repeats)
    part = PartFile(output, profiler.settings())
    _measure(profiler, part)
    profile = profiler.profile(part.measured)
    write_profile(profile, output)
    part.remove()
    print_profile(profile)
    if figure is not None:
        from mpiqopt.analysis.window_figure import draw_profile

        draw_profile(profile, figure)
    print_if_possible(f"written to {output}" + f", drawn to {figure}" * (figure is not None))


def _measure(profiler: "DeviceProfiler", part: "PartFile") -> None:
    """Measure all windows that are not measured yet; on a terminal a line says how many are done, and the time left.

    Raises KeyboardInterrupt, after saying how to go on.
    """
    from mpiqopt.analysis.device_profile import measure_device
    from mpiqopt.cli import complain

    line, began, known, total = LiveLine(sys.stderr), time.monotonic(), len(part.measured), len(profiler.windows)
    if known:
        complain(f"goes on from {part.path}: {known} of {total} windows are measured")
    try:
        for done, each in enumerate(measure_device(profiler, part), 1):
            left = (time.monotonic() - began) / done * (total - known - done)
            counted = f"{known + done}/{total}"
            names = f"{profiler.blocks[each.first]} to {profiler.blocks[each.last]}"
            line.show((f"measured {counted}", counted), (f"{duration(left)} left",), (names,))
    except KeyboardInterrupt:
        line.clear()
        if part.measured:
            kept = f"{len(part.measured)} of {total}"
            complain(f"interrupted: {kept} windows are in {part.path}; the same command goes on there")
        raise
    finally:
        line.clear()
