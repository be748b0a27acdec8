"""Hostile calls end as documented; and the fuzzer that makes them sees every way in which they might not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tools import calls, fuzz, results
from tools.calls import Caller, Outcome
from tools.cases import Bench, Case, checked_and_run, of_config, of_result, of_resume, of_start
from tools.commands import environment
from tools.results import CHECKPOINT, RESULT, Base

TESTS = Path(__file__).parent


@pytest.mark.parametrize(("seed", "calls"), [(1, 40), pytest.param(2, 250, marks=pytest.mark.slow)])
def test_hostile_calls_end_as_documented(seed, calls):
    """A few hundred of them; `make fuzz` makes thousands."""
    words = [sys.executable, "-m", "tools.fuzz", "--seed", str(seed), "--calls", str(calls), "--jobs", "1"]
    variables = environment() | {"PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    run = subprocess.run(words, cwd=TESTS, env=variables, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no failures" in run.stdout


FAKES = {
    "all right": ("print('fine')", []),
    "status 2 as it should be": ("fail('mpiqopt: c.toml: no', 2)", []),
    "traceback": ("1 / 0", ["traceback"]),
    "hang": ("time.sleep(60)", ["hang"]),
    "undocumented status": ("fail('mpiqopt: no', 3)", ["status 3"]),
    "crash": ("os.kill(os.getpid(), 11)", ["ended by SIGSEGV"]),
    "long line": ("fail('mpiqopt: ' + 'x' * 200, 2)", ["line too long"]),
    "two lines": ("fail('mpiqopt: no\\nand no', 2)", ["status 2 without one line"]),
    "no line": ("sys.exit(1)", ["status 1 without a line"]),
    "escape codes": ("fail('mpiqopt: \\x1b[31mno', 2)", ["control characters"]),
    "warning": ("fail('a.py:3: RuntimeWarning: overflow', 1)", ["Python warning"]),
    "new file of a refused call": ("open('r.h5', 'w'); fail('mpiqopt: no', 2)", ["files touched with status 2"]),
    "changed file of a refused call": ("open('r.h5', 'w'); fail('mpiqopt: no', 2)", ["files touched with status 2"]),
    "config written over": ("open('c.toml', 'w').write('b')", ["another file touched"]),
    "config removed": ("os.remove('c.toml')", ["another file touched"]),
    "unasked file": ("open('other', 'w')", ["another file touched"]),
    "part left": ("open('r.h5', 'w'); open('r.h5.part', 'w')", ["temporary file left"]),
    "output and checkpoint": ("open('r.h5', 'w'); open('r.h5.checkpoint', 'w')", []),
    "memory": ("bytearray(1 << 40)", ["traceback"]),
}
START = "import os, sys, time\ndef fail(line, status): print(line, file=sys.stderr); sys.exit(status)\n"


@pytest.mark.parametrize("name", FAKES)
def test_the_fuzzer_sees(name, tmp_path):
    body, expected = FAKES[name]
    (tmp_path / "fake.py").write_text(START + body)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "c.toml").write_text("a")
    if "changed" in name:
        (folder / "r.h5").write_text("a")
    call = Caller(command=(sys.executable, str(tmp_path / "fake.py")), limit=1.0 if name == "hang" else 20.0)
    outcome = call(folder, ["run"])
    assert [problem.kind for problem in calls.problems(outcome, ["r.h5"])] == expected


def outcome(words, status: int = 0, out: str = "", err: str = "") -> Outcome:
    return Outcome(tuple(words), status, out, err, 0.0, {}, {})


class Fake:
    """A command line of which all answers are given; ``show`` and so on, or what is run in the place of a file."""

    def __init__(self, **answers: Outcome):
        self.answers = answers

    def __call__(self, folder: Path, words, **_) -> Outcome:
        name = words[0] if words[0] in self.answers else "any"
        return self.answers.get(name, outcome(words))._replace(words=tuple(words))


def read_as(**arrays: str) -> Fake:
    found = {"attributes": {"status": "finished"}, "arrays": {k: ["(3,)", "f8", v] for k, v in arrays.items()}}
    return Fake(any=outcome([], out=json.dumps(found)))


@pytest.fixture
def base(tmp_path) -> Base:
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("c.toml", "s.toml", RESULT, CHECKPOINT):
        (folder / name).write_bytes(bytes(range(256)))
    arrays = {"objective": ["(3,)", "f8", "as it was"]}
    return Base(folder, "a table", {"arrays": arrays}, arrays, arrays)


def case(kind, tmp_path: Path, base: Base, call: Fake, read: Fake, monkeypatch, what: str = "flipped") -> list[str]:
    """The kinds of failures that a case ends with when one of its files is damaged."""
    monkeypatch.setattr(results, "damage", lambda *_: what)
    made = Case(Bench(call, read, {"properties": {}}, (base, base)), tmp_path / "case", 0, 0)
    made.folder.mkdir(parents=True)
    kind(made)
    return [failure.problem.kind for failure in made.failures]


def test_other_numbers_after_a_flipped_bit_are_seen(tmp_path, base, monkeypatch):
    right, wrong = read_as(objective="as it was"), read_as(objective="another")
    shows = {"right": Fake(show=outcome([], out="a table")), "wrong": Fake(show=outcome([], out="another table"))}
    for kind, call, read, expected in (
        (of_result, shows["right"], right, []),
        (of_result, shows["wrong"], right, ["show says other numbers"]),
        (of_result, shows["right"], wrong, ["h5py reads other numbers"]),
        (of_resume, Fake(), right, []),
        (of_resume, Fake(), wrong, ["resumes to other numbers"]),
        (of_resume, Fake(run=outcome([], 75)), right, ["resumes to other numbers"]),
        (of_resume, Fake(run=outcome([], 2, err="mpiqopt: r.h5.checkpoint: no\n")), wrong, []),
        (of_start, Fake(), wrong, ["starts from other numbers"]),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        assert case(kind, folder, base, call, read, monkeypatch) == expected


def test_lost_records_and_foreign_checkpoints_are_seen(tmp_path, base, monkeypatch):
    monkeypatch.setattr("random.Random.choice", lambda self, items: items[0])  # it is the checkpoint that is damaged
    read = read_as(objective="as it was")
    for what, expected in (("other", "takes a checkpoint of another run"), ("missing", "throws records away")):
        folder = tmp_path / what
        folder.mkdir()
        assert case(of_resume, folder, base, Fake(), read, monkeypatch, what) == [expected]


def resolved(tmp_path: Path, checked: str, taken: str, given: str, status: int = 0) -> list[str]:
    """What is wrong if `check` prints, the result holds and the config says so."""
    found = {"attributes": {"status": "finished", "config_resolved": taken}, "arrays": {}}
    call = Fake(check=outcome([], status, checked, "mpiqopt: no\n" if status else ""), run=outcome([]))
    bench = Bench(call, Fake(any=outcome([], out=json.dumps(found))), {}, ())
    made = Case(bench, tmp_path / str(len(list(tmp_path.iterdir()))), 0, 0)
    made.folder.mkdir(parents=True)
    (made.folder / "c.toml").write_text(given)
    checked_and_run(made)
    return [failure.problem.kind for failure in made.failures]


def test_silent_changes_are_seen(tmp_path):
    one, two, auto = ("[algorithm]\nstep_size = " + value for value in ("1", "2", "'auto'"))
    assert resolved(tmp_path, one, one, one.replace("1", "1.0")) == []
    assert resolved(tmp_path, two, auto, auto) == []
    assert resolved(tmp_path, one, one, "") == []
    assert resolved(tmp_path, one, two, two) == ["check and run resolve differently"]
    assert resolved(tmp_path, two, two, one) == ["silent change"]
    assert resolved(tmp_path, "", one, one, status=2) == ["check and run disagree"]


def test_a_seed_and_a_number_are_a_case(tmp_path):
    """The same bytes again, so that a failure can be; other numbers are other cases."""
    schema = json.loads(subprocess.check_output([sys.executable, "-m", "mpiqopt", "config-schema"], timeout=60))
    written = []
    for number in (0, 0, 1, 2, 3):
        made = Case(Bench(Fake(run=outcome([], 2)), read_as(), schema, ()), tmp_path / str(len(written)), 7, number)
        made.folder.mkdir(parents=True)
        of_config(made)
        written.append((made.folder / "c.toml").read_bytes())
    assert written[0] == written[1]
    assert len(set(written)) > 2


def test_failures_are_printed_with_a_command_that_repeats_them(tmp_path):
    failure = {"case": "config", "kind": "hang", "detail": "20 s", "again": "make fuzz SEED=1 CASE=3", "call": "cd x"}
    text = fuzz.report(fuzz.Counter(calls=9), [failure, failure])
    assert "2 x hang" in text
    assert "make fuzz SEED=1 CASE=3" in text
    assert "2 failures of 1 kinds" in text
