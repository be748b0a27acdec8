"""What is printed fits the terminal, with numbers that are whole and names that are names."""

import io
import re

import pytest
from tools.terminal import Terminal, rows, shown
from tools.trajectories import write

from mpiqopt.analysis.tables import Column, format_number, split_columns
from mpiqopt.cli import main
from mpiqopt.cli.commands import COMMANDS
from mpiqopt.run import progress
from mpiqopt.terminal import (
    escape_for_terminal,
    fit_on_terminal,
    shorten_for_terminal,
    terminal_width,
    two_terminal_columns,
)

WIDTHS = [40, 80, 200]


def live_rows(text: str) -> list[str]:
    return [row for row in rows(text) if re.match(r"iteration \d|\d+/\d|\d+ %", row)]


@pytest.mark.slow
def test_the_live_line_fits_the_terminal_as_it_is_resized(config, tmp_path):
    """Whatever the width, and when it changes during the run; iteration and stationarity are always there."""
    path = config(run={"iterations": 10**8}, record={"every": 1})
    terminal = Terminal("run", path, "-o", "a.h5", "--time-limit", "60", columns=200, folder=tmp_path)
    for width in (200, 80, 40, 200, 61):
        terminal.resize(width)
        terminal.read_until(lambda text: text.count("\r") > 2)  # those on the way still have the width before
        seen = live_rows(terminal.read_until(lambda text: text.count("\r") > 3))
        assert seen
        for row in seen[:-1]:  # the last may have been cut by reading
            assert len(row) < width, row
            assert " it/s" in row or width < 200
            assert "stat" in row, row
            assert re.match(r"iteration \d+/100000000 |\d+/100000000 |\d+ % ", row), row
    terminal.process.terminate()
    assert terminal.finish() == 75
    assert terminal.text.count("\n") < 12  # nothing scrolls: signs of life take one row, and the end has some


@pytest.mark.parametrize("width", [*range(1, 60), 80, 118, 200])
def test_as_many_facts_as_fit_the_first_ones_first(width):
    facts = (
        ("iteration 123456/1000000", "123456/1000000", "12 %"),
        ("stationarity 1.234e-03", "stat. 1.2e-03"),
        ("1:23:45 left",),
        ("consensus 1.2e-05",),
        ("1234 it/s",),
    )
    line = fit_on_terminal(facts, width)
    assert len(line) <= width
    assert bool(line) == (width >= 4)
    assert ("stat" in line) == (width >= 19)
    assert (" left" in line) == (width >= 33)
    assert ("consensus" in line) == (width >= 81)
    assert ("it/s" in line) == (width >= 92)


def test_a_terminal_without_a_width_has_eighty_columns(monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal_width(stream) == 80
    monkeypatch.setenv("COLUMNS", "40")
    assert terminal_width(stream) == 40


def test_pipes_have_no_width_but_where_columns_says_so_alone(monkeypatch):
    """COLUMNS and LINES together describe a parent's terminal, to which nothing of this goes."""
    monkeypatch.delenv("LINES", raising=False)
    for given, width in (("40", 40), ("", None), ("0", None), ("-3", None), ("wide", None), ("9" * 5000, 999999)):
        monkeypatch.setenv("COLUMNS", given)
        assert terminal_width(io.StringIO()) == width
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("COLUMNS", "40")
    assert terminal_width(io.StringIO()) is None


@pytest.mark.parametrize("stream", [None, "closed", "full"])
def test_progress_goes_on_where_nobody_listens(stream, monkeypatch):
    class Values:
        stationarity, consensus = 1e-3, 1e-5

    if stream == "full":
        stream = open("/dev/full", "w")  # noqa: SIM115
    elif stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(progress, "PLAIN", 0.0)
    monkeypatch.setattr("sys.stderr", None)
    line = progress.Progress(100, stream=stream)
    line.note("a note")
    line.update(0, Values)
    line.update(10, Values)
    line.close()
    assert not line.live


@pytest.mark.parametrize("width", WIDTHS)
def test_help_fits_the_terminal(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("LINES", raising=False)
    for words in ([], *([name] for name in COMMANDS)):
        assert main([*words, "--help"]) == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= width, words
        for name in COMMANDS if not words else []:
            assert re.search(rf"^  {name}\s", out, re.M)


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_tables_fit_the_terminal_with_whole_numbers(width, config, tmp_path, monkeypatch):
    """Every number that a pipe gets is there, at any width, in a real terminal and by COLUMNS."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LINES", raising=False)
    path = config(algorithm={"name": "ftqc-admm"}, run={"iterations": 20})
    assert main(["run", path, "-q"]) == 0
    for words in (["show", "small.h5"], ["topology", path], ["check", path], ["list"], ["doctor"]):
        full, narrow = (shown(*words, columns=each, folder=tmp_path) for each in (1000, width))
        assert max(map(len, narrow)) <= width, words
        numbers = [set(re.findall(r"(?<![\w.])\d[\d.e+-]*", " ".join(each))) for each in (full, narrow)]
        assert numbers[0] == numbers[1], words


def test_output_of_pipes_has_its_full_width(config, mpiqopt, tmp_path):
    assert mpiqopt("run", config(), "-q").returncode == 0
    out = mpiqopt("show", "small.h5").stdout
    assert max(map(len, out.splitlines())) > 100
    assert len([line for line in out.splitlines() if "stationarity" in line]) == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_compress_bench_fits_the_terminal(width, tmp_path):
    """The line that says how far it is, and the table; labels that are too long keep both ends."""
    words = ["qsgd", "eden,bits=3,block_size=64", "eden,bits=3,block_size=128"]
    out = shown("compress-bench", *words, "--size", "1000", "--repeat", "1", columns=width, folder=tmp_path)
    assert max(map(len, out)) <= width
    assert any(re.match(r"measured [123]/3", row) for row in out)
    text = "\n".join(out)
    for heading in ("bits/coordinate", "error", "bound", "encode × copy", "decode × copy"):
        assert text.count(heading) == 1
    names = {row.split("│")[0].strip() for row in out if "│" in row}
    assert len(names) == 3
    assert any(name.endswith("size=128") for name in names)


@pytest.mark.parametrize(
    "name", ["[red]x.h5", "run[1].h5", "[/].h5", ":smile:.h5", "[link=x]y.h5", "a\nb.h5", "日本.h5"]
)
def test_brackets_are_part_of_names(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, [3.0, 2.0])
    assert main(["show", name]) == 0
    assert f"{escape_for_terminal(name)}: dgd, ring 4\n" in capsys.readouterr().out


def test_long_names_take_a_row_of_their_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("LINES", raising=False)
    monkeypatch.chdir(tmp_path)
    name = "a-long-name-of-a-run-with-all-that-was-changed.h5"
    write(tmp_path / name, [3.0, 2.0])
    assert main(["show", name]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert (len(first), first[:5], first[-8:], second) == (40, "a-lon", "anged.h5", "dgd, ring 4")


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        ("{:.3f}", 0.000144, "0.000144"),
        ("{:.3f}", 0.0, "0.000"),
        ("{:.3f}", 1234.5678, "1234.568"),
        ("{:.0f}", 0.25, "0.25"),
        ("{:.0f}", 41.0, "41"),
        ("{:.0f}", 123456.4, "123456"),
        ("{:.2f}", -0.001, "-0.001"),
        ("{:d}", 7.0, "7"),
        ("{:.3e}", float("nan"), "nan"),
        ("{:.3f}", float("inf"), "inf"),
    ],
)
def test_no_number_is_rounded_to_nothing(form, value, said):
    assert format_number(form, value) == said


def test_columns_that_do_not_fit_go_below_with_the_first_one():
    found = split_columns([Column("k", ["1"]), Column("a" * 10, ["2"]), Column("b" * 10, ["3"])], 20)
    assert [[column.heading[0] for column in band] for band in found] == [["k", "a"], ["k", "b"]]
    assert len(split_columns(found[0] + found[1][1:], None)) == 1


def test_texts_stand_below_their_names_where_little_is_left_beside_them():
    entries = [("name", "one two three four five six")]
    assert two_terminal_columns(entries, None) == "name  one two three four five six\n"
    assert two_terminal_columns(entries, 30) == "name  one two three four five\n      six\n"
    assert two_terminal_columns(entries, 20, "# ") == "# name\n#     one two three\n#     four five six\n"
    assert two_terminal_columns([("alone", "")], 80) == "alone\n"


def test_names_are_shortened_in_the_middle():
    assert [shorten_for_terminal("abcdefgh", width) for width in (8, 7, 6, 2, 1)] == [
        "abcdefgh",
        "abc…fgh",
        "abc…gh",
        "a…",
        "…",
    ]


def test_what_moves_the_cursor_is_shown_as_an_escape():
    assert escape_for_terminal("a\x1b[31m\n\udcff日é") == "a\\x1b[31m\\n\\udcff日é"
