"""PyTorch is an extra: nothing but networks imports it; what check, list and doctor say with and without it."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.commands import environment

from mpiqopt.cli import doctor, main
from mpiqopt.neural.models import model_names

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
# a process that says at its end which libraries of networks it has imported
IMPORTS = """
import sys
from mpiqopt.cli import main

status = main()
print("IMPORTED", *{"torch", "torchao", "mlxtend"} & {name.split(".")[0] for name in sys.modules})
sys.exit(status)
"""


@pytest.mark.parametrize(
    "words",
    ["run small.toml -q -o a.h5", "check small.toml", "topology small.toml", "list", "list model", "config-schema"],
)
def test_nothing_without_a_network_imports_pytorch(words, config, tmp_path):
    config(problem={"name": "softmax"})
    run = subprocess.run(
        [sys.executable, "-c", IMPORTS, *words.split()],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "IMPORTED"


def test_doctor_says_that_pytorch_is_not_installed(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert doctor._torch() == "PyTorch is not installed: networks need pip install 'mpiqopt[torch]'"


def test_doctor_says_why_pytorch_cannot_be_imported(monkeypatch):
    """As where a library of CUDA is missing."""
    monkeypatch.setattr(doctor, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "mpiqopt.neural.device", None)
    assert doctor._torch().startswith("PyTorch cannot be imported: ")


def test_list_names_the_networks(capsys):
    assert main(["list", "model"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading == "model"
    assert [line.split()[0] for line in lines] == model_names()
    assert all(re.match(r"  \w+ +\w+", line) for line in lines)


def test_the_page_has_every_network():
    page = (ROOT / "docs" / "networks.md").read_text()
    assert {name for name in model_names() if f"\n| `{name}` |" in page} == set(model_names())


@pytest.mark.torch
def test_check_prints_what_the_page_says(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "networks.md").read_text()
    (text,), (said,) = (re.findall(rf"```{kind}\n(.*?)```", page, re.S) for kind in ("toml", "text check"))
    Path("c.toml").write_text(text)
    assert main(["check", "c.toml"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert len(said.splitlines()) > 5
    assert all(" ".join(line.split()) in printed for line in said.splitlines())


@pytest.mark.torch
def test_doctor_names_pytorch():
    pytest.importorskip("torch")
    assert doctor._torch().startswith(f"PyTorch {version('torch')} on ")


@pytest.mark.torch
def test_check_lists_blocks_and_options(config, capsys):
    """A CNN with batch normalisation, of d = 1 x 9 x 4 + 4, 2 x 4, (4 x 3 x 3) x 6 + 6, 6 x 10 + 10, and 2 x 4."""
    pytest.importorskip("torch")
    options = {"channels": [4], "norm": "batch", "dense": [6]}
    path = config(data={"name": "digits"}, problem={"name": "torch", "model": "cnn", "options": options})
    assert main(["check", path, "--set", "algorithm.step_size=0.1"]) == 0
    said = dict(re.findall(r"^# +([\w. ]+?)  +(.*)$", capsys.readouterr().out, re.M))
    assert said["parameter"] == "348 coordinates"
    assert said["network"] == "cnn"
    assert [said[name] for name in ("conv1", "dense1", "output")] == [
        "48 parameters",
        "222 parameters",
        "70 parameters",
    ]
    assert said["buffers"].startswith("8 numbers")
    assert said["options.channels"] == "[4]: a list, each a whole number from 1 up"
    assert said["options.kernel"] == "3: a whole number from 1 up"
    assert said["options.norm"] == "\"batch\": 'none' or 'batch' or 'group'"


@pytest.mark.torch
@pytest.mark.mpi
def test_the_example_of_an_own_network_learns_alike_on_any_ranks(mpiqopt, tmp_path):
    """docs/examples/own_model.toml, shortened: more than 9 of 10 held-out digits are right after 10 iterations."""
    pytest.importorskip("torch")
    shorter = ["--set", "run.iterations=10", "--set", "record.every=10"]
    found = []
    for ranks in (0, 3):
        words = ["run", EXAMPLES / "own_model.toml", *shorter, "-q", "-o", f"{ranks}.h5"]
        result = mpiqopt(*words, ranks=ranks)
        assert result.returncode == 0, result.stderr
        with h5py.File(tmp_path / f"{ranks}.h5") as file:
            found.append([file[name][()] for name in ("final/x", "objective", "accuracy")])
    assert all(map(np.array_equal, *found))
    assert found[0][2][-1] > 0.9
