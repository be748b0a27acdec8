"""Bytes of gossip with messages that a coder makes shorter, and without: a table of README.md.

usage: python benchmarks/gossip_coders.py   (a minute)

Digits by label on 10 nodes of a random graph. LEAD: softmax regression with l2 0.05, d = 640, until F - F* <= 1e-9 at
the mean of the nodes. CHOCO-gossip averages the nodes' mean vectors, d = 64, until every node is within 1e-3 of the
mean. Steps and gossip steps are the automatic ones.
"""

from collections.abc import Callable

import numpy as np

from mpiqopt.config.parse import parse
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.transport.serial import SerialTransport

TEXT = """
data = {{name = "digits", split = "by-label", scale = "unit-rows"}}
problem = {problem}
topology = {{name = "erdos-renyi", nodes = 10}}
algorithm = {{{algorithm}}}
compressor = {{{compressor}}}
"""
SOFTMAX, MEAN = '{name = "softmax", l2 = 0.05}', '{name = "mean"}'
CASES = {
    "LEAD, qsgd, 8 bits": (SOFTMAX, 'name = "lead"', 'name = "qsgd"'),
    "LEAD, qsgd, 4 bits": (SOFTMAX, 'name = "lead"', 'name = "qsgd", levels = 7'),
    "LEAD, zoom-in, 8 bits": (SOFTMAX, 'name = "lead"', 'name = "zoom-in"'),
    "CHOCO-gossip, uniform, 8 bits": (MEAN, 'name = "choco-gossip"', 'name = "uniform", step = 1e-4'),
    "CHOCO-gossip, uniform, 12 bits": (MEAN, 'name = "choco-gossip"', 'name = "uniform", step = 1e-4, bits = 12'),
}
CODERS = "none", "tile", "rice", "range"
MOST = 3000


def experiment(problem: str, algorithm: str, compressor: str) -> Experiment:
    text = TEXT.format(problem=problem, algorithm=algorithm, compressor=compressor)
    return assemble(parse(text, "gossip_coders"), SerialTransport())


def softmax_reached() -> Callable[[Experiment, np.ndarray], bool]:
    """True where F - F* <= 1e-9; F* by accelerated gradient descent on exact averages, to the end."""
    exact = 'name = "coordinated-prox-gradient", coordinator = "allreduce", accelerated = true'
    e = experiment(SOFTMAX, exact, 'name = "identity"')
    state = e.algorithm.init(e.start, e.problem, e.network, e.streams)
    for _ in range(200):
        state = e.algorithm.step(state, e.problem, e.network, e.streams)
    least = e.evaluate(state.x).objective
    return lambda e, x: e.evaluate(x).objective - least <= 1e-9


def mean_reached() -> Callable[[Experiment, np.ndarray], bool]:
    """True where every node is within 1e-3 of the mean, which coded gossip keeps."""
    return lambda e, x: np.linalg.norm(x - x.mean(axis=0), axis=1).max() <= 1e-3


def needed(e: Experiment, reached: Callable[[Experiment, np.ndarray], bool]) -> tuple[int, int]:
    """Iterations and bytes until it is reached."""
    state = e.algorithm.init(e.start, e.problem, e.network, e.streams)
    for k in range(1, MOST + 1):
        state = e.algorithm.step(state, e.problem, e.network, e.streams)
        if reached(e, state.x):
            return k, e.network.counters()["bytes"]
    raise RuntimeError(f"not reached in {MOST} iterations")


if __name__ == "__main__":
    print(f"| method, compressor | iterations | kB: {' | '.join(CODERS)} |\n| --- {'| --- ' * (1 + len(CODERS))}|")
    reached = {SOFTMAX: softmax_reached(), MEAN: mean_reached()}
    for label, (problem, algorithm, compressor) in CASES.items():
        sizes = []
        for coder in CODERS:
            e = experiment(problem, algorithm, f'{compressor}, coder = "{coder}"')
            iterations, size = needed(e, reached[problem])
            sizes.append(f"{size / 1e3:.0f}")
        print(f"| {label} | {iterations} | {' | '.join(sizes)} |", flush=True)
