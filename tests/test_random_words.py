"""Random words of the compressors' kernels: the reference, and statistics that independent words would pass.

Statistical tests have fixed keys. ``limit`` is the bound on the largest of many standard normal variables.
"""

from itertools import product

import numpy as np
import pytest
from scipy.stats import chi2, norm
from tools import reference_compressors as plain

from mpiqopt import _compressors as kernels
from mpiqopt.streams import PURPOSES

COUNT = 2**20


def words(key: int, count: int = COUNT) -> np.ndarray:
    out = np.empty(count, np.uint32)
    kernels.fill_words(key % 2**64, out)
    return out


def standard(w: np.ndarray) -> np.ndarray:
    """Words as numbers of mean 0 and variance 1."""
    return (w.astype(np.float64) - (2**31 - 0.5)) * (np.sqrt(12) / 2**32)


def limit(comparisons: int) -> float:
    """Exceeded by the largest |z| of so many with probability 10^-4."""
    return norm.isf(1e-4 / 2 / comparisons)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """In standard errors."""
    return float(a @ b) / np.sqrt(len(a))


def message_keys(seed=0, purpose="message", round=0, nodes=(0,), first=0, blocks=1) -> np.ndarray:
    keys = np.empty(len(nodes) * blocks, np.uint64)
    kernels.fill_keys(seed, PURPOSES[purpose], round, np.array(nodes, np.int64), first, keys)
    return keys


KEYS = [0, 1, 2**32, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15, *message_keys(nodes=(0, 1), blocks=2).tolist()]
several = pytest.mark.parametrize("key", KEYS)


@several
def test_words_are_the_reference(key):
    assert np.array_equal(words(key, 10_000), plain.words(key, 10_000))


@pytest.mark.parametrize(("seed", "round", "first"), [(0, 0, 0), (123, 45, 6), (2**63 - 1, 2**40, 2**33)])
def test_keys_are_the_reference(seed, round, first):
    """Philox of (round, node, purpose), then splitmix64 of the block; the blocks of a node are neighbours."""
    nodes = (0, 5, 2**31)
    got = message_keys(seed, "round", round, nodes, first, blocks=3).tolist()
    blocks = [first, first + 1, first + 2]
    assert got == [plain.message_key(seed, PURPOSES["round"], round, *at) for at in product(nodes, blocks)]


def test_keys_differ():
    """65,536 keys of neighbouring seeds, purposes, rounds, nodes and blocks: no two are equal (nor are their halves
    more often than by chance, 2^32/2 pairs of 2^32 values: 0.5 expected for each half, at most 6)."""
    keys = np.concatenate(
        [
            message_keys(seed, purpose, round, range(16), 0, 256)
            for seed, purpose, round in product((0, 1), ("message", "round"), range(4))
        ]
    )
    assert len(np.unique(keys)) == len(keys)
    for half in (keys >> np.uint64(32), keys % np.uint64(2**32)):
        assert len(keys) - len(np.unique(half)) <= 6


@several
def test_frequencies(key):
    """Each bit; and chi-square of each of the four bytes, 255 degrees of freedom."""
    w = words(key)
    ones = np.array([np.mean(w >> bit & 1) for bit in range(32)])
    assert np.all(np.abs(ones - 0.5) * 2 * np.sqrt(COUNT) < limit(32))
    for byte in range(4):
        counts = np.bincount(w >> 8 * byte & 255, minlength=256)
        assert np.sum((counts - COUNT / 256) ** 2) / (COUNT / 256) < chi2.isf(1e-4 / 4, 255)


@several
def test_serial(key):
    """Correlation with the word some places on; and pairs of upper bytes, chi-square as a normal variable."""
    w = words(key)
    x, cells = standard(w), 2**16
    lags = (1, 2, 3, 7, 64, 1024)
    for lag in lags:
        assert abs(correlation(x[:-lag], x[lag:])) < limit(len(lags))
        expected = (COUNT - lag) / cells
        pairs = np.bincount((w[:-lag] >> 24) * 256 + (w[lag:] >> 24), minlength=cells)
        excess = np.sum((pairs - expected) ** 2) / expected - (cells - 1)
        assert abs(excess) / np.sqrt(2 * cells) < limit(len(lags))


@several
def test_runs(key):
    """Of the top bit, the sign of the rotation: their number, and how many have each length up to 12."""
    top = words(key) >> 31
    ends = np.flatnonzero(np.diff(top))
    assert abs(len(ends) - (COUNT - 1) / 2) / np.sqrt((COUNT - 1) / 4) < limit(1)
    lengths = np.bincount(np.diff(ends))[1:13]
    share = 0.5 ** np.arange(1, 13)
    expected = (len(ends) - 1) * share
    assert np.all(np.abs(lengths - expected) / np.sqrt(expected * (1 - share)) < limit(12))


def pairs_of_keys() -> dict[str, list[tuple[int, int]]]:
    """Keys of which one could fear that their streams resemble each other."""
    keys = [message_keys(round=r, nodes=range(6), blocks=4).reshape(6, 4) for r in range(6)]
    first = int(keys[0][0, 0])
    neighbours = {
        "nodes": [(keys[0][i, 0], keys[0][i + 1, 0]) for i in range(5)],
        "blocks": [(keys[0][i, b], keys[0][i, b + 1]) for i in range(2) for b in range(3)],
        "rounds": [(keys[r][0, 0], keys[r + 1][0, 0]) for r in range(5)],
        "seeds": [(first, message_keys(seed=seed)[0]) for seed in (1, 2, 2**62)],
        "purposes": [(first, message_keys(purpose="round")[0])],
    }
    return {
        "consecutive": [(key + i, key + i + 1) for key in KEYS for i in range(3)],
        "one-low-bit": [(first, first ^ 1 << bit) for bit in range(32)],
        **{name: [(int(a), int(b)) for a, b in pairs] for name, pairs in neighbours.items()},
    }


PAIRS = pairs_of_keys()


@pytest.mark.parametrize("kind", PAIRS)
def test_streams_of_two_keys(kind):
    """Place by place: correlation of the words, and how often each of the bits agrees."""
    count, pairs = 2**18, PAIRS[kind]
    most = limit(33 * len(pairs))
    for one, other in pairs:
        a, b = words(one, count), words(other, count)
        assert abs(correlation(standard(a), standard(b))) < most
        differs = np.unpackbits((a ^ b).view(np.uint8).reshape(count, 4), axis=1).mean(axis=0)
        assert np.all(np.abs(differs - 0.5) * 2 * np.sqrt(count) < most)


@pytest.mark.parametrize("kind", [kind for kind in PAIRS if not kind.startswith("one-")])
def test_no_stream_is_a_shifted_copy(kind):
    """The correlation at every shift up to 2^17, by FFT."""
    count = 2**18
    most = limit(count * len(PAIRS[kind]))
    for one, other in PAIRS[kind]:
        a, b = (np.fft.rfft(standard(words(key, count // 2)), count) for key in (one, other))
        overlap = np.maximum(1, np.abs(np.arange(count) - count // 2))
        at_shift = np.fft.irfft(a * np.conj(b), count) / np.sqrt(overlap)
        # short overlaps are not normal
        assert np.abs(at_shift[overlap > 1000]).max() < most


def test_keys_with_equal_upper_halves():
    """What there is to know about word(): all keys with the same upper half walk one cycle of 2^32 words from
    different places. Keys are made by a hash: two of n streams of d words overlap with probability n^2 d/2^64.

    With other upper halves the words at the same place of that cycle differ in a way that depends on both halves.
    """
    key, stride = KEYS[-1], 0x9E3779B1
    shifted = (key & ~0xFFFFFFFF) | (key + 5 * stride) % 2**32
    assert np.array_equal(words(shifted, 1000), words(key, 1005)[5:])
    assert not np.any(words(shifted ^ 1 << 63, 1000) == words(key, 1005)[5:])


def test_same_place_of_the_cycle():
    """Keys that differ in the upper half only, at random: no correlation that would matter, 0.05 (the standard error
    is 0.004; single bits of the upper half are another matter, see test_streams_of_two_keys)."""
    rng, count = np.random.default_rng(0), 2**16
    for _ in range(100):
        low, *high = (int(v) for v in rng.integers(2**32, size=3))
        a, b = (standard(words(low | upper << 32, count)) for upper in high)
        assert abs(a @ b) / count < 0.05


@several
def test_avalanche(key):
    """A bit of the counter changes each bit of the word half of the time; 65,536 random counters (reference words,
    which are the kernel's). 32 x 32 comparisons, and 0.005 for the hash, whose avalanche is good but not perfect."""
    count = 2**16
    counters = np.random.default_rng(3).integers(0, 2**32, count, dtype=np.uint32)
    base = plain.words(key, counters)
    for bit in range(32):
        changed = base ^ plain.words(key, counters ^ np.uint32(1 << bit))
        share = np.unpackbits(changed.view(np.uint8).reshape(count, 4), axis=1).mean(axis=0)
        assert np.abs(share - 0.5).max() < limit(1024) / 2 / np.sqrt(count) + 0.005


def test_no_word_twice():
    """A stream is a bijection of the counter: 2^20 words, all different (of independent ones about 128 pairs were
    equal). Known, and without consequence for roundings and signs."""
    assert len(np.unique(words(KEYS[-1]))) == COUNT
