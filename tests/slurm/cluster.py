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
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

PACKAGES = {"munge": "munged", "slurmctld": "slurmctld", "slurmd": "slurmd", "slurm-client": "sbatch"}
# Of these the machine need not have as many.
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
# not that of an earlier test, whose killed ranks may have left shared memory that is named after the job
FirstJobId={first_job}
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
# a job in "high" puts jobs in "low" back into the queue, GraceTime seconds after a SIGTERM that warns them
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
    options = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdin": subprocess.DEVNULL, "timeout": 120}
    try:
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", "-q", *arguments], capture_output=True, text=True, check=True, **options)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip() or "no output").splitlines()[-1]
        return f"apt-get {arguments[0]}, for {', '.join(missing)}: {last}"
    except subprocess.TimeoutExpired as error:
        return f"apt-get {arguments[0]}, for {', '.join(missing)}: not done after {error.timeout:g} s"
    return None


class Cluster:
    """``with Cluster(environment) as cluster``: started and ready for jobs; taken down whatever happens.

    environment: of the daemons and commands, and so of the jobs.
    """

    def __init__(self, environment: dict[str, str]):
        self.folder = Path(tempfile.mkdtemp(prefix="mpiqopt-slurm-"))
        self.daemons: list[subprocess.Popen] = []
        self.conf = self.folder / "slurm.conf"
        self.environment = {**environment, "SLURM_CONF": str(self.conf)}

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
        numbers = {
            "controller_port": controller_port,
            "node_port": node_port,
            "first_job": 1 + secrets.randbelow(60_000_000),
            "cpus": CPUS,
        }
        self.conf.write_text(CONFIGURATION.format(host=host, folder=self.folder, **numbers))
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir()
        # munged wants a socket that everyone can reach; mkdtemp made the folder private
        self.folder.chmod(0o755)
        munge = self.folder / "munge"
        (munge / "key").touch(mode=0o600)
        (munge / "key").write_bytes(secrets.token_bytes(128))
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._daemon("munged", "--foreground", *(f"--{option}={munge / name}" for option, name in files.items()))
        until((munge / "socket").exists, 10, "munged's socket")
        self._daemon("slurmctld", "-D", "-c", "-f", str(self.conf))
        until(lambda: "UP" in self._run("scontrol", "ping", check=False), 20, "slurmctld")
        self._daemon("slurmd", "-D", "-f", str(self.conf))
        until(lambda: self._run("sinfo", "--noheader", "-p", "low", "-o", "%T", check=False) == "idle", 20, "the node")

    def _daemon(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "wb") as output:
            daemon = subprocess.Popen(
                # none of them stays behind, even if this process is killed
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.daemons.append(daemon)

    def _run(self, *command: str, check: bool = True, cwd: Path | None = None) -> str:
        streams = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        done = subprocess.run(command, env=self.environment, timeout=30, cwd=cwd, **streams)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def submit(self, *arguments: str, cwd: Path, **variables: str) -> str:
        """sbatch, with environment variables for the job; returns the job's number."""
        export = ",".join(["ALL", *(f"{name}={value}" for name, value in variables.items())])
        return self._run("sbatch", "--parsable", f"--export={export}", *arguments, cwd=cwd)

    def job(self, number: str) -> dict[str, str]:
        """What scontrol shows of a job."""
        return dict(re.findall(r"(\S+?)=(\S*)", self._run("scontrol", "--oneliner", "show", "job", number)))

    def cancel(self, *arguments: str) -> None:
        """scancel"""
        self._run("scancel", *arguments)

    def requeue(self, number: str) -> None:
        """scontrol requeue"""
        self._run("scontrol", "requeue", number)

    def wait(self, number: str, seconds: float) -> dict[str, str]:
        """The job, when it is over."""
        until(lambda: self.job(number)["JobState"] in OVER, seconds, f"the end of job {number}", self.logs)
        return self.job(number)

    def logs(self) -> str:
        """The last lines of every daemon's log."""
        paths = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out"), *self.folder.glob("munge/log")])
        return "\n".join(f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-15:]) for path in paths)

    def stop(self) -> None:
        """End jobs, daemons and whatever is left of them; remove the folder."""
        with ExitStack() as whatever_happens:
            whatever_happens.callback(shutil.rmtree, self.folder, ignore_errors=True)
            whatever_happens.callback(self.kill)
            for daemon in self.daemons:
                whatever_happens.callback(_end, daemon)
            if len(self.daemons) == 3:
                with suppress(RuntimeError, subprocess.SubprocessError, AssertionError):
                    self._run("scancel", "--user=root")
                    until(lambda: not self._run("squeue", "--noheader"), 15, "the end of all jobs")

    def kill(self, number: str = "") -> None:
        """Kill the processes of a job, or of every job, at once and without SLURM's help."""
        conf, job = f"SLURM_CONF={self.conf}".encode(), f"SLURM_JOB_ID={number}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it ended meanwhile
                variables = path.read_bytes().split(b"\0")
                ours = job in variables if number else any(each.startswith(job) for each in variables)
                if conf in variables and ours:
                    os.kill(int(path.parent.name), signal.SIGKILL)


def _end(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def until(condition: Callable[[], bool], seconds: float, what: str, explain: Callable[[], str] = str) -> None:
    """Return when the condition holds; AssertionError with an explanation if that takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}\n{explain()}")
        time.sleep(0.2)
