"""A run between its start and its end: iterations, records and checkpoints, in the order in which they happen."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

import mpiqopt
from mpiqopt.errors import NotFinite, NumericalError
from mpiqopt.network.traffic import Traffic
from mpiqopt.results import checkpoint
from mpiqopt.run import fingerprints
from mpiqopt.run.assembly import Experiment
from mpiqopt.run.control import Control
from mpiqopt.run.ending import End, Ending, Outcome, Watched, divergence_cure
from mpiqopt.run.metrics import Metrics
from mpiqopt.run.node_counters import NodeCounters
from mpiqopt.run.progress import Progress
from mpiqopt.run.recorder import Recorder
from mpiqopt.run.start import AlreadyFinished, Plan
from mpiqopt.run.state import require_same_state_form, state_form
from mpiqopt.run.watch import Late, Watch
from mpiqopt.transport.agreement import agreed_from_rank_0, agreed_on_all_ranks


@dataclass
class Position:
    """Where a run is between two iterations.

    Attributes
    ----------
    state : of the algorithm; steps never change one
    iteration : iterations done
    elapsed : seconds spent in them, by all processes of the run
    last_record, next_record : the iterations of the last record, -1 before the first, and of the next
    """

    state: Any
    iteration: int = 0
    elapsed: float = 0.0
    last_record: int = -1
    next_record: int = 0


class Retreat(NamedTuple):
    """A copy of all that an iteration changes, so that the next ones can be thrown away."""

    position: Position
    traffic: Traffic
    counters: dict[str, np.ndarray]
    watched: Watched


class Trajectory:
    """A run that has been set up: ``follow`` iterates to its end.

    Parameters
    ----------
    experiment : what is run
    output : path of the result file
    plan : what of an earlier run is continued
    progress : shows where the run is

    Raises
    ------
    AgreedError
        On all ranks: if the algorithm's state has a form that cannot be saved, or a continuation is impossible.
    """

    def __init__(self, experiment: Experiment, output: Path, plan: Plan, progress: Progress):
        self.experiment, self.output, self.plan, self.progress = experiment, output, plan, progress
        self.network, self.problem = experiment.network, experiment.problem
        self.counters = NodeCounters(self.problem, self.network, frames=experiment.algorithm.variable_traffic)
        self.recorder = Recorder(experiment, output, progress.note)
        self.metrics: Metrics | None = None
        self.run_id, self.saved_at, self._coded_before = os.urandom(16).hex(), 0, 0.0
        self._retreat: Retreat | None = None
        prints = self._fingerprints()
        self.ending = Ending(experiment, None if plan.saved is None else Watched.restored(plan.saved))
        self.position = Position(self._initial_state())
        self._form = self._form_of_state()
        if plan.saved is not None:
            self._restore(plan.saved)
        # iterations of the next agreement between ranks, and of the first one
        self._agree_at = self._began_at = self.position.iteration
        self.recorder.open(self.run_id, prints, None if plan.saved is None else self.position.iteration)

    def _fingerprints(self) -> dict[str, str]:
        """Return checksums of what the run is made from, on rank 0.

        Raises AgreedError if the data of a continuation are not the run's.
        """
        prints = fingerprints.fingerprint_data(self.experiment.shares, self.network)
        before, output, config = self.plan.fingerprints, self.output, self.experiment.config
        agreed_from_rank_0(
            self.network.transport, lambda: fingerprints.require_same_fingerprints(before, prints, output)
        )
        return prints | fingerprints.fingerprint_files(config) if prints else prints

    def _initial_state(self) -> Any:
        """Return what the algorithm's ``init`` makes of the start; collective if it communicates."""
        made = self.experiment
        return made.algorithm.init(made.start, made.problem, made.network, made.streams)

    def _form_of_state(self) -> dict[str, Any]:
        """Return the form that the state must keep. Raises AgreedError if it is none that can be saved."""
        name, state, start = self.experiment.algorithm.name, self.position.state, self.experiment.start
        return agreed_on_all_ranks(self.network.transport, lambda: state_form(name, state, start))

    def _restore(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint, collective; saved: its numbers. Raises AgreedError if it holds another state."""
        counters = {name: values.copy() for name, values in self.counters.to_save().items()}
        state = checkpoint.restore_checkpoint(self.output, saved, self.position.state, counters, self.network)
        self.counters.restore(counters)
        iteration = saved["iteration"]
        self.position = Position(
            state, iteration, saved["time"], saved["last_record"], self._next_record_after(iteration)
        )
        self.run_id, self._coded_before, self.saved_at = saved["run_id"], saved.get("codec_time", 0.0), iteration

    def where_to_go_on(self) -> str:
        """Return what to say of a run that is ended from outside."""
        return f"{self.output}: the last checkpoint is of iteration {self.saved_at} (go on with --resume)"

    def _next_record_after(self, iteration: int) -> int:
        """Return the next multiple of ``record.every``, or the last iteration if that comes first."""
        every = self.experiment.config.record.every
        return min(iteration - iteration % every + every, self.experiment.config.run.iterations)

    def follow(self, control: Control) -> Outcome:
        """Iterate to the end, whatever it is; collective.

        Raises AlreadyFinished if nothing is left to do of a finished run, and NumericalError or UsageError on ranks
        where an iteration fails.
        """
        end = self._begin(control)
        while end is None:
            end = self._halt(control) or self._iterate(control)
        return self._finish(control, end)

    def _begin(self, control: Control) -> End | None:
        """Save the start, without which a result file could not be resumed; return the end of a run that is over."""
        if self.plan.saved is None:
            self._pause()
            self._checkpoint(control)
        if self.position.last_record != self.position.iteration:
            return None
        self.metrics = self.experiment.evaluate(self.position.state.x)
        end = self._end(self.metrics, self.network.counters())
        if end is not None and self.plan.finished:
            raise AlreadyFinished(self.plan.finished)
        return end

    def _halt(self, control: Control) -> End | None:
        """Do what is due between two iterations: check the state, record, agree with other ranks, and save."""
        self._pause()
        agrees = self.position.iteration == self._agree_at
        if agrees:  # most errors are in the first iteration: all ranks end in order there
            self._require_form(self.position.state, agreed=self.position.iteration <= self._began_at + 1)
        end = self._record() if self.position.iteration == self.position.next_record else None
        if end is None and agrees:
            end = self._agree(control)
        if end is None and self.problem.training is not None:
            self.problem.training.resume()
        return end

    def _pause(self) -> None:
        """Pause local training and drain messages in flight, so that ranks may block in MPI collectives."""
        if self.problem.training is not None:
            self.problem.training.pause()
        self.network.drain()
        self.position.state = self.experiment.algorithm.drained(self.position.state, self.network)

    def _agree(self, control: Control) -> End | None:
        """Let all ranks stop, save or go on together."""
        decision = control.agree(self.position.iteration)
        if decision.stop or decision.save:
            self._save(control)
        if decision.stop:
            return End("stopped", decision.stop)
        self._agree_at = decision.next
        self._retreat = self._here()
        return None

    def _here(self) -> Retreat | None:
        """Return a copy of where the run is; None if nodes train, which cannot be taken back."""
        if self.problem.training is not None:
            return None
        counters = {name: values.copy() for name, values in self.counters.to_save().items()}
        return Retreat(replace(self.position), replace(self.network.traffic), counters, self.ending.watched)

    def _iterate(self, control: Control) -> End | None:
        """Iterate up to the next record or agreement; return the end if the run is interrupted on the way."""
        try:
            self._advance(min(self.position.next_record, self._agree_at), control.watch)
        except Late:
            return self._throw_away(control)
        return None

    def _advance(self, iteration: int, watch: Watch) -> None:
        """Iterate up to ``iteration``: nothing else is timed. Raises Late if the run is to stop now."""
        step, arguments = self.experiment.algorithm.step, (self.problem, self.network, self.experiment.streams)
        state, count = self.position.state, iteration - self.position.iteration
        start = time.perf_counter()
        done = 0
        watch.interruptible = self._retreat is not None
        try:
            for done in range(count):  # noqa: B007 - the message names it
                state = step(state, *arguments)
        except (Exception, SystemExit) as error:  # a plug-in's sys.exit
            self._fail(error, state, self.position.iteration + done)
        finally:
            watch.interruptible = False
        self.position.elapsed += time.perf_counter() - start
        self.position.state, self.position.iteration = state, iteration

    def _fail(self, error: BaseException, state: Any, iteration: int) -> NoReturn:
        """Raise what is said of an error in a step, with the records so far on disk."""
        self.recorder.publish()
        if not isinstance(error, NotFinite):
            self._require_form(state, agreed=False)  # the likelier cause
            error.add_note(f"iteration {iteration}")  # of a plug-in's step: the message names it
            raise error
        where = f"node {error.row}" if error.row < self.network.place.nodes else "the server"
        raise NumericalError(
            f"iteration {iteration}: {where} cannot encode its vector: a value is NaN, infinite or "
            "beyond 2^1022; the method diverges (a smaller step_size?) or the data are not finite"
        ) from None

    def _require_form(self, state: Any, agreed: bool) -> None:
        """Raise UsageError if a state is of another form than at the start. agreed: collective, AgreedError."""
        name, iteration = self.experiment.algorithm.name, self.position.iteration
        if agreed:
            agreed_on_all_ranks(
                self.network.transport, lambda: require_same_state_form(name, self._form, state, iteration)
            )
        else:
            require_same_state_form(name, self._form, state, iteration)

    def _record(self) -> End | None:
        """Measure and record, collective; return the end if the run is over."""
        position = self.position
        try:
            metrics = self.metrics = self.experiment.evaluate(position.state.x)
        except (TypeError, ValueError):
            self._require_form(position.state, agreed=False)
            raise
        counters, of_clients = self.network.counters(), self.experiment.evaluate_clients
        extra = self._of_frames() | ({} if of_clients is None else of_clients(position.state.x))
        self.recorder.append_clients()
        if self.recorder.writes:
            times = {"time": position.elapsed, "codec_time": self._codec_seconds(), "emulated_time": self._emulated()}
            self.recorder.append({"iteration": position.iteration, **times, **vars(metrics), **extra, **counters})
            self.progress.update(position.iteration, metrics)
        position.last_record, position.next_record = position.iteration, self._next_record_after(position.iteration)
        return self._end(metrics, counters)

    def _end(self, metrics: Metrics, counters: dict[str, int]) -> End | None:
        """Return the end if the run is over at this record, collective."""
        return self.ending.of(self.position.state.x, metrics, self.position.iteration, counters["bytes"])

    def _of_frames(self) -> dict[str, Any]:
        """Return what nodes have done and sent to coordinate, collective; without steps and votes if they do not."""
        algorithm = self.experiment.algorithm
        if not algorithm.variable_traffic:
            return {}
        recorded = self.network.coordination.recorded()
        return recorded if algorithm.coordinates else recorded | {"steps": None, "votes": None}

    def _emulated(self) -> float | None:
        """Return the emulated seconds of all rounds of clients; None for methods without clients."""
        return self.position.state.seconds if self.experiment.algorithm.federated else None

    def _codec_seconds(self) -> float | None:
        """Return the seconds of encoding and decoding by all processes of the run; None if messages are not coded."""
        seconds = self.network.codec_seconds
        return None if seconds is None else self._coded_before + seconds

    def _throw_away(self, control: Control) -> End:
        """Stop a run in one process amid an iteration: go back to where ranks last agreed, and save that."""
        control.watch.answered()
        if self._retreat is not None:
            self.position = self._retreat.position
            self.network.traffic.restore(self._retreat.traffic)
            self.counters.restore(self._retreat.counters)
            self.ending.watched = self._retreat.watched
        if self.problem.clients is not None:
            self.problem.clients.client_log.drop_after(self.position.iteration)
        self.recorder.drop_after(self.position.iteration)
        self._save(control)
        return End("stopped", control.watch.reason(control.watch.number, True))

    def _save(self, control: Control) -> None:
        """Write a checkpoint. The records come first, so that the result file is never behind it."""
        self.recorder.append_clients()
        self.recorder.write_nodes(self.counters.columns(self.position.elapsed))
        if self.recorder.publish_durably():
            self._checkpoint(control)

    def _checkpoint(self, control: Control) -> None:
        """Write a checkpoint, collective; where it cannot be written, the last one stays."""
        began, position = time.monotonic(), self.position
        progress = {
            "run_id": self.run_id,
            "mpiqopt_version": mpiqopt.__version__,
            "derived": self.experiment.derived,
            "iteration": position.iteration,
            "last_record": position.last_record,
            "time": position.elapsed,
            "codec_time": self._codec_seconds() or 0.0,
            **self.ending.watched.to_save(),
        }
        durable = position.iteration > 0  # the start is quickly made again, and many runs are short
        error = checkpoint.save_checkpoint(
            self.output, position.state, progress, self.counters.to_save(), self.network, durable
        )
        if error is None:
            self.saved_at = position.iteration
        else:
            path = checkpoint.checkpoint_path(self.output)
            self.progress.note(f"{path}: cannot write ({error.strerror or error}); that of {self.saved_at} stays")
        control.saved(began)

    def _finish(self, control: Control, end: End) -> Outcome:
        """Write the end of the run, collective; a finished run keeps a checkpoint, a diverged one loses it."""
        iteration, metrics = self.position.iteration, self.metrics
        self.recorder.append_clients()
        self.recorder.write_nodes(self.counters.columns(self.position.elapsed))
        if not self.recorder.finish(end, self.position.state.x):
            reason = f"{end.reason}, but the file cannot be written; iteration {self.saved_at} is saved"
            return Outcome("stopped", reason, iteration, metrics, written=False)
        if end.status == "finished":  # for a continuation with other limits
            self._checkpoint(control)
        elif end.status == "diverged" and self.recorder.writes:
            checkpoint.checkpoint_path(self.output).unlink(missing_ok=True)
        helps = divergence_cure(self.experiment) if end.status == "diverged" else ""
        return Outcome(end.status, end.reason, iteration, metrics, helps)
