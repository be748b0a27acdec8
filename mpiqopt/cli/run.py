"""mpiqopt run: a config's run, on one process or on all ranks.

    $ mpiqopt run digits.toml --set run.seed=1 -o seed1.h5
    $ mpiexec -n 4 python -m mpiqopt run digits.toml --resume

The command only makes a ``Job``, which is then called on every rank: ranks above 0 do not import this module.
"""

from pathlib import Path

import click

from mpiqopt.cli.job import Job
from mpiqopt.cli.options import config_options, load_config
from mpiqopt.results import reader, writer  # noqa: F401 - for rank 0, before its clock starts
from mpiqopt.run.start import Options


@click.command("run")
@config_options
@click.option(
    "-o", "--output", metavar="FILE.h5", help="Result file  [default: the config's name, .h5, in this folder]"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing result file.")
@click.option(
    "--resume", is_flag=True, help="Continue from the checkpoint beside the result file, or start if there is none."
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop with a checkpoint after so many seconds.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and no summary.")
def command(
    config_path: str,
    overrides: tuple[str, ...],
    plugins: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    resume: bool,
    time_limit: float | None,
    quiet: bool,
) -> Job:
    """Run CONFIG and write the trajectory to an HDF5 file.

    Under mpiexec or srun the nodes are spread over the ranks; alone, one process hosts them all. Exit status: 0
    finished, 75 stopped early with a checkpoint (continue with --resume), 2 wrong input, 1 anything else.
    """
    if overwrite and resume:
        raise click.UsageError("--overwrite and --resume exclude each other")
    options = Options(
        output=Path(output or f"{Path(config_path).stem}.h5"),
        resume=resume,
        overwrite=overwrite,
        time_limit=time_limit,
        quiet=quiet,
    )
    return Job.of(load_config(config_path, overrides, plugins), options)
