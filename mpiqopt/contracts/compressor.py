"""Promises of a compressor: messages of a fixed size that follow from vector and keys, and the bounds of its error.

Statistical checks have fixed seeds and bounds of 5 standard errors, which is 1 in 3,000,000 for each comparison.

>>> from mpiqopt.compressors.qsgd import QSGD
>>> mean_is_x(QSGD(levels=4)) is None  # holds
True
>>> x = example_vector("one-sparse", 8)
>>> encode_and_decode(QSGD(levels=4), x[None], example_keys(1)).round(3).tolist()
[[0.0, 0.0, -3.7, 0.0, 0.0, 0.0, 0.0, 0.0]]
"""

from collections.abc import Iterator

import numpy as np

from mpiqopt.compressors.compressor import Compressor, Draw
from mpiqopt.contracts.contract import Broken, promise, promise_equal
from mpiqopt.errors import NotFinite

# A scale may be sent rounded up to 20 bits of mantissa: by this at most.
SCALE = 1 + 2.0**-20
TYPES = (np.float64, np.float32)

KINDS = {
    "normal": lambda d, rng: rng.standard_normal(d),
    "one-sparse": lambda d, rng: -3.7 * (np.arange(d) == d // 3),
    "constant": lambda d, rng: np.full(d, 0.3),
    "heavy-tailed": lambda d, rng: rng.standard_t(2, d),
    "mixed": lambda d, rng: rng.standard_normal(d) * 10 ** rng.uniform(-8, 8, d),
}


def example_vector(kind: str, d: int, seed: int = 0) -> np.ndarray:
    """Return a vector (d,) of one of the KINDS, float64."""
    return KINDS[kind](d, np.random.default_rng([seed, d]))


def example_keys(n: int, seed: int = 0, round: int = 3) -> Draw:
    """Return keys of n messages, all different.

    seed: of the keys; round: of gossip, in which the messages are sent.
    """
    own, shared = np.random.default_rng([1, seed]).integers(0, 2**64, (2, n), dtype=np.uint64)
    return Draw(round, own, shared)


def encode_rows(c: Compressor, x: np.ndarray, draw: Draw, fill: int = 0) -> np.ndarray:
    """Return the messages of rows x (rows, d), uint8 (rows, nbytes).

    fill: what the bytes were before, which must not matter.
    """
    messages = np.full((len(x), c.nbytes(x.shape[1], x.dtype)), fill, np.uint8)
    c.encode(x, messages, draw)
    return messages


def decode_rows(c: Compressor, messages: np.ndarray, like: np.ndarray, draw: Draw) -> np.ndarray:
    """Return what messages mean, as rows of the type and shape of ``like``."""
    x = np.full_like(like, 7)
    c.decode(messages, x, draw)
    return x


def encode_and_decode(c: Compressor, x: np.ndarray, draw: Draw) -> np.ndarray:
    """Return what receivers see of rows x (rows, d): encoded and decoded."""
    return decode_rows(c, encode_rows(c, x, draw), x, draw)


def compressed_samples(c: Compressor, x: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Return n independent C(x) of one vector x (d,), as float64 (n, d)."""
    return encode_and_decode(c, np.tile(x, (n, 1)), example_keys(n, seed)).astype(np.float64)


def relative_errors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return |y - x|^2 / |x|^2 of the rows of y (n, d), for x (d,) of any magnitude."""
    unit = np.abs(x).max()
    return np.sum((y / unit - x / unit) ** 2, axis=1) / np.sum((x / unit) ** 2)


def scaled_to_range(c: Compressor, x: np.ndarray) -> np.ndarray:
    """Return x scaled to the range of a compressor that has a fixed one.

    After a rotation no value is beyond |x|, so that |x| is scaled to the range.
    """
    reach = c.reach()
    return x if reach is None else x * (reach / (np.linalg.norm(x) if c.rotates else np.abs(x).max()))


def standard_error(values: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over the first axis."""
    return values.std(axis=0) / np.sqrt(len(values))


def _cases(c: Compressor, d: int = 128, n: int = 300) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield kind, vector and number of draws; long normal vectors alone where bounds hold for these only."""
    if c.usual:
        yield "normal", example_vector("normal", 4096), 100
        return
    for kind in KINDS:
        yield kind, example_vector(kind, d), n


def size_is_that_of_the_messages(c: Compressor) -> None:
    """Check that nbytes() are whole numbers that do not fall as d grows.

    Buffers are allocated by it before anything is encoded.
    """
    for dtype in TYPES:
        before = 0
        for d in (1, 2, 3, 8, 9, 64, 1000, 1025):
            size = c.nbytes(d, np.dtype(dtype))
            promise(
                isinstance(size, (int, np.integer)) and size >= before,
                f"nbytes({d}) is {size!r}, want a whole number of at least {before} bytes ({np.dtype(dtype)})",
            )
            before = size


def every_byte_is_written(c: Compressor) -> None:
    """Check that encode() makes messages that do not depend on what was in the buffer, also of zeros.

    Buffers are reused: what is left of an older message would make runs differ.
    """
    for dtype in TYPES:
        for d in (1, 3, 37, 1025):
            for x in (example_vector("normal", d), np.zeros(d)):
                x = x[None].astype(dtype)
                one, other = encode_rows(c, x, example_keys(1), 0x55), encode_rows(c, x, example_keys(1), 0xAA)
                promise_equal(one, other, f"bytes over 0x55 and 0xAA (d = {d}, {x.dtype})")


def same_keys_give_same_bytes(c: Compressor) -> None:
    """Check that encode() is a function of vector and keys, so that a run can be repeated."""
    for dtype in TYPES:
        x = example_vector("normal", 1000)[None].astype(dtype)
        promise_equal(
            encode_rows(c, x, example_keys(1)),
            encode_rows(c, x, example_keys(1)),
            f"bytes of a second message ({x.dtype})",
        )


def input_is_left_alone(c: Compressor) -> None:
    """Check that encode() and decode() change neither vectors, which may be read-only, nor messages.

    Error feedback subtracts what was sent from the vector.
    """
    for dtype in TYPES:
        for d in (1, 37, 1030):
            x = example_vector("normal", d)[None].astype(dtype)
            before = x.copy()
            x.flags.writeable = False
            messages = encode_rows(c, x, example_keys(1))
            sent = messages.copy()
            decode_rows(c, messages, x, example_keys(1))
            promise_equal(x, before, f"x after encode() (d = {d}, {x.dtype})")
            promise_equal(messages, sent, f"messages after decode() (d = {d}, {x.dtype})")


def rows_are_independent(c: Compressor) -> None:
    """Check that three rows at once give the messages and vectors of each, in the order of their keys.

    How many nodes a rank hosts must not matter.
    """
    for dtype in TYPES:
        for d in (1, 37, 1030):
            x = np.array([example_vector(kind, d) for kind in ("normal", "one-sparse", "mixed")]).astype(dtype)
            draw = example_keys(3)
            messages = encode_rows(c, x, draw)
            y = decode_rows(c, messages, x, draw)
            for i in range(3):
                one, where = Draw(draw.round, draw.own[i : i + 1], draw.shared[i : i + 1]), f"(d = {d}, {x.dtype})"
                promise_equal(encode_rows(c, x[i : i + 1], one)[0], messages[i], f"message of row {i} alone {where}")
                promise_equal(decode_rows(c, messages[i : i + 1], x[i : i + 1], one)[0], y[i], f"row {i} alone {where}")


def mean_error_is_within_its_bound(c: Compressor) -> None:
    """Check that E|C(x) - x|^2 is at most omega, 1 - delta or the resolution, to 5 standard errors.

    Rounding the scale up makes E|C(x)|^2 at most SCALE^2 times as large, so that omega + 1 may be exceeded by that.
    """
    for kind, x, n in _cases(c):
        x = scaled_to_range(c, x)
        d, errors = len(x), relative_errors(x, compressed_samples(c, x, n))
        least = errors.mean() - 5 * standard_error(errors)
        omega, delta, resolution = c.omega(d), c.delta(d), c.resolution(d)
        bounds = {
            "omega": None if omega is None else (omega + 1) * SCALE**2 - 1,
            "1 - delta": None if delta is None else 1 - delta + 1e-15,
            "resolution d/|x|^2": None if resolution is None else resolution * (1 + 1e-12) * d / float(np.sum(x**2)),
        }
        for name, most in bounds.items():
            promise(
                most is None or least <= most,
                f"E|C(x) - x|^2/|x|^2 is {errors.mean():.4g}, want at most {name} = {most or 0:.4g} ({kind}, d = {d})",
            )


def damped_it_contracts(c: Compressor) -> str | None:
    """Check E|damping C(x) - x|^2 <= (1 - damped_delta) |x|^2, which difference coding and error feedback rely on.

    SCALE^2 as in the mean error, here on |damping C(x)|^2 <= 1.
    """
    if c.damped_delta(128) is None:
        return "not claimed: neither omega nor delta"
    for kind, x, n in _cases(c):
        d, errors = len(x), relative_errors(x, c.damping(len(x)) * compressed_samples(c, x, n))
        delta = c.damped_delta(d)
        if delta is None or not 0 < delta <= 1:
            raise Broken(f"damped_delta({d}) is {delta}, want more than 0 and at most 1")
        promise(
            errors.mean() - 5 * standard_error(errors) <= 1 - delta + SCALE**2 - 1,
            f"E|damping C(x) - x|^2/|x|^2 is {errors.mean():.4g}, want at most {1 - delta:.4g} ({kind}, d = {d})",
        )
    return None


def mean_is_x(c: Compressor) -> str | None:
    """Check E C(x) = x of a compressor that has an omega."""
    if c.omega(64) is None:
        return "not claimed: omega = None"
    require_unbiased(c)
    return None


def require_unbiased(c: Compressor) -> None:
    """Raise Broken unless the mean error is zero to 5 standard errors.

    Along x, the ones, the largest coordinate and random directions. A scale that is rounded up may add 2^-20 |x|.
    bias(d): what clipping may do.
    """
    for kind, x, n in _cases(c, 64, 2000):
        x = scaled_to_range(c, x)
        d, errors = len(x), compressed_samples(c, x, n, seed=1) - x
        directions = np.vstack(
            [x, np.ones(d), np.eye(d)[np.abs(x).argmax()], example_vector("normal", 5 * d).reshape(5, d)]
        )
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        along = errors @ directions.T
        beyond = np.abs(along.mean(axis=0)) - 5 * standard_error(along) - (c.bias(d) + SCALE - 1) * np.linalg.norm(x)
        worst = int(np.argmax(beyond))
        if beyond[worst] > 0:
            off = along.mean(axis=0)[worst] / np.linalg.norm(x)
            raise Broken(f"E C(x) - x is {off:.3g} |x| in one direction, want 0 up to noise ({kind}, d = {d})")


def mean_of_messages_is_that_of_vectors(c: Compressor) -> None:
    """Check that decode_mean() gives the mean of what decode() gives.

    To 1e-12 (float32: 1e-5) of the largest |C(x)| in it.

    d = 64 and 7: with a rotation there is working memory of the size of x, and of another size.
    """
    for dtype in TYPES:
        for n, rows, d in ((1, 1, 7), (2, 3, 64), (3, 1, 64), (17, 3, 7)):
            x = example_vector("heavy-tailed", n * rows * d).reshape(n * rows, d).astype(dtype)
            shared = example_keys(rows, seed=2).shared
            draw = Draw(3, example_keys(n * rows).own, np.tile(shared, n))
            messages = encode_rows(c, x, draw)
            each = decode_rows(c, messages, x, draw).reshape(n, rows, d).astype(np.float64)
            mean = np.full((rows, d), 7, dtype)
            c.decode_mean(messages.reshape(n, rows, -1), mean, Draw(3, draw.own, shared))
            error = np.abs(mean - each.mean(axis=0)).max() / np.abs(each).max()
            most = 1e-12 if dtype == np.float64 else 1e-5
            promise(error <= most, f"decode_mean of {n} nodes is off by {error:.2g}, want at most {most:.0e} (d = {d})")


def not_finite_is_refused(c: Compressor) -> None:
    """Check that encode() raises NotFinite for the first row that has NaN or infinity, wherever it is.

    Such a run has diverged, and its error line names the node.
    """
    for dtype in TYPES:
        for bad in (np.nan, np.inf, -np.inf):
            for d in (1, 3, 1100):
                for row, j in ((0, 0), (1, d // 2), (1, d - 1)):
                    x = np.tile(example_vector("normal", d), (3, 1)).astype(dtype)
                    x[row, j] = x[2, j] = bad
                    found = _refused_row(c, x)
                    promise(found == row, f"NotFinite of row {found}, want {row} for {bad} at {j} of {d} ({x.dtype})")


def _refused_row(c: Compressor, x: np.ndarray) -> int | None:
    """Return the row that encode() finds not finite, or None."""
    try:
        encode_rows(c, x, example_keys(len(x)))
    except NotFinite as error:
        return error.row
    return None


def broken_messages_do_no_harm(c: Compressor) -> None:
    """Check that decode() of 50 messages of random bytes, and one of ones, writes nothing outside of x.

    Messages come from other processes; a wrong one may give wrong numbers, not a crash.
    """
    for dtype in TYPES:
        for d in (1, 37, 1000):
            scratch = np.zeros((3, d), dtype)
            width = c.nbytes(d, scratch.dtype)
            messages = np.random.default_rng(2).integers(0, 256, (50, 1, width), np.uint8)
            for message in (*messages, np.full((1, width), 255, np.uint8)):
                with np.errstate(all="ignore"):
                    c.decode(message, scratch[1:2], example_keys(1))
                promise(not scratch[[0, 2]].any(), f"decode() writes beside its row (d = {d}, {scratch.dtype})")


CHECKS = (
    size_is_that_of_the_messages,
    every_byte_is_written,
    same_keys_give_same_bytes,
    input_is_left_alone,
    rows_are_independent,
    mean_error_is_within_its_bound,
    damped_it_contracts,
    mean_is_x,
    mean_of_messages_is_that_of_vectors,
    not_finite_is_refused,
    broken_messages_do_no_harm,
)
