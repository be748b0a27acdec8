"""What all ranks do for `mpiqopt run`, once rank 0 has read the command line and the config."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mpiqopt import registry
from mpiqopt.cli import complain
from mpiqopt.config.config import Config
from mpiqopt.errors import fits_in_error_line
from mpiqopt.files.inputs import Input, examine_inputs, require_same_inputs
from mpiqopt.run.allocator import keep_freed_memory, memory_is_limited, return_freed_memory
from mpiqopt.run.ending import Outcome
from mpiqopt.run.loop import run
from mpiqopt.run.start import AlreadyFinished, Options
from mpiqopt.transport.agreement import agreed_on_all_ranks

if TYPE_CHECKING:
    from mpiqopt.transport.transport import Transport

STATUS = {"finished": 0, "stopped": 75, "diverged": 1}


class Job(NamedTuple):
    """A run as it is handed to all ranks, pickled.

    inputs: size and time of the files that it was read from, so that a rank that sees other files can say so.
    """

    config: Config
    options: Options
    inputs: tuple[Input, ...]

    @classmethod
    def of(cls, config: Config, options: Options) -> "Job":
        """Return the run that rank 0 hands to all, with its input files examined."""
        read, data = [config.path, *registry.plugins, *config.files()], config.data_files()
        return cls(
            config, options, examine_inputs(read + data) if config.data.is_small() else examine_inputs(read, data)
        )

    def __call__(self, transport: "Transport") -> int:
        """Run, and return the exit status: 0 finished, 75 stopped with a checkpoint, 1 diverged.

        Collective: all ranks do the same. Raises AgreedError on all ranks, such as for an input file that another rank
        sees differently.
        """
        return_freed_memory() if self.config.limits_memory and memory_is_limited() else keep_freed_memory()
        agreed_on_all_ranks(transport, lambda: require_same_inputs(self.inputs, transport.name))
        try:
            outcome = run(self.config, self.options, transport)
        except AlreadyFinished as news:
            complain(str(news))
            return 0
        wrong = outcome.status == "diverged" or not outcome.written
        if transport.rank == 0 and (wrong or not self.options.quiet):
            _say(outcome, self.options.output)
        if transport.rank == 0 and not self.options.quiet:
            _sum_up(outcome, self.options.output)
        return STATUS[outcome.status]


def _say(outcome: Outcome, output: Path) -> None:
    """Print how a run ended: status, reason, what to do about it and the result file.

    In two lines if one would be cut.
    """
    hint = " (go on with --resume)" if outcome.status == "stopped" else ""
    status = "" if outcome.status == "diverged" else f"{outcome.status}: "
    whole = f"{status}{outcome.reason}{hint}{'; ' * bool(outcome.cure)}{outcome.cure}; {output}"
    for line in [whole] if fits_in_error_line(whole) else [f"{status}{outcome.reason}{hint}; {output}", outcome.cure]:
        if line:
            complain(line)


def _sum_up(outcome: Outcome, output: Path) -> None:
    """Print the last record, and how numbers still changed at the end if the run was not stopped early.

    The second line needs the result file, which is read again.
    """
    if outcome.metrics is not None:
        m = outcome.metrics
        values = [
            ("objective", "{:.9g}", m.objective),
            ("stationarity", "{:.3e}", m.stationarity),
            ("consensus", "{:.3e}", m.consensus),
            ("test loss", "{:.6g}", m.test_loss),
            ("accuracy", "{:.4f}", m.accuracy),
        ]
        said = (f"{name} {form.format(value)}" for name, form, value in values if value is not None and value == value)
        complain(", ".join(said))
    if outcome.status == "finished" and outcome.reason.startswith("iterations"):
        from mpiqopt.analysis.trend import describe_trends
        from mpiqopt.results.reader import read_result

        complain(describe_trends(read_result(output)))
