"""The compiled kernels of the compressors: bits, rotations, sums of bits, and what they are given."""

import faulthandler
import os
import signal

import numpy as np
import pytest
from scipy.linalg import hadamard
from tools import reference_compressors as plain

from mpiqopt import _compressors as kernels

# Bits


@pytest.mark.parametrize("bits", range(1, 33))
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 1000, 1025])
def test_pack(bits, count):
    """A little-endian stream, as NumPy makes it; back again; all bytes are written; the largest code at both ends."""
    codes = np.random.default_rng(bits).integers(0, 2**bits, count).astype(np.uint32)
    codes[:1] = codes[-1:] = 2**bits - 1
    size = -(-count * bits // 8)
    for fill in (0x55, 0xAA):
        stream = np.full(size, fill, np.uint8)
        kernels.pack(codes, bits, stream)
        assert stream.tobytes() == plain.packed(codes, bits)
    back = np.full(count, 7, np.uint32)
    kernels.unpack(stream, bits, back)
    assert np.array_equal(back, codes)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("d", [1, 7, 8, 9, 1023, 1024, 1025, 3001])
def test_codes_of_grids(bits, d):
    """The packing in tiles, with code of its own up to 8 bits and from 9 to 16: all codes, by a grid of step 1."""
    grid = kernels.UniformGrid(bits, "given", 2**bits, 0, 0, 1.0)
    codes = np.arange(d) * 37 % 2**bits
    message = np.full((1, grid.nbytes(d)), 0x55, np.uint8)
    grid.encode(codes[None].astype(np.float64), message)
    assert message.tobytes() == plain.packed(codes, bits)
    x = np.empty((1, d))
    grid.decode(message, x)
    assert np.array_equal(x[0], codes)


@pytest.mark.parametrize("n", [1, 2, 3, 64, 200])
@pytest.mark.parametrize("d", [1, 7, 8, 9, 511, 512, 513, 1037])
def test_sum_bits(n, d):
    """Exact, whatever the bits after the d-th; random bits, and all of them set."""
    width = (d + 7) // 8
    random = np.random.default_rng(d).integers(0, 256, (n, width), np.uint8)
    for messages in (random, np.full((n, width), 255, np.uint8)):
        counts = np.full(d, -1, np.int32)
        kernels.sum_bits(messages, counts)
        expected = np.unpackbits(messages, axis=1, count=d, bitorder="little").sum(axis=0, dtype=np.int64)
        assert np.array_equal(counts, expected)


def test_sum_of_the_most_messages():
    """2^17 - 1, the documented limit."""
    n = 2**17 - 1
    counts = np.empty(3, np.int32)
    kernels.sum_bits(np.full((n, 1), 0b101, np.uint8), counts)
    assert counts.tolist() == [n, 0, n]


# Rotations


@pytest.mark.parametrize("log_d", range(11))
def test_hadamard_is_the_matrix(log_d):
    """Small integers: sums are exact in every order."""
    x = np.random.default_rng(log_d).integers(-99, 99, (3, 2**log_d)).astype(np.float64)
    expected = x @ hadamard(2**log_d)
    kernels.hadamard(x)
    assert np.array_equal(x, expected)


@pytest.mark.parametrize("log_d", range(17))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_hadamard_to_the_last_bit(log_d, dtype, offset):
    """As sums and differences at strides 1, 2, 4, ..., at addresses that are not those of whole vectors."""
    d = 2**log_d
    scratch = np.random.default_rng(log_d).standard_normal(2 * d + offset).astype(dtype)
    x = scratch[offset:].reshape(2, d)
    expected = np.array([plain.hadamard(row) for row in x])
    before = scratch[:offset].copy()
    kernels.hadamard(x)
    assert np.array_equal(x, expected)
    assert np.array_equal(scratch[:offset], before)


def test_large_hadamard():
    """2^21 values, more levels of recursion than above, and back: H H = D, to a few roundings of each level."""
    x = np.random.default_rng(0).standard_normal((1, 2**21)).astype(np.float32)
    y = x.copy()
    kernels.hadamard(y)
    kernels.hadamard(y)
    assert np.abs(y / 2**21 - x).max() < 1e-5


# What kernels are given


def outcome(call) -> str:
    """What a call does, in a process of its own: "returned", "refused", or how it ended."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        status = 3
        try:
            call()
            status = 0
        except (TypeError, ValueError, AttributeError, IndexError):
            status = 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return {0: "returned", 1: "refused"}.get(os.WEXITSTATUS(status), "another exception")


D, ROWS = 32, 2
CENTROIDS = np.array([-0.8, 0.8])


def arrays(shape, dtype) -> np.ndarray:
    return np.ones(shape, dtype)


# Every kernel with arrays that it accepts; the first shape of x and messages is (rows, ...).
X, KEY, SCRATCH = ((ROWS, D), np.float64), (ROWS, np.uint64), (D, np.float64)


def message(nbytes):
    return (ROWS, nbytes), np.uint8


def decode_random_k(messages, x, keys):
    kernels.Kernel("random_k", 3).decode(messages, x, keys=keys)


CALLS = {
    "UniformGrid.encode": (kernels.UniformGrid(8, "norm", 127, 127, 127).encode, [X, message(4 + D), KEY]),
    "UniformGrid.decode": (kernels.UniformGrid(8, "norm", 127, 127, 127).decode, [message(4 + D), X]),
    "Signs.encode": (kernels.Signs("largest").encode, [X, message(8), KEY]),
    "Signs.encode-rotated": (kernels.Signs("largest").encode, [X, message(8), KEY, KEY, SCRATCH]),
    "Signs.decode": (kernels.Signs("largest").decode, [message(8), X]),
    "Signs.decode-rotated": (kernels.Signs("largest").decode, [message(8), X, KEY, SCRATCH]),
    "Signs.decode_mean": (
        kernels.Signs("constant").decode_mean,
        [((3, ROWS, 4), np.uint8), X, (D, np.int32), KEY, SCRATCH],
    ),
    "Levels": (kernels.Levels, [(2, np.float64), 1]),
    "Levels.encode": (kernels.Levels(CENTROIDS, 1).encode, [X, message(8), KEY, SCRATCH]),
    "Levels.decode": (kernels.Levels(CENTROIDS, 1).decode, [message(8), X, KEY, SCRATCH]),
    "Floats.encode": (kernels.Floats("float16").encode, [X, message(4 + 2 * D)]),
    "Floats.encode-power": (kernels.Floats("power-of-two").encode, [X, message(4 + 9 * D // 8), KEY]),
    "Floats.decode": (kernels.Floats("float16").decode, [message(4 + 2 * D), X]),
    "top_k.encode": (kernels.Kernel("top_k", 3).encode, [X, message(18)]),
    "top_k.decode": (kernels.Kernel("top_k", 3).decode, [message(18), X]),
    "random_k.encode": (kernels.Kernel("random_k", 3).encode, [X, message(16), KEY]),
    "random_k.decode": (decode_random_k, [message(16), X, KEY]),
    "require_finite": (kernels.require_finite, [X]),
    "hadamard": (kernels.hadamard, [X]),
    "sum_bits": (kernels.sum_bits, [message(4), (D, np.int32)]),
    "pack": (kernels.pack, [(D, np.uint32), 4, (D // 2, np.uint8)]),
    "unpack": (kernels.unpack, [(D // 2, np.uint8), 4, (D, np.uint32)]),
    "fill_words": (kernels.fill_words, [7, (D, np.uint32)]),
    "fill_keys": (kernels.fill_keys, [1, 2, 3, (2, np.int64), 0, (4, np.uint64)]),
}
# None means that there is none: no dither, no rotation.
OPTIONAL = {
    ("UniformGrid.encode", 2),
    ("Signs.encode", 2),
    ("Signs.encode-rotated", 2),
    ("Signs.encode-rotated", 3),
    ("Signs.decode-rotated", 2),
    ("Signs.decode_mean", 3),
}


def made(arguments) -> list:
    return [argument if isinstance(argument, int) else arrays(*argument) for argument in arguments]


def wrong_arrays(shape, dtype) -> dict:
    """Arrays, or things, that are not what a kernel wants."""
    right = arrays(shape, dtype)
    last = right.shape[-1]
    other = {np.float64: np.int64, np.uint8: np.int8, np.uint64: np.int64, np.uint32: np.int32, np.int32: np.uint32}
    return {
        "type": right.astype(other.get(dtype, np.float64)),
        "byte-order": right.astype(np.dtype(dtype).newbyteorder(">")) if right.itemsize > 1 else None,
        "longer": arrays((*right.shape[:-1], 2 * last), dtype),
        "shorter": arrays((*right.shape[:-1], last // 2), dtype),
        "more-rows": arrays((right.shape[0] + 1, *right.shape[1:], 1)[: right.ndim], dtype),
        "strided": arrays((*right.shape[:-1], 2 * last), dtype)[..., ::2],
        "flat": arrays(right.size, dtype) if dtype == np.float64 and right.ndim > 1 else None,
        "scalar": np.array(1, dtype),
        "list": right.tolist(),
    }


@pytest.mark.parametrize("name", CALLS)
def test_right_arguments_are_accepted(name):
    call, arguments = CALLS[name]
    assert outcome(lambda: call(*made(arguments))) == "returned"


# By kernel and argument: other sizes that are as good. fill_keys: so many blocks; the size of messages of random_k does
# not depend on d, nor, much, that of top_k.
FITS = {
    ("Signs.decode_mean", 0): {"more-rows"},
    ("top_k.encode", 0): {"shorter"},
    ("top_k.decode", 1): {"shorter"},
    ("random_k.encode", 0): {"longer", "shorter"},
    ("random_k.decode", 1): {"longer", "shorter"},
    ("fill_keys", 3): {"longer", "shorter"},
    ("fill_keys", 5): {"longer", "shorter"},
    ("fill_words", 1): {"longer", "shorter", "more-rows"},
    ("hadamard", 0): {"longer", "shorter", "more-rows"},
    ("require_finite", 0): {"longer", "shorter", "more-rows"},
    ("sum_bits", 0): {"more-rows"},
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arrays_are_refused(name):
    """Each array argument in turn: of another type or byte order, longer, shorter, strided, of no dimension, a list."""
    call, arguments = CALLS[name]
    outcomes = {}
    for i, argument in enumerate(arguments):
        if isinstance(argument, int):
            continue
        for kind, array in wrong_arrays(*argument).items():
            if array is not None and kind not in FITS.get((name, i), ()):
                given = made(arguments)
                given[i] = array
                outcomes[i, kind] = outcome(lambda given=given: call(*given))
    assert {at: result for at, result in outcomes.items() if result != "refused"} == {}


@pytest.mark.parametrize("name", CALLS)
def test_none_is_refused(name):
    """Cython lets None pass as an array."""
    call, arguments = CALLS[name]
    outcomes = {}
    for i, argument in enumerate(arguments):
        if not isinstance(argument, int) and (name, i) not in OPTIONAL:
            given = made(arguments)
            given[i] = None
            outcomes[i] = outcome(lambda given=given: call(*given))
    assert {at: result for at, result in outcomes.items() if result != "refused"} == {}


def test_what_is_written_must_be_writeable():
    """A message that belongs to a bytes object, or a vector that others read: writing there is refused."""
    written, outcomes = {"decode": 1, "encode": 1, "hadamard": 0, "unpack": 2, "pack": 2, "sum_bits": 1}, {}
    for name, (call, arguments) in CALLS.items():
        at = next((at for part, at in written.items() if part in name), None)
        if at is not None:
            given = made(arguments)
            given[at].flags.writeable = False
            outcomes[name] = outcome(lambda call=call, given=given: call(*given))
    assert {name: result for name, result in outcomes.items() if result != "refused"} == {}


def test_vectors_at_odd_addresses():
    """Arrays that NumPy calls not aligned: refused, or treated like others."""
    raw = np.zeros(ROWS * D * 8 + 1, np.uint8)
    x = raw[1:].view(np.float64).reshape(ROWS, D)
    x[:] = np.arange(ROWS * D).reshape(ROWS, D)
    expected = x @ hadamard(D)

    def rotate():
        kernels.hadamard(x)
        assert np.array_equal(x, expected)

    assert outcome(rotate) in ("refused", "returned")


def test_rows_of_levels_without_a_rotation():
    """Sizes follow from the scratch of the rotated vector: without keys of a rotation it says nothing about x."""
    levels, x, message = kernels.Levels(CENTROIDS, 1), arrays((1, 1024), np.float64), np.zeros((2, 5), np.uint8)
    assert outcome(lambda: levels.encode(x, message[:1], None, arrays(1, np.float64))) == "refused"
    assert outcome(lambda: levels.decode(message[:1], x, None, arrays(1, np.float64))) == "refused"


@pytest.mark.parametrize("bits", [0, -1, 33, 64])
def test_widths_beyond_a_word_are_refused(bits):
    size = max(0, D * bits // 8)
    assert outcome(lambda: kernels.pack(arrays(D, np.uint32), bits, arrays(size, np.uint8))) == "refused"
    assert outcome(lambda: kernels.unpack(arrays(size, np.uint8), bits, arrays(D, np.uint32))) == "refused"


@pytest.mark.parametrize("n", [2**24, 2**25])
def test_more_votes_than_planes_are_refused(n):
    """Counts have 24 bits."""
    ones, counts = np.full((n, 1), 255, np.uint8), arrays(8, np.int32)
    assert outcome(lambda: kernels.sum_bits(ones, counts)) == "refused"
    signs, x = kernels.Signs("constant"), arrays((1, 8), np.float64)
    assert outcome(lambda: signs.decode_mean(ones[:, None], x, counts)) == "refused"


def test_no_messages_have_no_mean():
    """0/0."""
    signs, x = kernels.Signs("constant"), arrays((1, 8), np.float64)
    assert outcome(lambda: signs.decode_mean(np.empty((0, 1, 1), np.uint8), x, arrays(8, np.int32))) == "refused"


@pytest.mark.parametrize("name", ["top_k", "random_k"])
def test_no_more_coordinates_are_sent_than_there_are(name):
    """k = d + 1 is k = d, for every number of coordinates from one tile to more."""
    for d in (1, 8, 1024, 1025):
        x, keys = np.random.default_rng(d).standard_normal((1, d)).astype(np.float32), arrays(1, np.uint64)
        kernel = kernels.Kernel(name, d + 1)
        assert kernel.nbytes(d) == kernels.Kernel(name, d).nbytes(d)
        messages, y = np.empty((1, kernel.nbytes(d)), np.uint8), np.empty_like(x)
        kernel.encode(x, messages, keys)
        kernel.decode(messages, y, keys=keys)
        assert np.array_equal(x, y)


def test_kernels_have_names_and_numbers():
    with pytest.raises(ValueError, match="no such wire format"):
        kernels.Kernel("unknown")
    with pytest.raises(ValueError, match="top_k: want 1 parameters, got 2"):
        kernels.Kernel("top_k", 3, 4)


def test_rows_that_are_no_power_of_two():
    for d in (0, 3, 12):
        with pytest.raises(ValueError, match="power of two"):
            kernels.hadamard(np.zeros((2, d)))


@pytest.mark.parametrize("make", [kernels.Signs, kernels.Floats, lambda rule: kernels.UniformGrid(8, rule, 1, 1, 1)])
def test_unknown_rules(make):
    with pytest.raises((KeyError, ValueError)):
        make("unknown")


def test_no_rows():
    """Nothing to do, and nothing done."""
    x, grid = np.empty((0, D)), kernels.UniformGrid(8, "norm", 127, 127, 127)
    grid.encode(x, np.empty((0, 4 + D), np.uint8), np.empty(0, np.uint64))
    kernels.hadamard(x)
    kernels.require_finite(x)
