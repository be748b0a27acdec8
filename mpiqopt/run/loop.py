"""One run: the loop of iterations, records, checkpoints and the end."""

import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import mpiqopt
from mpiqopt import kernels
from mpiqopt.config.config import Config
from mpiqopt.config.idle import warning
from mpiqopt.data.shares import label_counts
from mpiqopt.errors import LINE, NotFinite, NumericalError, clipped, fits
from mpiqopt.network.traffic import Traffic
from mpiqopt.results import checkpoint
from mpiqopt.results.files import followed
from mpiqopt.results.layout import NODE_QUANTITIES
from mpiqopt.results.lock import TOUCH_SECONDS
from mpiqopt.run import fingerprints
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.run.control import NEVER, Control, deadline
from mpiqopt.run.ending import Ending, Watched, cure
from mpiqopt.run.metrics import Metrics
from mpiqopt.run.progress import Progress
from mpiqopt.run.start import AlreadyFinished, Options, Plan, make_plan, reserved
from mpiqopt.run.state import form_of, require_same_form
from mpiqopt.run.watch import Late, Watch
from mpiqopt.transport.agreement import by_first, together
from mpiqopt.transport.launch import crowding

if TYPE_CHECKING:
    from mpiqopt.results.writer import Writer


class Outcome(NamedTuple):
    """How a run ended. status: "finished", "stopped" (a checkpoint is there) or "diverged"; cure: of a divergence.

    written: False if the file on disk is behind what was done.
    """

    status: str
    reason: str
    iteration: int
    metrics: Metrics | None
    cure: str = ""
    written: bool = True


def run(config: Config, options: Options, transport) -> Outcome:
    """Run a config on the ranks of ``transport``, collective.

    Raises AgreedError for what the user can mend, with nothing written, and AlreadyFinished; both on all ranks.
    """
    limit = min((s for s in (options.time_limit, config.run.time_limit) if s is not None), default=None)
    # rank 0's clock decides; a thousand ranks must not all ask SLURM
    first = transport.rank == 0
    until = deadline(limit) if first else NEVER
    options = options._replace(output=followed(options.output))
    with (
        np.errstate(all="ignore"),
        # before the data are loaded: a signal that comes then is answered, too
        closing(Watch(transport, until, TOUCH_SECONDS if first else NEVER[0])) as watch,
        closing(Progress(config.run.iterations, quiet=options.quiet or not first)) as progress,
        reserved(options.output, transport, watch, progress.note),
    ):
        plan = by_first(transport, lambda: make_plan(config, options))
        if plan.finished and plan.saved is None:
            raise AlreadyFinished(plan.finished)
        try:
            watch.interruptible = True
            experiment = assemble(config, transport, derived=plan.derived())
            watch.interruptible = False
        except Late:
            return Outcome("stopped", f"{watch.reason(watch.number, True)}, in the set-up", 0, None)
        progress.note(warning(config) if first else "")
        progress.note(crowding())
        try:
            trajectory = Trajectory(experiment, options.output, plan, progress)
            progress.note(was_read(experiment) if first else "")
            watch.end = trajectory.where_to_go_on
            outcome = trajectory.follow(Control(watch, config.checkpoint.every_seconds))
            experiment.network.close()
            return outcome
        finally:
            experiment.close()


def was_read(experiment: Experiment) -> str:
    """Return one line on how the files of a run were understood; "" if it has none."""
    shares, graph = experiment.shares, experiment.network.topology.read
    said = [f"{Path(shares.where).name}: {_phrases(shares.read)}"] if shares.read else []
    if graph:
        path = getattr(experiment.config.graphs[0], "path", "topology")
        said.append(f"{Path(path).name}: {_phrases(graph)}")
    if not fits("; ".join(said)):
        said = [clipped(each, LINE // len(said) - 2) for each in said]
    return "; ".join(said)


def _phrases(read: dict[str, str]) -> str:
    return "; ".join(_phrase(subject, words) for subject, words in read.items())


def _phrase(subject: str, words: str) -> str:
    """The subject and its words, or how many there are: "2 features: a, b"; formats need no subject."""
    if subject == "format":
        return words
    count, colon, names = words.partition(":")
    return f"{count} {subject}{colon}{names}" if subject == "features" else f"{subject} {words}"


class Trajectory:
    """The state of a run between iterations, and what is done with it."""

    def __init__(self, experiment: Experiment, output: Path, plan: Plan, progress: Progress):
        self.experiment, self.output, self.plan, self.progress = experiment, output, plan, progress
        self.network, self.problem = experiment.network, experiment.problem
        self.iteration, self.elapsed, self.coded_before = 0, 0.0, 0.0
        self.last_record, self.next_record, self.saved_at = -1, 0, 0
        self.metrics: Metrics | None = None
        self._retreat: tuple[dict, Traffic, dict, Watched] | None = None
        prints = self._fingerprints()
        saved = plan.saved
        self.ending = Ending(
            experiment, None if saved is None else Watched(*(saved[f"watched_{name}"] for name in Watched._fields))
        )
        self.run_id = os.urandom(16).hex()
        self.state = experiment.algorithm.init(experiment.start, self.problem, self.network, experiment.streams)
        name, transport = experiment.algorithm.name, self.network.transport
        self.form = together(transport, lambda: form_of(name, self.state, experiment.start))
        if saved is not None:
            counted = self._counted()
            self.state = checkpoint.restore(output, saved, self.state, counted, self.network)
            if self.problem.training is not None:
                sent = self.network.coordination.sent()
                self.network.coordination.restore_sent({name: counted[f"nodes.{name}"] for name in sent})
            self.iteration, self.elapsed, self.run_id = saved["iteration"], saved["time"], saved["run_id"]
            self.coded_before, self.saved_at = saved.get("codec_time", 0.0), self.iteration
            self.last_record, self.next_record = saved["last_record"], self._record_after(self.iteration)
        levels = transport.gather(np.array([kernels.level()]), [1] * transport.size)
        counts = label_counts(experiment.shares)
        counts = None if counts is None else transport.gather(counts, self.network.place.counts)
        self.writer: Writer | None = None  # on rank 0 alone
        by_first(transport, lambda: self._open(levels, prints, counts))

    def _fingerprints(self) -> dict[str, str]:
        """Of what the run is made from, on rank 0. Raises AgreedError if that of a continuation is not the run's."""
        prints = fingerprints.of_data(self.experiment.shares, self.network)
        before, output, config = self.plan.fingerprints, self.output, self.experiment.config
        by_first(self.network.transport, lambda: fingerprints.require_same(before, prints, output))
        return prints | fingerprints.of_files(config) if prints else prints

    def _open(self, levels: np.ndarray, prints: dict[str, str], counts: np.ndarray | None) -> None:
        """Make the writer. Raises UsageError if the file cannot be gone on with."""
        from json import dumps  # like h5py, which the writer imports, for rank 0 alone

        from mpiqopt.results.writer import Writer

        transport, config = self.network.transport, self.experiment.config
        attributes = {
            "config": config.text,
            "config_folder": os.path.abspath(config.folder),
            "config_resolved": config.resolved_text(),
            "derived": dumps(self.experiment.derived),
            "fingerprints": dumps(prints),
            "mpiqopt_version": mpiqopt.__version__,
            "mpi_library": transport.library,
            "kernels": kernels.names(levels),
            "ranks": transport.size,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "run_id": self.run_id,
            "status": "running",
            "stop_reason": "",
        }
        if self.plan.saved is None:
            self.writer = Writer.create(self.output, attributes, self.network.topology, self.progress.note)
        else:
            self.writer = Writer.resume(self.output, attributes, self.iteration, self.progress.note)
        self.writer.data(self.experiment.shares, counts)

    def where_to_go_on(self) -> str:
        """What to say of a run that is ended from outside."""
        return f"{self.output}: the last checkpoint is of iteration {self.saved_at} (go on with --resume)"

    def _counters(self) -> dict[str, np.ndarray]:
        """Arrays (hosted,) that are counted up in place."""
        training = self.problem.training
        own = {} if training is None else {f"nodes.{name}": value for name, value in vars(training.counters).items()}
        return {"evaluations": self.problem.evaluations, **own}

    def _counted(self) -> dict[str, np.ndarray]:
        """``_counters``, and what nodes that train have sent since the run began."""
        if self.problem.training is None:
            return self._counters()
        return self._counters() | {f"nodes.{name}": value for name, value in self.network.coordination.sent().items()}

    def _write_nodes(self) -> None:
        """Collective: what each node has done, into the result file."""
        training, gather = self.problem.training, self.network.transport.gather
        if training is None:
            return
        own = vars(training.counters) | self.network.coordination.sent()
        own["waiting"] = np.maximum(self.elapsed - training.busy(), 0)
        columns = {name: gather(value, self.network.place.counts) for name, value in own.items()}
        if self.writer is not None:
            columns["staleness"] = columns["staleness"] / np.maximum(columns["joined"], 1)
            self.writer.nodes({name: columns[name] for name in NODE_QUANTITIES})

    def _record_after(self, iteration: int) -> int:
        every = self.experiment.config.record.every
        return min(iteration - iteration % every + every, self.experiment.config.run.iterations)

    def follow(self, control: Control) -> Outcome:
        """Iterate to the end, whatever it is. Raises AlreadyFinished if nothing is left to do of a finished run."""
        end = self._begin(control)
        if end is not None:
            return self._finish(control, *end)
        next_agreement = begin = self.iteration
        while True:
            self._hold()
            if self.iteration == next_agreement:  # most errors are in the first iteration: all ranks end in order there
                self._require_form(self.state, agreed=self.iteration <= begin + 1)
            if self.iteration == self.next_record:
                end = self._record()
                if end is not None:
                    return self._finish(control, *end)
            if self.iteration == next_agreement:
                decision = control.agree(self.iteration)
                if decision.stop or decision.save:
                    self._save(control)
                if decision.stop:
                    return self._finish(control, "stopped", decision.stop)
                next_agreement = decision.next
                self._retreat = self._here()
            self._release()
            try:
                self._advance(min(self.next_record, next_agreement), control.watch)
            except Late:
                return self._stop_now(control)

    def _begin(self, control: Control) -> tuple[str, str] | None:
        """Save the start, without which a result file could not be gone on with; the status and reason of a run that is
        over already."""
        if self.plan.saved is None:
            self._hold()
            self._checkpoint(control)
        if self.last_record != self.iteration:
            return None
        self.metrics = self.experiment.evaluate(self.state.x)
        end = self.ending.of(self.state.x, self.metrics, self.iteration, self.network.counters()["bytes"])
        if end is not None and self.plan.finished:
            raise AlreadyFinished(self.plan.finished)
        return end

    def _stop_now(self, control: Control) -> Outcome:
        """End a run in one process amid an iteration, which is thrown away, with what came since ranks last agreed."""
        control.watch.answered()
        own, traffic, counted, self.ending.watched = self._retreat
        vars(self).update(own)
        self.network.traffic.restore(traffic)
        for name, values in self._counters().items():
            values[:] = counted[name]
        self.writer.cut(self.iteration)
        self._save(control)
        return self._finish(control, "stopped", control.watch.reason(control.watch.number, True))

    def _here(self) -> tuple[dict, Traffic, dict, Watched] | None:
        """Where the run is: states do not change, and the rest is counted. None if there is more to it."""
        if self.problem.training is not None:
            return None
        own = {name: getattr(self, name) for name in ("state", "iteration", "elapsed", "last_record", "next_record")}
        counted = {name: values.copy() for name, values in self._counters().items()}
        return own, replace(self.network.traffic), counted, self.ending.watched

    def _hold(self) -> None:
        """Nothing goes on in the background while ranks wait for each other."""
        if self.problem.training is not None:
            self.problem.training.pause()
        self.network.drain()
        self.state = self.experiment.algorithm.drained(self.state, self.network)

    def _release(self) -> None:
        if self.problem.training is not None:
            self.problem.training.resume()

    def _advance(self, iteration: int, watch: Watch) -> None:
        """Iterate up to ``iteration``: nothing else is timed. Raises Late if the run is to stop now."""
        step, arguments = self.experiment.algorithm.step, (self.problem, self.network, self.experiment.streams)
        state, count = self.state, iteration - self.iteration
        start = time.perf_counter()
        done = 0
        watch.interruptible = self._retreat is not None
        try:
            for done in range(count):  # noqa: B007 - the message names it
                state = step(state, *arguments)
        except (Exception, SystemExit) as error:  # a plug-in's sys.exit
            if self.writer is not None:
                self.writer.publish()
            if not isinstance(error, NotFinite):
                self._require_form(state, agreed=False)  # the likelier cause
                error.add_note(f"iteration {self.iteration + done}")  # of a plug-in's step: the message names it
                raise
            where = f"node {error.row}" if error.row < self.network.place.nodes else "the server"
            raise NumericalError(
                f"iteration {self.iteration + done}: {where} cannot encode its vector: a value is NaN, infinite or "
                "beyond 2^1022; the method diverges (a smaller step_size?) or the data are not finite"
            ) from None
        finally:
            watch.interruptible = False
        self.elapsed += time.perf_counter() - start
        self.state, self.iteration = state, iteration

    def _require_form(self, state: Any, agreed: bool) -> None:
        """Raise UsageError if a state is of another form than at the start. agreed: collective, AgreedError."""
        name, iteration = self.experiment.algorithm.name, self.iteration
        if agreed:
            together(self.network.transport, lambda: require_same_form(name, self.form, state, iteration))
        else:
            require_same_form(name, self.form, state, iteration)

    def _record(self) -> tuple[str, str] | None:
        """Measure and record; the status and reason if the run is over."""
        try:
            metrics = self.metrics = self.experiment.evaluate(self.state.x)
        except (TypeError, ValueError):
            self._require_form(self.state, agreed=False)
            raise
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

    def _save(self, control: Control) -> None:
        """Checkpoint. The records come first, so that the result file is never behind it."""
        self._write_nodes()
        written = self.writer is None or self.writer.publish(durable=True)
        if self.network.transport.broadcast(np.array([written]))[0]:
            self._checkpoint(control)

    def _checkpoint(self, control: Control) -> None:
        began = time.monotonic()
        progress = {
            "run_id": self.run_id,
            "mpiqopt_version": mpiqopt.__version__,
            "derived": self.experiment.derived,
            "iteration": self.iteration,
            "last_record": self.last_record,
            "time": self.elapsed,
            "codec_time": self._coding() or 0.0,
            **{f"watched_{name}": value for name, value in self.ending.watched._asdict().items()},
        }
        durable = self.iteration > 0  # the start is quickly made again, and many runs are short
        error = checkpoint.save(self.output, self.state, progress, self._counted(), self.network, durable)
        if error is None:
            self.saved_at = self.iteration
        else:
            path = checkpoint.path_of(self.output)
            self.progress.note(f"{path}: cannot write ({error.strerror or error}); that of {self.saved_at} stays")
        control.saved(began)

    def _finish(self, control: Control, status: str, reason: str) -> Outcome:
        x = self.network.transport.gather(self.state.x, self.network.place.counts)
        self._write_nodes()
        written = True
        if self.writer is not None:
            kept = "stopped" if status == "diverged" else status
            names = {"node": self.network.topology.names, "coordinate": self.problem.coordinate_names}
            written = self.writer.finish(kept, reason, x, self.network.coordination.mail_transport, names)
        if not self.network.transport.broadcast(np.array([written]))[0]:
            reason = f"{reason}, but the file cannot be written; iteration {self.saved_at} is saved"
            return Outcome("stopped", reason, self.iteration, self.metrics, written=False)
        if status == "finished":  # for a continuation with other limits
            self._checkpoint(control)
        elif status == "diverged" and self.writer is not None:
            checkpoint.path_of(self.output).unlink(missing_ok=True)
        return Outcome(
            status, reason, self.iteration, self.metrics, cure(self.experiment) if status == "diverged" else ""
        )
