"""Fixtures that start the command line, alone and under mpiexec, and that write configs, tables, graphs, plug-ins."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tools")  # asserts of helpers say what they compared

# ruff: noqa: E402
from tools.commands import TIMEOUT, command, environment
from tools.plugins import HEAD
from tools.representatives import mark_others_slow

from mpiqopt import registry
from mpiqopt.algorithms.dgd import DGD
from mpiqopt.registry import find_member
from mpiqopt.topologies.graph import Made


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_others_slow(items)


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let tests with the mark ``alone`` and others that start ranks wait for each other, if several run at once."""
    if request.node.get_closest_marker("mpi") is None or "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with open(tmp_path_factory.getbasetemp().parent / "alone.lock", "w") as lock:  # the same of all workers
        alone = request.node.get_closest_marker("alone") is not None
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.fixture
def mpiqopt(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a command in ``tmp_path`` and return what it printed; never waits longer than TIMEOUT."""

    def start(*arguments: str, ranks: int = 0, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(*map(str, arguments), ranks=ranks),
            cwd=tmp_path,
            env={**environment(), **variables},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    return start


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """Write a small config, with tables replaced or added as keyword arguments; returns its path."""
    import tomli_w

    tables = {
        "run": {"iterations": 40},
        "data": {"name": "synthetic", "task": "classification", "samples": 83, "features": 7},
        "problem": {"name": "logistic", "l2": 0.1},
        "topology": {"name": "ring", "nodes": 8},
        "algorithm": {"name": "gradient-tracking"},
    }

    def write(name: str = "small.toml", **changes: dict) -> str:
        path = tmp_path / name
        path.write_text(tomli_w.dumps({**tables, **changes}))
        return str(path)

    return write


@pytest.fixture
def written(tmp_path: Path, monkeypatch) -> Callable[..., Any]:
    """Write a file in the present folder and open it as a table."""
    monkeypatch.chdir(tmp_path)

    from mpiqopt.registry import find_member

    def write(content: str | bytes | None, kind: str = "csv", name: str = "", **keys):
        path = Path(name or f"d.{kind}")
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return find_member("data", kind)(path=str(path), **keys).open(0)

    return write


@pytest.fixture
def directed_method(monkeypatch):
    """DGD as if it worked on any strongly connected digraph."""
    monkeypatch.setattr(DGD, "directed", True)


@pytest.fixture
def read(tmp_path):
    """Read a file with this name and content."""

    def make(name: str, content: str | bytes, **keys) -> Made:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return find_member("topology", "file")(path=str(path), **keys).make()

    return make


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a plug-in, with everything imported; what it registers is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "plugins", {})

    def write(text: str, name: str = "mine.py") -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(HEAD + text)
        return name

    yield write
    for path in [*registry.plugins]:
        registry._forget(path)
