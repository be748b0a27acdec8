"""A device with little memory trains a window of a network where it could not train all of it."""

import subprocess
import sys

import numpy as np
import pytest
import tomli_w
from tools.commands import TIMEOUT, with_tools

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
