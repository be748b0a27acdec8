"""Compressors as contracts over the registry: whoever adds one gets these tests, but must store messages of it.

Statistical tests have fixed seeds and bounds of 5 standard errors, which is 1 in 3,000,000 for each comparison.
"""

import numpy as np
import pytest
from scipy.stats import norm
from tools import reference_compressors as plain
from tools.compressors import CASES, FIRST, both_types, every, first, random_rounding

from mpiqopt import _compressors as kernels
from mpiqopt.compressors.compressor import Compressor, Draw
from mpiqopt.compressors.eden import CENTROIDS, DISTORTION
from mpiqopt.config.build import build_from_config
from mpiqopt.contracts.compressor import (
    CHECKS,
    KINDS,
    SCALE,
    compressed_samples,
    decode_rows,
    encode_and_decode,
    encode_rows,
    example_keys,
    example_vector,
    relative_errors,
    require_unbiased,
    standard_error,
)
from mpiqopt.errors import NotFinite, UsageError
from mpiqopt.registry import find_member

# Errors


@every
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check, c):
    """What every compressor promises, those of plug-ins, too (mpiqopt test)."""
    reason = check(c)
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("c", [p for p in CASES if p.values[0].reach() is not None])
def test_unbiased_within_a_fixed_range(c):
    """Where there is no omega, too, if rounding is random."""
    if not random_rounding(c):
        pytest.skip("rounds to the nearest")
    require_unbiased(c)


@pytest.mark.parametrize("clip", [1.1, 1.5, 2.0])
def test_omega_with_clipping(clip):
    """A Gaussian vector, of whose rotation erfc(clip/sqrt 2) is clipped: 27, 13 and 5 %."""
    c, x = find_member("compressor", "flattened-one-bit")(clip=clip), example_vector("normal", 4096)
    errors = relative_errors(x, compressed_samples(c, x, 100))
    assert errors.mean() - 5 * standard_error(errors) <= c.omega(4096)


@pytest.mark.parametrize("c", [p for p in CASES if p.values[0].usual])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 3, 64, 1000])
def test_eden_is_exact_along_x(c, kind, d):
    """<C(x), x> = |x|^2 in every draw, for every x and d, but for the scale that is rounded up by less than 2^-20."""
    x = example_vector(kind, d)
    along = compressed_samples(c, x, 20) @ x / (x @ x)
    assert np.all(along >= 1 - 1e-12)
    assert np.all(along <= SCALE + 1e-12)


@pytest.mark.parametrize("bits", CENTROIDS)
def test_centroids_are_those_of_lloyd_and_max(bits):
    """Each is the mean of N(0, 1) over its cell, and the distortion is 1 - E rounded^2."""
    positive = np.array(CENTROIDS[bits])
    edges = np.concatenate([[0], (positive[1:] + positive[:-1]) / 2, [np.inf]])
    mass, moment = np.diff(norm.cdf(edges)), -np.diff(norm.pdf(edges))
    assert np.allclose(moment / mass, positive, atol=1e-9)
    assert DISTORTION[bits] == pytest.approx(1 - 2 * mass @ positive**2, abs=1e-9)


@pytest.mark.parametrize("c", [p for p in CASES if p.values[0].name == "zoom-in"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("round", [0, 1, 50, 100_000])
def test_zoom_in_error_is_half_a_step(c, kind, round):
    """The step is the documented one, rounded up as it is sent; the error at most half of it but for rounding."""
    x = example_vector(kind, 100)[None]
    messages = encode_rows(c, x, example_keys(1, round=round))
    step = plain.scale_of(messages[0].tobytes())
    expected = plain.zoom_step(c, np.abs(x).max(), round)
    assert expected <= step <= expected * SCALE
    assert np.all(np.abs(decode_rows(c, messages, x, example_keys(1, round=round)) - x) <= step / 2 * (1 + 1e-12))


@pytest.mark.parametrize("j", [1, 3, 29, 31, 62, 100])
def test_zoom_in_takes_the_smallest_step(j):
    """max|x| = levels initial_step 2^j exactly: that j, not j + 1."""
    messages = encode_rows(find_member("compressor", "zoom-in")(), np.array([[127 * 2.0**j]]), example_keys(1, round=0))
    assert plain.scale_of(messages[0].tobytes()) == 2.0**j


def test_zoom_in_finds_its_way_back():
    """From the smallest step, 2^-800, to a vector of any size."""
    x = np.array([[1e100, -3e99]])
    c = find_member("compressor", "zoom-in")(factor=0.5)
    assert np.all(np.abs(encode_and_decode(c, x, example_keys(1, round=5000)) - x) <= 1e100 / 127)


@pytest.mark.parametrize("bits", [2, 8, 16])
@pytest.mark.parametrize("kind", ["mid-tread", "mid-riser"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_uniform_saturates_at_the_last_level(bits, kind, rounding):
    c = find_member("compressor", "uniform")(step=0.5, bits=bits, kind=kind, rounding=rounding)
    y = compressed_samples(c, np.array([1e9, -1e9, 2e5, -2e5]), 10)
    assert np.all(np.abs(y) == c.reach())


def test_uniform_with_the_smallest_step():
    """1/step must be a number: smaller steps are refused by the config, and at the smallest zero stays zero."""
    with pytest.raises(UsageError, match=r"compressor.step = 1e-310: want greater than or equal to 0.000"):
        build_from_config("compressor", {"name": "uniform", "step": 1e-310}, "test")
    assert np.all(compressed_samples(find_member("compressor", "uniform")(step=1e-250), np.zeros(5), 3) == 0)


@pytest.mark.parametrize("c", [p for p in CASES if p.values[0].name in ("float16", "bfloat16", "float32")])
def test_shorter_numbers_are_the_nearest(c):
    """No neighbour of a value in the short format is nearer than the one that is sent.

    1 + half a unit + a little lies above the middle of two neighbours; by way of float32 it would become the middle and
    then the lower one.
    """
    u = c.unit_roundoff
    x = np.array([1 + u, 1 + 3 * u, 1 + u + 2.0**-40, 1 + 3 * u - 2.0**-40, 1 + u - 2.0**-40, 1.75])
    nearest = np.array([1.0, 1 + 4 * u, 1 + 2 * u, 1 + 2 * u, 1.0, 1.75])
    assert np.array_equal(compressed_samples(c, x, 1)[0], nearest)


@first
def test_sign_is_the_sign(c):
    if c.name != "sign":
        pytest.skip("only sign")
    assert compressed_samples(c, np.array([2.0, -3, 0, -0.0, 1e-300, -1e-300]), 1)[0].tolist() == [1, -1, 1, 1, 1, -1]


# Sizes of vectors and of values


def bound(c: Compressor, d: int, kind: str) -> float:
    """Of the mean of |C(x) - x|^2/|x|^2; skips the test where there is none.

    EDEN and DRIVE: |C(x)|^2/|x|^2 - 1; one value becomes equal ones, which are exact but for the scale. Others: 1.5 for
    short vectors, where the limit need not hold (|S|^2 D levels^2 is below 2.5 |x|^2 in all that were seen).
    """
    if c.usual and kind == "one-sparse":
        return (SCALE - 1) ** 2 + 1e-15
    if c.usual and d < 4096:
        return 1.5
    if c.delta(d) is not None:
        return 1 - c.delta(d) + 1e-15
    if c.omega(d) is None:
        pytest.skip("no bound that is relative to |x|")
    return (c.omega(d) + 1) * SCALE**2 - 1


@every
@both_types
@pytest.mark.parametrize("d", [1, 3, 1000, 1025])
@pytest.mark.parametrize("power", [300, -200])
def test_magnitudes(c, dtype, d, power):
    """Bounds that are relative hold for values of all magnitudes (float32: 10^30 and 10^-20, well within its range).

    float32 adds 2^-24 to each value of C(x), and after a rotation its own rounding, 2^-24 log2(D) of |x|.
    """
    power = power if dtype == np.float64 else power // 10
    for kind in ("normal", "one-sparse", "constant"):
        x = (10.0**power * example_vector(kind, d)).astype(dtype)
        most, rounding = bound(c, d, kind), 0 if dtype == np.float64 else 1e-5
        errors = relative_errors(x.astype(np.float64), compressed_samples(c, x, 30))
        assert np.all(np.isfinite(errors))
        assert errors.mean() - 5 * standard_error(errors) <= most * (1 + rounding) + rounding**2


@every
@both_types
@pytest.mark.parametrize("d", [1, 3, 1000, 1025])
def test_zero_is_zero(c, dtype, d):
    """Exactly, where a scale is sent; without one (sign, mid-riser, fixed dither) zero is not a value of C."""
    y = compressed_samples(c, np.zeros(d, dtype), 3)
    has_zero = getattr(c, "kind", "mid-tread") == "mid-tread" and getattr(c, "dither", "adaptive") == "adaptive"
    if c.name != "sign" and has_zero:
        assert not y.any()
    assert np.all(np.isfinite(y))


@every
def test_tiny_vectors_are_zero(c):
    """Values up to 10^-300 < 2^-900, also denormal ones. Not where nothing is sent relative to a scale."""
    if c.name in ("identity", "sign", "uniform") or getattr(c, "dither", "adaptive") != "adaptive":
        pytest.skip("no scale")
    for size in (1e-300, 1e-310, 5e-324):
        assert not compressed_samples(c, size * np.sign(example_vector("normal", 100)), 3).any()


@every
def test_values_just_above_the_tiny_ones(c):
    """2^-885 alone among 1000, so that its mean too is above 2^-900: sent as what it is; bounds as for any vector."""
    x, most = 2.0**-885 * (np.arange(1000) == 5), bound(c, 1000, "one-sparse")
    errors = relative_errors(x, compressed_samples(c, x, 200))
    assert errors.mean() - 5 * standard_error(errors) <= most


@every
def test_float32_denormals(c):
    """10^-42 is 714 units of the smallest float32: values to half of one, or relative bounds.

    A rotation in float32 loses what is below its smallest number; 10^-3 of |x| is what 1000 units leave.
    """
    x, most = np.float32(1e-42) * np.sign(example_vector("normal", 64)).astype(np.float32), bound(c, 64, "constant")
    errors = relative_errors(x.astype(np.float64), compressed_samples(c, x, 200))
    assert errors.mean() - 5 * standard_error(errors) <= most * 1.01 + 1e-5


@first
@both_types
@pytest.mark.parametrize("kind", ["constant", "one-sparse", "normal"])
def test_largest_values(c, dtype, kind):
    """With room for scales and rotations, which are a few powers of two above the values."""
    x = example_vector(kind, 64)
    largest = 2.0**1010 if dtype == np.float64 else float(np.finfo(np.float32).max) / 2**12
    x = np.clip(x / np.abs(x).max() * largest, -largest, largest).astype(dtype)
    kernels.require_finite(x[None])
    assert np.isfinite(compressed_samples(c, x, 20)).all()


@pytest.mark.parametrize("c", [p for p in FIRST if p.values[0].name != "low-rank"])
def test_ten_million_values(c):
    """One draw in float32: the error is near its mean at this length. low-rank would take minutes."""
    d = 10**7
    x = np.random.default_rng(0).standard_normal(d, np.float32)
    scale = (c.reach() or 8) / 8
    x *= np.float32(scale)
    y = encode_and_decode(c, x[None], example_keys(1))[0]
    assert np.all(np.isfinite(y))
    y -= x
    error, size = float(y @ y), float(x @ x)
    if c.omega(d) is not None or c.delta(d) is not None:
        assert error <= bound(c, d, "normal") * size * 1.01
    if c.resolution(d) is not None:
        assert error <= c.resolution(d) * d * 1.01
    if c.name == "zoom-in":
        assert np.abs(y).max() <= 0.9**3 / 2 * SCALE + 1e-6


# What cannot be sent


@every
def test_beyond_the_largest_power_of_two(c):
    """1.5 * 2^1022 leaves no room for a power of two above it: an error."""
    x = np.zeros((2, 1000))
    x[1] = -1.5 * 2.0**1022
    with pytest.raises(NotFinite) as error:
        encode_rows(c, x, example_keys(2))
    assert error.value.row == 1


@pytest.mark.parametrize("n", [1, 2, 3, 64, 200])
@pytest.mark.parametrize(("name", "amplitude", "settings"), [("sign", 1.0, {}), ("one-bit", 0.3, {"dither": 0.3})])
def test_means_of_fixed_amplitude_are_counts(n, name, amplitude, settings):
    """amplitude (2 count - n)/n exactly, count the number of set bits: no error of summation."""
    c, d = find_member("compressor", name)(**settings), 1037
    x = example_vector("normal", n * d).reshape(n, d) / 5
    messages = encode_rows(c, x, example_keys(n))
    counts = np.unpackbits(messages, axis=1, count=d, bitorder="little").sum(axis=0, dtype=np.int64)
    mean = np.empty((1, d))
    c.decode_mean(messages[:, None], mean, Draw(3, example_keys(n).own, example_keys(1).shared))
    assert np.array_equal(mean[0], amplitude * (2 * counts - n) / n)
