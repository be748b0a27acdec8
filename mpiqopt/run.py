"""One run: the loop of iterations, records, checkpoints and the end."""

import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import mpiqopt
from mpiqopt import kernels
from mpiqopt.assembly import Experiment, assemble
from mpiqopt.config import Config, first_difference, parse
from mpiqopt.control import NEVER, Control, deadline
from mpiqopt.ending import Ending, Watched, cure
from mpiqopt.errors import NotFinite, NumericalError, UsageError
from mpiqopt.metrics import Metrics
from mpiqopt.progress import Progress
from mpiqopt.results import checkpoint
from mpiqopt.results.files import require_writable
from mpiqopt.results.layout import NODE_QUANTITIES
from mpiqopt.state import form_of, require_same_form
from mpiqopt.transport.agreement import by_first, together
from mpiqopt.transport.launch import crowding

if TYPE_CHECKING:
    from mpiqopt.results.writer import Writer


class Options(NamedTuple):
    """How to run a config: what the command line says beside it."""

    output: Path
    resume: bool = False
    overwrite: bool = False
    time_limit: float | None = None
    quiet: bool = False


class Outcome(NamedTuple):
    """How a run ended. status: "finished", "stopped" (a checkpoint is there) or "diverged"; cure: of a divergence."""

    status: str
    reason: str
    iteration: int
    metrics: Metrics | None
    cure: str = ""


class AlreadyFinished(Exception):
    """--resume of a run that needs nothing more."""


class Plan(NamedTuple):
    """What rank 0 finds about the output. saved: the progress in the checkpoint to go on from, or None to start."""

    saved: dict[str, Any] | None = None
    note: str = ""
    finished: bool = False


def run(config: Config, options: Options, transport) -> Outcome:
    """Run a config on the ranks of ``transport``, collective.

    Raises AgreedError for what the user can mend, with nothing written, and AlreadyFinished; both on all ranks.
    """
    limit = min((s for s in (options.time_limit, config.run.time_limit) if s is not None), default=None)
    # rank 0's clock decides; a thousand ranks must not all ask SLURM
    until = deadline(limit) if transport.rank == 0 else NEVER
    plan = by_first(transport, lambda: _plan(config, options))
    if plan.finished:
        raise AlreadyFinished(plan.note)
    derived = None if plan.saved is None else _numbers(plan.saved["derived"])
    with (
        np.errstate(all="ignore"),
        # before the data are loaded: a signal that comes then is answered at the first agreement
        closing(Control(transport, until, config.checkpoint.every_seconds)) as control,
        closing(Progress(config.run.iterations, quiet=options.quiet or transport.rank > 0)) as progress,
    ):
        experiment = assemble(config, transport, derived=derived)
        progress.note(plan.note)
        progress.note(crowding())
        try:
            outcome = Trajectory(experiment, options.output, plan.saved, progress).follow(control)
            experiment.network.close()
            return outcome
        finally:
            experiment.close()


def _plan(config: Config, options: Options) -> Plan:
    """Check on rank 0 that the result can be written, and find out where to begin."""
    from mpiqopt.results.reader import read

    output = options.output
    if output.exists() and not (options.overwrite or options.resume):
        raise UsageError(f"-o {output}: the file exists; say --overwrite, --resume or another name")
    require_writable(output)
    if not output.exists():
        return Plan()
    before = read(output)  # nothing but a result file is replaced
    if options.overwrite:
        return Plan()
    difference = first_difference(parse(before.attributes["config"], config.path), config)
    if difference:
        raise UsageError(f"{config.path}: {difference}: --resume of {output} wants the config that it was run with")
    if before.attributes["status"] == "finished":
        return Plan(finished=True, note=f"{output}: finished already ({before.attributes['stop_reason']})")
    if before.attributes["stop_reason"].startswith("diverged"):
        raise UsageError(f"{output}: the run {before.attributes['stop_reason']}; change the config and say --overwrite")
    saved = checkpoint.read_progress(output)
    if saved is None:
        return Plan(note=f"{output}: there is no checkpoint; starting over")
    path = checkpoint.path_of(output)
    if saved["run_id"] != before.attributes["run_id"]:
        raise UsageError(f"{path}: belongs to another run than {output}; delete it to start over")
    if before.columns["iteration"][-1] < saved["last_record"]:
        raise UsageError(f"{output}: lacks records before its checkpoint; delete {path} to start over")
    return Plan(saved)


def _text(derived: dict[str, float]) -> str:
    import json  # where it is used: many ranks start at once

    return json.dumps(derived)


def _numbers(text: str) -> dict[str, float]:
    import json

    return json.loads(text)


class Trajectory:
    """The state of a run between iterations, and what is done with it."""

    def __init__(self, experiment: Experiment, output: Path, saved: dict[str, Any] | None, progress: Progress):
        self.experiment, self.output, self.progress = experiment, output, progress
        self.network, self.problem = experiment.network, experiment.problem
        self.iteration, self.elapsed, self.coded_before = 0, 0.0, 0.0
        self.last_record, self.next_record = -1, 0
        self.metrics: Metrics | None = None
        self.ending = Ending(
            experiment, None if saved is None else Watched(*(saved[f"watched_{name}"] for name in Watched._fields))
        )
        self.run_id = os.urandom(16).hex()
        self.state = experiment.algorithm.init(experiment.start, self.problem, self.network, experiment.streams)
        name, transport = experiment.algorithm.name, self.network.transport
        self.form = together(transport, lambda: form_of(name, self.state, experiment.start))
        if saved is not None:
            self.state = checkpoint.restore(output, saved, self.state, self._counters(), self.network)
            self.iteration, self.elapsed, self.run_id = saved["iteration"], saved["time"], saved["run_id"]
            self.coded_before = saved.get("codec_time", 0.0)
            self.last_record, self.next_record = saved["last_record"], self._record_after(self.iteration)
        transport = self.network.transport
        levels = transport.gather(np.array([kernels.level()]), [1] * transport.size)
        self.writer = self._writer(levels, saved is not None) if transport.rank == 0 else None

    def _writer(self, levels: np.ndarray, resumed: bool) -> "Writer":
        from mpiqopt.results.writer import Writer  # imports h5py, which the other ranks do without

        transport, config = self.network.transport, self.experiment.config
        attributes = {
            "config": config.text,
            "config_resolved": config.resolved_text(),
            "derived": _text(self.experiment.derived),
            "mpiqopt_version": mpiqopt.__version__,
            "mpi_library": transport.library,
            "kernels": kernels.names(levels),
            "ranks": transport.size,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "run_id": self.run_id,
            "status": "running",
            "stop_reason": "",
        }
        if resumed:
            return Writer.resume(self.output, attributes, self.iteration)
        checkpoint.path_of(self.output).unlink(missing_ok=True)  # another run's
        return Writer.create(self.output, attributes, self.network.topology)

    def _counters(self) -> dict[str, np.ndarray]:
        """Arrays (hosted,) that are counted up in place."""
        training = self.problem.training
        own = {} if training is None else {f"nodes.{name}": value for name, value in vars(training.counters).items()}
        sent = {f"nodes.{name}": value for name, value in self.network.sent_before.items()} if own else {}
        return {"evaluations": self.problem.evaluations, **own, **sent}

    def _counted(self) -> dict[str, np.ndarray]:
        """``_counters`` with what this process has sent."""
        sent = {f"nodes.{name}": value for name, value in self.network.sent().items()}
        return {name: sent.get(name, value) for name, value in self._counters().items()}

    def _write_nodes(self) -> None:
        """Collective: what each node has done, into the result file."""
        training, gather = self.problem.training, self.network.transport.gather
        if training is None:
            return
        own = vars(training.counters) | self.network.sent()
        own["waiting"] = np.maximum(self.elapsed - training.busy(), 0)
        columns = {name: gather(value, self.network.place.counts) for name, value in own.items()}
        if self.writer is not None:
            columns["staleness"] = columns["staleness"] / np.maximum(columns["joined"], 1)
            self.writer.nodes({name: columns[name] for name in NODE_QUANTITIES})

    def _record_after(self, iteration: int) -> int:
        every = self.experiment.config.record.every
        return min(iteration - iteration % every + every, self.experiment.config.run.iterations)

    def follow(self, control: Control) -> Outcome:
        """Iterate to the end, whatever it is."""
        next_agreement = begin = self.iteration
        early = True
        while True:
            self._hold()
            self._require_form(agreed=early)  # most errors are in the first iteration: one line from all ranks together
            early = self.iteration == begin
            if self.iteration == self.next_record:
                end = self._record()
                if end is not None:
                    return self._finish(*end)
            if self.iteration == next_agreement:
                decision = control.agree(self.iteration)
                if decision.stop or decision.save:
                    self._save()
                if decision.stop:
                    return self._finish("stopped", decision.stop)
                next_agreement = decision.next
            self._release()
            self._advance(min(self.next_record, next_agreement))

    def _hold(self) -> None:
        """Nothing goes on in the background while ranks wait for each other."""
        if self.problem.training is not None:
            self.problem.training.pause()
        self.network.settle()
        self.state = self.experiment.algorithm.settled(self.state, self.network)

    def _release(self) -> None:
        if self.problem.training is not None:
            self.problem.training.resume()

    def _advance(self, iteration: int) -> None:
        """Iterate up to ``iteration``: nothing else is timed."""
        step, arguments = self.experiment.algorithm.step, (self.problem, self.network, self.experiment.streams)
        state, count = self.state, iteration - self.iteration
        start = time.perf_counter()
        done = 0
        try:
            for done in range(count):  # noqa: B007 - the message names it
                state = step(state, *arguments)
        except (Exception, SystemExit) as error:  # a plug-in's sys.exit
            if self.writer is not None:
                self.writer.publish()
            if not isinstance(error, NotFinite):
                error.add_note(f"iteration {self.iteration + done}")  # of a plug-in's step: the message names it
                raise
            where = f"node {error.row}" if error.row < self.network.place.nodes else "the server"
            raise NumericalError(
                f"iteration {self.iteration + done}: {where} cannot encode its vector: a value is NaN, infinite or "
                "beyond 2^1022; the method diverges (a smaller step_size?) or the data are not finite"
            ) from None
        self.elapsed += time.perf_counter() - start
        self.state, self.iteration = state, iteration

    def _require_form(self, agreed: bool) -> None:
        """Raise UsageError if the state is of another form than at the start. agreed: collective, AgreedError."""
        name, state, iteration = self.experiment.algorithm.name, self.state, self.iteration
        if agreed:
            together(self.network.transport, lambda: require_same_form(name, self.form, state, iteration))
        else:
            require_same_form(name, self.form, state, iteration)

    def _record(self) -> tuple[str, str] | None:
        """Measure and record; the status and reason if the run is over."""
        metrics = self.metrics = self.experiment.evaluate(self.state.x)
        counters = self.network.counters()
        if self.writer is not None:
            times = {"time": self.elapsed, "codec_time": self._coding()}
            self.writer.append({"iteration": self.iteration, **times, **vars(metrics), **counters})
            self.progress.update(self.iteration, metrics)
        self.last_record, self.next_record = self.iteration, self._record_after(self.iteration)
        return self.ending.of(self.state.x, metrics, self.iteration, counters["bytes"])

    def _coding(self) -> float | None:
        """Seconds of encoding and decoding so far, those before an interruption included."""
        seconds = self.network.codec_seconds
        return None if seconds is None else self.coded_before + seconds

    def _save(self) -> None:
        """Checkpoint. The records come first, so that the result file is never behind it."""
        self._write_nodes()
        if self.writer is not None:
            self.writer.publish(durable=True)
        progress = {
            "run_id": self.run_id,
            "derived": _text(self.experiment.derived),
            "iteration": self.iteration,
            "last_record": self.last_record,
            "time": self.elapsed,
            "codec_time": self._coding() or 0.0,
            **{f"watched_{name}": value for name, value in self.ending.watched._asdict().items()},
        }
        checkpoint.save(self.output, self.state, progress, self._counted(), self.network)

    def _finish(self, status: str, reason: str) -> Outcome:
        x = self.network.transport.gather(self.state.x, self.network.place.counts)
        self._write_nodes()
        if self.writer is not None:
            self.writer.finish("stopped" if status == "diverged" else status, reason, x, self.network.carriers)
            if status != "stopped":
                checkpoint.path_of(self.output).unlink(missing_ok=True)
        return Outcome(
            status, reason, self.iteration, self.metrics, cure(self.experiment) if status == "diverged" else ""
        )
