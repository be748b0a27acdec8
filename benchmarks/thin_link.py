"""Run MPI jobs on two hosts whose only connection is a link of a given rate and delay, on one machine (Linux, root).

Used by throttled.py:

    with thin_link(rate="100mbit") as link:
        print(link.run(["mpiqopt", "run", "a.toml", "-o", "a.h5"], timeout=300))
        wire, said = link.check("a.h5")

    with thin_link(rate=None, delay=0.005) as link:  # 5 ms each way
        link.run(["mpiqopt", "run", "a.toml", "-o", "a.h5"], ranks=4)

Each host is a network namespace with a host name and shared memory of its own; a veth pair joins the two, or, if there
is a delay, a pair of TAP devices with delay_line.py between them. A token bucket filter (tc tbf) holds each direction
to the rate; the link is full duplex. MPICH or Open MPI 5, whichever mpiexec is found beside this Python.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
OLDEST = 5  # of both libraries; version 4 of either is started in other ways
DEVICE = "thin0"  # the same name in both namespaces: UCX_NET_DEVICES is one for all ranks
ADDRESSES = ("10.0.0.1", "10.0.0.2")  # nobody outside the namespaces sees them
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}
DELAY_LINE = Path(__file__).with_name("delay_line.py")
TOOLS = ("ip", "tc", "unshare", "hostname", "mount", "mpiexec")
# Started inside a job, this is not part of it.
JOB_VARIABLES = ("PMI", "OMPI_", "PRTE_", "SLURM_", "PALS_", "MPI_LOCAL", "HYDRA_")
# Inside a namespace: a host name and shared memory of its own (what killed ranks leave there goes too). IPC, for it is
# there that UCX looks whether two ranks can share memory: the boot number of the kernel is one for all.
UNSHARE = ("unshare", "--uts", "--ipc")
SEPARATE = 'hostname "$0" && mount -t tmpfs shm /dev/shm || exit; '
# What mpiexec takes for ssh: its arguments are options, the host (the last number of an address is the namespace's)
# and a command for a shell.
REMOTE = f"""#!/bin/sh
while [ "${{1#-}}" != "$1" ]; do shift; done
name=STEM${{1##*.}}; shift
exec ip netns exec $name {" ".join(UNSHARE)} sh -c '{SEPARATE}'"$*" $name
"""
Launcher = Callable[[Path, int], tuple[list, dict[str, str]]]


class Skipped(SystemExit):
    """This machine does not permit such a link. It has been printed; uncaught, it ends Python with status 0."""

    def __init__(self, reason: str):
        self.reason = reason
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


def mpich(remote: Path, ranks: int) -> tuple[list, dict[str, str]]:
    """The command that starts ranks on both hosts, and the variables it wants.

    UCX carries only what goes from host to host: within a host MPICH has shared memory of its own.
    """
    hosts = ["-localhost", ADDRESSES[0], "-hosts", ",".join(ADDRESSES), "-ppn", (ranks + 1) // 2]
    words = ["mpiexec", "-launcher", "ssh", "-launcher-exec", remote, *hosts, "-n", ranks]
    variables = {
        "UCX_TLS": "tcp,self",
        "UCX_NET_DEVICES": DEVICE,
        # No such file, and hwloc looks for itself; without this each proxy makes one in /tmp, and if killed leaves it.
        "HWLOC_XMLFILE": str(remote.with_name("none.xml")),
    }
    return words, variables


def open_mpi(remote: Path, ranks: int) -> tuple[list, dict[str, str]]:
    """The same for Open MPI, which shares memory between ranks of one host name only."""
    first = (ranks + 1) // 2
    hosts = ["--host", f"{ADDRESSES[0]}:{first},{ADDRESSES[1]}:{first}", "--map-by", f"ppr:{first}:node:oversubscribe"]
    words = ["mpiexec", "--prtemca", "plm_ssh_agent", remote, "--prtemca", "prte_if_include", DEVICE]
    variables = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_pml": "ob1",
        "OMPI_MCA_btl": "tcp,sm,self",
        "OMPI_MCA_btl_tcp_if_include": DEVICE,
        "TMPDIR": str(remote.parent),  # what a killed job leaves there goes with it
    }
    return [*words, *hosts, "--bind-to", "none", "-n", ranks], variables


def launcher() -> Launcher:
    version = call(shutil.which("mpiexec", path=PATH), "--version")
    major = re.search(r"(?:Version:|Open MPI\))\s+(\d+)", version)
    if major and int(major[1]) < OLDEST:
        raise Skipped(f"jobs over two hosts are started by MPICH {OLDEST} or Open MPI {OLDEST}; here is {major[1]}")
    for said, function in {"HYDRA": mpich, "Open MPI": open_mpi}.items():
        if said in version:
            return function
    raise Skipped("mpiexec is neither MPICH's nor Open MPI's")


class Link:
    """Two joined namespaces; made by ``thin_link``."""

    def __init__(self, folder: str, start: Launcher):
        self.stem = f"thin{os.getpid()}-"
        self.names = [self.stem + address.rpartition(".")[2] for address in ADDRESSES]
        self.remote = Path(folder) / "remote"
        self.remote.write_text(REMOTE.replace("STEM", self.stem))
        self.remote.chmod(0o755)
        self.start = start
        self.forwarder: subprocess.Popen | None = None
        self.before = 0
        self.ranks = 0

    def join(self, rate: str | None, delay: float, mtu: int) -> None:
        for name in self.names:
            call("ip", "netns", "add", name)
        if delay:
            self.add_taps(delay)
        else:
            one, two = self.names
            call("ip", "link", "add", DEVICE, "netns", one, "type", "veth", "peer", "name", DEVICE, "netns", two)
        for name, address in zip(self.names, ADDRESSES, strict=True):
            configure(name, address, rate, mtu)
        # The kernel takes up to 1 s to call a device running, and until then UCX says that there is no such device.
        deadline = time.monotonic() + 10
        while not all(map(running, self.names)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{DEVICE} does not come up")
            time.sleep(0.05)

    def add_taps(self, delay: float) -> None:
        """They are there as long as the process that carries frames between them."""
        command = [sys.executable, DELAY_LINE, str(delay), DEVICE, *self.names]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.forwarder = subprocess.Popen(command, start_new_session=True, **pipes)  # Ctrl-C must not reach it
        said = self.forwarder.stdout
        line = said.readline() if select.select([said], [], [], 20)[0] else "nothing"
        if line != "ready\n":
            raise Skipped(f"{DELAY_LINE.name}: {line.strip()}")

    def run(self, words: list, timeout: float = 300, ranks: int = 2, **variables: str) -> str:
        """Run a command on so many ranks and return what it printed; raises if it fails or takes long.

        The first half of the ranks (and the one in the middle) is on one side, the second on the other. The first word
        is looked for beside this Python first. ``variables`` are added to the environment.
        """
        mpiexec, wanted = self.start(self.remote, ranks)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(JOB_VARIABLES)}
        environment = {**kept, "PATH": PATH, "OMP_NUM_THREADS": "1", **wanted, **variables}
        inside = ["ip", "netns", "exec", self.names[0], *UNSHARE, "sh", "-c", f'{SEPARATE} exec "$@"']
        command = [*map(str, [*inside, self.names[0], *mpiexec, *words])]
        self.before += self.wire_bytes()
        self.ranks = ranks
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as job:
            try:
                out, err = job.communicate(timeout=timeout)
            finally:
                job.terminate()
                self.end(patience=2)  # mpiexec and its proxies take their files in /tmp along
        if job.returncode:
            raise RuntimeError(f"{' '.join(map(str, words))}: exit status {job.returncode}\n{out}{err}")
        return out

    def wire_bytes(self) -> int:
        """Bytes that left the two ends since the last ``run`` began, headers and MPI's own talk included."""
        counter = f"/sys/class/net/{DEVICE}/statistics/tx_bytes"
        return sum(int(call("ip", "netns", "exec", name, "cat", counter)) for name in self.names) - self.before

    def check(self, result: str | Path) -> tuple[int, int]:
        """Bytes on the wire in the last run, and those that its result file says it sent; raises if they are fewer.

        For two ranks: of more, those on one host do not send over the link.
        """
        import h5py

        if self.ranks != 2:
            raise ValueError(f"{self.ranks} ranks: want 2, one on each side")
        with h5py.File(result) as file:
            wire, said = self.wire_bytes(), int(file["mpi_bytes"][-1])
        if wire < said:
            raise RuntimeError(f"{said} bytes sent by MPI, but only {wire} on the link: it went another way")
        return wire, said

    def end(self, patience: float = 0) -> None:
        """Kill what still runs in the namespaces after so many seconds: nothing but what ``run`` has started."""
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < patience + 10 and (pids := self.pids()):
            for pid in pids if passed >= patience else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def pids(self) -> list[int]:
        return [int(pid) for name in self.names for pid in quiet("ip", "netns", "pids", name).split()]

    def remove(self) -> None:
        """Everything that ``join`` and ``run`` have made."""
        self.end()
        if self.forwarder:
            with self.forwarder:  # closes its pipes and waits for it
                self.forwarder.kill()
        for name in self.names:  # the veth pair goes with them
            quiet("ip", "netns", "del", name)


def configure(name: str, address: str, rate: str | None, mtu: int) -> None:
    """Set up one end of the link."""
    # A queue that holds what TCP may send within a round trip; no talk of IPv6 on the link.
    device = ("mtu", str(mtu), "txqueuelen", "10000", "addrgenmode", "none")
    call("ip", "-n", name, "link", "set", "dev", DEVICE, *device)
    call("ip", "-n", name, "address", "add", f"{address}/24", "dev", DEVICE)
    for device in ("lo", DEVICE):
        call("ip", "-n", name, "link", "set", device, "up")
    # Not what the machine prefers: BBR, for one, spreads a message over a round trip. Every kernel has and allows Reno.
    call("ip", "netns", "exec", name, "sh", "-c", "echo reno > /proc/sys/net/ipv4/tcp_congestion_control")
    if rate:
        burst = max(5_000, mtu + 100, round(bits_per_second(rate) / 8 * 0.0005))  # 0.5 ms may pass at once
        bucket = ("rate", rate, "burst", str(burst), "latency", "100ms")
        call("tc", "-n", name, "qdisc", "add", "dev", DEVICE, "root", "tbf", *bucket)


def running(name: str) -> bool:
    """Whether an end can send: a veth device says so, a TAP device has no state."""
    return bool(re.search(r"LOWER_UP.* state (UP|UNKNOWN)", call("ip", "-n", name, "link", "show", DEVICE)))


def permitted() -> None:
    """Raise ``Skipped`` where nothing of this can work."""
    if sys.platform != "linux" or os.geteuid():
        raise Skipped("network namespaces need Linux and root")
    if missing := [tool for tool in TOOLS if not shutil.which(tool, path=PATH)]:
        raise Skipped(f"not installed: {', '.join(missing)}")


@contextlib.contextmanager
def removed_after_signals(link: Link) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block, and the link is removed then too."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def leave(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        for number in handlers:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not end the cleaning up
        link.remove()
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def thin_link(rate: str | None = "100mbit", delay: float = 0.0, mtu: int = 1500) -> Iterator[Link]:
    """A link of this rate (None: as fast as the machine copies) and delay in seconds in each direction.

    For the main thread, and one at a time.
    """
    if rate:
        bits_per_second(rate)
    if not 0 <= delay < 60:
        raise ValueError(f"delay {delay!r}: seconds, from 0 to 60")
    permitted()
    with tempfile.TemporaryDirectory() as folder:
        link = Link(folder, launcher())
        with removed_after_signals(link):
            try:
                link.join(rate, delay, mtu)
            except subprocess.CalledProcessError as error:
                raise Skipped(f"{' '.join(error.cmd)}: {' '.join(error.stderr.split())}") from None
            yield link
