"""Is Chebyshev gossip stable with coded messages? The table of docs/compression.md.

usage: python benchmarks/chebyshev.py   (four minutes)

ProxGT-SA with full gradients, automatic K and gamma, 300 iterations of l2-regularised logistic regression on rings of
8 and 32 nodes. Stable: the consensus error at the end is smaller than after 100 iterations.
"""

from math import sqrt

import numpy as np

from mpiqopt.config.parse import parse
from mpiqopt.errors import NotFinite
from mpiqopt.run.assembly import assemble
from mpiqopt.transport.serial import SerialTransport

TEXT = """
run = {{iterations = 300, seed = 1}}
data = {{name = "synthetic", task = "classification", samples = 400, features = 40, split = "dirichlet"}}
problem = {{name = "logistic", l2 = 0.1}}
topology = {{name = "ring", nodes = {nodes}}}
algorithm = {{name = "proxgt-sa", batch_size = "all", chebyshev = {chebyshev}}}
compressor = {{{compressor}}}
"""
COMPRESSORS = {
    "qsgd, 8 bits": 'name = "qsgd"',
    "qsgd, 4 bits": 'name = "qsgd", levels = 7',
    "zoom-in": 'name = "zoom-in"',
    "natural": 'name = "natural"',
    "terngrad": 'name = "terngrad"',
    "eden, 1 bit": 'name = "eden", bits = 1',
    "flattened-one-bit": 'name = "flattened-one-bit"',
    "top-k, 10 %": 'name = "top-k", fraction = 0.1',
    "low-rank": 'name = "low-rank"',
    "scaled-sign": 'name = "scaled-sign"',
}


def stable(nodes: int, compressor: str, chebyshev: bool) -> tuple[bool, int, float | None]:
    """Whether the run was stable, its K, and the compressor's delta."""
    text = TEXT.format(nodes=nodes, compressor=compressor, chebyshev=str(chebyshev).lower())
    e = assemble(parse(text, "chebyshev"), SerialTransport())
    state = e.algorithm.init(e.start, e.problem, e.network, e.streams)
    consensus = {}
    delta = e.network.compressor.damped_delta(e.problem.d)
    with np.errstate(all="ignore"):
        for k in range(1, e.config.run.iterations + 1):
            try:
                state = e.algorithm.step(state, e.problem, e.network, e.streams)
            except NotFinite:
                return False, e.algorithm.gossip_rounds, delta
            if k in (100, 300):
                consensus[k] = e.evaluate(state.x).consensus
    return bool(consensus[300] < consensus[100]), e.algorithm.gossip_rounds, delta


if __name__ == "__main__":
    print("| ring of | K | compressor | K sqrt(1 - delta) | Chebyshev | plain |\n| --- | --- | --- | --- | --- | --- |")
    for nodes in (8, 32):
        for label, compressor in COMPRESSORS.items():
            accelerated, rounds, delta = stable(nodes, compressor, True)
            plain, _, _ = stable(nodes, compressor, False)
            rule = "" if delta is None else f"{rounds * sqrt(1 - delta):.2f}"
            words = ("stable" if good else "blows up" for good in (accelerated, plain))
            print(f"| {nodes} | {rounds} | {label} | {rule} | {' | '.join(words)} |", flush=True)
