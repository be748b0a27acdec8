"""Asynchronous runs over two hosts (network namespaces) that are 5 ms apart: which way frames go, and that they end."""

import sys
from pathlib import Path

import h5py
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from thin_link import Skipped, thin_link

pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.alone]
CONFIG = """
[run]
iterations = {iterations}
transport = "{transport}"
[data]
name = "synthetic"
task = "classification"
samples = 83
features = 7
[problem]
name = "logistic"
l2 = 0.1
[topology]
name = "ring"
nodes = 8
[algorithm]
name = "{name}"
execution = "{execution}"
{more}
[record]
every = 2
"""
CASES = [
    ("ftqc-admm", "asynchronous", "auto", 2, "two-sided (every rank is on a host of its own)"),
    ("ftqc-admm", "asynchronous", "auto", 4, "window within each of 2 hosts, two-sided between them"),
    ("ftqc-admm", "asynchronous", "window", 2, "window (as the config says)"),
    ("push-sum", "asynchronous", "auto", 2, "two-sided (every rank is on a host of its own)"),
    ("ftqc-dgd", "synchronous", "auto", 4, "messages in steps"),
]


@pytest.fixture(scope="module")
def link():
    try:
        with thin_link(rate=None, delay=0.005) as link:
            yield link
    except Skipped as reason:
        pytest.skip(str(reason.reason))


@pytest.mark.parametrize(("name", "execution", "transport", "ranks", "carried"), CASES)
def test_runs_over_hosts_end_in_order(name, execution, transport, ranks, carried, link, tmp_path):
    path, output = tmp_path / "a.toml", tmp_path / "a.h5"
    more = "interval = 0.1" if name == "push-sum" else "coordinator = 'integer-push-sum'"
    # windows between hosts take some seconds a call: every flush is a round trip
    iterations = 4 if transport == "window" else 12
    path.write_text(
        CONFIG.format(name=name, execution=execution, transport=transport, more=more, iterations=iterations)
    )
    for _ in range(3):  # whether operations wait for ranks is measured, and on a busy machine they do
        run = [sys.executable, "-m", "mpiqopt", "run", path, "-q", "--overwrite", "-o", output]
        link.run(run, timeout=120, ranks=ranks)
        with h5py.File(output) as file:
            found = file.attrs["transport"]
        if found == carried:
            break
    assert found == carried
    with h5py.File(output) as file:
        assert file.attrs["status"] == "finished"
        assert file["stationarity"][-1] < 0.9 * file["stationarity"][0]
        # a round is at least a few crossings of 5 ms
        assert file["time"][-1] > iterations * 0.01
    assert link.wire_bytes() > 0
