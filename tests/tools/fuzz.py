"""Hostile calls of the command line, drawn from a seed: configs, data, graphs, damaged results, mistyped words.

    python -m tools.fuzz --seed 1 --calls 300          in tests/, or with it in PYTHONPATH
    python -m tools.fuzz --seed 1 --case 17            one case again; its folder is kept

Every call has to end within 20 s with a documented status and without a traceback, to say what is wrong in one line,
and to leave the files alone that are not its own; see calls.problems and the kinds in tools.cases.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from tools import calls, results
from tools.calls import Caller, shown
from tools.cases import KINDS, Bench, Case, Failure

# of every kind of failure, those that are printed
PRINTED = 3


def bench(root: Path, command: list[str] | None = None) -> Bench:
    """The command line, imported, and the files that cases damage. command: another one, as a process of its own."""
    (root / "home").mkdir(parents=True)
    from tools import contents

    # nothing is fetched, and nothing kept, outside the folder
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    variables = {"HOME": str(root / "home"), "COLUMNS": "100", "OMP_NUM_THREADS": "1", **nowhere}
    call = Caller(None if command else calls.imported(), variables=variables)
    if command:
        call.command = tuple(command)
    read = Caller(contents.main, variables=variables)
    schema = json.loads(call(root / "home", ["config-schema"]).out)
    bases = tuple(results.make(root / "base" / name, name, call, read) for name in results.RUNS)
    return Bench(call, read, schema, bases)


def work(of: Bench, root: Path, options: argparse.Namespace, first: int, step: int) -> tuple[Counter, list[dict]]:
    """Every ``step``-th case from ``first`` on, until the share of calls is made; counts, and what failed."""
    counts, failed, number = Counter(), [], first
    while counts["calls"] < options.calls / step:
        case = Case(of, root / str(number), options.seed, number, options.kinds)
        _run(case)
        counts.update({"calls": len(case.outcomes), case.kind: len(case.outcomes)})
        counts.update(f"status {outcome.status}" for outcome in case.outcomes)
        failed += [_said(case, number, options, *failure) for failure in case.failures]
        if not case.failures:
            shutil.rmtree(case.folder.parent)
        number += step
    return counts, failed


def _run(case: Case) -> None:
    """A case that the fuzzer cannot make, by its own fault, is one of the failures."""
    try:
        case.run()
    except Exception:
        problem = calls.Problem("the fuzzer itself", traceback.format_exc()[-1000:])
        case.failures.append(Failure(problem, (), case.folder))


def _said(case: Case, number: int, options: argparse.Namespace, *failure) -> dict:
    problem, words, folder = failure
    kinds = f" KINDS='{' '.join(options.kinds)}'" if options.kinds else ""
    again = f"make fuzz SEED={case.seed} CASE={number}{kinds}"
    where = shown(folder, words)
    return {"case": case.kind, "kind": problem.kind, "detail": problem.detail, "again": again, "call": where}


def group(failure: dict) -> str:
    """What failures of one cause have in common."""
    detail = re.sub(r"'.*?'|\".*?\"|\d+", "..", failure["detail"]) if failure["kind"] == "traceback" else ""
    return f"{failure['kind']} {detail[:120]}".strip()


def report(counts: Counter, failed: list[dict]) -> str:
    """How many calls of each kind with which end, and a few failures of every cause."""
    lines = [f"{counts.pop('calls')} calls: " + ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))]
    groups: dict[str, list[dict]] = {}
    for failure in failed:
        groups.setdefault(group(failure), []).append(failure)
    for name, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"\n{len(members)} x {name}")
        for each in sorted(members, key=lambda each: len(each["call"]))[:PRINTED]:
            lines += [
                f"  {each['case']}: {each['detail'][:400]!r}",
                f"    {each['again']}",
                f"    {each['call'][:500]}",
            ]
    return "\n".join([*lines, f"\n{len(failed)} failures of {len(groups)} kinds" if failed else "no failures"])


def shared_out(of: Bench, root: Path, options: argparse.Namespace) -> tuple[Counter, list[dict]]:
    """``work`` in several forks."""
    numbers = []
    for job in range(options.jobs):
        numbers.append(os.fork())
        if not numbers[-1]:
            _in_fork(of, root, options, job)
    ends = [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in numbers]
    if any(ends):
        raise RuntimeError(f"a part of the fuzzer ended with {ends}")
    parts = [json.loads((root / f"{job}.json").read_text()) for job in range(options.jobs)]
    return sum((Counter(counts) for counts, _ in parts), Counter()), [each for _, failed in parts for each in failed]


def _in_fork(of: Bench, root: Path, options: argparse.Namespace, job: int) -> None:
    """Never returns."""
    status = 1
    try:
        (root / f"{job}.json").write_text(json.dumps(work(of, root, options, job, options.jobs)))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calls", type=int, default=300, help="at least so many")
    parser.add_argument("--case", type=int, help="only this one, of which the folder is kept")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=(), help="only these")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes that make calls")
    parser.add_argument("--command", nargs="+", help="what to call in place of mpiqopt")
    parser.add_argument("--json", metavar="FILE", help="write all failures there")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    root = Path(tempfile.mkdtemp(prefix="mpiqopt-fuzz-"))
    of = bench(root, options.command)
    if options.case is not None:
        return one(of, root, options)
    counts, failed = shared_out(of, root, options)
    print(report(counts, failed))
    if options.json:
        Path(options.json).write_text(json.dumps(failed, indent=1))
    if not failed:
        shutil.rmtree(root)
    return int(bool(failed))


def one(of: Bench, root: Path, options: argparse.Namespace) -> int:
    """A case again, with all that its calls say."""
    case = Case(of, root / str(options.case), options.seed, options.case, options.kinds)
    case.run()
    for outcome in case.outcomes:
        print(f"$ {shown(case.folder, outcome.words)}\n{outcome.out}{outcome.err}status {outcome.status}\n")
    for problem, *_ in case.failures:
        print(f"{problem.kind}: {problem.detail}")
    return int(bool(case.failures))


if __name__ == "__main__":
    sys.exit(main())
