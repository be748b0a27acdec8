"""Carry Ethernet frames between two network namespaces, each a fixed time after it was sent (Linux, root).

usage: python delay_line.py SECONDS DEVICE NAMESPACE NAMESPACE      (thin_link.py does)

Makes a TAP device of this name in each namespace, says "ready", and takes from each device the frames that the kernel
sends on it and hands them to the other one in the same order. Ends, and the devices with it, when its standard input
does. It asks for a real-time priority: ranks that wait for messages with a busy loop would else hold it up.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import stat
import struct
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

TUN = Path("/dev/net/tun")
TUN_NUMBER = (10, 200)
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
CLONE_NEWNET = 0x40000000
LARGEST = 65_535 + 18  # bytes of a frame, whatever the MTU
AT_ONCE = 32  # frames read before it looks again for what is due: some 0.1 ms


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """What is opened here belongs to the network namespace (os.setns is there from Python 3.12 on)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")
        try:
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


@contextlib.contextmanager
def tun_node() -> Iterator[Path]:
    """The device node that TAPs are made with; where there is none, as in some containers, for as long as it takes."""
    if missing := not TUN.exists():
        TUN.parent.mkdir(exist_ok=True)
        os.mknod(TUN, stat.S_IFCHR | 0o600, os.makedev(*TUN_NUMBER))
    try:
        yield TUN
    finally:
        if missing:
            TUN.unlink()


def tap(device: str, namespace: str) -> int:
    """A descriptor of a new TAP device; the device lasts as long."""
    with inside(namespace), tun_node() as node:
        descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


class Line:
    """One direction: frames on their way, with the times at which they arrive."""

    def __init__(self, source: int, target: int, delay: float):
        self.source, self.target, self.delay = source, target, delay
        self.frames: deque[tuple[float, bytes]] = deque()

    def take(self) -> None:
        """Read what is waiting, but no more than AT_ONCE."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(AT_ONCE):
                frame = os.read(self.source, LARGEST)
                self.frames.append((monotonic() + self.delay, frame))

    def deliver(self) -> None:
        """Write what is due. A frame that the other end does not take (it is not up yet) is lost, as on a wire."""
        frames, now = self.frames, monotonic()
        while frames and frames[0][0] <= now:
            with contextlib.suppress(OSError):
                os.write(self.target, frames.popleft()[1])

    def wait(self) -> float:
        """Seconds until the next frame is due."""
        return max(0.0, self.frames[0][0] - monotonic()) if self.frames else 3600.0


def hurry() -> None:
    """Real-time scheduling if it is allowed."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def forward(one: int, two: int, delay: float, stop: int) -> None:
    """Until the descriptor ``stop`` can be read, which may be its end."""
    lines = {one: Line(one, two, delay), two: Line(two, one, delay)}
    while True:
        # select, for its time-outs are in microseconds and those of poll and epoll in milliseconds
        ready = select.select([*lines, stop], [], [], min(line.wait() for line in lines.values()))[0]
        if stop in ready:
            return
        for source, line in lines.items():
            line.deliver()
            if source in ready:
                line.take()


def main(delay: str, device: str, *namespaces: str) -> None:
    try:
        one, two = (tap(device, namespace) for namespace in namespaces)
    except OSError as error:
        sys.exit(f"no TAP device: {error}")
    hurry()
    print("ready", flush=True)
    forward(one, two, float(delay), sys.stdin.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
