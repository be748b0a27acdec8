"""One run: the loop of iterations, records, checkpoints and the end."""

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import mpiqopt
from mpiqopt.assembly import Experiment, assemble, together
from mpiqopt.config import Config, first_difference, parse
from mpiqopt.control import NEVER, Control, deadline
from mpiqopt.errors import UsageError
from mpiqopt.metrics import Metrics
from mpiqopt.progress import Progress
from mpiqopt.results import checkpoint
from mpiqopt.results.files import require_writable
from mpiqopt.results.writer import Writer


@dataclass(frozen=True)
class Options:
    """How to run a config: what the command line says beside it."""

    output: Path
    resume: bool = False
    overwrite: bool = False
    time_limit: float | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a run ended. status: "finished", "stopped" (a checkpoint is there) or "diverged"."""

    status: str
    reason: str
    iteration: int
    metrics: Metrics | None


def run(config: Config, options: Options, transport) -> Outcome:
    """Run a config on the ranks of ``transport``, collective. Raises UsageError, with nothing written."""
    limit = min((s for s in (options.time_limit, config.run.time_limit) if s is not None), default=None)
    # rank 0's clock decides; a thousand ranks must not all ask SLURM
    until = deadline(limit) if transport.rank == 0 else NEVER
    saved = together(transport, lambda: _prepare_output(config, options, transport.rank))
    experiment = assemble(config, transport)
    with (
        np.errstate(all="ignore"),
        closing(Control(transport, until, config.checkpoint.every_seconds)) as control,
        closing(Progress(config.run.iterations, quiet=options.quiet or transport.rank > 0)) as progress,
    ):
        return Trajectory(experiment, options.output, saved, progress).follow(control)


def _prepare_output(config: Config, options: Options, rank: int) -> checkpoint.Saved | None:
    """Check that the result can be written; the checkpoint to go on from, if there is one."""
    output = options.output
    if rank == 0:
        if output.exists() and not (options.overwrite or options.resume):
            raise UsageError(f"-o {output}: the file exists; say --overwrite, --resume or another name")
        require_writable(output)
    if not (options.resume and output.exists()):
        return None
    from mpiqopt.results.reader import read

    before = read(output)
    difference = first_difference(parse(before.attributes["config"], str(output)).tables, config.tables)
    if difference:
        raise UsageError(f"{config.path}: {difference}: --resume of {output} wants the config that it was run with")
    if before.attributes["status"] == "finished":
        raise AlreadyFinished(f"{output}: finished already ({before.attributes['stop_reason']})")
    return checkpoint.Saved(output) if checkpoint.path_of(output).exists() else None


class AlreadyFinished(Exception):
    """--resume of a run that needs nothing more."""


class Trajectory:
    """The state of a run between iterations, and what is done with it."""

    def __init__(self, experiment: Experiment, output: Path, saved: checkpoint.Saved | None, progress: Progress):
        self.experiment, self.output, self.progress = experiment, output, progress
        self.network, self.problem = experiment.network, experiment.problem
        self.iteration, self.elapsed = 0, 0.0
        self.metrics: Metrics | None = None
        self.state = experiment.algorithm.init(experiment.start, self.problem, self.network, experiment.streams)
        if saved is not None:
            self.state = saved.restore(self.state, self.problem.evaluations, self.network)
            self.iteration, self.elapsed = saved.progress["iteration"], saved.progress["time"]
        self.next_record = self.iteration if saved is None else self._record_after(self.iteration)
        self.writer = self._writer(saved) if self.network.transport.rank == 0 else None

    def _writer(self, saved: checkpoint.Saved | None) -> Writer:
        transport, config = self.network.transport, self.experiment.config
        attributes = {
            "config": config.text,
            "mpiqopt_version": mpiqopt.__version__,
            "mpi_library": transport.library,
            "ranks": transport.size,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "status": "running",
            "stop_reason": "",
        }
        if saved is not None:
            return Writer.resume(self.output, attributes, self.iteration)
        return Writer.create(self.output, attributes, self.network.topology)

    def _record_after(self, iteration: int) -> int:
        every = self.experiment.config.record.every
        return min(iteration - iteration % every + every, self.experiment.config.run.iterations)

    def follow(self, control: Control) -> Outcome:
        """Iterate to the end, whatever it is."""
        next_agreement = self.iteration
        while True:
            if self.iteration == self.next_record:
                end = self._record()
                if end is not None:
                    return self._finish(*end)
            if self.iteration == next_agreement:
                decision = control.agree(self.iteration)
                if decision.stop:
                    self._save()
                    return self._finish("stopped", decision.stop)
                if decision.save:
                    self._save()
                next_agreement = decision.next
            self._advance(min(self.next_record, next_agreement))

    def _advance(self, iteration: int) -> None:
        """Iterate up to ``iteration``: nothing else is timed."""
        step, arguments = self.experiment.algorithm.step, (self.problem, self.network, self.experiment.streams)
        state, count = self.state, iteration - self.iteration
        start = time.perf_counter()
        for _ in range(count):
            state = step(state, *arguments)
        self.elapsed += time.perf_counter() - start
        self.state, self.iteration = state, iteration

    def _record(self) -> tuple[str, str] | None:
        """Measure and record; the status and reason if the run is over."""
        config = self.experiment.config
        metrics = self.metrics = self.experiment.evaluate(self.state.x)
        if self.writer is not None:
            network = self.network
            counters = {"rounds": network.rounds, "bytes": network.bytes, "mpi_bytes": network.mpi_bytes}
            self.writer.append({"iteration": self.iteration, "time": self.elapsed, **vars(metrics), **counters})
            self.progress.update(self.iteration, metrics)
        self.next_record = self._record_after(self.iteration)
        if not metrics.is_finite():
            return "diverged", f"diverged at iteration {self.iteration}: the iterates are no longer finite"
        if config.run.tolerance is not None and metrics.stationarity <= config.run.tolerance:
            return "finished", f"tolerance: stationarity <= {config.run.tolerance:g}"
        if self.iteration == config.run.iterations:
            return "finished", f"iterations: {self.iteration} done"
        return None

    def _save(self) -> None:
        """Checkpoint. The records come first, so that the result file is never behind it."""
        if self.writer is not None:
            self.writer.publish()
        progress = {"iteration": self.iteration, "time": self.elapsed}
        checkpoint.save(self.output, self.state, progress, self.problem.evaluations, self.network)

    def _finish(self, status: str, reason: str) -> Outcome:
        counts = np.diff(self.network.place.bounds).tolist()
        x = self.network.transport.gather(self.state.x, counts)
        if self.writer is not None:
            self.writer.finish("stopped" if status == "diverged" else status, reason, x)
            if status != "stopped":
                checkpoint.path_of(self.output).unlink(missing_ok=True)
        return Outcome(status, reason, self.iteration, self.metrics)
