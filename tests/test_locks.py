"""Of the runs that want a result file one writes it, and the others are told which."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools.commands import TIMEOUT, command, environment
from tools.outputs import ENDLESS, records, refused

from mpiqopt.errors import UsageError
from mpiqopt.results import lock
from mpiqopt.results.lock import Lock


def test_a_second_run_is_told_who_writes_the_file(mpiqopt, config, tmp_path):
    path = config(**ENDLESS)
    job = subprocess.Popen(command("run", path, "-q"), cwd=tmp_path, env=environment())
    while not (tmp_path / "small.h5").exists():
        assert job.poll() is None
        time.sleep(0.01)
    for flag in ("--overwrite", "--resume"):
        line = refused(mpiqopt("run", path, flag))
        assert f"process {job.pid} on {os.uname().nodename}" in line
    job.terminate()
    assert job.wait(TIMEOUT) == 75
    assert not (tmp_path / "small.h5.lock").exists()
    assert mpiqopt("run", path, "--resume", "--time-limit", "0.3").returncode == 75


def test_show_tells_a_killed_run_from_one_at_work(mpiqopt, config, tmp_path):
    path = config(**ENDLESS)
    job = subprocess.Popen(command("run", path, "-q"), cwd=tmp_path, env=environment())
    while not (tmp_path / "small.h5").exists():
        assert job.poll() is None
        time.sleep(0.01)
    assert "running" in mpiqopt("show", "small.h5").stdout
    job.kill()
    job.wait()
    assert "interrupted" in mpiqopt("show", "small.h5").stdout
    assert mpiqopt("run", path, "--resume", "--time-limit", "0.3").returncode == 75


def test_of_runs_that_start_at_once_one_wins(config, tmp_path):
    path = config(**ENDLESS)
    for i in range(3):
        words = command("run", path, "-q", "--time-limit", "1", "-o", f"{i}.h5")
        jobs = [subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE) for _ in range(3)]
        assert sorted(job.wait(TIMEOUT) for job in jobs) == [2, 2, 75]
        assert sorted(path.name for path in tmp_path.glob(f"{i}.h5*")) == [f"{i}.h5", f"{i}.h5.checkpoint"]
        assert len(records(tmp_path / f"{i}.h5")["iteration"]) > 0


def holder(path: Path, **changes) -> bytes:
    """What a lock file says of another run."""
    content = json.dumps({**json.loads(lock._myself()), **changes}).encode()
    path.write_bytes(content)
    return content


def test_the_lock_of_a_run_that_is_gone_is_taken(tmp_path):
    """The process is gone, or another one has its number now."""
    for changes in ({"pid": 2**22 + 1}, {"started": "1"}):
        holder(tmp_path / "a.h5.lock", **changes)
        mine = Lock.take(tmp_path / "a.h5")
        with pytest.raises(UsageError, match=f"process {os.getpid()} on"):
            Lock.take(tmp_path / "a.h5")
        mine.release()
        assert list(tmp_path.iterdir()) == []


def test_the_lock_of_another_machine_counts_while_somebody_touches_it(tmp_path, monkeypatch):
    """Clocks are not compared, changes are."""
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.4)
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.02)
    path, notes = tmp_path / "a.h5.lock", []
    holder(path, host="node7", machine="another kernel")
    toucher = subprocess.Popen(
        [sys.executable, "-c", "import os, sys, time\nwhile 1: os.utime(sys.argv[1]); time.sleep(0.02)", path]
    )
    try:
        time.sleep(0.5)
        with pytest.raises(UsageError, match=r"on node7 since .* is writing it"):
            Lock.take(tmp_path / "a.h5", notes.append)
    finally:
        toucher.kill()
        toucher.wait()
    Lock.take(tmp_path / "a.h5", notes.append).release()
    assert len(notes) == 2
    assert "node7" in notes[0]


def test_a_lock_that_another_run_has_taken_is_not_deleted(tmp_path):
    mine = Lock.take(tmp_path / "a.h5")
    other = holder(mine.path, pid=1)
    assert not mine.is_ours()
    mine.release()
    assert mine.path.read_bytes() == other


def test_a_run_that_has_lost_its_lock_ends(config, tmp_path):
    """It was suspended, and another one was started meanwhile."""
    path = config(**ENDLESS)
    job = subprocess.Popen(
        command("run", path, "-q"), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "small.h5").exists():
        assert job.poll() is None
        time.sleep(0.01)
    holder(tmp_path / "small.h5.lock", pid=1)
    _, said = job.communicate(timeout=TIMEOUT)
    assert job.returncode == 75
    assert "stopped: small.h5.lock was taken by another run" in said
    assert (tmp_path / "small.h5.lock").exists()


def test_folders_are_made_for_a_result_only(mpiqopt, config, tmp_path):
    path = config(data={"name": "csv", "path": "none.csv"})
    assert mpiqopt("run", path, "-o", "new/folder/a.h5").returncode == 2
    assert not (tmp_path / "new").exists()
    assert mpiqopt("run", config(), "-o", "new/folder/a.h5").returncode == 0
    assert sorted(file.name for file in (tmp_path / "new/folder").iterdir()) == ["a.h5", "a.h5.checkpoint"]


def test_without_hard_links_a_lock_is_taken_too(tmp_path, monkeypatch):
    def no_links(*names):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    mine = Lock.take(tmp_path / "a.h5")
    with pytest.raises(UsageError):
        Lock.take(tmp_path / "a.h5")
    mine.release()
    assert list(tmp_path.iterdir()) == []


def test_what_killed_runs_have_left_is_cleared_and_nothing_else(mpiqopt, config, tmp_path):
    left = [".part", ".0123abcd.part", ".checkpoint.0123abcd.part"]
    kept = [".old.part", "x.0123abcd.part", ".checkpoint.part.h5"]
    for end in left + kept:
        (tmp_path / f"small.h5{end}").touch()
    assert mpiqopt("run", config()).returncode == 0
    assert not any((tmp_path / f"small.h5{end}").exists() for end in left)
    assert all((tmp_path / f"small.h5{end}").exists() for end in kept)
