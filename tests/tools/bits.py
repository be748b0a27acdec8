"""Run configs in one process and print digests of all that they come to, as JSON: python -m tools.bits CONFIG..."""

import hashlib
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mpiqopt._losses import LinearModel
from mpiqopt.arithmetic.products import row_products
from mpiqopt.arithmetic.rounding import exact_exponential, exact_power
from mpiqopt.config.parse import load
from mpiqopt.run.assembly import Experiment, assemble
from mpiqopt.streams import random_stream, standard_normal
from mpiqopt.transport.serial import SerialTransport
from tools.experiments import arrays, states

STEPS, EVERY = 9, 3


def digest(values: Any) -> str:
    values = np.asarray(values)
    return hashlib.sha256(f"{values.dtype} {values.shape}".encode() + values.tobytes()).hexdigest()[:16]


def beginning(experiment: Experiment) -> Iterator[tuple[str, Any]]:
    """Data, weights and derived numbers."""
    shares, topology = experiment.shares, experiment.network.topology
    for name in ("features", "test_features"):
        rows = getattr(shares, name)
        yield name, rows if isinstance(rows, np.ndarray) else rows.data
    yield from ((name, getattr(shares, name)) for name in ("targets", "test_targets", "offsets"))
    yield from ((f"weights {k}", mixing.weights) for k, mixing in enumerate(topology.cycle))
    yield "derived", json.dumps(experiment.derived)
    yield "constants", json.dumps(experiment.constants)


def trajectory(experiment: Experiment) -> Iterator[tuple[str, Any]]:
    """States, what is recorded of them, and what was sent."""
    with np.errstate(all="ignore"):
        for k, state in islice(enumerate(states(experiment)), 0, STEPS + 1, EVERY):
            yield f"state {k}", np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in arrays(state)])
            yield from ((f"{name} {k}", repr(value)) for name, value in vars(experiment.evaluate(state.x)).items())
    yield from experiment.network.counters().items()


def of_run(path: str) -> dict[str, str]:
    experiment = assemble(load(path), SerialTransport())
    found = {name: digest(values) for name, values in (*beginning(experiment), *trajectory(experiment))}
    experiment.close()
    return found


def losses(kernel: str, outputs: int) -> np.ndarray:
    """Losses of 20,000 nodes with one sample each."""
    stream = random_stream(1, "synthetic", outputs)
    rows, labels = standard_normal(stream, (20_000, 3)), stream.integers(0, max(2, outputs), 20_000)
    targets = (labels if outputs > 1 else 2 * labels - 1).astype(np.float64)
    model = LinearModel(kernel, rows, targets, np.arange(20_001), features=3, outputs=outputs)
    values = np.empty(20_000)
    model.evaluate(standard_normal(stream, (1, 3 * outputs)), None, values)
    return values


def of_functions() -> dict[str, str]:
    """What runs are too short to meet by chance."""
    numbers = standard_normal(random_stream(1, "synthetic"), 300_000)
    bases, rows = np.abs(numbers[:2000]).tolist(), numbers[:120_000].reshape(400, 300)
    return {
        "normal": digest(numbers),
        "logistic": digest(losses("logistic", 1)),
        "softmax": digest(losses("softmax", 7)),
        "power": digest([exact_power(base, exponent) for base in bases for exponent in (2, 0.625, 17)]),
        "exponential": digest([exact_exponential(-base) for base in bases]),
        "product": digest(row_products(rows, rows[:7])),
        "transposed product": digest(row_products(rows.T, rows.T[:3].copy())),
    }


if __name__ == "__main__":
    print(json.dumps({"functions": of_functions()} | {Path(path).stem: of_run(path) for path in sys.argv[1:]}))
