"""The package as a user meets it: in a source folder whose kernels are elsewhere, and with its examples."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tools.commands import environment

import mpiqopt as package

ROOT = Path(__file__).parent.parent


@pytest.fixture
def source_folder(tmp_path) -> Path:
    """A checkout in which nothing is built."""
    there = Path(package.__file__).parent
    shutil.copytree(there, tmp_path / "mpiqopt", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


def started(folder: Path, code: str) -> subprocess.CompletedProcess:
    """``python -m mpiqopt list topology`` in ``folder``, after ``code``."""
    run = "import runpy, sys; sys.path.insert(0, ''); sys.argv[1:] = ['list', 'topology']; "
    run += f"{code}; runpy.run_module('mpiqopt', run_name='__main__', alter_sys=True)"
    return subprocess.run(
        [sys.executable, "-c", run], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60
    )


def test_a_source_folder_does_not_hide_the_installed_package(source_folder):
    """As after `pip install .` in a checkout: the folder has no kernels, and Python looks there first."""
    result = started(source_folder, "import mpiqopt; print(mpiqopt.__file__, flush=True)")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(package.__file__)
    assert "hypercube" in result.stdout


def test_without_any_kernels_one_line_says_what_to_type(source_folder):
    installed = str(Path(package.__file__).parent.parent)
    if Path(installed, "click").exists():
        pytest.skip("installed beside what it needs: neither can be had without the other")
    editable = "[f for f in sys.meta_path if not f.__module__.startswith('__editable__')]"
    plain = f"[path for path in sys.path if path != {installed!r}]"
    result = started(source_folder, f"sys.meta_path = {editable}; sys.path = {plain}")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "kernels are not built" in result.stderr
    assert "pip install ." in result.stderr


def test_examples_are_copied_and_nothing_is_overwritten(mpiqopt, tmp_path):
    assert "`mpiqopt examples .` copies the examples here" in mpiqopt("check", "configs/digits.toml").stderr
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "digits.toml").write_text("mine")
    result = mpiqopt("examples", ".")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line for line in lines if "written" not in line] == ["configs/digits.toml is there already: left as it is"]
    assert (tmp_path / "configs" / "digits.toml").read_text() == "mine"
    for source in [*ROOT.glob("configs/*"), *ROOT.glob("jobs/*")]:
        copy = tmp_path / source.relative_to(ROOT)
        assert copy.read_bytes() == source.read_bytes() or source.name == "digits.toml"
    assert mpiqopt("check", "configs/straggler.toml").returncode == 0


def test_examples_say_where_they_cannot_be_written(mpiqopt, tmp_path):
    (tmp_path / "file").write_text("")
    result = mpiqopt("examples", "file")
    assert (result.returncode, result.stdout) == (2, "")
    assert "file/configs/breast-cancer.toml: cannot write there" in result.stderr
    assert result.stderr.count("\n") == 1
