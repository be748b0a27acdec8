"""Random calls of all coordinators under bad conditions, each compared with the oracle bit for bit.

One job, alone or under mpiexec, in tests/ or with it in PYTHONPATH; all ranks draw the same cases from the seed:

    mpiexec -n 3 python -m tools.soak --calls 500 --seed 1 --transport window [--emulate] [--quorum]
    mpiexec -n 3 python -m tools.soak --seed 1 --transport window --emulate --case 17      one case again

A schedule of jobs on 1 to 8 ranks, with the mpiexec beside this Python: python -m tools.soak --all [--calls 10000]
"""

import argparse
import faulthandler
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.coordination.coordinator import Coordinator
from mpiqopt.network.network import Network
from mpiqopt.placement.placement import Placement
from mpiqopt.transport import launch
from tools.commands import mpiexec, with_tools
from tools.mailboxes import mass_of
from tools.soak_cases import Case, Expected, Tally, draw, oracle, rows_of, wrapped
from tools.soak_quorum import QuorumTrial, draw_quorum

# s that one call, or the wait for everything to arrive, may take
LONGEST = 60.0


class Plan(NamedTuple):
    """A job of ``make soak``: ranks (0: without mpiexec), its share of the calls, and what its cases are like."""

    ranks: int
    transport: str
    share: float
    emulated: bool = False
    quorum: bool = False

    @property
    def links(self) -> str:
        return f"{'emulated' if self.emulated else 'as they are'}{', quorum' if self.quorum else ''}"


SCHEDULE = (
    Plan(0, "auto", 0.16),
    Plan(0, "auto", 0.06, emulated=True),
    Plan(1, "auto", 0.08),
    Plan(1, "auto", 0.02, emulated=True),
    *(Plan(2, way, 0.19) for way in ("window", "two-sided")),
    *(Plan(2, way, 0.025, emulated=True) for way in ("window", "two-sided")),
    *(Plan(3, way, 0.06) for way in ("window", "two-sided")),
    *(Plan(3, way, 0.01, emulated=True) for way in ("window", "two-sided")),
    *(Plan(4, way, 0.035) for way in ("window", "two-sided")),
    *(Plan(4, way, 0.0075, emulated=True) for way in ("window", "two-sided")),
    *(Plan(8, way, 0.008) for way in ("window", "two-sided")),
    *(Plan(8, way, 0.003, emulated=True) for way in ("window", "two-sided")),
    Plan(0, "auto", 0.1, emulated=True, quorum=True),
    *(Plan(2, way, 0.2, quorum=True) for way in ("window", "two-sided")),
    *(Plan(3, way, 0.2, emulated=True, quorum=True) for way in ("window", "two-sided")),
    *(Plan(4, way, 0.05, emulated=True, quorum=True) for way in ("window", "two-sided")),
)


class Watchdog:
    """Ends the whole job when one thing takes too long, and says in which case."""

    def __init__(self, transport, longest: float = LONGEST):
        self._transport, self._longest = transport, longest
        self._what, self._end = "", np.inf
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        self._what, self._end = what, time.monotonic() + self._longest
        try:
            yield
        finally:
            self._end = np.inf

    def _watch(self) -> None:
        while time.monotonic() < self._end:
            time.sleep(0.2)
        complain(self._transport.rank, f"more than {self._longest:g} s: {self._what}")
        faulthandler.dump_traceback(all_threads=True)
        time.sleep(1)  # the other ranks say where they are, too
        threading.Thread(target=self._transport.abort, daemon=True).start()
        time.sleep(5)
        os._exit(3)


def complain(rank: int, text: str) -> None:
    print(f"soak: rank {rank}: {text}", file=sys.stderr, flush=True)


class Trial:
    """One case on the ranks of a transport."""

    def __init__(self, case: Case, transport, kind: str, watchdog: Watchdog):
        self.case, self.transport, self.watchdog = case, transport, watchdog
        self.place = Placement(case.nodes, transport.size, transport.rank)
        transport.connect = lambda plans: None  # gossip is not wanted; a communicator for each case would be left over
        self.network = Network(
            case.topology, self.place, transport, seed=case.seed, mail_transport=kind, emulate=case.emulate
        )
        self.coordinator: Coordinator = self.network.coordination.coordinator(
            case.coordinator, case.rounding, case.mailboxes
        )
        self.agreements: list[Any] = []
        self._listen()
        self.tally = Tally(cases=1)
        self._own = np.random.default_rng([case.seed, case.number, 3, transport.rank])

    def _listen(self) -> None:
        """Integers beyond 2^53 are not seen in the float64 that comes out."""
        agree = self.coordinator.coordination.agree

        def heard(*arguments):
            self.agreements.append(agree(*arguments))
            return self.agreements[-1]

        self.coordinator.coordination.agree = heard

    def run(self) -> Tally:
        """Collective."""
        case, began = self.case, time.perf_counter()
        shared = np.random.default_rng([case.seed, case.number, 4])
        previous, effort = np.zeros(case.d), 0
        for k in range(case.calls):
            self._pause(k)
            expected, effort = self._call(k, previous, effort)
            if case.follows or (case.data == "offset" and k == 0):
                previous = expected.vector
            if k + 1 == case.calls or shared.random() < case.pause_at_end:
                self._settle(expected)
        with self.watchdog.watching(f"close: {case}"):
            self.network.close()
        self.tally.by[f"coordinator {case.coordinator}"] += case.calls
        self.tally.by[f"steps {case.how}"] += case.calls
        self.tally.by[f"links {'emulated' if case.emulate.of_links else 'as they are'}"] += case.calls
        self.tally.seconds = time.perf_counter() - began
        return self.tally

    def _pause(self, k: int) -> None:
        """Sometimes, at some ranks: deaf, as while data are loaded, or listening, as while nodes train."""
        case = self.case
        if self._own.random() >= case.pauses:
            return
        pause = self._own.uniform(0, 3e-3)
        if self._own.random() < 0.5:
            time.sleep(pause)
            return
        end = time.perf_counter() + pause
        with self.watchdog.watching(f"wait before call {k}: {case}"):
            longest, width = self._own.uniform(0, 1e-3), case.d + case.extras
            self.coordinator.wait(lambda: time.perf_counter() >= end, lambda: longest, width)

    def _call(self, k: int, previous: np.ndarray, effort: int) -> tuple[Expected, int]:
        case, place = self.case, self.place
        room = self.coordinator.headroom
        rows = rows_of(case, k, room)
        if case.data == "offset" and k == 0:  # all nodes know about where they are
            previous = np.full(case.d, rows[0, 0])
        extra = np.random.default_rng([case.seed, case.number, 5, k]).integers(-99, 100, (case.nodes, case.extras))
        expected = oracle(rows, previous, case.step, case.rounding)
        mine = slice(place.first, place.last)
        with self.watchdog.watching(f"call {k}: {case}"):
            got = self.coordinator.coordinate(
                rows[mine], previous, case.step, case.first_call + k, effort, np.ascontiguousarray(extra[mine])
            )
        self.tally.calls += 1
        agreed, d = self.agreements.pop(), case.d
        right = {
            "floor": np.array_equal(agreed.low[:d], expected.low),
            "ceiling": np.array_equal(agreed.high[:d], expected.high),
            "vector": got.vector.tobytes() == expected.vector.tobytes(),
            "extra": np.array_equal(got.extra, extra.sum(axis=0)),
        }
        if not all(right.values()):
            self.tally.wrong += 1
            names = ", ".join(name for name, well in right.items() if not well)
            worst = np.abs(agreed.low[:d] - expected.low).max()
            complain(self.transport.rank, f"wrong {names} (by up to {worst}) in call {k}: {case}")
        self._extra = extra
        return expected, got.effort

    def _settle(self, expected: Expected) -> None:
        """As a run does before a record: after it ranks may wait for each other in MPI."""
        with self.watchdog.watching(f"settle: {self.case}"):
            self.network.drain()
            held = self._held()
            # rank 0 is the last to come to the blocking collective as often as the others
            if self._own.random() < self.case.pauses:
                time.sleep(self._own.uniform(0, 3e-3))
            wrong = int(self.transport.total(np.array([self.tally.wrong], np.int64))[0])
            total = self.transport.total(held)
        self.tally.wrong = wrong if self.transport.rank == 0 else 0
        if self.case.coordinator == "allreduce":
            return
        self.tally.weighed += 1
        if not np.array_equal(total.view(np.uint64), self._mass(expected)):
            self.tally.lost += 1
            complain(self.transport.rank, f"mass was lost or made: {self.case}")

    def _held(self) -> np.ndarray:
        """Mass of y and z at the nodes here, int64 (d + extras + 1,), modulo 2^64."""
        nodes = getattr(self.coordinator.coordination, "_delivery", None)
        with np.errstate(over="ignore"):
            return np.append(*nodes.mass) if nodes is not None else np.zeros(1, np.int64)

    def _mass(self, expected: Expected) -> np.ndarray:
        """What all nodes have to hold together, uint64: of a tree, the sum at every node."""
        case, n = self.case, self.case.nodes
        unit, weights = mass_of(case.coordinator, n, self.coordinator.coordination.local.overlay)
        y = np.append(expected.total, wrapped(n * self._extra.sum(axis=0))) * np.uint64(unit)
        return np.append(y, np.uint64(weights))


def soak(options: argparse.Namespace, transport) -> Tally:
    """Cases until there are enough calls or no time is left. Collective."""
    watchdog, tally, began = Watchdog(transport), Tally(), time.perf_counter()
    number = options.case or 0
    while True:
        case = (draw_quorum if options.quorum else draw)(options.seed, number, transport.size, options.emulate)
        try:
            done = (QuorumTrial if options.quorum else Trial)(case, transport, options.transport, watchdog).run()
        except Exception as error:
            complain(transport.rank, f"{type(error).__name__} in {case}")
            raise
        tally.add(done)
        if transport.rank == 0:
            _say(options, done, case, tally)
        number += 1
        with watchdog.watching(f"the end of {case}"):
            enough = tally.calls >= options.calls or time.perf_counter() - began > options.seconds
            if transport.share(enough or options.case is not None):
                tally.seconds = time.perf_counter() - began
                return tally


def _say(options: argparse.Namespace, done: Tally, case: Case, tally: Tally) -> None:
    if options.verbose:
        print(f"{done.seconds:6.2f} s  {case}", flush=True)
    if options.json:
        print(json.dumps(vars(tally)), flush=True)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, help="at least so many (default: 300; with --all 10000)")
    parser.add_argument("--seconds", type=float, default=np.inf, help="begin no case after so many (of a job)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transport", choices=("window", "two-sided", "auto"), default="auto")
    parser.add_argument("--emulate", action="store_true", help="links that delay, lose and reorder frames")
    parser.add_argument("--quorum", action="store_true", help="calls that wait for a quorum of the nodes")
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--all", action="store_true", help="a schedule of jobs on 1 to 8 ranks")
    parser.add_argument("--verbose", action="store_true", help="print every case with its time")
    parser.add_argument("--json", action="store_true", help="print the counts after every case, for a program")
    options = parser.parse_args(arguments)
    options.calls = options.calls or (10_000 if options.all else 300)
    return options


def report(tally: Tally) -> str:
    lines = [
        f"cases {tally.cases}, calls {tally.calls}, wrong results {tally.wrong}, "
        f"lost mass {tally.lost} of {tally.weighed}, {tally.seconds:.1f} s"
    ]
    lines += [f"  {name:32} {count:6}" for name, count in sorted(tally.by.items())]
    return "\n".join(lines)


class Job(NamedTuple):
    """One line of the table. status: 0, or what mpiexec returned, or why there is none."""

    plan: Plan
    tally: Tally
    status: str

    def line(self) -> str:
        plan, tally = self.plan, self.tally
        ranks = str(plan.ranks) if plan.ranks else "alone"
        return (
            f"{ranks:>5}  {plan.transport:9}  {plan.links:19}  {tally.cases:5}  {tally.calls:6}  {tally.wrong:5}  "
            f"{tally.lost:4} of {tally.weighed:<5}  {tally.seconds:6.1f}  {self.status}"
        )


HEAD = "ranks  transport  links                cases   calls  wrong  lost mass      seconds  status"


def start(options: argparse.Namespace, plan: Plan) -> Job:
    """Run one job of the schedule to its end."""
    calls, began = max(1, round(plan.share * options.calls)), time.perf_counter()
    limit = options.seconds if np.isfinite(options.seconds) else 100 + 0.1 * calls
    script = [
        sys.executable,
        "-m",
        "tools.soak",
        "--json",
        "--calls",
        str(calls),
        "--seed",
        str(options.seed + plan.ranks),
    ]
    script += ["--transport", plan.transport, "--seconds", str(limit)]
    script += [f"--{word}" for word, wanted in (("emulate", plan.emulated), ("quorum", plan.quorum)) if wanted]
    command = [mpiexec(), "-n", str(plan.ranks), *script] if plan.ranks else script
    job = subprocess.Popen(command, env=with_tools(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        # a case that has begun is finished, unless the watchdog ends it
        out, err = job.communicate(timeout=limit + 4 * LONGEST)
        status = str(job.returncode)
    except subprocess.TimeoutExpired:
        job.terminate()  # launchers end their ranks then
        out, err = _last_words(job)
        status = "does not end"
    counts = [line for line in out.splitlines() if line.startswith("{")]
    tally = Tally()
    if counts:  # of a job that was ended, those of the cases before
        tally.add(Tally(**json.loads(counts[-1])))
    tally.seconds = time.perf_counter() - began
    sys.stderr.write(err)
    return Job(plan, tally, status)


def _last_words(job: subprocess.Popen) -> tuple[str, str]:
    try:
        return job.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        job.kill()
        return job.communicate()


def run_all(options: argparse.Namespace) -> int:
    """The schedule, with a table at the end; the exit status."""
    jobs, total = [], Tally()
    for plan in SCHEDULE:
        jobs.append(start(options, plan))
        print(HEAD if len(jobs) == 1 else "", jobs[-1].line(), sep="\n" if len(jobs) == 1 else "", flush=True)
        total.add(jobs[-1].tally)
    print(report(total))
    return int(total.bad or any(job.status != "0" for job in jobs))


def main() -> int:
    options = parsed()
    if options.all:
        return run_all(options)
    with launch.mpi_session() as transport:
        tally = soak(options, transport)
        # every rank's status, because launchers return any of them
        bad = bool(transport.share(tally.bad))
        if transport.rank == 0:
            print("" if options.json else report(tally), flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
