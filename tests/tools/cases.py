"""The kinds of hostile calls. A case is drawn from (seed, number), and makes a call or a few in a folder of its own."""

import json
import os
import random
import shutil
import signal
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from tools import calls, configs, contents, datasets, graphs, results, words
from tools.calls import Caller, Outcome, Problem
from tools.results import BITS, CHECKPOINT, CONFIG, RESULT, Base

# of calls, those in a process of their own, which take a hundred times as long
ALONE = 0.02
# of a run whose input is all right
ENDS = ("finished", "stopped")


class Bench(NamedTuple):
    """What all cases share. read: h5py's view of a file, in a process that it may end."""

    call: Caller
    read: Caller
    schema: dict[str, Any]
    bases: tuple[Base, ...]


class Failure(NamedTuple):
    """A problem with the words of the call in which it was seen, and a copy of the folder as it was before."""

    problem: Problem
    words: tuple[str, ...]
    folder: Path


class Case:
    """Makes the calls of one case and collects what is wrong with them."""

    def __init__(self, bench: Bench, folder: Path, seed: int, number: int, kinds: Sequence[str] = ()):
        self.bench, self.seed = bench, seed
        self.folder = folder / "now"
        self.rng = random.Random(f"{seed} {number}")
        kinds = kinds or list(KINDS)
        self.kind = self.rng.choices(kinds, [KINDS[kind][0] for kind in kinds])[0]
        self.failures: list[Failure] = []
        self.outcomes: list[Outcome] = []

    def run(self) -> None:
        self.folder.mkdir(parents=True)
        KINDS[self.kind][1](self)

    def call(self, *given: str, outputs: Iterable[str] = (), kill: tuple[int, float] | None = None) -> Outcome:
        alone = self.rng.random() < ALONE
        shutil.copytree(self.folder, self._before(len(self.outcomes)), symlinks=True, copy_function=_copy)
        outcome = self.bench.call(self.folder, given, alone=alone, kill=kill)
        self.outcomes.append(outcome)
        for problem in calls.problems(outcome, tuple(outputs), interrupted=kill is not None):
            self._fail(problem, outcome)
        return outcome

    def complain(self, kind: str, detail: str, outcome: Outcome) -> None:
        self._fail(Problem(kind, detail), outcome)

    def _fail(self, problem: Problem, outcome: Outcome) -> None:
        self.failures.append(Failure(problem, outcome.words, self._before(self.outcomes.index(outcome))))

    def _before(self, call: int) -> Path:
        """What the folder was before a call, so that it can be made again."""
        return self.folder.with_name(f"before{call}")

    def read(self, name: str) -> dict[str, Any] | None:
        """What is in a file, by h5py; None if it does not open."""
        outcome = self.bench.read(self.folder, [name])
        return parsed(outcome) if outcome.status == 0 else None

    def write(self, tables: dict[str, Any]) -> None:
        (self.folder / CONFIG).write_text(tomli_w.dumps(tables))


def _copy(source: str, target: str) -> None:
    if Path(source).is_fifo():
        os.mkfifo(target)
    else:
        shutil.copy2(source, target)


def parsed(outcome: Outcome) -> dict[str, Any]:
    return json.loads(outcome.out)


def of_config(case: Case) -> None:
    (case.folder / CONFIG).write_bytes(configs.text(case.rng, case.bench.schema))
    checked_and_run(case)


def of_data(case: Case) -> None:
    """A data file with a problem for numbers or for classes."""
    data = datasets.write(case.rng, case.folder)
    problem = {"name": case.rng.choice(("logistic", "softmax", "least-squares", "mean"))}
    case.write({**configs.SMALL, "data": data, "problem": problem})
    checked_and_run(case)


def of_graph(case: Case) -> None:
    topology = graphs.write(case.rng, case.folder)
    algorithm = {"name": case.rng.choice(("gradient-tracking", "dgd", "push-sum"))}
    case.write({**configs.SMALL, "topology": topology, "algorithm": algorithm})
    drawn = ["-o", "g.png"] if case.rng.random() < 0.3 else []
    case.call("topology", CONFIG, *drawn, outputs=drawn[1:])
    checked_and_run(case)


def checked_and_run(case: Case) -> None:
    """`check` and `run` say the same of a config, and what is given is what is taken."""
    checked = case.call("check", CONFIG)
    ran = case.call("run", CONFIG, "-q", "-o", RESULT, "--time-limit", "1", outputs=[RESULT])
    late = ran.status == 75 and not ran.changed()  # the time was up before the first iteration
    if {checked.status, ran.status} in ({0, 2}, {2, 75}) and not late:
        case.complain(
            "check and run disagree", f"check: {checked.status} {checked.err}run: {ran.status} {ran.err}", ran
        )
    if ran.done and not late:
        _same_config(case, checked, ran)


def _same_config(case: Case, checked: Outcome, ran: Outcome) -> None:
    read = case.read(RESULT)
    # a process that could not wait for the end of an iteration leaves the file as it was
    cut = "in the middle of something long" in ran.err
    ends = (*ENDS, "running") if cut else ENDS
    if read is None and cut and (case.folder / CHECKPOINT).exists():
        return None  # the first record was what took long: a continuation begins at the start
    if read is None or read["attributes"].get("status") not in ends:
        return case.complain("no result", f"status {ran.status} and no file that opens and says so", ran)
    if ran.status == 75 and not (case.folder / CHECKPOINT).exists():
        case.complain("no checkpoint", "status 75", ran)
    taken = tomllib.loads(read["attributes"]["config_resolved"])
    said = tomllib.loads(checked.out) if checked.status == 0 else taken
    for where, was, now in differences(said, taken):
        if was != "auto" and now != "auto":  # of which check prints the value
            case.complain("check and run resolve differently", f"{where}: check {was!r}, run {now!r}", ran)
    given = tomllib.loads((case.folder / CONFIG).read_text(encoding="utf-8-sig"))
    for where, was, now in differences(given, taken, missing=False):
        if was != "auto" and where.rpartition(".")[2] != "path":
            case.complain("silent change", f"{where}: given {was!r}, taken {now!r}", ran)
    return None


def differences(before: Any, after: Any, where: str = "", missing: bool = True) -> list[tuple[str, Any, Any]]:
    """(where, before, after) of all values that differ; missing: also those that only ``after`` has."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [name for name in {**before, **after} if missing or name in before]
        parts = [differences(before.get(n), after.get(n), f"{where}.{n}".strip("."), missing) for n in names]
        return [each for part in parts for each in part]
    if isinstance(before, list) and isinstance(after, dict) and len(before) == 1:
        return differences(before[0], after, where, missing)  # a list of one graph is that graph
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = zip(before, after, strict=True)
        return [each for k, (was, now) in enumerate(pairs) for each in differences(was, now, f"{where}[{k}]", missing)]
    same = before == after or (isinstance(after, float) and isinstance(before, int) and float(before) == after)
    return [] if same else [(where, before, after)]


def of_result(case: Case) -> None:
    """A damaged result file is shown and drawn."""
    base, what = _damaged(case, RESULT)
    shown = case.call("show", *case.rng.choice(([RESULT], [RESULT], [RESULT, "s.toml"], ["/dev/null", RESULT])))
    if what in BITS and shown.status == 0 and shown.out != base.shown:
        case.complain("show says other numbers", _first_difference(base.shown, shown.out), shown)
    if case.rng.random() < 0.3:
        drawn = case.call("plot", RESULT, "-o", "f.png", outputs=["f.png"])
        whole = what in BITS and drawn.status == 0 and results.drawn(base, case.bench.call)
        if whole and (case.folder / "f.png").read_bytes() != whole:
            case.complain("plot draws other numbers", "the figure differs from that of the whole file", drawn)
    if what in ("flipped", "truncated"):  # zeros are their own checksum in HDF5
        _read_right(case, base, shown)


def _first_difference(before: str, after: str) -> str:
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next((f"{was.strip()} -> {now.strip()}" for was, now in pairs if was != now), "other lines")


def _read_right(case: Case, base: Base, shown: Outcome) -> None:
    """h5py reads an array as it was, or says that it cannot; where the tables of the file are whole.

    Where HDF5 has lost the place of a chunk it reads zeros: that only the seal tells, which h5py does not know.
    """
    read = case.read(RESULT) or {"arrays": {}}
    for name, was in base.stopped["arrays"].items():
        now = read["arrays"].get(name)
        if was and now and was[:2] == now[:2] and was != now and contents.ZEROS not in now:
            case.complain("h5py reads other numbers", name, shown)


def of_start(case: Case) -> None:
    """A damaged result file is where a run starts."""
    base, what = _damaged(case, RESULT)
    ran = case.call("run", "s.toml", "-q", "-o", "s.h5", "--time-limit", "5", outputs=["s.h5"])
    if what in BITS:
        _same_numbers(case, ran, "s.h5", base.started, "starts from other numbers")


def of_resume(case: Case) -> None:
    """A run is resumed with a damaged checkpoint, or beside a damaged result file."""
    name = case.rng.choice((CHECKPOINT, CHECKPOINT, RESULT))
    base, what = _damaged(case, name)
    resumed = case.call("run", CONFIG, "-q", "-o", RESULT, "--resume", "--time-limit", "5", outputs=[RESULT, "nowhere"])
    if what in BITS:
        _same_numbers(case, resumed, RESULT, base.whole, "resumes to other numbers")
    elif what == "other" and resumed.done:
        case.complain("takes a checkpoint of another run", f"status {resumed.status}", resumed)
    elif what == "missing" and name == CHECKPOINT and resumed.done:
        case.complain("throws records away", f"no checkpoint beside them, and status {resumed.status}", resumed)


def _same_numbers(case: Case, ran: Outcome, name: str, expected: dict[str, Any], kind: str) -> None:
    if ran.status in (2, None) or ran.status < 0 or "Traceback" in ran.err:
        return  # refused, or found already
    numbers = contents.reproducible(case.read(name) or {"arrays": {}})
    if numbers != expected or ran.status != 0:
        differ = [each for each in expected if numbers.get(each) != expected[each]]
        case.complain(kind, f"status {ran.status}; differ: {', '.join(differ)}; {ran.err[:100]}", ran)


def _damaged(case: Case, name: str) -> tuple[Base, str]:
    """Copy a stopped run and damage one of its files; how."""
    base, other = case.rng.sample(case.bench.bases, 2)
    results.copied(base, case.folder)
    return base, results.damage(case.rng, case.folder / name, other.folder / name)


def of_words(case: Case) -> None:
    """Any command line, beside a config, a result file and notes that are nobody's to write over."""
    results.copied(case.rng.choice(case.bench.bases), case.folder)
    (case.folder / "notes.txt").write_text("mine\n")
    (case.folder / "folder").mkdir()
    os.mkfifo(case.folder / "fifo")
    given, outputs = words.draw(case.rng, case.bench.schema)
    case.call(*given, outputs=outputs)


def of_signals(case: Case) -> None:
    """A run is told to end at any moment, before its first iteration too."""
    case.write({**configs.SMALL, "run": {"iterations": 10**9}, "checkpoint": {"every_seconds": 0.05}})
    number = case.rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP))
    kill = (number, case.rng.uniform(0.1, 0.6))
    ran = case.call("run", CONFIG, "-q", "-o", RESULT, outputs=[RESULT], kill=kill)
    if ran.status == 75 and not (case.folder / CHECKPOINT).exists():
        case.complain("no checkpoint", "status 75", ran)


# the weight of each kind, in which it is drawn
KINDS: dict[str, tuple[float, Callable[[Case], None]]] = {
    "config": (30, of_config),
    "data": (20, of_data),
    "topology": (15, of_graph),
    "result": (12, of_result),
    "resume": (12, of_resume),
    "start": (5, of_start),
    "words": (20, of_words),
    "signals": (1, of_signals),
}
