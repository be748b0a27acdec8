"""The ranks of a run that is going on."""

import subprocess
import time
from pathlib import Path

import h5py

from tools.commands import TIMEOUT


def is_rank(pid: int) -> bool:
    """Whether this process is (still) a rank of a run."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"mpiqopt" in words and not any(b"mpiexec" in word or b"prte" in word for word in words)


def wait_for_records(path: Path, job: subprocess.Popen) -> None:
    """Return when a run has recorded more than 20 iterations."""
    end = time.monotonic() + TIMEOUT
    while True:
        assert job.poll() is None, "the run ended"
        assert time.monotonic() < end
        time.sleep(0.1)
        if path.exists():
            with h5py.File(path) as file:
                if file["iteration"][-1] > 20:
                    return
