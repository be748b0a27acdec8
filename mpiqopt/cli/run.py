"""mpiqopt run"""

from pathlib import Path

import click

from mpiqopt.allocator import keep_freed_memory
from mpiqopt.cli.options import config_options, load_config
from mpiqopt.errors import AgreedError
from mpiqopt.transport import launch

STATUS = {"finished": 0, "stopped": 75, "diverged": 1}


@click.command("run")
@config_options
@click.option(
    "-o", "--output", metavar="FILE.h5", help="Result file  [default: the config's name, .h5, in this folder]"
)
@click.option("--overwrite", is_flag=True, help="Replace the result file.")
@click.option(
    "--resume", is_flag=True, help="Go on from the checkpoint beside the result file, or start if there is none."
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop with a checkpoint then.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
def command(config_path, overrides, plugins, output, overwrite, resume, time_limit, quiet) -> int:
    """Run CONFIG and write the trajectory to an HDF5 file.

    Under mpiexec or srun the nodes are spread over the ranks; alone, one process hosts them all. Exit status: 0
    finished, 75 stopped early with a checkpoint (go on with --resume), 2 wrong input, 1 anything else.
    """
    from mpiqopt.run import Options

    if overwrite and resume:
        raise click.UsageError("--overwrite and --resume exclude each other")
    options = Options(
        output=Path(output or Path(config_path).with_suffix(".h5").name),
        resume=resume,
        overwrite=overwrite,
        time_limit=time_limit,
        quiet=quiet,
    )
    keep_freed_memory()
    with launch.session() as transport:
        return _run(config_path, overrides, plugins, options, transport)


def _run(config_path, overrides, plugins, options, transport) -> int:
    """Exit status of a run in which all ranks took the same way."""
    from mpiqopt.cli import complain
    from mpiqopt.run import AlreadyFinished, run
    from mpiqopt.transport.agreement import together

    try:
        config = together(transport, lambda: load_config(config_path, overrides, plugins))
        outcome = run(config, options, transport)
    except AgreedError as error:
        complain(str(error))
        return 2
    except AlreadyFinished as news:
        complain(str(news))
        return 0
    if transport.rank == 0 and (outcome.status == "diverged" or not options.quiet):
        _report(outcome, options.output)
    return STATUS[outcome.status]


def _report(outcome, output: Path) -> None:
    from mpiqopt.cli import complain

    hint = " (go on with --resume)" if outcome.status == "stopped" else ""
    if outcome.status == "diverged":
        hint = "; try a smaller algorithm.step_size"
    status = "" if outcome.status == "diverged" else f"{outcome.status}: "
    complain(f"{status}{outcome.reason}{hint}; {output}")
    if outcome.metrics is not None:
        m = outcome.metrics
        line = f"objective {m.objective:.9g}, stationarity {m.stationarity:.3e}, consensus {m.consensus:.3e}"
        complain(line + (f", accuracy {m.accuracy:.4f}" if m.accuracy is not None else ""))
