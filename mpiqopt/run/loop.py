"""One run, from a config to a result file: what every rank of ``mpiqopt run`` does."""

from contextlib import closing

import numpy as np

from mpiqopt.config.config import Config
from mpiqopt.config.idle import idle_keys_warning
from mpiqopt.results.files import follow_link
from mpiqopt.results.lock import TOUCH_SECONDS
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.run.control import NEVER, Control, deadline
from mpiqopt.run.ending import Outcome
from mpiqopt.run.progress import Progress
from mpiqopt.run.start import AlreadyFinished, Options, Plan, make_plan, reserve_output
from mpiqopt.run.trajectory import Trajectory
from mpiqopt.run.watch import Late, Watch
from mpiqopt.run.what_was_read import what_was_read
from mpiqopt.transport.agreement import agreed_from_rank_0
from mpiqopt.transport.launch import crowded_launch_warning
from mpiqopt.transport.transport import Transport


def run(config: Config, options: Options, transport: Transport) -> Outcome:
    """Run a config on the ranks of ``transport``, collective.

    Parameters
    ----------
    config : what to run
    options : the output and the like, of the command line
    transport : the ranks

    Returns
    -------
    Outcome
        How the run ended, also where it was stopped or diverged.

    Raises
    ------
    AgreedError
        On all ranks, for what the user can mend; nothing is written.
    AlreadyFinished
        On all ranks, if a run that is to be resumed needs nothing more.
    """
    # rank 0's clock decides; a thousand ranks must not all ask SLURM
    first = transport.rank == 0
    until = deadline(_time_limit(config, options)) if first else NEVER
    options = options._replace(output=follow_link(options.output))
    with (
        np.errstate(all="ignore"),
        # before the data are loaded: a signal that comes then is answered, too
        closing(Watch(transport, until, TOUCH_SECONDS if first else NEVER[0])) as watch,
        closing(Progress(config.run.iterations, quiet=options.quiet or not first)) as progress,
        reserve_output(options.output, transport, watch, progress.note),
    ):
        plan = agreed_from_rank_0(transport, lambda: make_plan(config, options))
        if plan.finished and plan.saved is None:
            raise AlreadyFinished(plan.finished)
        config = plan.config or config
        try:
            watch.interruptible = True
            experiment = assemble(config, transport, derived=plan.derived())
            watch.interruptible = False
        except Late:
            return Outcome("stopped", f"{watch.reason(watch.number, True)}, in the set-up", 0, None)
        progress.note(idle_keys_warning(config) if first else "")
        progress.note(crowded_launch_warning())
        return _follow(experiment, options, plan, progress, watch)


def _time_limit(config: Config, options: Options) -> float | None:
    """Return the seconds that the run may take, by the command line and the config."""
    return min((s for s in (options.time_limit, config.run.time_limit) if s is not None), default=None)


def _follow(experiment: Experiment, options: Options, plan: Plan, progress: Progress, watch: Watch) -> Outcome:
    """Follow a run that has been set up, and end its threads whatever happens."""
    try:
        trajectory = Trajectory(experiment, options.output, plan, progress)
        progress.note(what_was_read(experiment) if experiment.network.transport.rank == 0 else "")
        watch.end = trajectory.where_to_go_on
        outcome = trajectory.follow(Control(watch, experiment.config.checkpoint.every_seconds))
        experiment.network.close()
        return outcome
    finally:
        experiment.close()
