"""mpiqopt plot"""

import click

from mpiqopt.cli.output import said


@click.command("plot")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FIGURE", required=True, help="Figure to write (.png, .pdf, .svg).")
@click.option("--data", is_flag=True, help="Draw what each node holds instead, by a result file or a config.")
def command(files: tuple[str, ...], output: str, data: bool) -> None:
    """Draw objective, stationarity and consensus against iterations, samples, bytes and time; several runs in one."""
    from mpiqopt.analysis.figures import figure_path
    from mpiqopt.cli import complain

    figure_path(output)
    for note in _data(files, output) if data else _trajectories(files, output):
        complain(note)
    said(f"drawn to {output}")


def _trajectories(files: tuple[str, ...], output: str) -> list[str]:
    """Draw them; what the figure does not show."""
    from mpiqopt.analysis.plots import DRAWN, plot_runs
    from mpiqopt.results.reader import read

    return plot_runs([read(path, DRAWN) for path in files], output)


def _data(files: tuple[str, ...], output: str) -> list[str]:
    """Draw what nodes hold."""
    from mpiqopt.analysis import node_samples

    if len(files) > 1:
        raise click.UsageError(f"--data: draws one file, got {len(files)}")
    node_samples.draw_node_samples(node_samples.read_node_samples(files[0]), output)
    return []
