"""Runs that are killed, raced, out of disk and without locks: is anything lost?

    python -m tools.soak_files --kills 200 --races 200 --full 50 --unlocked 50 --seed 0

Stops at the first loss with status 1, and keeps the folder in which it happened.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.jobs import (
    CONFIG,
    RESULT,
    Contents,
    Job,
    Loss,
    prepared,
    require_clean,
    require_one_line,
    require_start,
    require_whole,
    resume,
    whole,
)

RUN = ("run", CONFIG, "-q", "-o", RESULT)
# A file system without locks, as many NFS and Lustre mounts are: flock and fcntl's locks fail.
NO_LOCKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
static int fails(void) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
int flock(int fd, int how) { return fails(); }
int lockf(int fd, int how, off_t size) { return fails(); }
static int asked(const char *name, int fd, int how, void *word) {
    if (how == F_SETLK || how == F_SETLKW || how == F_OFD_SETLK || how == F_OFD_SETLKW) return fails();
    return ((int (*)(int, int, ...))dlsym(RTLD_NEXT, name))(fd, how, word);
}
int fcntl(int fd, int how, ...) {
    va_list rest; va_start(rest, how); void *word = va_arg(rest, void *); va_end(rest);
    return asked("fcntl", fd, how, word);
}
int fcntl64(int fd, int how, ...) {
    va_list rest; va_start(rest, how); void *word = va_arg(rest, void *); va_end(rest);
    return asked("fcntl64", fd, how, word);
}
"""
# what flock fails with: ENOLCK, EOPNOTSUPP, ENOTSUPP
ERRORS = (37, 95, 524)


class Skip(Exception):
    """Why a part cannot be done on this machine."""


def kills(count: int, rng: random.Random, root: Path, ranks: Callable[[random.Random], int]) -> Iterator[str]:
    """kill -9 at random moments, of all processes or of one rank, and --resume until the run has finished."""
    expected, longest = _timed(root)
    done, chain = 0, 0
    while done < count:
        chain += 1
        folder = prepared(root / str(chain))
        extra: list[str] = []
        while done < count:
            job = Job(folder, [*RUN, *extra], ranks=ranks(rng))
            if job.ends_within(rng.uniform(0, longest)):
                _require_ended(job)
                break
            job.kill(rng.choice if rng.random() < 0.5 else None)
            done += 1
            records = require_start(folder / RESULT, expected)
            saved = (folder / f"{RESULT}.checkpoint").exists()
            yield f"killed with {records} records, {'a' if saved else 'no'} checkpoint, {job.ranks} ranks"
            # records without a checkpoint are kept until the user says that they may go
            begin_again = 0 < records < len(expected["iteration"]) and not saved
            extra = ["--overwrite"] if begin_again else ["--resume"]
        resume(folder, expected, ranks=ranks(rng))
        require_clean(folder)
        shutil.rmtree(folder)


def _timed(root: Path) -> tuple[Contents, float]:
    """The uninterrupted run, and how many seconds it takes."""
    folder, began = prepared(root / "whole"), time.monotonic()
    return whole(folder), time.monotonic() - began


def _require_ended(job: Job) -> None:
    """It has finished, or there was nothing to go on from."""
    if job.wait() not in (0, 2):
        raise Loss(f"{job}: status {job.wait()}: {job.said()}")


def races(count: int, rng: random.Random, root: Path, ranks: Callable[[random.Random], int]) -> Iterator[str]:
    """Two runs at once on one output: one wins, the other is refused in a line that names the winner."""
    wholes = [whole(prepared(root / f"whole{seed}"), "--set", f"run.seed={seed}") for seed in (0, 1)]
    stopped = _stopped(root / "stopped")
    for number in range(count):
        folder, way = root / str(number), rng.choice(("fresh", "resume", "overwrite", "mixed"))
        shutil.copytree(stopped, folder)
        if way == "fresh":
            (folder / RESULT).unlink()
            (folder / f"{RESULT}.checkpoint").unlink()
        yield _race(folder, way, wholes, rng, ranks(rng))
        shutil.rmtree(folder)


def _stopped(folder: Path) -> Path:
    """A run of seed 0 that was stopped early, with its checkpoint."""
    prepared(folder)
    job = Job(folder, [*RUN, "--set", "run.seed=0", "--time-limit", "0.2"])
    if job.wait() != 75:
        raise Loss(f"{job}: {job.said()}")
    return folder


def _race(folder: Path, way: str, wholes: list[Contents], rng: random.Random, ranks: int) -> str:
    flags = {"fresh": ["", ""], "mixed": ["--resume", "--overwrite"]}.get(way, [f"--{way}"] * 2)
    seeds = [0, 0 if way == "resume" else 1]
    jobs = []
    for seed, flag in zip(seeds, flags, strict=True):
        words = [*RUN, "--set", f"run.seed={seed}", *([flag] if flag else [])]
        jobs.append(Job(folder, words, ranks=ranks))
        time.sleep(rng.choice((0.0, 0.0, rng.uniform(0.0, 0.4))))
    statuses = [job.wait() for job in jobs]
    # on a busy machine one may be over before the other looks, which then finds a finished run, or replaces it
    late = statuses == [0, 0] and (way in ("overwrite", "mixed") or any("finished already" in j.said() for j in jobs))
    if sorted(statuses) != [0, 2] and not late:
        raise Loss(f"{folder}: {way}: statuses {statuses}: {' | '.join(job.said() for job in jobs)}")
    winner = statuses.index(0)
    _require_one(folder / RESULT, [wholes[seed] for seed in (seeds if late else [seeds[winner]])])
    require_clean(folder)
    if not late:
        # of a job on several ranks, the holder is a process below mpiexec
        holder = socket.gethostname() if ranks else str(jobs[winner].process.pid)
        require_one_line(jobs[1 - winner], holder, *(["exists"] if way == "fresh" else []))
    return f"{way}, {ranks} ranks: {'first' if winner == 0 else 'second'} wins{' before the other begins' * late}"


def _require_one(result: Path, wholes: list[Contents]) -> None:
    """Raise Loss unless a file is one of these runs, from the beginning to the end."""
    for last, expected in enumerate(wholes, 1):
        try:
            return require_whole(result, expected)
        except Loss:
            if last == len(wholes):
                raise


def full(count: int, rng: random.Random, root: Path, ranks: Callable[[random.Random], int]) -> Iterator[str]:
    """A disk that is full from some moment on, for a while or for good."""
    expected, longest = _timed(root)
    for number in range(count):
        folder = prepared(root / str(number))
        with _small_disk(folder / "disk") as disk:
            yield _filled(folder, disk, expected, longest, rng, ranks(rng))
        shutil.rmtree(folder)


@contextmanager
def _small_disk(folder: Path, size: str = "4m") -> Iterator[Path]:
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    made = subprocess.run(words, capture_output=True, text=True)
    if made.returncode:
        raise Skip(f"a small tmpfs cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    except Loss:
        shutil.copytree(folder, folder.with_name("kept"), symlinks=True)
        raise
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(disk: Path, left: int) -> None:
    """Leave so many bytes free."""
    about = os.statvfs(disk)
    with open(disk / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, about.f_bavail * about.f_frsize - left))


def _filled(folder: Path, disk: Path, expected: Contents, longest: float, rng: random.Random, ranks: int) -> str:
    result, filler = disk / RESULT, disk / "filler"
    after, left, frees = (
        rng.choice((0.0, rng.uniform(0, longest))),
        rng.choice((0, rng.randrange(1 << 17))),
        rng.random() < 0.5,
    )
    if not after:
        _fill(disk, left)
    job = Job(folder, ["run", CONFIG, "-q", "-o", f"disk/{RESULT}"], ranks=ranks)
    if not job.ends_within(after) and after:
        _fill(disk, left)
    before = require_start(result, expected)
    if frees and not job.ends_within(rng.uniform(0, longest / 2)):
        filler.unlink(missing_ok=True)
    status = job.wait()
    records = require_start(result, expected)
    if records < before:
        raise Loss(f"{folder}: {before} records before the disk was full, {records} after the run")
    if status == 0:
        require_whole(result, expected)
    elif status == 75 or (status == 2 and not result.exists()):
        require_one_line(job, RESULT)
    else:
        raise Loss(f"{folder}: status {status}: {job.said()}")
    filler.unlink(missing_ok=True)
    _only(disk)
    kept = status == 0 or resume(folder, expected, f"disk/{RESULT}")
    how = "from the start" if not after else f"after {after:.1f} s"
    return (
        f"full {how}, {'freed' if frees else 'for good'}: status {status}, {records} records{'' if kept else ', again'}"
    )


def _only(disk: Path) -> None:
    left = {path.name for path in disk.iterdir()} - {RESULT, f"{RESULT}.checkpoint"}
    if left:
        raise Loss(f"{disk}: left behind: {', '.join(sorted(left))}")


def unlocked(count: int, rng: random.Random, root: Path, ranks: Callable[[random.Random], int]) -> Iterator[str]:
    """Runs on a file system without locks: they stop, are shown and drawn, start others, and go on."""
    expected, longest = _timed(root)
    library = _preloaded(root)
    for number in range(count):
        folder = prepared(root / str(number))
        error = ERRORS[number % len(ERRORS)]
        variables = {"LD_PRELOAD": str(library), "FLOCK_ERRNO": str(error)}
        seconds = rng.uniform(0.2, 0.9) * longest
        yield f"flock fails with {error}: {_interrupted(folder, expected, seconds, ranks(rng), variables)}"
        shutil.rmtree(folder)


def _preloaded(root: Path) -> Path:
    if shutil.which("gcc") is None:
        raise Skip("there is no gcc to make a flock that fails")
    source, library = root / "nolocks.c", root / "nolocks.so"
    source.write_text(NO_LOCKS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"], check=True)
    return library


def _interrupted(folder: Path, expected: Contents, seconds: float, ranks: int, variables: dict[str, str]) -> str:
    job = Job(folder, RUN, ranks=ranks, variables=variables)
    if not job.ends_within(seconds):
        job.process.send_signal(signal.SIGUSR1)  # which launchers pass on
    status = job.wait()
    records = require_start(folder / RESULT, expected)
    # before it listens, or when all is done, the signal ends it as any program
    deaf = status not in (1, 2) and records in (0, len(expected["iteration"]))
    if status not in (0, 75) and not deaf:
        raise Loss(f"{folder}: status {status}: {job.said()}")
    if records:
        _readable(folder, variables)
    resume(folder, expected, ranks=ranks, variables=variables)
    require_clean(folder, "f.png", "s.h5", "s.h5.checkpoint")
    return f"status {status}, {records} records, {ranks} ranks"


def _readable(folder: Path, variables: dict[str, str]) -> None:
    start = ["--set", f"run.start={RESULT}", "--set", "run.iterations=3", "-o", "s.h5"]
    for words in (["show", RESULT], ["plot", RESULT, "-o", "f.png"], ["run", CONFIG, "-q", *start]):
        job = Job(folder, words, variables=variables)
        if job.wait() != 0:
            raise Loss(f"{folder}: {job}: {job.said()}")


PARTS = {"kills": kills, "races": races, "full": full, "unlocked": unlocked}
# of make soak-files
COUNTS = {"kills": 200, "races": 200, "full": 50, "unlocked": 50}


def soak(name: str, count: int, seed: int, root: Path, most_ranks: int = 2, quiet: bool = False) -> Counter:
    """Do one part; how often each thing happened. Raises Loss at the first loss, Skip where it cannot be done."""
    rng, seen = random.Random(f"{seed} {name}"), Counter()
    for done, line in enumerate(PARTS[name](count, rng, root, lambda rng: _ranks(rng, most_ranks)), 1):
        seen[line.partition(" with ")[0] if name == "kills" else line.partition(",")[0].partition(" after")[0]] += 1
        if not quiet:
            print(f"{name} {done}/{count}: {line}", flush=True)
    return seen


def _ranks(rng: random.Random, most: int) -> int:
    """0 (without mpiexec), or as many ranks as there may be in a third of the runs."""
    return most if most > 1 and rng.random() < 0.33 else 0


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=2, help="at most so many ranks")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    root = Path(tempfile.mkdtemp(prefix="mpiqopt-soak-"))
    said = []
    for name in [name for name in PARTS if getattr(options, name)]:
        count, began = getattr(options, name), time.monotonic()
        (root / name).mkdir()
        try:
            seen = soak(name, count, options.seed, root / name, options.ranks)
        except Skip as reason:
            said.append(f"{name}: skipped: {reason}")
            continue
        except Loss as loss:
            print("\n".join([*said, f"{name}: LOST: {loss}", f"kept: {root / name}"]), flush=True)
            return 1
        parts = ", ".join(f"{what} {times}" for what, times in sorted(seen.items()))
        said.append(f"{name}: {count}, nothing lost, {time.monotonic() - began:.0f} s ({parts})")
    print("\n".join(said))
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
