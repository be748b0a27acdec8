"""Run configs in one process and print digests of all that they come to, as JSON: python bits.py CONFIG..."""

import hashlib
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from dense import arrays, states

from mpiqopt.assembly import Experiment, assemble
from mpiqopt.config import load
from mpiqopt.transport.serial import SerialTransport

STEPS, EVERY = 9, 3


def digest(values) -> str:
    values = np.asarray(values)
    return hashlib.sha256(f"{values.dtype} {values.shape}".encode() + values.tobytes()).hexdigest()[:12]


def parts(experiment: Experiment) -> Iterator[tuple[str, object]]:
    """What a trajectory begins with, and what it comes to, by name."""
    shares = experiment.shares
    features = shares.features if isinstance(shares.features, np.ndarray) else shares.features.data
    yield from (("features", features), ("targets", shares.targets), ("offsets", shares.offsets))
    yield "derived", json.dumps(experiment.derived)
    yield "lipschitz", experiment.lipschitz or 0.0
    yield from ((f"weights {k}", mixing.weights) for k, mixing in enumerate(experiment.network.topology.cycle))
    with np.errstate(all="ignore"):
        for k, state in islice(enumerate(states(experiment)), 0, STEPS + 1, EVERY):
            yield f"state {k}", np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in arrays(state)])
            yield from ((f"{name} {k}", value) for name, value in vars(experiment.evaluate(state.x)).items() if value)
    yield from experiment.network.counters().items()


def digests(path: str) -> dict[str, str]:
    experiment = assemble(load(path), SerialTransport())
    found = {name: digest(values) for name, values in parts(experiment)}
    experiment.close()
    return found


print(json.dumps({Path(path).stem: digests(path) for path in sys.argv[1:]}))
