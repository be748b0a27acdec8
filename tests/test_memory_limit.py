"""A device with little memory trains a window of a network where it could not train all of it."""

import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import tomli_w
from tools.commands import TIMEOUT, command, environment, with_tools

from mpiqopt.memory import process_bytes

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

if not sys.platform.startswith("linux"):
    pytest.skip("limits of memory are Linux's here", allow_module_level=True)

# of what training all blocks of the network takes
MEMORY = 0.5


def train(folder, limit: int, first: int, last: int) -> subprocess.CompletedProcess:
    """Train a window under a limit in a process of its own."""
    words = [sys.executable, "-m", "tools.limited_memory", "config.toml", *map(str, (limit, first, last))]
    return subprocess.run(words, cwd=folder, env=with_tools(), capture_output=True, text=True, timeout=TIMEOUT)


def test_a_window_is_trained_in_half_the_memory_in_which_the_network_cannot_be(tmp_path):
    stream = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", X=stream.random((32, 3, 32, 32), np.float32), y=np.arange(32) % 4)
    tables = {
        "data": {"name": "npz", "path": "images.npz"},
        "problem": {"name": "torch", "model": "resnet18", "options": {"width": 16}},
        "topology": {"name": "ring", "nodes": 1},
        "algorithm": {"name": "fedavg", "step_size": 0.01},
    }
    (tmp_path / "config.toml").write_text(tomli_w.dumps(tables))
    full = float(train(tmp_path, 0, 0, 9).stdout)
    window = train(tmp_path, int(MEMORY * full), 8, 9)
    assert window.returncode == 0, window.stderr
    assert float(window.stdout) < full
    whole = train(tmp_path, int(MEMORY * full), 0, 9)
    assert whole.returncode == 2
    assert whole.stderr.startswith("mpiqopt: not enough memory")
    assert whole.stderr.count("\n") == 1


FREED = """
import sys
import numpy as np
from mpiqopt.memory import process_bytes
from mpiqopt.run import allocator
getattr(allocator, sys.argv[1])()
arrays = [np.ones(1 << 19) for _ in range(40)]
before = process_bytes("VmData")
del arrays[::2]
print(before - process_bytes("VmData"))
"""


@pytest.mark.parametrize(("setting", "freed"), [("keep_freed_memory", 0), ("return_freed_memory", 20)])
def test_large_arrays_that_lie_among_others_are_given_back_where_memory_is_short(setting, freed):
    words = [sys.executable, "-c", FREED, setting]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=True)
    assert float(done.stdout) // (1 << 22) == freed  # arrays of 4 MB


# What `mpiqopt run` takes: [[devices]] memory, and the limit of the process, of what training the whole network takes
WINDOW, LIMIT = 0.4, 0.5
RUN = {
    "run": {"iterations": 2},
    "data": {"name": "npz", "path": "images.npz", "test_fraction": 0.33},
    "problem": {"name": "torch", "model": "resnet18", "options": {"width": 16}},
    "topology": {"name": "ring", "nodes": 1},
    "record": {"training": "none"},
    "devices": [{"memory": WINDOW}],
}
METHODS = {
    # nothing but loaded libraries, the network, and evaluations
    "base": {"name": "fedavg", "batch_size": 2, "local_steps": 1},
    "full": {"name": "fedavg", "batch_size": 128},
    "window": {"name": "cocofl", "batch_size": 128},
}


def run(folder, method: str, limit: float = 0.0) -> tuple[subprocess.Popen, str, float]:
    """Do a run under a limit of ``ulimit -d``: the process, what it says, and the most that it had, in bytes."""
    words = command("run", f"{method}.toml", "-o", f"{method}.h5", "-q", "--overwrite")
    limited = partial(resource.setrlimit, resource.RLIMIT_DATA, (int(limit), int(limit))) if limit else None
    job = subprocess.Popen(words, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=limited)
    most, end = 0.0, time.monotonic() + TIMEOUT
    try:
        while job.poll() is None and time.monotonic() < end:
            with suppress(OSError, StopIteration):  # it has just ended
                most = max(most, process_bytes("VmData", job.pid))
            time.sleep(1e-3)
    finally:
        job.kill()
    return job, job.communicate()[1], most


@pytest.mark.slow
def test_a_run_with_half_the_memory_trains_windows_where_federated_averaging_cannot(tmp_path):
    """Of what it takes above a run that trains nearly nothing.

    Beside what the profile counts there is code that libraries generate for the layers of each window and batch size:
    84 MB after two windows, 27 MB in the run that trains nearly nothing. It does not shrink with the network. Windows
    of 0.5 ran within 0.5, too, but for two of the largest in a row.
    """
    stream = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", X=stream.random((192, 1, 32, 32), np.float32), y=np.arange(192) % 4)
    for method, keys in METHODS.items():
        tables = RUN | {"algorithm": {"step_size": 0.01, **keys}}
        (tmp_path / f"{method}.toml").write_text(tomli_w.dumps(tables))
    base, full = (run(tmp_path, method)[2] for method in ("base", "full"))
    limit = base + LIMIT * (full - base)
    window, said, _ = run(tmp_path, "window", limit)
    assert window.returncode == 0, said
    whole, said, _ = run(tmp_path, "full", limit)
    # PyTorch's own libraries now and then end the process where they get no memory, before anything can be said
    assert whole.returncode in (2, -signal.SIGSEGV), said
    assert whole.returncode != 2 or (said.startswith("mpiqopt: not enough memory") and said.count("\n") == 1)
