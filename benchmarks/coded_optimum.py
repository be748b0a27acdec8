"""Bytes until every node is within 1e-8 of the optimum, with coded messages and without: a table of README.md.

usage: python benchmarks/coded_optimum.py   (ten seconds)

l2-regularised logistic regression (with l1 for the proximal methods) on synthetic data with a Dirichlet split, ring of
8; steps and gossip steps are the automatic ones. CHOCO-gossip averages the nodes' mean vectors.
"""

from itertools import count

import numpy as np

from mpiqopt.config.parse import parse
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.transport.serial import SerialTransport

TEXT = """
run = {{seed = 1}}
data = {{name = "synthetic", task = "classification", samples = 400, features = 64, split = "dirichlet"}}
problem = {problem}
regularizer = {regularizer}
topology = {{name = "ring", nodes = 8}}
algorithm = {{{algorithm}}}
compressor = {{{compressor}}}
"""
LOGISTIC, L1, NO = '{name = "logistic", l2 = 0.1}', '{name = "l1", weight = 1e-3}', '{name = "zero"}'
METHODS = {
    "CHOCO-gossip": ('{name = "mean"}', NO, 'name = "choco-gossip"'),
    "LEAD": (LOGISTIC, NO, 'name = "lead"'),
    "prox-LEAD, l1": (LOGISTIC, L1, 'name = "prox-lead"'),
    "ProxGT, K = 1, l1": (LOGISTIC, L1, 'name = "proxgt-sa", batch_size = "all", gossip_rounds = 1'),
}
COMPRESSORS = {
    "identity": 'name = "identity"',
    "qsgd, 8 bits": 'name = "qsgd"',
    "qsgd, 4 bits": 'name = "qsgd", levels = 7',
    "zoom-in, 4 bits": 'name = "zoom-in", bits = 4',
    "eden, 1 bit": 'name = "eden", bits = 1',
}
MOST = 20_000


def experiment(problem: str, regularizer: str, algorithm: str, compressor: str) -> Experiment:
    text = TEXT.format(problem=problem, regularizer=regularizer, algorithm=algorithm, compressor=compressor)
    return assemble(parse(text, "coded_optimum"), SerialTransport())


def optimum(problem: str, regularizer: str) -> np.ndarray:
    """By centralised proximal gradient to the end, (d,)."""
    e = experiment(problem, regularizer, 'name = "centralized-prox-gradient"', 'name = "identity"')
    state = e.algorithm.init(e.start, e.problem, e.network, e.streams)
    for _ in range(MOST):
        state = e.algorithm.step(state, e.problem, e.network, e.streams)
    return state.x[0]


def needed(e: Experiment, solution: np.ndarray) -> tuple[int, int]:
    """Iterations and bytes until the farthest node is within 1e-8."""
    state = e.algorithm.init(e.start, e.problem, e.network, e.streams)
    for k in count(1):
        state = e.algorithm.step(state, e.problem, e.network, e.streams)
        if np.linalg.norm(state.x - solution, axis=1).max() <= 1e-8:
            return k, e.network.traffic.bytes
        if k == MOST:
            raise RuntimeError(f"not within 1e-8 after {MOST} iterations")


if __name__ == "__main__":
    print("| method | compressor | iterations | MB | times fewer bytes |\n| --- | --- | --- | --- | --- |")
    for label, (problem, regularizer, algorithm) in METHODS.items():
        solution = optimum(problem, regularizer)
        for name, compressor in COMPRESSORS.items():
            iterations, size = needed(experiment(problem, regularizer, algorithm, compressor), solution)
            if name == "identity":
                plain = size
            print(f"| {label} | {name} | {iterations} | {size / 1e6:.3f} | {plain / size:.1f} |", flush=True)
