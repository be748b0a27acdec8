"""Every compressor with the settings to test it with."""

import numpy as np
import pytest

from mpiqopt.compressors.compressor import Compressor
from mpiqopt.registry import family_members, find_member

# Settings to test; of what is not named, the defaults.
FRACTIONS = [{"fraction": 0.01}, {"fraction": 0.3}, {"fraction": 1.0}]
SETTINGS = {
    "eden": [{"bits": bits} for bits in (1, 2, 3, 4)],
    "flattened-one-bit": [{"clip": 3.0}, {"clip": 1.5}, {"dither": 2.0}],
    "low-rank": [{"rank": rank} for rank in (1, 2, 3)],
    "one-bit": [{}, {"dither": 2.0}],
    "qsgd": [{"levels": levels} for levels in (1, 7, 15, 31, 63, 127, 1000)],  # 2 to 8 and 11 bits
    "random-k": FRACTIONS,
    "top-k": FRACTIONS,
    "uniform": [
        *(
            {"step": 0.25, "kind": k, "rounding": r}
            for k in ("mid-tread", "mid-riser")
            for r in ("nearest", "stochastic")
        ),
        {"step": 2.0, "bits": 1, "kind": "mid-riser"},
        {"step": 0.1, "bits": 6},
        {"step": 0.01, "bits": 12},
    ],
    "zoom-in": [{}, {"bits": 5}, {"bits": 12, "initial_step": 0.01, "factor": 0.5, "expand": 3.0}],
}


def case(name: str, settings: dict):
    return pytest.param(find_member("compressor", name)(**settings), id="-".join([name, *map(str, settings.values())]))


CASES = [case(name, settings) for name in family_members("compressor") for settings in SETTINGS.get(name, [{}])]
FIRST = [case(name, SETTINGS.get(name, [{}])[0]) for name in family_members("compressor")]
every = pytest.mark.parametrize("c", CASES)
first = pytest.mark.parametrize("c", FIRST)
both_types = pytest.mark.parametrize("dtype", [np.float64, np.float32])

# The same bytes for all keys; uniform: with rounding = "nearest".
NOT_RANDOM = {"bfloat16", "float16", "float32", "identity", "scaled-sign", "sign", "top-k", "zoom-in"}


def random_rounding(c: Compressor) -> bool:
    return c.name not in NOT_RANDOM and getattr(c, "rounding", "stochastic") == "stochastic"
