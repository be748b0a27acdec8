"""Coordination beside the methods that it competes with: tables of README.md and the figure alternatives.png.

usage: python benchmarks/alternatives.py [--parts exact growth mail seconds hosts] [--folder FOLDER] [--draft]

Bytes, rounds and seconds until F + h - F* at the mean iterate is at most a target. (Nodes of gossip are apart from
their mean, those of coordination are not.)

exact    lock-step, 10 nodes, five graphs, three problems, every method with the best of its grid: half an hour
growth   10, 64 and 256 nodes of four graphs; at 64 a smaller grid, at 256 what was best at 64: hours
mail     the bytes of mailboxes beside those of lock-step: a minute
seconds  a ring of 10 behind emulated links of 1 and 100 Mbit/s, with loss and a slow node: half an hour
hosts    10 nodes on two hosts (network namespaces) 20 ms and 1 Mbit/s apart; as root on Linux: a quarter of an hour

Every run is a result file in FOLDER; one that is there is not repeated, so that an interrupted benchmark goes on.
--draft: print and draw what is there.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from alternative_runs import (
    ABOUT,
    COORDINATED,
    GRAPHS,
    LATER,
    METHODS,
    OURS,
    PROBLEMS,
    TARGET,
    Job,
    best,
    candidates,
    columns_of,
    is_done,
    outcome,
    reference,
    solve_all,
)
from matplotlib.figure import Figure
from thin_link import Link, thin_link

# growth: the methods, and the bytes that no run of 64 or more nodes goes beyond
GROWING = (
    "`collect`, tile",
    "`collect`, range",
    "`collect`, range, accelerated",
    "LEAD, fixed bits",
    "LEAD, range",
    "NIDS",
    "Push-DIGing",
)
WIDE_GRAPHS = ("ring", "grid", "exponential", "random-digraph")
SMALL_GRID = {
    "compressors": ("qsgd, 8 bits", "qsgd, 2 bits", "drive", "eden, 1 bit", "zoom-in 1.0, 0.9", "zoom-in 1.0, 0.8"),
    "steps": (0.5, 1.0, 1.5),
}
LONGER = {10: 1500, 64: 6000, 256: 20000}
# seconds: what nodes do in their own time, and where
DELAY, THIN, WIDE = 0.02, 1.25e5, 1.25e7
LINKS = {
    "1 Mbit/s": f"delay = {DELAY}, bandwidth = {THIN}",
    "100 Mbit/s": f"delay = {DELAY}, bandwidth = {WIDE}",
    "1 Mbit/s, 1 % lost": f"delay = {DELAY}, bandwidth = {THIN}, loss = 0.01",
    "1 Mbit/s, 10 % lost": f"delay = {DELAY}, bandwidth = {THIN}, loss = 0.1",
    "100 Mbit/s, one node 10 times slower": f"delay = {DELAY}, bandwidth = {WIDE}, gradient_seconds = 0.05, "
    "slowdown = [10.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]",
}
COLLECT = COORDINATED + '"collect"'
MAIL, ALONE = ', coordination = "mailboxes"', ', execution = "asynchronous"'
IN_TIME = {
    "`collect`, range": COLLECT + ', coder = "range"',
    "`collect`, range, accelerated": COLLECT + ', coder = "range", accelerated = true',
    "`collect`, range, by mailboxes": COLLECT + ', coder = "range"' + MAIL,
    "`collect`, range, accelerated, by mailboxes": COLLECT + ', coder = "range", accelerated = true' + MAIL,
    "`collect`, range, asynchronous": COLLECT + ', coder = "range"' + ALONE,
    "`integer-push-sum`, by mailboxes": COORDINATED + '"integer-push-sum"' + MAIL,
    "Push-DIGing, asynchronous": 'name = "push-diging"' + ALONE,
}
HOSTED = (
    "`collect`, range",
    "`collect`, range, accelerated",
    "`collect`, range, by mailboxes",
    "`collect`, range, accelerated, by mailboxes",
)
HOST_RUNS = 3
GOSSIP_IN_TIME = ("LEAD, qsgd 8 bits", "LEAD, fixed bits", "LEAD, range", "NIDS", "Push-DIGing")


def amount(bytes: float) -> str:
    """Return kilobytes with three digits."""
    return f"{bytes / 1e3:.3g}" if bytes < 1e6 else f"{bytes / 1e3:,.0f}"


def cell(job: Job | None, folder: Path) -> str:
    """Return kilobytes, rounds and the compressor, or the gap where the target was not reached."""
    if job is None:
        return "-"
    found, label = outcome(job, folder), f", {job.label}" * bool(job.label)
    return f"{amount(found.bytes)} ({found.rounds}{label})" if found.reached else f"gap {found.gap:.0e}"


def seconds_cell(job: Job | None, folder: Path) -> str:
    """Return seconds and kilobytes, or the gap where the target was not reached."""
    if job is None:
        return "-"
    found = outcome(job, folder)
    return f"{found.seconds:.1f} s, {amount(found.bytes)} kB" if found.reached else f"gap {found.gap:.0e}"


def print_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table as Markdown, without rows that say nothing."""
    head = list(head)
    told = [[*row] for row in rows]
    for line in [head, ["---"] * len(head), *(row for row in told if {*row[1:]} != {"-"})]:
        print(f"| {' | '.join(line)} |")


def exact(folder: Path, processes: int) -> None:
    """Print bytes and rounds of all methods on 10 nodes, in lock-step."""
    for problem in PROBLEMS:
        grids = {(name, graph): [*candidates(name, problem, graph, 10)] for name in METHODS for graph in GRAPHS}
        if processes:
            solve_all((job for jobs in grids.values() for job in jobs), folder, processes)
        print(f"\n{ABOUT[problem]}; kB (rounds) until F - F* <= {TARGET:g}\n")
        rows = ([name, *(cell(best(grids[name, graph], folder), folder) for graph in GRAPHS)] for name in METHODS)
        print_table(["method", *GRAPHS], rows)


def growing(name: str, graph: str, nodes: int, folder: Path) -> list[Job]:
    """Return the runs among which the best of a method is looked for on D and so many nodes of a graph."""
    if nodes == 10:
        return [*candidates(name, "D", graph, 10)]
    if nodes == 256:
        chosen = best(growing(name, graph, 64, folder), folder)
        return [] if chosen is None else [chosen._replace(nodes=256, iterations=LONGER[256])]
    jobs = [job._replace(iterations=LONGER[nodes]) for job in candidates(name, "D", graph, nodes)]
    if name in OURS:
        return jobs
    return [
        job
        for job in jobs
        if job.label in ("", *SMALL_GRID["compressors"]) and job.step in (None, *SMALL_GRID["steps"])
    ]


def growth(folder: Path, processes: int) -> None:
    """Print how bytes and rounds grow with the number of nodes."""
    for graph in WIDE_GRAPHS:
        for nodes in LONGER:
            if processes:
                solve_all((job for name in GROWING for job in growing(name, graph, nodes, folder)), folder, processes)
        print(f"\nD on {graph}; kB (rounds) until F - F* <= {TARGET:g}\n")
        rows = (
            [name, *(cell(best(growing(name, graph, nodes, folder), folder), folder) for nodes in LONGER)]
            for name in GROWING
        )
        print_table(["method", *(f"{nodes} nodes" for nodes in LONGER)], rows)


def mail(folder: Path, processes: int) -> None:
    """Print the bytes of mailboxes beside those of lock-step, and what finding the tree is of them."""
    places = [("A", "erdos-renyi", 10), ("D", "erdos-renyi", 10), ("D", "grid", 64)]
    ways = {"tile": "", "range": ', coder = "range"', "range, accelerated": ', coder = "range", accelerated = true'}
    jobs = {
        (place, way, how): Job(*place, algorithm)
        for place in places
        for way, keys in ways.items()
        for how, algorithm in {
            "lock-step": COLLECT + keys,
            "mailboxes": COLLECT + keys + MAIL,
            "tree": COORDINATED + '"tree"' + keys,
        }.items()
    }
    if processes:
        solve_all(jobs.values(), folder, processes)
    print(f"\n`collect`, kB until F - F* <= {TARGET:g}\n")
    rows = []
    for place, way in dict.fromkeys((place, way) for place, way, _ in jobs):
        kept, boxes, tree = (outcome(jobs[place, way, how], folder).bytes for how in ("lock-step", "mailboxes", "tree"))
        words = f"{place[0]}, {place[2]} nodes of {place[1]}", way, amount(kept), amount(kept - tree), amount(boxes)
        rows.append([*words, f"{boxes / kept:.2f}"])
    print_table(["", "coder", "lock-step", "of which the tree is found with", "mailboxes", "times"], rows)


def quickest(jobs: Iterable[Job], folder: Path, bandwidth: float) -> Job | None:
    """Return the run that would be quickest to LATER on emulated links, by its rounds and bytes of a round."""

    def seconds(job: Job) -> float:
        found = outcome(job, folder, LATER)
        return found.rounds * DELAY + found.bytes / 20 / bandwidth  # 20 arcs

    return min((job for job in jobs if is_done(job.path(folder))), key=seconds, default=None)


def in_time(emulate: str, folder: Path) -> dict[str, Job | None]:
    """Return the runs of D on a ring of 10 behind emulated links; None where a method cannot be used."""
    bandwidth, loss, slow = THIN if str(THIN) in emulate else WIDE, "loss" in emulate, "slowdown" in emulate
    jobs: dict[str, Job | None] = {}
    for name in GOSSIP_IN_TIME:
        jobs[name] = None if loss else quickest(candidates(name, "D", "ring", 10), folder, bandwidth)
    for name, algorithm in IN_TIME.items():
        alone, boxes = ALONE in algorithm, MAIL in algorithm
        refused = (loss and not alone and not boxes) or (alone and name.startswith("`") and not slow)
        jobs[name] = None if refused else Job("D", "ring", 10, algorithm)
    common = {"emulate": f"emulate = {{{emulate}}}", "target": LATER, "iterations": 20000}
    return {name: job and job._replace(**common) for name, job in jobs.items()}


def seconds(folder: Path, processes: int) -> None:
    """Print seconds and bytes behind emulated links."""
    if processes:  # what the quickest are chosen from
        solve_all((job for name in GOSSIP_IN_TIME for job in candidates(name, "D", "ring", 10)), folder, processes)
    runs = {link: in_time(emulate, folder) for link, emulate in LINKS.items()}
    if processes:
        solve_all((job for jobs in runs.values() for job in jobs.values() if job), folder, processes)
    print(f"\nD, ring of 10, links with a delay of {DELAY * 1e3:g} ms; until F - F* <= {LATER:g}\n")
    names = sorted({name for jobs in runs.values() for name in jobs}, key=[*IN_TIME, *GOSSIP_IN_TIME].index)
    print_table(
        ["method", *LINKS], ([name, *(seconds_cell(runs[link][name], folder) for link in LINKS)] for name in names)
    )


def on_hosts(folder: Path, graph: str, processes: int) -> dict[str, list[Job]]:
    """Return the runs of every method on two hosts."""
    tuned = {name: [*candidates(name, "D", graph, 10)] for name in GOSSIP_IN_TIME if name != "Push-DIGing"}
    if processes:
        solve_all((job for jobs in tuned.values() for job in jobs), folder, processes)
    chosen = {"`collect`, tile": Job("D", graph, 10, COLLECT)}
    chosen |= {name: Job("D", graph, 10, keys) for name, keys in IN_TIME.items() if name in HOSTED}
    found = {name: best(jobs, folder) for name, jobs in tuned.items()}
    chosen |= {name: job for name, job in found.items() if job is not None}
    return {
        name: [job._replace(hosts=run, target=LATER) for run in range(1, HOST_RUNS + 1)] for name, job in chosen.items()
    }


def solve_on_hosts(job: Job, folder: Path, link: Link) -> None:
    """Do a run on two hosts unless it is done."""
    path = job.path(folder)
    if not is_done(path):
        config = path.with_suffix(".toml")
        config.write_text(job.text(folder))
        link.run([sys.executable, "-m", "mpiqopt", "run", config, "-o", path, "-q", "--overwrite"], timeout=900)


def hosts(folder: Path, processes: int) -> None:
    """Print median seconds, and bytes, of 10 nodes on two hosts."""
    runs = {graph: on_hosts(folder, graph, processes) for graph in ("ring", "erdos-renyi")}
    if processes:
        with thin_link(rate="1mbit", delay=DELAY) as link:
            # all methods in turn, so that what else the machine does meets all of them
            for run in range(HOST_RUNS):
                for job in (jobs[run] for methods in runs.values() for jobs in methods.values()):
                    solve_on_hosts(job, folder, link)
    print(f"\nD, 10 nodes, two hosts, 1 Mbit/s and {DELAY * 1e3:g} ms; until F - F* <= {LATER:g}\n")
    rows = (
        [name, *(seconds_cell(middle(methods[name], folder), folder) for methods in runs.values())]
        for name in runs["ring"]
    )
    print_table(["method", *runs], rows)


def middle(jobs: Iterable[Job], folder: Path) -> Job | None:
    """Return the run of median seconds among those that are done."""
    done = sorted((job for job in jobs if is_done(job.path(folder))), key=lambda job: outcome(job, folder).seconds)
    return done[len(done) // 2] if done else None


def draw(folder: Path, output: Path) -> None:
    """Draw the gap on D against bytes and rounds of lock-step, and against seconds behind links of 1 Mbit/s."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    names = (
        "`collect`, range",
        "`collect`, range, accelerated",
        "LEAD, qsgd 8 bits",
        "LEAD, fixed bits",
        "LEAD, range",
        "NIDS",
    )
    late = in_time(LINKS["1 Mbit/s"], folder)
    for name in names:
        early = best(candidates(name, "D", "erdos-renyi", 10), folder)
        for axis, job, count in zip(axes, (early, early, late[name]), ("bytes", "rounds", "time"), strict=True):
            if job is None or not is_done(job.path(folder)):
                continue
            columns = columns_of(job, folder)
            gap = columns["objective"] - reference("D", 10, folder)[0]
            style = "solid" if name.startswith("`") else "dashed"
            axis.semilogy(columns[count][1:], gap[1:], linestyle=style, label=name.replace("`", ""))
    axes[0].set(ylabel="F − F*", xlabel="bytes", xscale="log", title="erdos-renyi, lock-step", ylim=(TARGET / 2, None))
    axes[1].set(xlabel="rounds", title="erdos-renyi, lock-step")
    axes[2].set(xlabel="time [s]", title="ring, 1 Mbit/s and 20 ms")
    for axis in axes:
        axis.grid(True, alpha=0.3)
    axes[1].legend()
    figure.savefig(output, dpi=110)


PARTS: dict[str, Callable[[Path, int], None]] = {part.__name__: part for part in (exact, growth, mail, seconds, hosts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--folder", type=Path, default=Path("results/alternatives"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--draft", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        PARTS[part](options.folder, 0 if options.draft else options.processes)
    if {"exact", "seconds"} <= {*options.parts}:
        draw(options.folder, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
