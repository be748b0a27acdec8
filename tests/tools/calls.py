"""Calls of the command line under limits, and what every call must keep to.

A call runs in its own folder, in a fork of this process, which has imported mpiqopt once, or in a process of its own.
"""

import io
import os
import re
import resource
import shlex
import signal
import stat
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

STATUSES = (0, 1, 2, 75)
INTERRUPTED = 130
# characters of a line on standard error
LONGEST = 200
# s after which a call hangs
LIMIT = 20.0
# bytes of address space, so that no input takes the machine down
MEMORY = 6 << 30
# of large files that stand for any other content
LOOK = 1 << 24
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
WARNING = re.compile(r"^\S+:\d+: \w*Warning: ", re.MULTILINE)
# what a file that stays behind on the way to another is called
TEMPORARY = re.compile(r"\.part\b|\.tmp|\.lock|^\.|^tmp|~$")

Main = Callable[[list[str]], int]


class Outcome(NamedTuple):
    """What a call did. status: as a shell has it, negative if a signal ended it, None if it had to be killed."""

    words: tuple[str, ...]
    status: int | None
    out: str
    err: str
    seconds: float
    before: dict[str, tuple]
    after: dict[str, tuple]

    @property
    def done(self) -> bool:
        """True if it ran, to whatever end, so that what it wrote counts."""
        return self.status in (0, 75)

    def changed(self) -> dict[str, str]:
        """What happened to names in the folder: new, gone or changed."""
        names = sorted({*self.before, *self.after})
        kinds = {name: _change(self.before.get(name), self.after.get(name)) for name in names}
        return {name: kind for name, kind in kinds.items() if kind}


def _change(before: tuple | None, after: tuple | None) -> str:
    if before == after:
        return ""
    return "new" if before is None else "gone" if after is None else "changed"


class Problem(NamedTuple):
    """kind: a few words, the same for all of one kind; detail: what was seen."""

    kind: str
    detail: str


def problems(call: Outcome, outputs: Sequence[str] = (), interrupted: bool = False) -> list[Problem]:
    """What is wrong with a call, whatever it was. outputs: names that it may make or change."""
    found = [*_of_status(call, interrupted), *_of_text(call)]
    changed = call.changed()
    if call.status == 2 and changed:
        found.append(Problem("files touched with status 2", _listed(changed)))
    left = {name: kind for name, kind in changed.items() if TEMPORARY.search(Path(name).name) and kind == "new"}
    if left:
        found.append(Problem("temporary file left", _listed(left)))
    other = {name: kind for name, kind in changed.items() if not _may_change(name, outputs) and name not in left}
    if other and call.status != 2:
        found.append(Problem("another file touched", _listed(other)))
    return found


def _listed(changed: Mapping[str, str]) -> str:
    return ", ".join(f"{name!r} {kind}" for name, kind in changed.items())


def _may_change(name: str, outputs: Sequence[str]) -> bool:
    """An output, its checkpoint, and folders on the way to it."""
    return "*" in outputs or any(name in (out, f"{out}.checkpoint") or out.startswith(f"{name}/") for out in outputs)


def _of_status(call: Outcome, interrupted: bool) -> list[Problem]:
    if call.status is None:
        return [Problem("hang", f"killed after {call.seconds:.0f} s")]
    if call.status < 0 and interrupted and not call.changed():
        return []  # before it has begun to listen
    if call.status < 0:
        return [Problem(f"ended by {signal.Signals(-call.status).name}", call.err[-300:])]
    if call.status not in STATUSES and not (interrupted and call.status == INTERRUPTED):
        return [Problem(f"status {call.status}", call.err[-300:])]
    return []


def _of_text(call: Outcome) -> list[Problem]:
    found, both = [], call.out + call.err
    lines = call.err.splitlines()
    if "Traceback" in both:
        found.append(Problem("traceback", blamed(both)))
    elif call.status == 2 and (len(lines) != 1 or not lines[0].startswith("mpiqopt: ")):
        found.append(Problem("status 2 without one line", call.err[:500]))
    elif call.status == 1 and not call.err:
        found.append(Problem("status 1 without a line", ""))
    long = [line for line in call.err.split("\n") if len(line) > LONGEST]
    if long and "Traceback" not in both:
        found.append(Problem("line too long", f"{len(long[0])} characters: {long[0][:300]}"))
    control = CONTROL.search(both)
    if control:
        found.append(Problem("control characters", repr(both[max(0, control.start() - 80) : control.end() + 40])))
    warning = WARNING.search(both)
    if warning and "Traceback" not in both:
        found.append(Problem("Python warning", both[warning.start() : warning.start() + 300]))
    return found


def blamed(text: str) -> str:
    """The last line of a traceback and the innermost line of the package in it."""
    frames = re.findall(r'File ".*?(mpiqopt/\S+?)", line (\d+)', text)
    last = [line for line in text.splitlines() if line.strip()][-1]
    return f"{':'.join(frames[-1]) if frames else 'elsewhere'}: {last[:200]}"


def look(folder: Path) -> dict[str, tuple]:
    """Every name below a folder with what it is: files by content, other things by kind."""
    return {str(path.relative_to(folder)): _look_at(path) for path in sorted(folder.rglob("*"))}


def _look_at(path: Path) -> tuple:
    about = path.lstat()
    if stat.S_ISLNK(about.st_mode):
        return "link", os.readlink(path)
    if not stat.S_ISREG(about.st_mode):
        return (stat.S_IFMT(about.st_mode),)
    with open(path, "rb") as file:
        return "file", about.st_size, zlib.crc32(file.read(LOOK))


@dataclass
class Caller:
    """Starts calls. main: the command line as a function; command: the same as a process of its own."""

    main: Main | None = None
    command: tuple[str, ...] = (sys.executable, "-m", "mpiqopt")
    variables: dict[str, str] = field(default_factory=dict)
    limit: float = LIMIT
    memory: int = MEMORY

    def __call__(
        self,
        folder: Path,
        words: Sequence[str],
        alone: bool = False,
        kill: tuple[int, float] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Outcome:
        """Run one call in ``folder``. kill: a signal, sent after so many seconds; before: what the fork does first."""
        streams = folder.with_name(folder.name + ".out"), folder.with_name(folder.name + ".err")
        seen, start = look(folder), time.monotonic()
        number = os.fork()
        if not number:
            self._child(folder, list(words), streams, alone or self.main is None, before)
        status = self._wait(number, start, kill)
        seconds = time.monotonic() - start
        out, err = (path.read_text(encoding="utf-8", errors="backslashreplace") for path in streams)
        for path in streams:
            path.unlink()
        return Outcome(tuple(words), status, out, err, seconds, seen, look(folder))

    def _child(self, folder: Path, words: list[str], streams: Sequence[Path], alone: bool, before) -> None:
        """Never returns. Everything that a new process has, and a fork does not, is made here."""
        status = 1
        try:
            os.setsid()
            os.chdir(folder)
            for number, path in ((1, streams[0]), (2, streams[1])):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            resource.setrlimit(resource.RLIMIT_AS, (self.memory, self.memory))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.environ.update(self.variables)
            if alone:
                os.execvpe(self.command[0], [*self.command, *words], os.environ)
            status = self._called(words, before)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)

    def _called(self, words: list[str], before: Callable[[], None] | None) -> int:
        # as of a new process, where what was written before cannot be
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        sys.argv = ["mpiqopt", *words]
        if before is not None:
            before()
        try:
            return self.main(words)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1

    def _wait(self, number: int, start: float, kill: tuple[int, float] | None) -> int | None:
        while True:
            done, status = os.waitpid(number, os.WNOHANG)
            if done:
                _end_group(number)  # what it may have left running
                return os.waitstatus_to_exitcode(status)
            past = time.monotonic() - start
            if kill is not None and past > kill[1]:
                os.kill(number, kill[0])
                kill = None
            if past > self.limit:
                _end_group(number)
                os.waitpid(number, 0)
                return None
            time.sleep(0.002 if past < 1 else 0.02)


def _end_group(number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)


def imported() -> Main:
    """The command line, with all that any command imports and makes of the schema: forks find it there."""
    import h5py  # noqa: F401
    import networkx  # noqa: F401
    import pandas  # noqa: F401
    import scipy.sparse.linalg  # noqa: F401
    import sklearn.datasets  # noqa: F401
    from matplotlib.figure import Figure

    from mpiqopt.cli import commands, main

    for name in commands.COMMANDS:
        commands.cli.get_command(None, name)
    with redirect_stdout(io.StringIO()):
        main(["config-schema"])
        main(["list"])
    figure = Figure()
    figure.subplots().set_title("$x$")
    figure.savefig(io.BytesIO())
    return main


def ticking() -> None:
    """Clocks that go by a millisecond a look, and no entropy: what a run writes is the same every time."""
    ticks = iter(range(10**9))
    time.perf_counter = time.monotonic = lambda: 1e-3 * next(ticks)
    time.time = lambda: 1.7e9 + 1e-3 * next(ticks)
    time.gmtime = partial(time.gmtime, 1.7e9)
    os.urandom = lambda count: bytes(count)


def shown(folder: Path, words: Sequence[str]) -> str:
    """A command that does a call again."""
    return f"cd {shlex.quote(str(folder))} && mpiqopt {shlex.join(words)}"
