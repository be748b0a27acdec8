"""Methods with coded messages, the compressors that they take, and a small run of each pair.

Eleven coordinates, so that blocks of four or eight leave a shorter last one.
"""

import numpy as np
import pytest

from mpiqopt.algorithms.proxgt import ProxGT
from mpiqopt.compressors.codec import Codec
from tools.experiments import GRAPHS, assembled
from tools.methods import GENERAL

CODED = [name for name, cls in GENERAL.items() if cls.default_compressor is not None]
SERVED = [name for name in CODED if GENERAL[name].server]
GOSSIPED = [name for name in CODED if not GENERAL[name].server]
VARIANTS = [name for name in CODED if issubclass(GENERAL[name], ProxGT)]
D = 11
COMPRESSORS = {
    "identity": {},
    "float16": {},
    "qsgd": {"levels": 7, "block_size": 4},
    "zoom-in": {"bits": 4, "initial_step": 0.05},
    "natural": {},
    "eden": {"block_size": 8},
    "flattened-one-bit": {"block_size": 8},
    "top-k": {"fraction": 0.3},
    "scaled-sign": {"block_size": 4},
    "random-k": {"fraction": 0.3},
    "low-rank": {"rank": 1},
    "sign": {},
}
# E C(x) = x; of the others terngrad, drive, one-bit and uniform would be too.
UNBIASED = {"identity", "qsgd", "natural", "eden", "flattened-one-bit", "random-k"}
SETTINGS = {
    "proxgt-sa": {"batch_size": 5},
    "proxgt-sr-o": {"batch_size": 3, "large_batch_size": 11, "epoch_length": 7},
    "proxgt-sr-e": {"batch_size": 4, "epoch_length": 5},
    "diloco": {"local_steps": 3},
}
DATA = {"name": "synthetic", "samples": 107, "features": D, "task": "classification", "split": "dirichlet"}
RING, CYCLE = GRAPHS["ring-8"]
ITERATIONS = 25


def takes(method: str, compressor: str) -> bool:
    """Which compressors a method is defined for."""
    only = {"fo-sgd": {"flattened-one-bit"}, "sign-sgd": {"sign"}, "qsgd-sgd": UNBIASED}
    if method in only:
        return compressor in only[method]
    if method not in CODED:
        return compressor == "identity"
    return compressor != "sign"


def pairs(methods) -> pytest.MarkDecorator:
    """Each of the methods with each compressor that it takes."""
    cases = [(m, c) for m in methods for c in COMPRESSORS if takes(m, c)]
    return pytest.mark.parametrize(("name", "compressor"), cases)


def example(name: str, compressor: str, topology=RING, block_size: int | None = None, dtype="float64", **settings):
    """Logistic regression with unequal shares, h = l1 where the method takes it, a step of 0.05."""
    regularizer = {"name": "l1", "weight": 0.02} if GENERAL[name].proximal else None
    algorithm = {"name": name, "step_size": 0.05, **SETTINGS.get(name, {}), **settings}
    table = {"name": compressor, **COMPRESSORS[compressor]}
    if block_size is not None:
        table["block_size"] = block_size
    problem = {"name": "logistic", "l2": 0.05}
    return assembled(topology, problem, algorithm, regularizer, DATA, table, seed=4, start="normal", dtype=dtype)


def own_codec(experiment) -> Codec:
    """A decoder that has seen nothing of the run."""
    rows, config = experiment.start, experiment.config
    return Codec(config.compressor, rows.shape[1], rows.dtype, config.run.seed, len(rows))


def bytes_sent(experiment) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """From now on, what is sent: round, numbers of the senders, messages."""
    codec, sent = experiment.network.codec(experiment.start), []
    encode = codec.encode

    def listen(rows, nodes, round, *blocks):
        messages = encode(rows, nodes, round, *blocks)
        sent.append((round, nodes.copy(), messages.copy()))
        return messages

    codec.encode = listen
    return sent
