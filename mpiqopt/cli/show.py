"""mpiqopt show: result files as tables.

    $ mpiqopt show dgd.h5 extra.h5

All files are read before the first is printed, so that a wrong name does not come after pages of numbers.
"""

import click


@click.command("show")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def command(files: tuple[str, ...]) -> None:
    """Print what is in result files: how the runs ended and a table of the trajectory.

    Of long runs some records are shown, evenly spaced; of asynchronous runs also what each node did, of runs with a
    server who took part, and how accurate the model is for whom.
    """
    from mpiqopt.analysis import partial_training
    from mpiqopt.analysis.summary import print_summary
    from mpiqopt.results.reader import read_result

    rounds = "sampled", *partial_training.ROUNDS
    for result in [read_result(path, rounds=rounds, totals=partial_training.TOTALS) for path in files]:
        print_summary(result)
