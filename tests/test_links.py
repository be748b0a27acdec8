"""The links of the benchmarks: what they delay, which way bytes go, and that nothing of them is left."""

import contextlib
import importlib
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DELAY = 0.02
TIMEOUT = 60

PING_PONG = """
import statistics, time
from mpi4py import MPI

world = MPI.COMM_WORLD
buffer = bytearray(8)

def turn():
    begin = time.perf_counter()
    for sender in range(2):
        world.Send(buffer, 1 - sender) if world.rank == sender else world.Recv(buffer, sender)
    return time.perf_counter() - begin

for _ in range(10):
    turn()
times = [turn() for _ in range(100)]
if world.rank == 0:
    print(statistics.median(times))
"""
SEND = """
import sys
from mpi4py import MPI

world, (size, receiver) = MPI.COMM_WORLD, map(int, sys.argv[1:])
if world.rank == 0:
    world.Ssend(bytearray(size), receiver)
elif world.rank == receiver:
    world.Recv(bytearray(size), 0)
"""
WAIT = """
import os, sys, time
from mpi4py import MPI

with open(f"{sys.argv[1]}.{MPI.COMM_WORLD.rank}", "w") as file:
    print(os.getpid(), file=file, flush=True)
    MPI.COMM_WORLD.Barrier()
    time.sleep(600)
"""
# A process of its own: links are for the main thread, and it is this process that signals end. A shell may have told
# it to ignore Ctrl-C.
KEEPER = """
import signal, sys
from thin_link import thin_link

signal.signal(signal.SIGINT, signal.default_int_handler)
with thin_link(rate=None, delay=0.005) as link:
    print(link.forwarder.pid, flush=True)
    link.run([sys.executable, *sys.argv[1:]], ranks=3, timeout=60)
"""


@pytest.fixture
def links(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("thin_link")


@pytest.fixture
def thin_link(links) -> Callable[..., contextlib.AbstractContextManager]:
    """``thin_link``; skips where the machine does not permit it."""

    @contextlib.contextmanager
    def opened(**settings) -> Iterator:
        with contextlib.ExitStack() as stack:
            try:
                link = stack.enter_context(links.thin_link(**settings))
            except links.Skipped as skipped:
                pytest.skip(skipped.reason)
            yield link

    return opened


def python(text: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", text, *map(str, arguments)]


def numbers(folder: Path, count: int) -> list[int]:
    """The process numbers of the ranks of WAIT, when all have begun."""
    deadline = time.monotonic() + TIMEOUT
    while len(found := [text for path in folder.glob("rank.*") if (text := path.read_text())]) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [*map(int, found)]


def running(pid: int) -> bool:
    """Neither gone nor waiting to be collected by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def left(pid: int) -> list[str]:
    """Namespaces of the process, processes that have their name on the command line, and devices of links here."""
    stem, found = f"thin{pid}-", []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [path.read_text()] if stem in path.read_text() else []
    found += [name for name in os.listdir("/run/netns") if name.startswith(stem)]
    return found + [name for name in os.listdir("/sys/class/net") if name.startswith("thin")]


@pytest.mark.alone
@pytest.mark.mpi
def test_messages_take_the_delay(thin_link):
    """A turn is two messages. The best of three jobs: other processes may hold up the ranks."""
    with thin_link(rate=None, delay=DELAY) as link:
        medians = [float(link.run(python(PING_PONG), timeout=TIMEOUT)) for _ in range(3)]
    assert 2 * DELAY <= min(medians) < 3 * DELAY


@pytest.mark.alone
@pytest.mark.mpi
@pytest.mark.parametrize("delay", [0, DELAY])
def test_only_messages_between_hosts_are_on_the_link(thin_link, delay):
    """Ranks 0, 1 and 2 are on the first host; what MPI says to start and end a job is some 100 kB."""
    size = 4_000_000
    with thin_link(rate=None, delay=delay) as link:
        wire = {}
        for receiver in (2, 3):
            link.run(python(SEND, size, receiver), timeout=TIMEOUT, ranks=5)
            wire[receiver] = link.wire_bytes()
    assert 0 < wire[2] < 0.2 * size
    assert size < wire[3] < 1.2 * size


@pytest.mark.alone
@pytest.mark.mpi
@pytest.mark.parametrize("delay", [0, DELAY])
def test_rate(thin_link, delay):
    size = 2_000_000
    with thin_link(rate="20mbit", delay=delay) as link:
        begin = time.monotonic()
        link.run(python(SEND, size, 1), timeout=TIMEOUT)
        passed = time.monotonic() - begin
    assert size * 8 / 20e6 < passed < size * 8 / 20e6 + 10


@pytest.mark.alone
@pytest.mark.mpi
def test_job_that_takes_too_long_is_killed(thin_link, tmp_path):
    with thin_link(delay=DELAY) as link:
        with pytest.raises(subprocess.TimeoutExpired):
            link.run(python(WAIT, tmp_path / "rank"), timeout=5, ranks=3)
        assert not any(map(running, numbers(tmp_path, 3)))
        assert link.pids() == []
        assert link.run(["hostname"], timeout=TIMEOUT, ranks=1).strip() == link.names[0]
    assert left(os.getpid()) == []


@pytest.mark.alone
@pytest.mark.mpi
def test_failing_job(thin_link):
    with thin_link(delay=DELAY) as link, pytest.raises(RuntimeError, match="exit status"):
        link.run(python("raise SystemExit(3)"), timeout=TIMEOUT)
    assert left(os.getpid()) == []
    assert not running(link.forwarder.pid)


@pytest.mark.alone
@pytest.mark.mpi
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "terminate"])
def test_nothing_is_left_after_a_signal(thin_link, tmp_path, number):
    with thin_link():
        pass  # skips where it must
    path = tmp_path / "wait.py"
    path.write_text(WAIT)
    command = python(KEEPER, path, tmp_path / "rank")
    with subprocess.Popen(command, cwd=BENCHMARKS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as keeper:
        try:
            pids = [int(keeper.stdout.readline()), *numbers(tmp_path, 3)]
            assert all(map(running, pids))
            assert left(keeper.pid)
            keeper.send_signal(number)
            assert keeper.wait(TIMEOUT) != 0
        finally:
            keeper.kill()
    assert not any(map(running, pids))
    assert left(keeper.pid) == []


@pytest.mark.skipif(not hasattr(socket, "SOCK_SEQPACKET"), reason="no sequenced packets between two sockets")
def test_frames_arrive_later_and_in_order(links):
    """Without TAPs: sequenced packets are read and written like frames. Half a millisecond is for a crowded machine."""
    (near, one), (far, two) = pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    one.setblocking(False)
    two.setblocking(False)
    asleep, awake = os.pipe()
    forward = importlib.import_module("delay_line").forward
    carrier = threading.Thread(target=forward, args=(one.fileno(), two.fileno(), DELAY, asleep))
    carrier.start()
    try:
        medians = [statistics.median(ways(near, far)) for _ in range(5)]
    finally:
        os.close(awake)
        carrier.join(10)
        os.close(asleep)
        for end in (*pairs[0], *pairs[1]):
            end.close()
    assert not carrier.is_alive()
    assert DELAY <= min(medians) < 1.25 * DELAY


def ways(near: socket.socket, far: socket.socket) -> list[float]:
    """How long packets take, two on their way at a time and one the other way round."""
    times = []
    for turn in range(0, 40, 2):
        begin = time.monotonic()
        for source, turns in ((near, (turn, turn + 1)), (far, (turn,))):
            for number in turns:
                source.send(bytes([number]))
        for target, turns in ((far, (turn, turn + 1)), (near, (turn,))):
            for number in turns:
                assert select.select([target], [], [], 5)[0]
                assert target.recv(10) == bytes([number])
        times.append(time.monotonic() - begin)
    return times


@pytest.mark.parametrize("settings", [{"rate": "0mbit"}, {"rate": "fast"}, {"delay": -0.1}])
def test_wrong_settings(links, settings):
    with pytest.raises(ValueError, match=next(iter(settings))), links.thin_link(**settings):
        pass
