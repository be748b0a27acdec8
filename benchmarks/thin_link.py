"""Run MPI jobs on two ranks whose only connection is a link of a given rate, on one machine (Linux, root, MPICH).

Used by throttled.py:

    with thin_link(rate="100mbit") as link:
        print(link.run(["mpiqopt", "run", "a.toml", "-o", "a.h5"], timeout=300))
        wire, said = link.check("a.h5")

Each rank has a network namespace of its own, with its own host name; a veth pair joins them, and a token bucket filter
(tc tbf) holds each direction to the rate. The link is full duplex and has next to no latency of its own.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
DEVICE = "thin0"  # the same name in both namespaces: UCX_NET_DEVICES is one for all ranks
ADDRESSES = ("10.0.0.1", "10.0.0.2")  # nobody outside the namespaces sees them
LAUNCHERS = ("PMI", "OMPI_", "SLURM_", "PALS_", "MPI_LOCAL", "HYDRA_")  # started inside a job, this is not part of it
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}
# Inside a namespace: a host name and shared memory of its own (what killed ranks leave there goes too).
SEPARATE = "hostname $0 && mount -t tmpfs shm /dev/shm && exec"
# What mpiexec takes for ssh: its arguments are options, the host (the last number of an address is the namespace's)
# and a command for a shell.
REMOTE = f"""#!/bin/sh
while [ "${{1#-}}" != "$1" ]; do shift; done
name=STEM${{1##*.}}; shift
exec ip netns exec $name unshare -u sh -c '{SEPARATE} '"$*" $name
"""


class Skipped(SystemExit):
    """This machine does not permit such a link. It has been printed; uncaught, it ends Python with status 0."""

    def __init__(self, reason: str):
        print(f"skipped: {reason}", flush=True)
        super().__init__(0)


def bits_per_second(rate: str) -> float:
    """The number in a rate of tc, such as 100mbit."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)bit", rate)
    if not match or not float(match[1]):
        raise ValueError(f"rate {rate!r}: a positive number and bit, kbit, mbit or gbit, such as 100mbit")
    return float(match[1]) * UNITS[match[2]]


def call(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=20).stdout


def quiet(*words: str) -> str:
    """``call`` for cleaning up: what is not there is no error."""
    return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout


class Link:
    """Two joined namespaces; made by ``thin_link``."""

    def __init__(self, folder: str):
        self.stem = f"thin{os.getpid()}-"
        self.names = [self.stem + address.rpartition(".")[2] for address in ADDRESSES]
        self.remote = Path(folder) / "remote"
        self.remote.write_text(REMOTE.replace("STEM", self.stem))
        self.remote.chmod(0o755)
        self.before = 0

    def join(self, rate: str | None) -> None:
        for name in self.names:
            call("ip", "netns", "add", name)
        one, two = self.names
        call("ip", "link", "add", DEVICE, "netns", one, "type", "veth", "peer", "name", DEVICE, "netns", two)
        for name, address in zip(self.names, ADDRESSES, strict=True):
            call("ip", "-n", name, "address", "add", f"{address}/24", "dev", DEVICE)
            for device in ("lo", DEVICE):
                call("ip", "-n", name, "link", "set", device, "up")
            if rate:
                burst = max(5_000, round(bits_per_second(rate) / 8 * 0.0005))  # 0.5 ms may pass at once
                bucket = ("rate", rate, "burst", str(burst), "latency", "100ms")
                call("tc", "-n", name, "qdisc", "add", "dev", DEVICE, "root", "tbf", *bucket)
        # The kernel takes up to 1 s to call a device running, and until then UCX says that there is no such device.
        deadline = time.monotonic() + 10
        while not all("state UP" in call("ip", "-n", name, "link", "show", DEVICE) for name in self.names):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{DEVICE} does not come up")
            time.sleep(0.05)

    def run(self, words: list, timeout: float = 300) -> str:
        """Run a command on two ranks, one on each side, and return what it printed; raises if it fails or takes long.

        The first word is looked for beside this Python first.
        """
        kept = {key: value for key, value in os.environ.items() if not key.startswith(LAUNCHERS)}
        ours = {"PATH": PATH, "OMP_NUM_THREADS": "1", "UCX_TLS": "tcp,self", "UCX_NET_DEVICES": DEVICE}
        hosts = ["-localhost", ADDRESSES[0], "-hosts", ",".join(ADDRESSES), "-n", "2", "-ppn", "1"]
        mpiexec = ["mpiexec", "-launcher", "ssh", "-launcher-exec", self.remote, *hosts, *words]
        inside = ["ip", "netns", "exec", self.names[0], "unshare", "-u", "sh", "-c", f'{SEPARATE} "$@"']
        command = [*map(str, [*inside, self.names[0], *mpiexec])]
        self.before += self.wire_bytes()
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env={**kept, **ours}, start_new_session=True, **pipes) as job:
            try:
                out, err = job.communicate(timeout=timeout)
            finally:
                job.kill()
                self.end()
        if job.returncode:
            raise RuntimeError(f"{' '.join(map(str, words))}: exit status {job.returncode}\n{out}{err}")
        return out

    def wire_bytes(self) -> int:
        """Bytes that left the two ends since the last ``run`` began, headers and MPI's own talk included."""
        counter = f"/sys/class/net/{DEVICE}/statistics/tx_bytes"
        return sum(int(call("ip", "netns", "exec", name, "cat", counter)) for name in self.names) - self.before

    def check(self, result: str | Path) -> tuple[int, int]:
        """Bytes on the wire in the last run, and those that its result file says it sent; raises if they are fewer."""
        import h5py

        with h5py.File(result) as file:
            wire, said = self.wire_bytes(), int(file["mpi_bytes"][-1])
        if wire < said:
            raise RuntimeError(f"{said} bytes sent by MPI, but only {wire} on the link: it went another way")
        return wire, said

    def end(self) -> None:
        """Kill what still runs in the namespaces: nothing but what ``run`` has started."""
        deadline = time.monotonic() + 10
        for name in self.names:
            while time.monotonic() < deadline and (pids := quiet("ip", "netns", "pids", name).split()):
                for pid in map(int, pids):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)


@contextlib.contextmanager
def thin_link(rate: str | None = "100mbit"):
    """A link of this rate in each direction (None: as fast as the machine copies); Ctrl-C and SIGTERM remove it too.

    For the main thread, and one at a time.
    """
    if rate:
        bits_per_second(rate)
    if sys.platform != "linux" or os.geteuid():
        raise Skipped("network namespaces need Linux and root")
    tools = ("ip", "tc", "unshare", "hostname", "mount", "mpiexec")
    if missing := [tool for tool in tools if not shutil.which(tool, path=PATH)]:
        raise Skipped(f"not installed: {', '.join(missing)}")
    if "HYDRA" not in call(shutil.which("mpiexec", path=PATH), "--version"):
        raise Skipped("mpiexec is not MPICH's")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        link = Link(folder)
        try:
            try:
                link.join(rate)
            except subprocess.CalledProcessError as error:
                raise Skipped(f"{' '.join(error.cmd)}: {' '.join(error.stderr.split())}") from None
            yield link
        finally:
            for number in handlers:
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not end the cleaning up
            link.end()
            for name in link.names:  # the veth pair goes with them
                quiet("ip", "netns", "del", name)
            for number, handler in handlers.items():
                signal.signal(number, handler)
