"""How many rounds of gossip an iteration should have: rounds to a target for each K, the figure gossip_rounds.png.

usage: python benchmarks/gossip_rounds.py [--plot FILE.png]   (two minutes)

ProxGT with full gradients and automatic steps, l2-regularised logistic regression on breast-cancer (scaled, sorted by
label) over rings of 16 and 32 nodes, until stationarity + L^2 consensus is 1e-8 of the start's.
"""

import argparse

import tomli_w

from mpiqopt.config.parse import parse
from mpiqopt.run.assembly import assemble
from mpiqopt.transport.serial import SerialTransport

ROUNDS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 32, 40)
TARGET, MOST = 1e-8, 12_000
PANELS = ((16, 1.0), (16, 0.1), (32, 1.0), (32, 0.1))


def rounds_to_target(nodes: int, l2: float, rounds: int | str, chebyshev: bool) -> tuple[int, float]:
    """K, and the gossip rounds of the run; infinite if it does not get there in MOST iterations."""
    tables = {
        "data": {"name": "breast-cancer", "scale": "standard", "split": "by-label"},
        "problem": {"name": "logistic", "l2": l2},
        "topology": {"name": "ring", "nodes": nodes},
        "algorithm": {"name": "proxgt-sr-e", "batch_size": "all", "gossip_rounds": rounds, "chebyshev": chebyshev},
    }
    e = assemble(parse(tomli_w.dumps(tables), "gossip_rounds"), SerialTransport())
    state, lipschitz, first = e.algorithm.init(e.start, e.problem, e.network, e.streams), e.constants.lipschitz, None
    for iteration in range(MOST + 1):
        if iteration % 5 == 0:
            metrics = e.evaluate(state.x)
            distance = metrics.stationarity + lipschitz * lipschitz * metrics.consensus
            first = first or distance
            if not distance < 1e6 * first:
                break
            if distance <= TARGET * first:
                return e.algorithm.gossip_rounds, 2 * e.algorithm.gossip_rounds * iteration
        state = e.algorithm.step(state, e.problem, e.network, e.streams)
    return e.algorithm.gossip_rounds, float("inf")


def plot(found: dict, path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 2).ravel(), PANELS, strict=True):
        for chebyshev, name in ((False, "plain"), (True, "Chebyshev")):
            *curve, automatic = found[panel, chebyshev]
            line = axes.loglog(*zip(*curve, strict=True), "o-", markersize=3, label=name)[0]
            axes.loglog(
                *automatic, "*", markersize=14, color=line.get_color(), label=f"{name}, auto (K = {automatic[0]})"
            )
        axes.set(
            title=f"ring of {panel[0]}, l2 = {panel[1]:g}",
            xlabel="K, rounds of a gossip",
            ylabel="rounds to the target",
        )
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--plot")
    options = parser.parse_args()
    found = {}
    print(f"| ring of | l2 | gossip | {' | '.join(f'K = {k}' for k in ROUNDS)} | auto |")
    print("| --- " * (len(ROUNDS) + 4) + "|")
    for panel in PANELS:
        for chebyshev in (False, True):
            found[panel, chebyshev] = [rounds_to_target(*panel, k, chebyshev) for k in (*ROUNDS, "auto")]
            cells = [f"{rounds:,.0f}" for _, rounds in found[panel, chebyshev]]
            cells[-1] += f" (K = {found[panel, chebyshev][-1][0]})"
            kind = "Chebyshev" if chebyshev else "plain"
            print(f"| {panel[0]} | {panel[1]:g} | {kind} | {' | '.join(cells)} |", flush=True)
    if options.plot:
        plot(found, options.plot)
