"""The scripts of jobs/ in a real SLURM of one node, which the test starts and takes down again.

Asked for by MPIQOPT_TEST_SLURM=1 (``make test-slurm``), as it needs root and installs Debian packages.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from cluster import CPUS, Cluster, install, until
from tools.commands import environment

from mpiqopt.results.layout import REPRODUCIBLE

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("MPIQOPT_TEST_SLURM") != "1",
        reason="starts a SLURM, as root, from Debian packages that it installs: ask for it by MPIQOPT_TEST_SLURM=1",
    ),
    pytest.mark.timeout(200),
]
ROOT = Path(__file__).parents[2]
RANKS = 2
LAUNCHERS = ("srun", "mpiexec")

# Takes PAUSE seconds per iteration: long enough to be interrupted on any machine, without keeping two cores busy.
PLUGIN = """
import os, time
from mpiqopt.algorithms.proxgt import ProxGTSRE
from mpiqopt.registry import register

@register("algorithm", "unhurried")
class Unhurried(ProxGTSRE):
    def step(self, *arguments):
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return super().step(*arguments)
"""
ITERATIONS = 400
CONFIG = f"""
run = {{iterations = {ITERATIONS}, seed = 3}}
record = {{every = 5}}
checkpoint = {{every_seconds = 0.3}}
data = {{name = "synthetic", task = "classification", samples = 200, features = 10}}
problem = {{name = "logistic", l2 = 0.1}}
regularizer = {{name = "l1", weight = 0.01}}
topology = {{name = "ring", nodes = 8}}
algorithm = {{name = "unhurried", gossip_rounds = 2, step_size = 0.02}}
"""


@dataclass(frozen=True)
class Job:
    """A job that was submitted, its log and the result file that it is to write."""

    cluster: Cluster
    number: str
    log: Path
    result: Path

    def wait(self, seconds: float = 60) -> dict[str, str]:
        """What SLURM says of the job when it is over."""
        return self.cluster.wait(self.number, seconds)

    def wait_for_records(self) -> None:
        """Return when the ranks are at work."""
        until(self.result.exists, 30, "the first record", lambda: f"{self.text()}\n{self.cluster.logs()}")

    def wait_for_script(self) -> None:
        """Return when the script is about to start the ranks."""
        until(lambda: "restart 0" in self.text(), 30, "the script", self.cluster.logs)

    @property
    def checkpoint(self) -> Path:
        return self.result.with_name(f"{self.result.name}.checkpoint")

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else "(no log)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "run.toml").write_text(CONFIG)
    (folder / "plugin.py").write_text(PLUGIN)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if not Path(sys.executable).with_name("mpichversion").exists():
        pytest.skip("wants the mpich wheel: Debian's srun can start that, but not Open MPI's")
    if (reason := install()) is not None:
        pytest.skip(reason)
    with Cluster({**environment(), "VENV": sys.prefix}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def submit(cluster: Cluster, folder: Path):
    """Submit a script of jobs/ from the repository's root, as a user does. pause: seconds per iteration."""

    def start(
        script: str, name: str, *options: str, config: str = "run.toml", pause: float = 0, **variables: str
    ) -> Job:
        log, result = folder / f"{name}.log", folder / f"{name}.h5"
        number = cluster.submit(
            *(f"--ntasks={RANKS}", f"--output={log}", *options, f"jobs/{script}.sbatch"),
            *(str(folder / config), str(result), "--plugin", str(folder / "plugin.py")),
            cwd=ROOT,
            PAUSE=str(pause),
            **variables,
        )
        return Job(cluster, number, log, result)

    return start


@pytest.fixture(scope="module", autouse=True)
def clocked(submit) -> dict[str, Job]:
    """Jobs that wait for SLURM's clock, the slowest part: they do so while the other tests run."""
    # some 36 s of work; SLURM looks at the clock every 30 s, and 50 + 30 s before the job's end the signal is due
    options = ("--time=1", "--signal=B:USR1@50")
    jobs = {each: submit("preemptible", f"requeued-{each}", *options, pause=0.09, LAUNCHER=each) for each in LAUNCHERS}
    return {**jobs, "out of time": submit("run-srun", "out-of-time", "--time=1", pause=0.2)}


@pytest.fixture(scope="module")
def serial(folder: Path) -> dict[str, bytes]:
    """The same run in one process, without SLURM."""
    arguments = ["run", "run.toml", "-o", "serial.h5", "--plugin", "plugin.py", "-q"]
    subprocess.run([sys.executable, "-m", "mpiqopt", *arguments], cwd=folder, env=environment(), check=True, timeout=60)
    return contents(folder / "serial.h5")


def contents(path: Path) -> dict[str, bytes]:
    """The bits of everything that does not depend on ranks, time or interruptions."""
    with h5py.File(path) as file:
        assert file.attrs["status"] == "finished"
        names = [name for name in (*REPRODUCIBLE, "final/x") if name in file]
        assert np.array_equal(file["iteration"][()], np.arange(0, ITERATIONS + 1, 5))
        return {name: file[name][()].tobytes() for name in names}


@pytest.mark.parametrize("script", ["run-mpiexec", "run-srun"])
def test_single_run(script, submit, serial):
    job = submit(script, script)
    end = job.wait()
    assert (end["JobState"], end["ExitCode"]) == ("COMPLETED", "0:0"), job.text()
    with h5py.File(job.result) as file:
        assert file.attrs["ranks"] == RANKS
    assert contents(job.result) == serial


def test_srun_without_pmi_is_one_clear_error(submit):
    """Tasks that do not know of each other must not all write the same file."""
    job = submit("run-srun", "no-pmi", SRUN_MPI="none")
    end = job.wait()
    assert (end["JobState"], end["ExitCode"]) == ("FAILED", "2:0"), job.text()
    ours = [line for line in job.text().splitlines() if "mpiqopt" in line]
    assert len(ours) == 1, job.text()
    assert ours[0].startswith(f"mpiqopt: the launcher started {RANKS} processes")
    assert not job.result.exists()


def test_wrong_input_is_not_tried_again(submit, folder):
    (folder / "wrong.toml").write_text(CONFIG.replace("samples", "sample"))
    job = submit("preemptible", "wrong", config="wrong.toml")
    end = job.wait()
    assert (end["JobState"], end["ExitCode"], end["Restarts"]) == ("FAILED", "2:0", "0"), job.text()


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("early", [False, True])
def test_signal_stops_the_run_and_restarts_are_bounded(early, launcher, submit, cluster):
    """Early: ranks that are still starting up stop, too, instead of being killed by the signal."""
    job = submit("preemptible", f"bounded-{launcher}-{early}", pause=0.1, LAUNCHER=launcher, MAX_RESTARTS="0")
    (job.wait_for_script if early else job.wait_for_records)()
    cluster.cancel("--signal=USR1", "--batch", job.number)
    end = job.wait()
    assert (end["JobState"], end["ExitCode"], end["Restarts"]) == ("FAILED", "75:0", "0"), job.text()
    assert "stopped: signal SIGUSR1" in job.text()
    assert "not finished after 0 restarts" in job.text()
    assert job.checkpoint.exists()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_cancelled_job_stays_cancelled(launcher, submit, cluster):
    """The ranks stop with a checkpoint and 75 even then, but the script may not revive the job."""
    job = submit("preemptible", f"cancelled-{launcher}", pause=0.1, LAUNCHER=launcher)
    job.wait_for_records()
    cluster.cancel(job.number)
    end = job.wait()
    assert (end["JobState"], end["Restarts"]) == ("CANCELLED", "0"), job.text()
    assert "back into the queue" not in job.text().replace("not put back", "")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_goes_on_after_the_time_limit(launcher, clocked, serial):
    """The job is signalled before its time is over, puts itself back into the queue and goes on to the same bits."""
    job = clocked[launcher]
    end = job.wait(150)
    assert (end["JobState"], end["ExitCode"]) == ("COMPLETED", "0:0"), job.text()
    assert int(end["Restarts"]) >= 1
    assert job.text().count("stopped: signal SIGUSR1") == int(end["Restarts"])
    assert contents(job.result) == serial


def test_stops_before_the_job_ends(clocked):
    """Without any signal: mpiqopt knows when its job ends."""
    job = clocked["out of time"]
    end = job.wait(100)
    assert (end["JobState"], end["ExitCode"]) == ("FAILED", "75:0"), job.text()
    assert "stopped: end of the SLURM job" in job.text()


def test_goes_on_after_preemption(submit, cluster, folder, clocked, serial):
    """A job of another partition takes all CPUs; SLURM warns by a SIGTERM to the ranks."""
    for other in clocked.values():
        other.wait(150)
    jobs = [submit("preemptible", f"preempted-{each}", pause=0.02, LAUNCHER=each) for each in LAUNCHERS]
    for job in jobs:
        job.wait_for_records()
    whole_node = ("--partition=high", f"--ntasks={CPUS}", f"--output={folder / 'high.log'}", "--wrap", "true")
    cluster.submit(*whole_node, cwd=ROOT)
    for job in jobs:
        end = job.wait(100)
        assert (end["JobState"], end["ExitCode"]) == ("COMPLETED", "0:0"), job.text()
        assert int(end["Restarts"]) >= 1
        assert "stopped: signal SIGTERM" in job.text()
        assert contents(job.result) == serial


def test_goes_on_after_being_killed(submit, cluster, serial):
    """Without a warning, as when a node fails; what the ranks leave in shared memory does no harm."""
    jobs = [submit("preemptible", f"killed-{each}", pause=0.02, LAUNCHER=each) for each in LAUNCHERS]
    for job in jobs:
        until(job.checkpoint.exists, 30, "a checkpoint", job.text)
        cluster.kill(job.number)
    for job in jobs:
        assert job.wait()["JobState"] == "FAILED", job.text()
        cluster.requeue(job.number)
    for job in jobs:
        until(lambda: "restart 1" in job.text(), 30, "the restart", job.text)  # noqa: B023
        end = job.wait()
        assert (end["JobState"], end["ExitCode"]) == ("COMPLETED", "0:0"), job.text()
        assert contents(job.result) == serial
