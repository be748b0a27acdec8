"""mpiqopt check: the config with every default, and what a run will cost.

    $ mpiqopt check digits.toml --ranks 4

Keys that change nothing, given the others, are named on standard error.
"""

import sys

import click

from mpiqopt.cli import complain
from mpiqopt.cli.options import config_options, load_config
from mpiqopt.terminal import terminal_width


@click.command("check")
@config_options
@click.option("--ranks", type=click.IntRange(min=1), default=1, show_default=True, help="Ranks that the run will have.")
def command(config_path: str, overrides: tuple[str, ...], plugins: tuple[str, ...], ranks: int) -> None:
    """Check CONFIG and print it with every default, the constants that follow, and what a run will cost.

    Runs nothing and needs no MPI; the data are loaded. The output is a config again: what follows from the keys
    stands in comments.
    """
    from mpiqopt.analysis.estimate import estimate_run
    from mpiqopt.config.idle import idle_keys_warning

    config = load_config(config_path, overrides, plugins)
    click.echo(estimate_run(config, ranks, terminal_width(sys.stdout)), nl=False)
    idle = idle_keys_warning(config)
    if idle:
        complain(idle)
