"""Where a run begins: the right to write its output, and what of an earlier run it goes on from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mpiqopt.config.config import Config
from mpiqopt.config.continuation import (
    first_continuation_difference,
    keep_defaults,
    same_continuation_ends,
)
from mpiqopt.config.parse import parse
from mpiqopt.errors import UsageError
from mpiqopt.results import checkpoint
from mpiqopt.results.files import clear_parts, require_writable
from mpiqopt.results.lock import Lock
from mpiqopt.run import fingerprints
from mpiqopt.run.watch import Watch
from mpiqopt.transport.agreement import agreed_from_rank_0
from mpiqopt.transport.transport import Transport

if TYPE_CHECKING:
    from mpiqopt.results.reader import Result

LONGER = "to go on raise run.iterations or lower run.tolerance"


class Options(NamedTuple):
    """How to run a config: what the command line says beside it.

    Attributes
    ----------
    output : path of the result file
    resume : go on with it
    overwrite : replace it
    time_limit : seconds after which the run stops with a checkpoint
    quiet : show no progress
    """

    output: Path
    resume: bool = False
    overwrite: bool = False
    time_limit: float | None = None
    quiet: bool = False


class AlreadyFinished(Exception):
    """Raised if a run that is to be resumed needs nothing more. No error: the message is for the user."""


class Plan(NamedTuple):
    """Where a run begins, as rank 0 finds it in the output.

    Attributes
    ----------
    saved : the numbers in the checkpoint to go on from; None to start
    fingerprints : of the run that is continued
    finished : what to say if the config wants nothing more than was done
    config : what to run instead of the given one: the same with the run's defaults; None to start
    """

    saved: dict[str, Any] | None = None
    fingerprints: dict[str, str] = {}
    finished: str = ""
    config: Config | None = None

    def derived(self) -> dict[str, float] | None:
        """Return the numbers that the continued run has computed; None to compute them."""
        return None if self.saved is None else self.saved["derived"]


@contextmanager
def reserve_output(output: Path, transport: Transport, watch: Watch, note: Callable[[str], None]) -> Iterator[None]:
    """Keep the lock of an output on rank 0, collective. Raises AgreedError if another run is at work on it."""
    locks: list[Lock] = []
    agreed_from_rank_0(transport, lambda: locks.append(Lock.take(output, note)))
    for lock in locks:
        watch.beat, watch.release = lock.keep, lock.release
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


def make_plan(config: Config, options: Options) -> Plan:
    """Check on rank 0 that the result can be written, and find out where to begin. Raises UsageError."""
    from mpiqopt.results.reader import read_result

    output = options.output
    if output.exists() and not (options.overwrite or options.resume):
        raise UsageError(f"-o {output}: the file exists; say --overwrite, --resume or another name")
    require_writable(output)
    clear_parts(output)
    if not output.exists():
        return Plan()
    before = read_result(output)  # nothing but a result file is replaced
    return Plan() if options.overwrite else _continuation(config, output, before)


def _continuation(config: Config, output: Path, before: "Result") -> Plan:
    """Find out where a run goes on that has a result file already. Raises UsageError if it cannot."""
    about, defaults = before.attributes, (before.config, before.resolved)
    old = keep_defaults(parse(about["config"], config.path, folder=config.folder), *defaults)
    config = keep_defaults(config, *defaults)
    difference = first_continuation_difference(old, config)
    if difference:
        raise UsageError(f"{config.path}: {difference}: --resume of {output} wants the config that it was run with")
    finished = ""
    if about["status"] == "finished":
        finished = f"{output}: finished already ({about['stop_reason']}); {LONGER}"
        if same_continuation_ends(old, config):
            return Plan(finished=finished)
    if about["stop_reason"].startswith("diverged"):
        raise UsageError(f"{output}: the run {about['stop_reason']}; change the config and say --overwrite")
    fingerprints.require_same_fingerprints(before.fingerprints, fingerprints.fingerprint_files(config), output)
    saved = _saved(output, before)
    if saved["iteration"] <= config.run.iterations:
        return Plan(saved, before.fingerprints, finished, config)
    if finished:
        return Plan(finished=finished)
    raise UsageError(
        f"{config.path}: run.iterations = {config.run.iterations}: {output} has done {saved['iteration']} already"
    )


def _saved(output: Path, before: "Result") -> dict[str, Any]:
    """Return what the checkpoint of a result file says. Raises UsageError if it does not belong to it."""
    saved, path, records = (
        checkpoint.read_progress(output),
        checkpoint.checkpoint_path(output),
        before.columns["iteration"],
    )
    if saved is None:
        problem = f"{output}: holds {len(records)} records, but {path.name} is gone"
    elif saved["run_id"] != before.attributes["run_id"]:
        problem = f"{path}: belongs to another run than {output}"
    elif len(records) == 0 or records[-1] < saved["last_record"]:
        problem = f"{output}: lacks records before its checkpoint"
    else:
        return saved
    raise UsageError(f"{problem}; say --overwrite to start afresh")
