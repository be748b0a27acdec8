"""mpiqopt plot: figures of trajectories, of what clients did, or of the division of samples.

    $ mpiqopt plot dgd.h5 extra.h5 -o compared.pdf
    $ mpiqopt plot --clients fedavg.h5 -o clients.png
    $ mpiqopt plot --data digits.toml -o samples.png

That the figure can be written is checked before anything is read.
"""

import click

from mpiqopt.cli.output import print_if_possible


@click.command("plot")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FIGURE", required=True, help="Figure to write (.png, .pdf, .svg).")
@click.option("--data", is_flag=True, help="Draw the samples of each node instead, from a result file or a config.")
@click.option("--clients", is_flag=True, help="Draw accuracies and participation of clients instead.")
def command(files: tuple[str, ...], output: str, data: bool, clients: bool) -> None:
    """Draw objective, stationarity and consensus against iterations, samples, bytes and time; several runs in one.

    Each FILE is a result file of a run; runs are named by what differs between their configs. What the figure cannot
    show, such as a run that diverged, is said on standard error.
    """
    from mpiqopt.analysis.figures import figure_path
    from mpiqopt.cli import complain

    if data and clients:
        raise click.UsageError("--data and --clients are two figures; say one of them")
    figure_path(output)
    for note in (_data if data else _clients if clients else _trajectories)(files, output):
        complain(note)
    print_if_possible(f"drawn to {output}")


def _trajectories(files: tuple[str, ...], output: str) -> list[str]:
    """Draw the trajectories, and return what the figure does not show."""
    from mpiqopt.analysis.plots import DRAWN, plot_runs
    from mpiqopt.results.reader import read_result

    return plot_runs([read_result(path, DRAWN) for path in files], output)


def _clients(files: tuple[str, ...], output: str) -> list[str]:
    """Draw what clients did, and return what the figure does not show."""
    from mpiqopt.analysis import partial_training
    from mpiqopt.analysis.client_plots import DRAWN, plot_clients
    from mpiqopt.results.reader import read_result

    rounds = "sampled", *partial_training.ROUNDS
    return plot_clients([read_result(path, DRAWN, rounds, partial_training.TOTALS) for path in files], output)


def _data(files: tuple[str, ...], output: str) -> list[str]:
    """Draw the samples of each node of one file; return no notes."""
    from mpiqopt.analysis import node_samples

    if len(files) > 1:
        raise click.UsageError(f"--data: draws one file, got {len(files)}")
    node_samples.draw_node_samples(node_samples.read_node_samples(files[0]), output)
    return []
