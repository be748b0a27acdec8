"""Facts about messages of one bit that FO-SGD needs: their mean is clipped, and flattening bounds their error."""

import numpy as np
import pytest
from tools import reference_compressors as plain

from mpiqopt.compressors.compressor import Draw
from mpiqopt.contracts.compressor import (
    SCALE,
    compressed_samples,
    encode_and_decode,
    example_keys,
    example_vector,
    relative_errors,
    standard_error,
)
from mpiqopt.registry import find_member


def test_mean_of_one_bit_is_clipped():
    """E C(x) = clip(x), 4000 draws; beyond the dither the sign is certain."""
    c, x = find_member("compressor", "one-bit")(dither=0.75), np.linspace(-2, 2, 65)
    y = compressed_samples(c, x, 4000)
    clipped = np.clip(x, -0.75, 0.75)
    assert np.all(np.abs(y) == 0.75)
    assert np.all(np.abs(y.mean(axis=0) - clipped) <= 5 * np.sqrt(0.75**2 - clipped**2) / np.sqrt(4000))


def rotation(d: int, key: int) -> np.ndarray:
    """U as a matrix (D, D)."""
    size = plain.padded_size(d)
    return np.array([plain.rotated(row, key) for row in np.eye(size)]).T


@pytest.mark.parametrize("d", [64, 50])
@pytest.mark.parametrize("settings", [{"dither": 0.75}, {"clip": 1.2}])
def test_mean_of_flattened_one_bit_is_clipped(d, settings):
    """E C(x) = U^T clip(U x) for every U: one shared key, 4000 own ones."""
    c, x, n = find_member("compressor", "flattened-one-bit")(**settings), example_vector("normal", d), 4000
    shared = example_keys(1).shared
    draw = Draw(3, example_keys(n).own, np.repeat(shared, n))
    y = encode_and_decode(c, np.tile(x, (n, 1)), draw)
    U = rotation(d, int(shared[0]))[:, :d]
    amplitude = settings.get("dither", settings.get("clip", 0) * np.linalg.norm(x) / 8)
    expected = U.T @ np.clip(U @ x, -amplitude, amplitude)
    assert np.any(np.abs(U @ x) > amplitude)
    assert np.all(np.abs(y.mean(axis=0) - expected) <= 5 * standard_error(y) + 2.0**-20 * amplitude)


@pytest.mark.parametrize("settings", [{"dither": 9.0}, {}, {"clip": 6.0}])
@pytest.mark.parametrize("d", [64, 1024])
def test_error_of_flattened_one_bit(d, settings):
    """|C(x)|^2 = D dither^2 exactly (U is orthogonal), <C(x), x> = |x|^2 in the mean: the error is D dither^2 - |x|^2.

    For vectors that are not clipped: one value and its rotation of equal magnitudes.
    """
    c, x, n = find_member("compressor", "flattened-one-bit")(**settings), example_vector("one-sparse", d), 400
    y = compressed_samples(c, x, n)
    size = x @ x
    square = d * 81.0 if "dither" in settings else c.clip**2 * size
    squares = np.sum(y**2, axis=1)
    assert np.all(squares >= square * (1 - 1e-12))
    assert np.all(squares <= square * SCALE**2 * (1 + 1e-12))
    along = y @ x
    assert abs(along.mean() - size) <= 5 * standard_error(along)


@pytest.mark.parametrize("log_d", range(4, 17))
def test_errors_on_sparse_vectors(log_d):
    """Flattened c^2 - 1 = 8 for every d, to 5 standard errors; without flattening d - 1, exactly and in each draw.

    Flattened, the error is c^2 + 1 - 2 <C(x), x>/|x|^2, and the last is the mean of D signs times c.
    """
    d, n = 2**log_d, 100 if log_d < 12 else 20
    x = example_vector("one-sparse", d)
    flat = relative_errors(x, compressed_samples(find_member("compressor", "flattened-one-bit")(clip=3.0), x, n))
    assert abs(flat.mean() - 8) <= 5 * 2 * np.sqrt(8 / (d * n)) + 9 * (SCALE**2 - 1)
    bits = relative_errors(x, compressed_samples(find_member("compressor", "one-bit")(), x, n))
    assert np.allclose(bits, d - 1, rtol=2 * (SCALE**2 - 1))
