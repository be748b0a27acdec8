"""Ranks that were told something else, have other versions or hold other files: status 2, one line, nothing hangs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tools.commands import environment, mpiexec
from tools.representatives import slow

pytestmark = pytest.mark.mpi
# seconds until a job that does not end is killed: one that is refused takes one or two
PATIENCE = 60
VERSION = """
import sys
import numpy
import mpiqopt
from mpiqopt.cli import main

{change}
sys.exit(main())
"""
PLUGIN = """
from dataclasses import dataclass
from mpiqopt.algorithms.dgd import DGD
from mpiqopt.registry import register

@register("algorithm", "mine")
@dataclass(frozen=True, kw_only=True)
class Mine(DGD):
    \"\"\"DGD.\"\"\"
"""


def job(*parts: list[str], folders: tuple[Path, ...], **variables: str) -> subprocess.CompletedProcess:
    """Start one rank for each command line, in folders of their own."""
    words = []
    for part, folder in zip(parts, folders, strict=True):
        words += [":"] * bool(words) + ["-n", "1", "-wdir", str(folder), sys.executable, *part]
    return subprocess.run(
        [mpiexec(), *words],
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def assert_refused(result: subprocess.CompletedProcess, *said: str) -> None:
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("mpiqopt: ") == 1
    assert "Traceback" not in result.stderr
    for words in said:
        assert words in result.stderr


def run(*more: str) -> list[str]:
    return ["-m", "mpiqopt", "run", "small.toml", "-q", "-o", "a.h5", *more]


OTHERS = {
    "config": ["-m", "mpiqopt", "run", "other.toml", "-q", "-o", "a.h5"],
    "iterations": run("--set", "run.iterations=50"),
    "step size": run("--set", "algorithm.step_size=0.01"),
    "option": run("--resume"),
    "wrong option": run("--no-such-option"),
    "output": ["-m", "mpiqopt", "run", "small.toml", "-q", "-o", "b.h5"],
    "subcommand": ["-m", "mpiqopt", "check", "small.toml"],
    "nothing": ["-m", "mpiqopt"],
}


@pytest.mark.representatives(1)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("other", OTHERS)
def test_other_arguments_are_refused(other, first, config, tmp_path):
    config()
    config("other.toml", run={"iterations": 30})
    parts = (OTHERS[other], run()) if first else (run(), OTHERS[other])
    result = job(*parts, folders=(tmp_path, tmp_path))
    assert_refused(result, "rank 1 on ", "rank 0 on ", "all ranks want the same arguments")
    assert not (tmp_path / "a.h5").exists()


CHANGES = {
    "mpiqopt 9.9": "mpiqopt.__version__ = '9.9'",
    "Python 3.99": "sys.version_info = (3, 99, 0)",
    "NumPy 7": "numpy.__version__ = '7.1.0'",
}


@pytest.mark.parametrize("version", CHANGES)
def test_other_versions_are_refused(version, config, tmp_path):
    config()
    (tmp_path / "other.py").write_text(VERSION.format(change=CHANGES[version]))
    result = job(run(), ["other.py", *run()[2:]], folders=(tmp_path, tmp_path))
    assert_refused(result, "rank 1 on ", f" has {version}, rank 0 on ", "all ranks want the same")


def test_the_third_rank_is_named(config, tmp_path):
    config()
    result = job(run(), run(), run("--resume"), folders=(tmp_path,) * 3)
    assert_refused(result, "rank 2 on ")


@pytest.fixture
def hosts(config, tmp_path) -> tuple[Path, Path]:
    """Two folders with the same files, as on hosts without a common file system; rank 0 starts in the first."""
    folders = tmp_path / "host0", tmp_path / "host1"
    for folder in folders:
        folder.mkdir()
        (folder / "mine.py").write_text(PLUGIN)
        (folder / "graph.edges").write_text("".join(f"{i} {(i + 1) % 8}\n" for i in range(8)))
        text = Path(config(topology={"name": "file", "path": "graph.edges"}, algorithm={"name": "mine"})).read_text()
        (folder / "small.toml").write_text(text)
    (tmp_path / "small.toml").unlink()
    return folders


def start(hosts) -> subprocess.CompletedProcess:
    part = run("--plugin", "mine.py")
    return job(part, part, folders=hosts)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("small.toml", "iterations = 40", "iterations = 41"), ("mine.py", "DGD.", "dgd."), ("graph.edges", "7 0", "7 1")],
)
def test_another_file_at_the_same_path_is_refused(file, old, new, hosts):
    """Of the same size, so that only its content tells."""
    path = hosts[1] / file
    path.write_text(path.read_text().replace(old, new))
    assert_refused(start(hosts), f"{file}: rank 1 on ", "holds another file there than rank 0")
    assert not (hosts[0] / "a.h5").exists()


def test_copies_of_the_files_are_as_good(hosts):
    for path in hosts[1].iterdir():
        os.utime(path, (1, 1))
    assert start(hosts).returncode == 0


def test_only_rank_0_needs_files(hosts):
    """The config, the plug-in that it names and the graph are handed out."""
    for path in [*hosts[1].iterdir()]:
        path.unlink()
    assert start(hosts).returncode == 0
    assert [*hosts[1].iterdir()] == []


OPENED = """
import builtins, io, os, sys
from mpiqopt.cli import main

own = os.getcwd()
def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith((".toml", ".edges", "mine.py")):
        print("opened", os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")), arguments[0], flush=True)
sys.addaudithook(note)
sys.exit(main())
"""


def test_ranks_that_share_a_file_system_open_nothing(hosts):
    (hosts[0] / "watched.py").write_text(OPENED)
    part = ["watched.py", *run("--plugin", "mine.py")[2:]]
    result = job(part, part, folders=(hosts[0], hosts[0]))
    assert result.returncode == 0, result.stderr
    opened = {tuple(line.split()[1:]) for line in result.stdout.splitlines() if line.startswith("opened")}
    assert {rank for rank, _ in opened} == {"0"}
    assert {Path(path).name for _, path in opened} == {"small.toml", "mine.py", "graph.edges"}


# words of commands that are for one process, and the file that they write
ALONE = {
    "show": (["show", "small.h5"], ""),
    "check": (["check", "small.toml"], ""),
    "list": (["list"], ""),
    "plot": (["plot", "small.h5", "-o", "a.svg"], "a.svg"),
    "topology": (["topology", "small.toml", "-o", "a.svg"], "a.svg"),
    "config-schema": (["config-schema"], ""),
    "examples": (["examples", "here"], "here/configs/digits.toml"),
    "compress-bench": (["compress-bench", "sign", "--size", "50", "-o", "a.svg"], "a.svg"),
    "version": (["--version"], ""),
    "help": (["--help"], ""),
    "help of run": (["run", "--help"], ""),
    "help of doctor": (["doctor", "-h"], ""),
}


# one that reads a result, one that writes files, and two that only print
QUICK = ("show", "examples", "version", "help")


@pytest.mark.parametrize("command", [*QUICK, *slow(*(name for name in ALONE if name not in QUICK))])
def test_commands_speak_once_under_a_launcher(command, mpiqopt, config, tmp_path):
    """As many lines as from one process, the same but for times, and each file written once."""
    config()
    words, written = ALONE[command]
    if "small.h5" in words:
        assert mpiqopt("run", "small.toml", "-q").returncode == 0
    result = mpiqopt(*words, ranks=3)
    files = sorted(tmp_path.rglob("*"))
    assert result.returncode == 0, result.stderr
    assert not written or (tmp_path / written).is_file()
    if command == "examples":
        assert "is there already" not in result.stdout
        return
    alone = mpiqopt(*words)
    assert sorted(tmp_path.rglob("*")) == files
    if command == "compress-bench":
        assert len(result.stdout.splitlines()) == len(alone.stdout.splitlines())
        assert result.stderr.count("measuring") == alone.stderr.count("measuring")
    else:
        assert (result.stdout, result.stderr) == (alone.stdout, alone.stderr)


WRONG = [
    ["rnu", "small.toml"],
    ["run"],
    ["run", "small.toml", "--set", "run.iteration=3"],
    ["run", "absent.toml"],
    ["show", "absent.h5"],
    *slow(
        ["run", "small.toml", "--no-such-option"],
        ["run", "small.toml", "--time-limit", "soon"],
        ["run", "small.toml", "--plugin", "absent.py"],
        ["check", "small.toml", "--ranks", "none"],
        ["list", "algorithms"],
        ["plot", "small.h5"],
        ["topology", "absent.toml"],
        ["compress-bench", "signs"],
        ["config-schema", "--markdwn"],
        ["examples"],
    ),
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_usage_is_one_line_under_a_launcher(words, mpiqopt, config):
    config()
    result, alone = mpiqopt(*words, ranks=3), mpiqopt(*words)
    assert_refused(result)
    assert alone.returncode == 2
    assert alone.stderr.strip() in result.stderr
    assert result.stdout == ""


def test_no_command_at_all_under_a_launcher(mpiqopt):
    result = mpiqopt(ranks=3)
    assert result.returncode == 2
    assert result.stdout.count("Usage: mpiqopt") == 1


WITHOUT_MPI = """
import sys
from mpiqopt.cli import main

sys.modules["mpi4py.MPI"] = None
sys.exit(main())
"""


@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1)])
def test_a_rank_that_finds_no_mpi_ends_the_job(ranks, config, tmp_path):
    said = subprocess.run([mpiexec(), "--version"], capture_output=True, text=True, timeout=30).stdout
    if ranks == (0,) and "Open MPI" in said:
        pytest.skip("Open MPI 5's mpiexec falls over, or hangs, where rank 0 alone ends before MPI_Init")
    config()
    (tmp_path / "without.py").write_text(WITHOUT_MPI)
    parts = [["without.py", *run()[2:]] if rank in ranks else run() for rank in range(2)]
    result = job(*parts, folders=(tmp_path, tmp_path))
    assert result.returncode != 0
    # Open MPI's mpiexec was seen to end the job before it forwarded the line
    assert result.stderr.count("mpi4py finds no MPI library") in ((0, 1) if "Open MPI" in said else (1,))


IMPORTED = """
import sys
from mpiqopt.cli import main
from mpiqopt.transport.launch import launched_rank

status = main()
if launched_rank():
    print("MODULES", *{name.split(".")[0] for name in sys.modules}, flush=True)
sys.exit(status)
"""
LARGE = {
    "click",
    "pydantic",
    "h5py",
    "tomllib",
    "tomli_w",
    "scipy",
    "networkx",
    "sklearn",
    "rich",
    "matplotlib",
    "json",
    "pandas",
    "pyarrow",
    "torch",
    "mlxtend",
    "PIL",
}
KINDS = {
    "small": {},
    "digits": {"data": {"name": "digits"}, "problem": {"name": "softmax"}},
    "csv": {"data": {"name": "csv", "path": "d.csv"}},
    "federated": {"topology": {"name": "star", "nodes": 8}, "algorithm": {"name": "fedavg"}},
    "random graph": {"topology": {"name": "random-regular", "nodes": 8, "degree": 3}},
    "coordinated": {"algorithm": {"name": "ftqc-admm"}},
    "ftqc": {"algorithm": {"name": "ftqc-admm", "coordinator": "ftqc"}},
    "compressed": {"algorithm": {"name": "lead"}, "compressor": {"name": "qsgd"}},
}
NETWORK = {"problem": {"name": "torch"}, "algorithm": {"name": "dgd", "step_size": 0.1}}


@pytest.mark.parametrize(
    "kind",
    [
        *("small", "csv", "random graph", "ftqc"),
        *slow("digits", "federated", "compressed"),
        pytest.param("network", marks=pytest.mark.torch),
    ],
)
def test_other_ranks_import_no_large_library(kind, config, tmp_path):
    """What reads configs, data and results is for rank 0 alone: many ranks start at once."""
    if kind == "network":
        pytest.importorskip("torch")
    config(**KINDS.get(kind, NETWORK))
    (tmp_path / "d.csv").write_text("a,b,y\n" + "".join(f"{j}.5,{j * j % 7},{'ny'[j % 2]}\n" for j in range(24)))
    (tmp_path / "noted.py").write_text(IMPORTED)
    part = ["noted.py", *run()[2:]]
    result = job(part, part, folders=(tmp_path, tmp_path))
    assert result.returncode == 0, result.stderr
    needed = {"torch", "json"} if kind == "network" else set()  # PyTorch imports the second
    assert set(result.stdout.split("MODULES")[1].split()) & LARGE == needed
