"""What all ranks do of ``mpiqopt run``, once rank 0 has read the command line and the config."""

from pathlib import Path
from typing import NamedTuple

from mpiqopt import registry
from mpiqopt.cli import complain
from mpiqopt.config.config import Config
from mpiqopt.errors import fits
from mpiqopt.files.inputs import Input, examine, require_same
from mpiqopt.run.allocator import keep_freed_memory
from mpiqopt.run.ending import Outcome
from mpiqopt.run.loop import run
from mpiqopt.run.start import AlreadyFinished, Options
from mpiqopt.transport.agreement import together

STATUS = {"finished": 0, "stopped": 75, "diverged": 1}


class Job(NamedTuple):
    """A run as it is handed to all ranks. inputs: the files that it was read from."""

    config: Config
    options: Options
    inputs: tuple[Input, ...]

    @classmethod
    def of(cls, config: Config, options: Options) -> "Job":
        """What rank 0 hands out."""
        read, data = [config.path, *registry.plugins, *config.files()], config.data_files()
        return cls(config, options, examine(read + data) if config.data.is_small() else examine(read, data))

    def __call__(self, transport) -> int:
        """Exit status of a run in which all ranks take the same way; collective."""
        keep_freed_memory()
        together(transport, lambda: require_same(self.inputs, transport.name))
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
    """Print how a run ended."""
    hint = " (go on with --resume)" if outcome.status == "stopped" else ""
    status = "" if outcome.status == "diverged" else f"{outcome.status}: "
    whole = f"{status}{outcome.reason}{hint}{'; ' * bool(outcome.cure)}{outcome.cure}; {output}"
    for line in [whole] if fits(whole) else [f"{status}{outcome.reason}{hint}; {output}", outcome.cure]:
        if line:
            complain(line)


def _sum_up(outcome: Outcome, output: Path) -> None:
    """Print where a run ended."""
    if outcome.metrics is not None:
        m = outcome.metrics
        line = f"objective {m.objective:.9g}, stationarity {m.stationarity:.3e}, consensus {m.consensus:.3e}"
        tested = [("test loss", "{:.6g}", m.test_loss), ("accuracy", "{:.4f}", m.accuracy)]
        complain(line + "".join(f", {name} {form.format(value)}" for name, form, value in tested if value is not None))
    if outcome.status == "finished" and outcome.reason.startswith("iterations"):
        from mpiqopt.analysis.trend import trends
        from mpiqopt.results.reader import read

        complain(trends(read(output)))
