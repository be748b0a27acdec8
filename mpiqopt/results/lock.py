"""One run at a time for a result file: FILE.lock says who writes it.

Locks of the file system are not asked for: many NFS and Lustre mounts have none. A lock file gets its name by a hard
link, which is atomic there, too. Its owner touches it every TOUCH_SECONDS. A lock is stale if its process is gone, or,
of another machine, if nobody touches it for STALE_SECONDS while it is watched from here: clocks of machines differ, so
the time of the last touch alone tells nothing.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mpiqopt.errors import UsageError
from mpiqopt.results.files import follow_link, require_no_folder

TOUCH_SECONDS = 5.0
STALE_SECONDS = 30.0
# seconds between looks at a lock that may be stale
LOOK_SECONDS = 0.5
# On a file system without hard links a lock is empty for a moment: so long its content is waited for.
TAKEN_SECONDS = 1.0


class Owner(NamedTuple):
    """Say which process has taken a lock.

    machine: kernel and process namespace, in which ``pid`` is unique; started: when the process began, in its machine's
    clock ticks, as numbers of processes are used again; since: for people; nonce: makes each lock another one.
    """

    host: str
    pid: int
    machine: str
    started: str
    since: str
    nonce: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class Lock:
    """Keep the right to write a result file: ``take`` it, ``keep`` it by touching the file, ``release`` it.

    >>> lock = Lock.take(Path("run.h5"))
    >>> is_being_written(Path("run.h5")), Path("run.h5.lock").exists()
    (True, True)
    >>> lock.release()
    >>> is_being_written(Path("run.h5")), Path("run.h5.lock").exists()
    (False, False)
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self._content = path, content
        self._made = [folder for folder in path.parents if not folder.exists()]

    @classmethod
    def take(cls, output: Path, note: Callable[[str], None] = lambda text: None) -> "Lock":
        """Take the lock of an output, after up to STALE_SECONDS if another machine's run may be at work on it.

        note: called with a line before a long wait. Raises UsageError if a run is at work on the output, or no lock can
        be written there.
        """
        output = follow_link(output)
        require_no_folder(output)
        path = _path(output)
        lock = cls(path, _myself())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while not lock._create():
                found = _read(path)
                if found is None:
                    continue
                if not _is_stale(path, found, note):
                    raise UsageError(
                        f"-o {output}: {_owner(found)} is writing it; wait, or if that is not so delete {path.name}"
                    )
                lock._break(found)
        except OSError as error:
            raise UsageError(f"-o {output}: cannot write there: {error.strerror or error}") from error
        return lock

    def _create(self) -> bool:
        """Return True if the lock file is made and ours; False if there is one already.

        Written under another name first: a lock is never there without its content.
        """
        own = self.path.with_name(f"{self.path.name}.{os.urandom(4).hex()}.part")
        try:
            own.write_bytes(self._content)
            try:
                os.link(own, self.path)
            except FileExistsError:
                return False
            except OSError:  # no hard links here
                return self._create_empty()
        finally:
            with suppress(OSError):
                own.unlink()
        return True

    def _create_empty(self) -> bool:
        """Return what ``_create`` does, without a hard link; who reads the file meanwhile waits for its content."""
        try:
            with open(self.path, "xb") as file:
                file.write(self._content)
        except FileExistsError:
            return False
        return True

    def _break(self, stale: bytes) -> None:
        """Delete a stale lock's file, by renaming it first: of several processes one succeeds.

        stale: what was read of it. If another process has put a new lock in its place meanwhile, that is put back.
        """
        aside = self.path.with_name(f"{self.path.name}.{os.urandom(4).hex()}.part")
        with suppress(FileNotFoundError):
            os.rename(self.path, aside)
            if _read(aside) != stale:
                with suppress(OSError):
                    os.link(aside, self.path)
            aside.unlink()

    def keep(self) -> str:
        """Touch the lock file, and return why the run must end if the lock is lost, else ""."""
        if not self.is_ours():
            return f"{self.path} was taken by another run"
        with suppress(OSError):
            os.utime(self.path)
        return ""

    def is_ours(self) -> bool:
        """Return False if another run has taken the lock, as it may while this one was suspended."""
        found = _read(self.path)
        return found is None or found == self._content

    def release(self) -> None:
        """Delete the lock file if it is still ours, and folders that were made for it if nothing else came.

        Raises nothing: a lock that stays is stale as soon as this process ends.
        """
        with suppress(OSError):
            if self.is_ours():
                self.path.unlink()
            for folder in self._made:
                folder.rmdir()


def is_being_written(output: Path) -> bool:
    """Return True if a run seems to be at work on a result file; of another machine's lock nobody can tell at once."""
    content = _read(_path(follow_link(output)))
    return content is not None and _is_gone(content) is not True


def _path(output: Path) -> Path:
    return output.with_name(output.name + ".lock")


def _is_gone(content: bytes) -> bool | None:
    """Return True if the owner's process is gone, None if it is another machine's. content: of the lock file."""
    owner = _parsed(content)
    if owner is None or owner.machine != _machine():
        return None
    return _started(owner.pid) != owner.started


def _is_stale(path: Path, content: bytes, note: Callable[[str], None]) -> bool:
    """Return True if the owner is gone, or does not touch the lock for STALE_SECONDS; False as soon as it does."""
    gone = _is_gone(content)
    if gone is not None:
        return gone
    note(f"{path}: {_owner(content)} holds it; waiting {STALE_SECONDS:g} s to see whether it is alive")
    touched, until = _touched(path), time.monotonic() + STALE_SECONDS
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        if _read(path) != content or _touched(path) != touched:
            return False
    return True


def _read(path: Path) -> bytes | None:
    """Return the content of a lock file, of which a new one may be empty for a moment; None if there is none."""
    until = time.monotonic() + TAKEN_SECONDS
    try:
        while not (content := path.read_bytes()) and time.monotonic() < until:
            time.sleep(TAKEN_SECONDS / 100)
    except FileNotFoundError:
        return None
    return content


def _touched(path: Path) -> int | None:
    """Return when a lock was touched, ns. The file is opened for it: NFS then asks the server, and no cache."""
    with suppress(OSError), open(path, "rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns
    return None


def _parsed(content: bytes) -> Owner | None:
    """Return the owner that a lock file names, None if it is not of this version."""
    import json

    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _owner(content: bytes) -> str:
    """Return what messages call the owner of a lock."""
    return str(_parsed(content) or "another run")


def _myself() -> bytes:
    """Return what this process writes into a lock."""
    import json  # on rank 0 alone

    since = time.strftime("%Y-%m-%d %H:%M:%S")
    me = Owner(os.uname().nodename, os.getpid(), _machine(), _started(os.getpid()), since, os.urandom(16).hex())
    return json.dumps(me._asdict()).encode()


def _machine() -> str:
    """Return where process numbers are unique: the running kernel and the namespace of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return os.uname().nodename


def _started(pid: int) -> str:
    """Return when a process began, as its kernel counts; "" if there is none. Numbers of processes are used again."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _alive(pid)
    return "" if status[0] == "Z" else status[19]


def _alive(pid: int) -> str:
    """Return "alive" or "" for a process, where there is no /proc, and "" where there is one but not for it."""
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "alive"
