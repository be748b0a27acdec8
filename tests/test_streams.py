"""Standard streams that are closed, full or not read: no traceback, and a run's file is whole."""

import subprocess
import sys

import h5py
import pytest
from tools.commands import TIMEOUT, environment

PRINTING = [
    "show small.h5",
    "list",
    "list compressor",
    "check small.toml",
    "topology small.toml",
    "doctor",
    "config-schema",
    "compress-bench identity --size 10 --repeat 1",
    "--help",
    "run --help",
    "--version",
    "examples there",
]


@pytest.fixture
def shell(config, tmp_path):
    """Run a line of bash in which ``mpiqopt`` is the command, where small.toml and small.h5 are."""
    config()

    def run(line: str, *, buffered: bool = True) -> subprocess.CompletedProcess:
        variables = environment() | ({} if buffered else {"PYTHONUNBUFFERED": "1"})
        define = f'mpiqopt() {{ "{sys.executable}" -m mpiqopt "$@"; }}; set -o pipefail; '
        words = ["bash", "-c", define + line]
        return subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=TIMEOUT)

    assert run("mpiqopt run small.toml -q").returncode == 0
    return run


@pytest.mark.parametrize("words", PRINTING)
def test_what_cannot_be_printed_is_one_line_and_status_1(words, shell):
    for where in (">/dev/full", ">&-"):
        result = shell(f"mpiqopt {words} {where}", buffered=where == ">&-")
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.stderr
        assert result.stderr.startswith("mpiqopt: standard output: ")


@pytest.mark.parametrize("words", ["show small.h5", "list", "doctor"])
def test_a_reader_that_has_gone_is_no_news(words, shell):
    result = shell(f"(sleep 1; mpiqopt {words}) | true")
    assert (result.returncode, result.stderr) == (1, "")
    assert shell(f"mpiqopt {words} >&- 2>&-").returncode == 1


@pytest.mark.parametrize("words", ["show nothing.h5", "nonsense", "check nothing.toml"])
def test_an_error_that_nobody_hears_keeps_its_status(words, shell):
    for where in ("2>&-", "2>/dev/full", "2> >(true)"):
        assert shell(f"mpiqopt {words} {where}").returncode == 2
    assert shell(f"mpiqopt {words} 2>&-").stdout == ""  # it does not come out elsewhere


@pytest.mark.parametrize(
    "where",
    ["2>&-", "2>/dev/full", ">&-", ">&- 2>&-", ">/dev/full 2>/dev/full", "<&- >&- 2>&-", "2> >(true)", "2>&1 | true"],
)
def test_a_run_goes_on_whatever_becomes_of_its_messages(where, shell, tmp_path):
    """And none of them ends up in its file, which would get the number of a closed stream."""
    result = shell(f"mpiqopt run small.toml -o a.h5 --set record.every=1 {where}")
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    with h5py.File(tmp_path / "a.h5") as file, h5py.File(tmp_path / "small.h5") as quiet:
        assert file.attrs["status"] == "finished"
        assert file["iteration"][()].tolist() == list(range(41))
        assert file["objective"][-1] == quiet["objective"][-1]


@pytest.mark.slow
@pytest.mark.parametrize("words", ["plot small.h5 -o a.png", "topology small.toml -o a.png"])
def test_a_figure_is_written_even_if_nobody_can_be_told(words, shell, tmp_path):
    """Its status is that of the figure; of a command that prints as well, that of the printing."""
    for where in (">&-", ">/dev/full", "2>&-", ">&- 2>&-"):
        (tmp_path / "a.png").unlink(missing_ok=True)
        result = shell(f"mpiqopt {words} {where}")
        assert result.returncode == ("topology" in words and where.startswith(">"))
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
        assert "Traceback" not in result.stderr


def test_a_name_that_is_no_text_is_printed(shell):
    """Bytes that are no characters in any encoding, where output is ASCII too."""
    result = shell("cp small.h5 $'\\xff\\u65e5.h5'; PYTHONIOENCODING=ascii mpiqopt show $'\\xff\\u65e5.h5'")
    assert result.returncode == 0, result.stderr
    assert "gradient-tracking, ring 8" in result.stdout
