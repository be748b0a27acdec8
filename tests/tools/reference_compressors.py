"""The wire formats in plain NumPy, written from the docstrings and the descriptions of the formats.

A reference is a pair of functions for one vector, ``encode(c, x, own, shared, round) -> bytes`` and
``decode(c, message, d, dtype, own, shared) -> vector``, for a compressor c with its settings; own and shared are
integers below 2^64. Nothing here calls the package's arithmetic. Operations are in the order of the kernels where it
matters for the last bit: sums in 32 lanes, x * (1/step) for x/step.
"""

import numpy as np

LANES = 32
TINY, BEYOND = 2.0**-900, 2.0**1022


# Random words


def words(key: int, count) -> np.ndarray:
    """Words 0, ..., count-1 of the stream of a key, or those of an array of counters, as uint32."""
    counters = np.arange(count, dtype=np.uint32) if np.ndim(count) == 0 else np.asarray(count, np.uint32)
    h = counters * np.uint32(0x9E3779B1) + np.uint32(key % 2**32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x7FEB352D)
    h ^= np.uint32(key >> 32)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    return h ^ h >> np.uint32(16)


def dither(key: int | None, count: int) -> np.ndarray:
    """The words as numbers in [-1/2, 1/2), of which the upper half of the words are the negative ones; 0 without."""
    return np.zeros(count) if key is None else words(key, count).view(np.int32) / 2.0**32


def half_words(key: int, count: int) -> np.ndarray:
    """Half a word for each value, the lower half first, as signed numbers in single precision."""
    return words(key, -(-count // 2)).view(np.int16)[:count].astype(np.float32)


def block_key(key: int, block: int) -> int:
    """splitmix64 started at ``key``: its output number ``block``."""
    z = (key + (block + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def message_key(seed: int, purpose: int, round: int, node: int, block: int) -> int:
    """The first word of NumPy's Philox under the counter (0, round, node, purpose), and from it the block's key."""
    philox = np.random.Philox(counter=[0, round, node, purpose], key=[seed, 0])
    return block_key(int(philox.random_raw()), block)


# Bits and scales


def packed(codes, bits: int) -> bytes:
    """Bit t of code j is bit j * bits + t of a little-endian stream."""
    columns = np.asarray(codes, np.uint64)[:, None] >> np.arange(bits, dtype=np.uint64) & np.uint64(1)
    return np.packbits(columns.astype(np.uint8).ravel(), bitorder="little").tobytes()


def unpacked(stream: bytes, bits: int, count: int) -> np.ndarray:
    raw = np.frombuffer(stream, np.uint8)
    columns = np.unpackbits(raw, bitorder="little", count=count * bits).reshape(count, bits)
    return columns.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))


def scale_bytes(scale: float) -> bytes:
    """The upper half of a float64, rounded up, at most the largest that there is."""
    upper, lower = divmod(int(np.float64(scale).view(np.uint64)), 2**32)
    return min(upper + (lower > 0), 0x7FEFFFFF).to_bytes(4, "little")


def scale_of(message: bytes) -> float:
    return float(np.frombuffer(bytes(4) + message[:4], np.float64)[0])


# Sizes of vectors


def lane_sum(values: np.ndarray) -> float:
    """Lane j sums values j, j + 32, ...; then the lanes are summed in order."""
    padded = np.zeros(-(-len(values) // LANES) * LANES)
    padded[: len(values)] = values
    total = 0.0
    for lane in np.add.reduce(padded.reshape(-1, LANES), axis=0).tolist():
        total += lane
    return total


def largest(x: np.ndarray) -> float:
    return float(np.abs(x).max(initial=0))


def norm(x: np.ndarray) -> float:
    """|x|; relative to the largest value where the squares would leave the range of numbers."""
    x, unit = x.astype(np.float64), 1.0
    with np.errstate(over="ignore", under="ignore"):
        total = lane_sum(x * x)
    if not 2.0**-960 < total < 2.0**1020:
        unit = largest(x)
        if unit <= TINY:
            return unit
        total = lane_sum((x * (1 / unit)) ** 2)
    return unit * np.sqrt(total)


def mean_absolute(x: np.ndarray) -> float:
    return lane_sum(np.abs(x.astype(np.float64))) / len(x)


def power_above(size: float) -> float:
    """The smallest power of two that is larger."""
    return 2.0 ** np.frexp(size)[1]


# Rotations


def hadamard(x: np.ndarray) -> np.ndarray:
    """H x in natural order: sums and differences at strides 1, 2, 4, ..., in the type of x."""
    stride = 1
    while stride < len(x):
        pairs = x.reshape(-1, 2, stride)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).ravel()
        stride *= 2
    return x


def padded_size(d: int) -> int:
    return 2 ** int(np.ceil(np.log2(d)))


def signs(key: int, count: int) -> np.ndarray:
    """-1 where bit j % 32 of word j // 32 is not set."""
    bits = np.unpackbits(words(key, -(-count // 32)).astype("<u4").view(np.uint8), bitorder="little")
    return np.where(bits[:count], 1.0, -1.0)


def rotated(x: np.ndarray, key: int) -> np.ndarray:
    """D^(-1/2) H diag(+-1) [x; 0]."""
    size = padded_size(len(x))
    y = np.zeros(size, x.dtype)
    y[: len(x)] = x.astype(np.float64) * (signs(key, len(x)) * (1 / np.sqrt(size)))
    return hadamard(y)


def rotated_back(y: np.ndarray, key: int, d: int) -> np.ndarray:
    """The first d values of diag(+-1) D^(-1/2) H y."""
    back = hadamard(y)[:d].astype(np.float64)
    return (back * (signs(key, d) * (1 / np.sqrt(len(y))))).astype(y.dtype)


# Grids


def on_grid(x, step: float, zero: float, top: int, bits: int, key: int | None) -> bytes:
    """floor(x/step + zero + u) within 0 .. top, u uniform on [0, 1), 1/2 for rounding to nearest."""
    t = x.astype(np.float64) * (1 / step)
    if key is None or bits > 8:
        t = t + (zero + 0.5 + dither(key, len(x)))
    else:  # in single precision
        with np.errstate(over="ignore"):
            t = t.astype(np.float32) + (np.float32(zero + 0.5) + half_words(key, len(x)) * np.float32(2.0**-16))
    return packed(np.clip(np.floor(t), 0, top).astype(np.int64), bits)


def qsgd_encode(c, x, own, shared, round):
    header = scale_bytes(norm(x) if norm(x) >= TINY else 0)
    if scale_of(header) == 0:
        return bytes(c.nbytes(len(x), x.dtype))
    bits = int(np.ceil(np.log2(2 * c.levels + 1)))
    return header + on_grid(x, scale_of(header) / c.levels, c.levels, 2 * c.levels, bits, own)


def qsgd_decode(c, message, d, dtype, own, shared):
    codes = unpacked(message[4:], int(np.ceil(np.log2(2 * c.levels + 1))), d)
    return (scale_of(message) / c.levels * (codes - c.levels)).astype(dtype)


def terngrad_encode(c, x, own, shared, round):
    header = scale_bytes(largest(x) if largest(x) >= TINY else 0)
    if scale_of(header) == 0:
        return bytes(c.nbytes(len(x), x.dtype))
    return header + on_grid(x, scale_of(header), 1, 2, 2, own)


def terngrad_decode(c, message, d, dtype, own, shared):
    return (scale_of(message) * (unpacked(message[4:], 2, d) - 1)).astype(dtype)


def uniform_shape(c) -> tuple[float, int]:
    """Where zero is in codes, and the last code."""
    if c.kind == "mid-tread":
        return 2 ** (c.bits - 1) - 1, 2**c.bits - 2
    return 2 ** (c.bits - 1) - 0.5, 2**c.bits - 1


def uniform_encode(c, x, own, shared, round):
    zero, top = uniform_shape(c)
    return on_grid(x, c.step, zero, top, c.bits, own if c.rounding == "stochastic" else None)


def uniform_decode(c, message, d, dtype, own, shared):
    return (c.step * (unpacked(message, c.bits, d) - uniform_shape(c)[0])).astype(dtype)


def zoom_step(c, size: float, round: int) -> float:
    """The smallest initial_step factor^round expand^j at which nothing saturates; the step stops at 2^-800."""
    levels, j = 2 ** (c.bits - 1) - 1, 0
    first = max(c.initial_step * c.factor**round, 2.0**-800)
    while size > levels * (first * c.expand**j):
        j += 1
    return first * c.expand**j


def zoom_encode(c, x, own, shared, round):
    header = scale_bytes(zoom_step(c, largest(x), round))
    levels = 2 ** (c.bits - 1) - 1
    return header + on_grid(x, scale_of(header), levels, 2 * levels, c.bits, None)


def zoom_decode(c, message, d, dtype, own, shared):
    return (scale_of(message) * (unpacked(message[4:], c.bits, d) - (2 ** (c.bits - 1) - 1))).astype(dtype)


# Signs


def sign_bytes(x, amplitude: float, key: int | None) -> bytes:
    """x/amplitude + tau >= 0 in single precision, tau from half a word on [-1, 1); x >= 0 without a key."""
    if key is None:
        return packed(x >= 0, 1)
    with np.errstate(over="ignore"):
        t = (x.astype(np.float64) * (1 / amplitude)).astype(np.float32)
    return packed(t + half_words(key, len(x)) * np.float32(2.0**-15) >= -np.float32(2.0**-16), 1)


def with_amplitude(size: float, factor: float, x, key) -> bytes:
    header = scale_bytes(factor * size if size >= TINY else 0)
    if scale_of(header) == 0:
        return header + bytes(-(-len(x) // 8))
    return header + sign_bytes(x, scale_of(header), key)


def of_signs(amplitude: float, stream: bytes, d: int, dtype) -> np.ndarray:
    if amplitude == 0:
        return np.zeros(d, dtype)
    return (amplitude * (2.0 * unpacked(stream, 1, d) - 1)).astype(dtype)


def sign_encode(c, x, own, shared, round):
    return sign_bytes(x, 0, None)


def sign_decode(c, message, d, dtype, own, shared):
    return of_signs(1, message, d, dtype)


def scaled_sign_encode(c, x, own, shared, round):
    return with_amplitude(mean_absolute(x), 1, x, None)


def scaled_decode(c, message, d, dtype, own, shared):
    return of_signs(scale_of(message), message[4:], d, dtype)


def one_bit_encode(c, x, own, shared, round):
    return with_amplitude(largest(x), 1, x, own) if c.dither == "adaptive" else sign_bytes(x, c.dither, own)


def one_bit_decode(c, message, d, dtype, own, shared):
    adaptive = c.dither == "adaptive"
    return of_signs(scale_of(message), message[4:], d, dtype) if adaptive else of_signs(c.dither, message, d, dtype)


def flattened_encode(c, x, own, shared, round):
    y = rotated(x, shared)
    if c.dither != "adaptive":
        return sign_bytes(y, c.dither, own)
    return with_amplitude(norm(y) / np.sqrt(len(y)), c.clip, y, own)


def flattened_decode(c, message, d, dtype, own, shared):
    return rotated_back(one_bit_decode(c, message, padded_size(d), dtype, own, shared), shared, d)


# Levels after a rotation


def eden_encode(centroids):
    def encode(c, x, own, shared, round):
        y, c_bits = rotated(x, own), c.bits
        if norm(y) < TINY:
            return bytes(c.nbytes(len(x), x.dtype))
        t = np.sqrt(len(y)) / norm(y) * y.astype(np.float64)
        levels = np.array(centroids[c_bits])
        levels = np.concatenate([-levels[::-1], levels])
        codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, t, side="right")
        along = lane_sum(t * levels[codes])
        return scale_bytes(len(y) / along / (np.sqrt(len(y)) / norm(y))) + packed(codes, c_bits)

    return encode


def eden_decode(centroids):
    def decode(c, message, d, dtype, own, shared):
        levels = np.array(centroids[c.bits])
        levels = scale_of(message) * np.concatenate([-levels[::-1], levels])
        return rotated_back(levels[unpacked(message[4:], c.bits, padded_size(d))].astype(dtype), own, d)

    return decode


# Floating-point numbers


def relative(x, room: float = 1.0) -> tuple[bytes, np.ndarray]:
    """The scale of a message, the power of two above the largest value, and x relative to it, times ``room``."""
    size = largest(x)
    if size < TINY:
        return scale_bytes(0), 0 * x.astype(np.float64)
    return scale_bytes(power_above(size)), x.astype(np.float64) * (room / power_above(size))


def float32_encode(c, x, own, shared, round):
    scale, values = relative(x)
    return scale + values.astype(np.float32).tobytes()


def float32_decode(c, message, d, dtype, own, shared):
    return (scale_of(message) * np.frombuffer(message[4:], np.float32).astype(np.float64)).astype(dtype)


def float16_encode(c, x, own, shared, round):
    scale, values = relative(x, 2.0**15)
    return scale + values.astype(np.float16).tobytes()


def float16_decode(c, message, d, dtype, own, shared):
    halves = np.frombuffer(message[4:], np.float16).astype(np.float64)
    return (scale_of(message) * 2.0**-15 * halves).astype(dtype)


def bfloat16_encode(c, x, own, shared, round):
    """The upper half of float32: 8 bits of mantissa, to nearest, ties to even, down to exponent -126."""
    scale, values = relative(x)
    unit = np.ldexp(1.0, np.maximum(np.frexp(values)[1], -125) - 8)
    return scale + (np.rint(values / unit) * unit).astype(np.float32).view(np.uint16)[1::2].tobytes()


def bfloat16_decode(c, message, d, dtype, own, shared):
    upper = np.frombuffer(message[4:], np.uint16).astype(np.uint32)
    return (scale_of(message) * (upper << np.uint32(16)).view(np.float32).astype(np.float64)).astype(dtype)


def natural_encode(c, x, own, shared, round):
    """|v| = 2^e (1 + m): up to 2^(e+1) with probability m. Code 255 + exponent, and the sign above it."""
    scale, values = relative(x)
    mantissa, exponent = np.frexp(np.abs(values))
    up = (2 * mantissa - 1) * 2.0**32 + words(own, len(x)) >= 2.0**32
    power = np.where(values == 0, -1000, exponent - 1 + up)
    codes = np.where(power < -254, 0, 255 + power) + 256 * np.signbit(values)
    return bytes(c.nbytes(len(x), x.dtype)) if scale_of(scale) == 0 else scale + packed(codes, 9)


def natural_decode(c, message, d, dtype, own, shared):
    codes = unpacked(message[4:], 9, d)
    powers = np.where(codes % 256 == 0, 0, np.where(codes >= 256, -1, 1) * 2.0 ** (codes % 256 - 255))
    return (scale_of(message) * powers).astype(dtype)


# Some of the coordinates


def sent_count(c, d: int) -> int:
    return int(np.ceil(c.fraction * d))


def index_bits(d: int) -> int:
    return int(np.ceil(np.log2(d)))


def top_k_encode(c, x, own, shared, round):
    index = np.sort(np.argsort(-np.abs(x), kind="stable")[: sent_count(c, len(x))])
    scale, values = relative(x)
    return scale + values[index].astype(np.float32).tobytes() + packed(index, index_bits(len(x)))


def top_k_decode(c, message, d, dtype, own, shared):
    k = sent_count(c, d)
    index = unpacked(message[4 + 4 * k :], index_bits(d), k)
    return put(message, index, 1.0, d, dtype)


def put(message: bytes, index: np.ndarray, factor: float, d: int, dtype) -> np.ndarray:
    x = np.zeros(d, dtype)
    values = np.frombuffer(message[4 : 4 + 4 * len(index)], np.float32).astype(np.float64)
    x[index] = factor * scale_of(message) * values
    return x


def chosen(key: int, d: int, k: int) -> np.ndarray:
    """Knuth's algorithm S: coordinate j is chosen with probability (still wanted)/(still to come)."""
    index = []
    for j, word in enumerate(words(key, d).tolist()):
        if word * (d - j) >> 32 < k - len(index):
            index.append(j)
    return np.array(index)


def random_k_encode(c, x, own, shared, round):
    scale, values = relative(x)
    return scale + values[chosen(own, len(x), sent_count(c, len(x)))].astype(np.float32).tobytes()


def random_k_decode(c, message, d, dtype, own, shared):
    k = sent_count(c, d)
    return put(message, chosen(own, d, k), d / k, d, dtype)


def identity_encode(c, x, own, shared, round):
    return x.tobytes()


def identity_decode(c, message, d, dtype, own, shared):
    return np.frombuffer(message, dtype)


def references(centroids: dict[int, tuple[float, ...]]) -> dict:
    """By name, encode and decode. centroids: of EDEN's message format, by bits."""
    eden = eden_encode(centroids), eden_decode(centroids)
    return {
        "bfloat16": (bfloat16_encode, bfloat16_decode),
        "drive": eden,
        "eden": eden,
        "flattened-one-bit": (flattened_encode, flattened_decode),
        "float16": (float16_encode, float16_decode),
        "float32": (float32_encode, float32_decode),
        "identity": (identity_encode, identity_decode),
        "natural": (natural_encode, natural_decode),
        "one-bit": (one_bit_encode, one_bit_decode),
        "qsgd": (qsgd_encode, qsgd_decode),
        "random-k": (random_k_encode, random_k_decode),
        "scaled-sign": (scaled_sign_encode, scaled_decode),
        "sign": (sign_encode, sign_decode),
        "terngrad": (terngrad_encode, terngrad_decode),
        "top-k": (top_k_encode, top_k_decode),
        "uniform": (uniform_encode, uniform_decode),
        "zoom-in": (zoom_encode, zoom_decode),
    }
