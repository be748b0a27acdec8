"""What messages of compressors look like: their sizes, their formats, and those that are stored in messages/."""

from math import ceil

import numpy as np
import pytest
from tools import reference_compressors as plain
from tools.compressors import CASES, both_types, every, random_rounding
from tools.messages import REFERENCES, stored

from mpiqopt.contracts.compressor import (
    KINDS,
    decode_rows,
    encode_rows,
    example_keys,
    example_vector,
)
from mpiqopt.registry import family_members


@every
@both_types
def test_other_keys_give_other_bytes(c, dtype):
    """Where C is random (1000 values: by chance never equal), and there only.

    low-rank: random through the shared key; at d = 1000 that shows in all of its bytes.
    """
    x = example_vector("normal", 1000)[None].astype(dtype)
    one, other = encode_rows(c, x, example_keys(1)), encode_rows(c, x, example_keys(1, seed=5))
    if random_rounding(c) and getattr(c, "fraction", 0) < 1:
        assert not np.array_equal(one, other)
    else:
        assert np.array_equal(one, other)


def low_rank_bytes(c, d, itemsize):
    a = ceil(np.sqrt(d))
    b = ceil(d / a)
    return 8 + 4 * min(c.rank, a, b) * (a + b)


def bits_to_bytes(header, bits, count):
    return header + ceil(bits * count / 8)


def adaptive_header(c):
    return 4 if c.dither == "adaptive" else 0


# Bytes of a message of d values, from the docstrings; D: the power of two that is at least d.
FORMULAS = {
    "bfloat16": lambda c, d, itemsize: 4 + 2 * d,
    "drive": lambda c, d, itemsize: bits_to_bytes(4, 1, plain.padded_size(d)),
    "eden": lambda c, d, itemsize: bits_to_bytes(4, c.bits, plain.padded_size(d)),
    "flattened-one-bit": lambda c, d, itemsize: bits_to_bytes(adaptive_header(c), 1, plain.padded_size(d)),
    "float16": lambda c, d, itemsize: 4 + 2 * d,
    "float32": lambda c, d, itemsize: 4 + 4 * d,
    "identity": lambda c, d, itemsize: itemsize * d,
    "low-rank": low_rank_bytes,
    "natural": lambda c, d, itemsize: bits_to_bytes(4, 9, d),
    "one-bit": lambda c, d, itemsize: bits_to_bytes(adaptive_header(c), 1, d),
    "qsgd": lambda c, d, itemsize: bits_to_bytes(4, ceil(np.log2(2 * c.levels + 1)), d),
    "random-k": lambda c, d, itemsize: 4 + 4 * ceil(c.fraction * d),
    "scaled-sign": lambda c, d, itemsize: bits_to_bytes(4, 1, d),
    "sign": lambda c, d, itemsize: bits_to_bytes(0, 1, d),
    "terngrad": lambda c, d, itemsize: bits_to_bytes(4, 2, d),
    "top-k": lambda c, d, itemsize: bits_to_bytes(4 + 4 * ceil(c.fraction * d), ceil(np.log2(d)), ceil(c.fraction * d)),
    "uniform": lambda c, d, itemsize: bits_to_bytes(0, c.bits, d),
    "zoom-in": lambda c, d, itemsize: bits_to_bytes(4, c.bits, d),
}


@every
@both_types
def test_size_of_messages(c, dtype):
    if c.name not in FORMULAS:
        pytest.skip("no formula")
    for d in (1, 2, 3, 7, 8, 9, 64, 1000, 1024, 1025, 4096, 100_003):
        assert c.nbytes(d, np.dtype(dtype)) == FORMULAS[c.name](c, d, np.dtype(dtype).itemsize)


@pytest.mark.parametrize("name", family_members("compressor"))
def test_stored_messages(name):
    """What an earlier version wrote is read to the last bit, and would be written again."""
    cases = stored(name)
    assert cases
    for c, x, draw, message, y in cases:
        got = decode_rows(c, np.frombuffer(message, np.uint8)[None], x, draw)
        assert got.tobytes() == y.tobytes()
        assert encode_rows(c, x, draw).tobytes() == message


@every
@both_types
@pytest.mark.parametrize("d", [1, 3, 8, 1000, 1025, 2056])
def test_kernel_is_the_reference(c, dtype, d):
    """Messages and decoded vectors to the last bit."""
    if c.name not in REFERENCES:
        pytest.skip("no reference")
    encode, decode = REFERENCES[c.name]
    x = np.array([example_vector(kind, d, seed=4) for kind in KINDS]).astype(dtype)
    draw = example_keys(len(x))
    messages = encode_rows(c, x, draw)
    y = decode_rows(c, messages, x, draw)
    for i in range(len(x)):
        own, shared = int(draw.own[i]), int(draw.shared[i])
        message = messages[i].tobytes()
        assert message.hex() == encode(c, x[i], own, shared, draw.round).hex()
        assert np.array_equal(decode(c, message, d, x.dtype, own, shared), y[i])


@pytest.mark.parametrize("c", [p for p in CASES if p.values[0].name == "low-rank"])
@pytest.mark.parametrize("d", [1, 5, 100, 1000])
def test_low_rank_is_a_projection(c, d):
    """P has orthonormal columns, Q = M^T P, both to float32, 2^-24 each; decoded is P Q^T to rounding."""
    a = ceil(np.sqrt(d))
    b = ceil(d / a)
    rank, x = min(c.rank, a, b), example_vector("normal", d)
    message = encode_rows(c, x[None], example_keys(1))[0]
    unit = message[:8].view(np.float64)[0]
    factors = message[8:].view(np.float32).reshape(a + b, rank).astype(np.float64)
    P, Q = factors[:a], factors[a:]
    M = np.append(x, np.zeros(a * b - d)).reshape(a, b)
    assert np.frexp(unit)[0] == 0.5
    assert np.abs(x).max() <= unit <= 2 * np.abs(x).max() * (1 + 1e-8)
    assert np.allclose(P.T @ P, np.eye(rank), atol=1e-6)
    assert np.allclose(unit * Q, M.T @ P, rtol=1e-6, atol=1e-6 * np.abs(M).max())
    y = decode_rows(c, message[None], x[None], example_keys(1))[0]
    assert np.allclose(y, unit * (P @ Q.T).ravel()[:d], rtol=1e-12, atol=1e-12)
