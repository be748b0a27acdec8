"""mpiqopt show: result files as tables."""

import click


@click.command("show")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def command(files: tuple[str, ...]) -> None:
    """Print what result files hold: how the runs ended and a table of the trajectory.

    Of long runs some records are shown, evenly spaced; of asynchronous runs also what each node did.
    """
    from mpiqopt.analysis.summary import print_summary
    from mpiqopt.results.reader import read

    for result in [read(path) for path in files]:
        print_summary(result)
