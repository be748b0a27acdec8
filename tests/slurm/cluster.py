"""A SLURM of one node for a test: munged, slurmctld and slurmd from Debian's packages, all in one temporary folder.

Nothing of the machine's own SLURM or munge is read or changed: keys, sockets, ports, state and logs are the cluster's.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PACKAGES = {"munge": "munged", "slurmctld": "slurmctld", "slurmd": "slurmd", "slurm-client": "sbatch"}
CPUS = 8
# States of a job that is over; COMPLETING and the states of a requeued job are not among them.
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}

CONFIGURATION = """\
ClusterName=mpiqopt-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
# cred_expire is also how long a requeued job waits before it may start again (120 s by default)
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# neither cgroups nor a database: this runs in a container, too
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
PropagateResourceLimits=NONE
JobRequeue=1
KillWait=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=2
# more CPUs than the machine may have
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
# jobs of the partition "high" push jobs of "low" back into the queue, after a warning (SIGTERM) and GraceTime seconds
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=low Nodes={host} Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=20
PartitionName=high Nodes={host} MaxTime=60 State=UP PriorityTier=10
"""


def install() -> str | None:
    """Install the packages that are missing; why that cannot be done, or None."""
    if os.geteuid() != 0:
        return "SLURM's daemons are started as root, and this is not root"
    missing = [package for package, program in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return None
    if shutil.which("apt-get") is None:
        return f"{', '.join(missing)} not there, and no apt-get to install it with"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )
    if done.returncode != 0:
        return f"apt-get install {' '.join(missing)} failed: {(done.stderr.strip() or done.stdout).splitlines()[-1]}"
    return None


class Cluster:
    """``with Cluster() as cluster``: started and ready for jobs; taken down whatever happens."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="mpiqopt-slurm-"))
        self.daemons: list[subprocess.Popen] = []
        self.conf = self.folder / "slurm.conf"
        self.environment = {**_environment(), "SLURM_CONF": str(self.conf)}

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException as error:
            logs = self.logs()
            self.stop()
            raise RuntimeError(f"SLURM did not start: {error}\n{logs}") from error
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _start(self) -> None:
        host = socket.gethostname().partition(".")[0]
        controller_port, node_port = _free_ports(2)
        text = CONFIGURATION.format(
            host=host, folder=self.folder, cpus=CPUS, controller_port=controller_port, node_port=node_port
        )
        self.conf.write_text(text)
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir()
        # clients of munge must reach the socket; mkdtemp made the folder private
        self.folder.chmod(0o755)
        munge = self.folder / "munge"
        key = munge / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._daemon("munged", "--foreground", *(f"--{option}={munge / name}" for option, name in files.items()))
        _until(lambda: (munge / "socket").exists(), 10, "munged's socket")
        self._daemon("slurmctld", "-D", "-c", "-f", str(self.conf))
        _until(lambda: "UP" in self._run("scontrol", "ping", check=False), 20, "slurmctld")
        self._daemon("slurmd", "-D", "-f", str(self.conf))
        _until(lambda: self._run("sinfo", "--noheader", "-o", "%T", check=False) == "idle", 20, "the node to be idle")

    def _daemon(self, *command: str) -> None:
        # the parent-death signal: none of them stays behind, even if this process is killed
        output = open(self.folder / f"{command[0]}.out", "wb")  # noqa: SIM115
        with output:
            daemon = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.daemons.append(daemon)

    def _run(self, *command: str, check: bool = True, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            cwd=cwd,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def submit(self, *arguments: str, cwd: Path) -> str:
        """sbatch; returns the job's number."""
        return self._run("sbatch", "--parsable", *arguments, cwd=cwd)

    def job(self, number: str) -> dict[str, str]:
        """What scontrol shows of a job."""
        return dict(re.findall(r"(\S+?)=(\S*)", self._run("scontrol", "--oneliner", "show", "job", number)))

    def cancel(self, *arguments: str) -> None:
        self._run("scancel", *arguments)

    def wait(self, number: str, seconds: float) -> dict[str, str]:
        """The job, when it is over."""
        _until(lambda: self.job(number)["JobState"] in OVER, seconds, f"the end of job {number}", self.logs)
        return self.job(number)

    def logs(self) -> str:
        """The last lines of every daemon's log."""
        paths = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out"), *self.folder.glob("munge/log")])
        return "\n".join(f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-15:]) for path in paths)

    def stop(self) -> None:
        """End jobs, daemons and whatever is left of them; remove the folder."""
        with suppress(RuntimeError, subprocess.SubprocessError, AssertionError):
            self._run("scancel", "--user=root")
            _until(lambda: not self._run("squeue", "--noheader"), 15, "the jobs to end")
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _processes(self) -> list[int]:
        """Processes that still carry this cluster's SLURM_CONF: job steps that outlived their job."""
        mark = f"SLURM_CONF={self.conf}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found


def _environment() -> dict[str, str]:
    """This process's environment without an MPI or SLURM that it may itself run under."""
    strange = ("SLURM", "SBATCH", "SRUN", "PMI", "OMPI", "PRTE", "HYDRA", "MPIR")
    return {name: value for name, value in os.environ.items() if not name.startswith(strange)}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _until(condition, seconds: float, what: str, explain=lambda: "") -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}\n{explain()}")
        time.sleep(0.2)
