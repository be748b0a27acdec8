"""mpiqopt plot"""

import click

from mpiqopt.cli.output import said


@click.command("plot")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FIGURE", required=True, help="Figure to write (.png, .pdf, .svg).")
def command(files: tuple[str, ...], output: str) -> None:
    """Draw objective, stationarity and consensus against iterations, samples, bytes and time; several runs in one."""
    from mpiqopt.analysis.figures import target_of
    from mpiqopt.analysis.plots import DRAWN, plot
    from mpiqopt.cli import complain
    from mpiqopt.results.reader import read

    target_of(output)
    for note in plot([read(path, DRAWN) for path in files], output):
        complain(note)
    said(f"drawn to {output}")
