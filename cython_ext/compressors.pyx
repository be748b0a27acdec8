"""Vectors to messages and back, row by row: the compiled half of the compressors.

Arrays are C-contiguous: vectors (rows, d) of float64 or float32, messages uint8 (rows, nbytes), keys uint64 (rows,).
Arithmetic is in double for both types of vectors. What encodes raises NotFinite for the first row with a value that
is NaN, infinite or beyond 2^1022, and otherwise writes every byte of the messages. Nothing is allocated.
"""
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from arrays cimport length, pointer, target

from mpiqopt.errors import NotFinite
from mpiqopt.kernels import level

cnp.import_array()

ctypedef fused real:
    float
    double

cdef extern from "philox.h" nogil:
    void philox(const uint64_t* counter, const uint64_t* key, uint64_t* out)

cdef extern from "codes.h" nogil:
    uint64_t block_key(uint64_t, uint64_t)
    uint32_t word(uint32_t, uint64_t)
    int64_t packed_size(int64_t, int)

cdef extern from "compressors_kernels.h" nogil:
    ctypedef struct grid:
        int64_t bits, rule, levels
        double shift, centre, given, zoom
    int64_t grid_header(const grid*)
    int64_t sign_header(int)
    int64_t float_bits(int)
    int index_bits(int64_t)
    enum: GIVEN, BY_LARGEST, BY_NORM, ZOOMING
    enum: CONSTANT, LARGEST_VALUE, MEAN_VALUE, ROOT_MEAN_SQUARE
    enum: FLOAT32, FLOAT16, BFLOAT16, POWERS_OF_TWO
    enum: LARGEST
    const double BEYOND
    ctypedef struct compressors_kernels:
        void (*hadamard_f64)(double*, unsigned) noexcept nogil
        void (*hadamard_f32)(float*, unsigned) noexcept nogil
        int (*quantise_f64)(const grid*, const double*, int64_t, uint8_t*, const uint64_t*) noexcept nogil
        int (*quantise_f32)(const grid*, const float*, int64_t, uint8_t*, const uint64_t*) noexcept nogil
        void (*dequantise_f64)(const grid*, const uint8_t*, int64_t, double*) noexcept nogil
        void (*dequantise_f32)(const grid*, const uint8_t*, int64_t, float*) noexcept nogil
        int (*sign_encode_f64)(const double*, int64_t, int, double, const uint64_t*, uint8_t*) noexcept nogil
        int (*sign_encode_f32)(const float*, int64_t, int, double, const uint64_t*, uint8_t*) noexcept nogil
        void (*sign_decode_f64)(const uint8_t*, int64_t, int, double, double*) noexcept nogil
        void (*sign_decode_f32)(const uint8_t*, int64_t, int, double, float*) noexcept nogil
        void (*add_signs_f64)(const uint8_t*, int64_t, int, double, double*) noexcept nogil
        void (*add_signs_f32)(const uint8_t*, int64_t, int, double, float*) noexcept nogil
        void (*rotate_f64)(const double*, int64_t, unsigned, uint64_t, double*) noexcept nogil
        void (*rotate_f32)(const float*, int64_t, unsigned, uint64_t, float*) noexcept nogil
        void (*rotate_back_f64)(double*, int64_t, unsigned, uint64_t, double*) noexcept nogil
        void (*rotate_back_f32)(float*, int64_t, unsigned, uint64_t, float*) noexcept nogil
        int (*levels_encode_f64)(const double*, int64_t, const double*, int, uint8_t*) noexcept nogil
        int (*levels_encode_f32)(const float*, int64_t, const double*, int, uint8_t*) noexcept nogil
        void (*levels_decode_f64)(const uint8_t*, int64_t, const double*, int, double*) noexcept nogil
        void (*levels_decode_f32)(const uint8_t*, int64_t, const double*, int, float*) noexcept nogil
        int (*floats_encode_f64)(const double*, int64_t, int, const uint64_t*, uint8_t*) noexcept nogil
        int (*floats_encode_f32)(const float*, int64_t, int, const uint64_t*, uint8_t*) noexcept nogil
        void (*floats_decode_f64)(const uint8_t*, int64_t, int, double*) noexcept nogil
        void (*floats_decode_f32)(const uint8_t*, int64_t, int, float*) noexcept nogil
        void (*largest_f64)(const double*, int64_t, int64_t, uint32_t*) noexcept nogil
        void (*largest_f32)(const float*, int64_t, int64_t, uint32_t*) noexcept nogil
        int (*gather_f64)(const double*, int64_t, const uint32_t*, int64_t, uint8_t*) noexcept nogil
        int (*gather_f32)(const float*, int64_t, const uint32_t*, int64_t, uint8_t*) noexcept nogil
        void (*scatter_f64)(const uint8_t*, int64_t, const uint32_t*, int64_t, double, double*) noexcept nogil
        void (*scatter_f32)(const uint8_t*, int64_t, const uint32_t*, int64_t, double, float*) noexcept nogil
        double (*magnitude_f64)(const double*, int64_t, int) noexcept nogil
        double (*magnitude_f32)(const float*, int64_t, int) noexcept nogil
        void (*mean_of_votes_f64)(const int32_t*, int64_t, int64_t, double, double*) noexcept nogil
        void (*mean_of_votes_f32)(const int32_t*, int64_t, int64_t, double, float*) noexcept nogil
        void (*pack_words)(const uint32_t*, uint8_t*, int64_t, int) noexcept nogil
        void (*unpack_words)(const uint8_t*, uint32_t*, int64_t, int) noexcept nogil
        void (*choose)(int64_t, int64_t, uint64_t, uint32_t*) noexcept nogil
        void (*count_votes)(const uint8_t*, int64_t, int64_t, int64_t, int32_t*) noexcept nogil
    const compressors_kernels** compressors_tables

cdef const compressors_kernels* kernels = compressors_tables[level()]

GRID_RULES = {"given": GIVEN, "largest": BY_LARGEST, "norm": BY_NORM, "zoom": ZOOMING}
SIGN_RULES = {"constant": CONSTANT, "largest": LARGEST_VALUE, "mean": MEAN_VALUE, "root-mean-square": ROOT_MEAN_SQUARE}
FORMATS = {"float32": FLOAT32, "float16": FLOAT16, "bfloat16": BFLOAT16, "power-of-two": POWERS_OF_TWO}


# Random words


def fill_keys(uint64_t seed, uint64_t purpose, uint64_t round, cnp.ndarray nodes, int64_t first_block,
              cnp.ndarray keys):
    """Keys of the streams of blocks first_block, first_block + 1, ... of the messages of ``nodes`` in a round.

    nodes: int64 (n,); keys: uint64 (n * blocks,), written, the blocks of a node one after the other.
    """
    cdef Py_ssize_t n = length(nodes, 0, 1, "nodes"), blocks = length(keys, 0, 1, "keys") // max(1, n), i, b
    cdef int64_t* node = <int64_t*> pointer(nodes, cnp.NPY_INT64, n, "nodes")
    cdef uint64_t* out = <uint64_t*> target(keys, cnp.NPY_UINT64, n * blocks, "keys")
    cdef uint64_t[4] counter
    cdef uint64_t[2] key
    cdef uint64_t[4] words
    key[0], key[1] = seed, 0
    with nogil:
        for i in range(n):
            counter[0], counter[1], counter[2], counter[3] = 0, round, <uint64_t> node[i], purpose
            philox(counter, key, words)
            for b in range(blocks):
                out[i * blocks + b] = block_key(words[0], <uint64_t> (first_block + b))


def fill_words(uint64_t key, cnp.ndarray words):
    """The first words of the stream of a key: uint32 (n,), written."""
    cdef Py_ssize_t n = length(words, 0, 1, "words"), j
    cdef uint32_t* out = <uint32_t*> target(words, cnp.NPY_UINT32, n, "words")
    with nogil:
        for j in range(n):
            out[j] = word(<uint32_t> j, key)


# Bits


def pack(cnp.ndarray codes, int bits, cnp.ndarray out):
    """Codes of 1 to 32 bits, uint32 (n,), as a little-endian stream of bits: uint8 (ceil(n bits / 8),), written."""
    cdef Py_ssize_t n = length(codes, 0, 1, "codes")
    if not 1 <= bits <= 32:
        raise ValueError(f"bits: want 1 to 32, got {bits}")
    cdef uint32_t* code = <uint32_t*> pointer(codes, cnp.NPY_UINT32, n, "codes")
    cdef uint8_t* o = <uint8_t*> target(out, cnp.NPY_UINT8, packed_size(n, bits), "out")
    with nogil:
        kernels.pack_words(code, o, n, bits)


def unpack(cnp.ndarray stream, int bits, cnp.ndarray codes):
    """The reverse of ``pack``."""
    cdef Py_ssize_t n = length(codes, 0, 1, "codes")
    if not 1 <= bits <= 32:
        raise ValueError(f"bits: want 1 to 32, got {bits}")
    cdef uint32_t* code = <uint32_t*> target(codes, cnp.NPY_UINT32, n, "codes")
    cdef uint8_t* s = <uint8_t*> pointer(stream, cnp.NPY_UINT8, packed_size(n, bits), "stream")
    with nogil:
        kernels.unpack_words(s, code, n, bits)


# Rows of vectors and of messages


cdef struct rows:
    Py_ssize_t count, d, nbytes
    int typenum
    void* x
    uint8_t* message
    uint64_t* keys    # NULL: none
    uint64_t* turns   # of the rotation; NULL: none
    unsigned levels   # the rotation has 2^levels coordinates
    void* room        # for one rotated vector


cdef Py_ssize_t check(cnp.ndarray x, cnp.ndarray messages, Py_ssize_t nbytes, rows* r, bint encode,
                      cnp.ndarray keys=None, cnp.ndarray turns=None, cnp.ndarray room=None) except -1:
    """Fill ``r`` from arrays that fit each other; messages are to be written (encode), or x."""
    length(x, 0, 2, "x")
    r.typenum = cnp.PyArray_TYPE(x)
    if r.typenum not in (cnp.NPY_FLOAT64, cnp.NPY_FLOAT32):
        raise TypeError(f"x: want float64 or float32, got {x.dtype}")
    r.count, r.d, r.nbytes = x.shape[0], x.shape[1], nbytes
    r.x = pointer(x, r.typenum, r.count * r.d, "x")
    r.message = <uint8_t*> pointer(messages, cnp.NPY_UINT8, r.count * nbytes, "messages")
    if not cnp.PyArray_ISWRITEABLE(messages if encode else x):
        raise ValueError(f"{'messages' if encode else 'x'}: read-only")
    r.keys = r.turns = NULL
    r.levels, r.room = 0, NULL
    if keys is not None:
        r.keys = <uint64_t*> pointer(keys, cnp.NPY_UINT64, r.count, "keys")
    if turns is not None:
        r.turns = <uint64_t*> pointer(turns, cnp.NPY_UINT64, r.count, "turns")
        while (<Py_ssize_t> 1) << r.levels < r.d:
            r.levels += 1
        r.room = target(room, r.typenum, (<Py_ssize_t> 1) << r.levels, "room")
    return 0


cdef Py_ssize_t turned_length(cnp.ndarray x, turns, room) except -1:
    """Coordinates of a row after a rotation, if there is one."""
    return length(x, 1, 2, "x") if turns is None else length(room, 0, 1, "room")


cdef void blame(Py_ssize_t row) except *:
    if row >= 0:
        raise NotFinite(row)


cdef inline Py_ssize_t coordinates(rows* r) noexcept nogil:
    """Coordinates that are encoded: those of the rotated vector, if there is a rotation."""
    return r.d if r.turns == NULL else (<Py_ssize_t> 1) << r.levels


cdef inline const real* turned(rows* r, Py_ssize_t i, real* x) noexcept nogil:
    """Row i, rotated if there is a rotation."""
    if r.turns == NULL:
        return x + i * r.d
    if real is double:
        kernels.rotate_f64(x + i * r.d, r.d, r.levels, r.turns[i], <double*> r.room)
    else:
        kernels.rotate_f32(x + i * r.d, r.d, r.levels, r.turns[i], <float*> r.room)
    return <real*> r.room


cdef inline real* to_be_turned(rows* r, Py_ssize_t i, real* x) noexcept nogil:
    """Where row i is decoded to, before ``turn_back``."""
    return x + i * r.d if r.turns == NULL else <real*> r.room


cdef inline void turn_back(rows* r, Py_ssize_t i, real* x) noexcept nogil:
    if r.turns == NULL:
        return
    if real is double:
        kernels.rotate_back_f64(<double*> r.room, r.d, r.levels, r.turns[i], x + i * r.d)
    else:
        kernels.rotate_back_f32(<float*> r.room, r.d, r.levels, r.turns[i], x + i * r.d)


cdef inline const uint64_t* key_of(rows* r, Py_ssize_t i) noexcept nogil:
    return NULL if r.keys == NULL else r.keys + i


# Uniform grids


cdef Py_ssize_t quantise_rows(rows* r, const grid* g, real* x) noexcept nogil:
    cdef Py_ssize_t i
    cdef int bad
    for i in range(r.count):
        if real is double:
            bad = kernels.quantise_f64(g, x + i * r.d, r.d, r.message + i * r.nbytes, key_of(r, i))
        else:
            bad = kernels.quantise_f32(g, x + i * r.d, r.d, r.message + i * r.nbytes, key_of(r, i))
        if bad:
            return i
    return -1


cdef void dequantise_rows(rows* r, const grid* g, real* x) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(r.count):
        if real is double:
            kernels.dequantise_f64(g, r.message + i * r.nbytes, r.d, x + i * r.d)
        else:
            kernels.dequantise_f32(g, r.message + i * r.nbytes, r.d, x + i * r.d)


cdef class Grid:
    """code = floor(x / step + shift + u) in 0 .. 2^bits - 1, and x = step (code - centre).

    u: uniform on [0, 1) from the row's key, half a word of its stream for codes of at most 8 bits (which are computed
    in single precision); or 1/2 without keys. rule: "given": the step is ``given``; "largest", "norm": max|x| or |x|
    divided by ``levels``; "zoom": the smallest of given * zoom^j, j >= 0, with max|x| <= levels * step.
    Message: the scale (max|x|, |x| or the step; 4 bytes, the upper half of a float64, rounded up; none for "given"),
    then the codes.
    """

    cdef grid g

    def __init__(self, int bits, str rule, int64_t levels, double shift, double centre, double given=0, double zoom=1):
        self.g = grid(bits, GRID_RULES[rule], levels, shift, centre, given, zoom)

    def nbytes(self, int64_t d):
        return grid_header(&self.g) + packed_size(d, <int> self.g.bits)

    def encode(self, cnp.ndarray x, cnp.ndarray messages, cnp.ndarray keys=None):
        cdef rows r
        cdef Py_ssize_t bad
        check(x, messages, self.nbytes(length(x, 1, 2, "x")), &r, True, keys)
        with nogil:
            if r.typenum == cnp.NPY_FLOAT64:
                bad = quantise_rows[double](&r, &self.g, <double*> r.x)
            else:
                bad = quantise_rows[float](&r, &self.g, <float*> r.x)
        blame(bad)

    def decode(self, cnp.ndarray messages, cnp.ndarray x):
        cdef rows r
        check(x, messages, self.nbytes(length(x, 1, 2, "x")), &r, False)
        with nogil:
            if r.typenum == cnp.NPY_FLOAT64:
                dequantise_rows[double](&r, &self.g, <double*> r.x)
            else:
                dequantise_rows[float](&r, &self.g, <float*> r.x)


# Signs


cdef Py_ssize_t sign_rows(rows* r, int rule, double factor, real* x) noexcept nogil:
    cdef Py_ssize_t i, d = coordinates(r)
    cdef int bad
    for i in range(r.count):
        if real is double:
            bad = kernels.sign_encode_f64(turned(r, i, x), d, rule, factor, key_of(r, i), r.message + i * r.nbytes)
        else:
            bad = kernels.sign_encode_f32(turned(r, i, x), d, rule, factor, key_of(r, i), r.message + i * r.nbytes)
        if bad:
            return i
    return -1


cdef void unsign_rows(rows* r, int rule, double factor, real* x) noexcept nogil:
    cdef Py_ssize_t i, d = coordinates(r)
    for i in range(r.count):
        if real is double:
            kernels.sign_decode_f64(r.message + i * r.nbytes, d, rule, factor, to_be_turned(r, i, x))
        else:
            kernels.sign_decode_f32(r.message + i * r.nbytes, d, rule, factor, to_be_turned(r, i, x))
        turn_back(r, i, x)


cdef void unsign_mean(rows* r, Py_ssize_t n, int rule, double factor, int32_t* counts, real* x) noexcept nogil:
    """The rows of x, each from n messages that are r.count messages apart."""
    cdef Py_ssize_t i, j, d = coordinates(r), stride = r.count * r.nbytes
    cdef real* sums
    cdef uint8_t* messages
    for i in range(r.count):
        sums, messages = to_be_turned(r, i, x), r.message + i * r.nbytes
        if rule == CONSTANT:
            kernels.count_votes(messages, n, stride, d, counts)
            if real is double:
                kernels.mean_of_votes_f64(counts, d, n, factor, sums)
            else:
                kernels.mean_of_votes_f32(counts, d, n, factor, sums)
        else:
            for j in range(d):
                sums[j] = 0
            for j in range(n):
                if real is double:
                    kernels.add_signs_f64(messages + j * stride, d, rule, 1.0 / n, sums)
                else:
                    kernels.add_signs_f32(messages + j * stride, d, rule, 1.0 / n, sums)
        turn_back(r, i, x)


cdef class Signs:
    """Bit j is x_j + amplitude (2 u_j - 1) >= 0, and x_j = +-amplitude. Without keys no dither: x_j >= 0.

    rule: "constant": the amplitude is ``factor``; "largest", "mean", "root-mean-square": factor times max|x|,
    (1/d)|x|_1 or |x|/sqrt(d). With turns (uint64 (rows,)) x is rotated first, y = D^(-1/2) H diag(+-1) [x; 0] with D
    the power of two that is at least d; room: (D,) of the type of x, overwritten.
    Message: the amplitude (4 bytes, the upper half of a float64, rounded up; none for "constant"), then the bits.
    """

    cdef int rule
    cdef double factor

    def __init__(self, str rule, double factor=1):
        self.rule, self.factor = SIGN_RULES[rule], factor

    def nbytes(self, int64_t d):
        return sign_header(self.rule) + packed_size(d, 1)

    def encode(self, cnp.ndarray x, cnp.ndarray messages, keys=None, turns=None, room=None):
        cdef rows r
        cdef Py_ssize_t bad
        check(x, messages, self.nbytes(turned_length(x, turns, room)), &r, True, keys, turns, room)
        with nogil:
            if r.typenum == cnp.NPY_FLOAT64:
                bad = sign_rows[double](&r, self.rule, self.factor, <double*> r.x)
            else:
                bad = sign_rows[float](&r, self.rule, self.factor, <float*> r.x)
        blame(bad)

    def decode(self, cnp.ndarray messages, cnp.ndarray x, turns=None, room=None):
        cdef rows r
        check(x, messages, self.nbytes(turned_length(x, turns, room)), &r, False, None, turns, room)
        with nogil:
            if r.typenum == cnp.NPY_FLOAT64:
                unsign_rows[double](&r, self.rule, self.factor, <double*> r.x)
            else:
                unsign_rows[float](&r, self.rule, self.factor, <float*> r.x)

    def decode_mean(self, cnp.ndarray messages, cnp.ndarray x, cnp.ndarray counts, turns=None, room=None):
        """The means over n of messages (n, rows, nbytes) in x (rows, d), each rotated back once.

        counts: int32 (D,), overwritten. Bits of equal amplitude are summed as integers; n < 2^24.
        """
        cdef rows r
        cdef Py_ssize_t n = length(messages, 0, 3, "messages")
        check(x, messages[0], self.nbytes(turned_length(x, turns, room)), &r, False, None, turns, room)
        pointer(messages, cnp.NPY_UINT8, n * r.count * r.nbytes, "messages")
        cdef int32_t* c = <int32_t*> target(counts, cnp.NPY_INT32, coordinates(&r), "counts")
        if not 1 <= n < 1 << 24:
            raise ValueError(f"messages: want 1 to 2^24 - 1, got {n}")
        with nogil:
            if r.typenum == cnp.NPY_FLOAT64:
                unsign_mean[double](&r, n, self.rule, self.factor, c, <double*> r.x)
            else:
                unsign_mean[float](&r, n, self.rule, self.factor, c, <float*> r.x)


def sum_bits(cnp.ndarray messages, cnp.ndarray counts):
    """counts_j = number of messages (n, ceil(d/8)) whose bit j is set: int32 (d,), written. n < 2^24."""
    cdef Py_ssize_t n = length(messages, 0, 2, "messages"), d = length(counts, 0, 1, "counts")
    if n >= 1 << 24:
        raise ValueError(f"messages: want fewer than 2^24, got {n}")
    cdef uint8_t* m = <uint8_t*> pointer(messages, cnp.NPY_UINT8, n * packed_size(d, 1), "messages")
    cdef int32_t* c = <int32_t*> target(counts, cnp.NPY_INT32, d, "counts")
    with nogil:
        kernels.count_votes(m, n, packed_size(d, 1), d, c)


# Rotations


def hadamard(cnp.ndarray x):
    """x <- H x for every row of (rows, 2^k), in place; H has entries +-1 in natural (Sylvester) order."""
    cdef Py_ssize_t count = length(x, 0, 2, "x"), d = x.shape[1], i
    cdef unsigned levels = 0
    cdef int typenum = cnp.PyArray_TYPE(x)
    while (<Py_ssize_t> 1) << levels < d:
        levels += 1
    if d != (<Py_ssize_t> 1) << levels:
        raise ValueError(f"x: want a power of two as the length of rows, got {d}")
    cdef void* p = target(x, cnp.NPY_FLOAT64 if typenum != cnp.NPY_FLOAT32 else cnp.NPY_FLOAT32, count * d, "x")
    with nogil:
        for i in range(count):
            if typenum == cnp.NPY_FLOAT64:
                kernels.hadamard_f64(<double*> p + i * d, levels)
            else:
                kernels.hadamard_f32(<float*> p + i * d, levels)


cdef Py_ssize_t levels_rows(rows* r, const double* centroids, int bits, real* x) noexcept nogil:
    cdef Py_ssize_t i, d = coordinates(r)
    cdef int bad
    for i in range(r.count):
        if real is double:
            bad = kernels.levels_encode_f64(turned(r, i, x), d, centroids, bits, r.message + i * r.nbytes)
        else:
            bad = kernels.levels_encode_f32(turned(r, i, x), d, centroids, bits, r.message + i * r.nbytes)
        if bad:
            return i
    return -1


cdef void unlevel_rows(rows* r, const double* centroids, int bits, real* x) noexcept nogil:
    cdef Py_ssize_t i, d = coordinates(r)
    for i in range(r.count):
        if real is double:
            kernels.levels_decode_f64(r.message + i * r.nbytes, d, centroids, bits, to_be_turned(r, i, x))
        else:
            kernels.levels_decode_f32(r.message + i * r.nbytes, d, centroids, bits, to_be_turned(r, i, x))
        turn_back(r, i, x)


cdef class Levels:
    """The rotated and normalised vector rounded to the nearest of 2^bits centroids (ascending, float64).

    Message: the scale S = |y|^2 / <y, rounded> (4 bytes, the upper half of a float64), then the codes, for all D
    coordinates of the rotated vector y.
    """

    cdef cnp.ndarray centroids
    cdef int bits

    def __init__(self, cnp.ndarray centroids, int bits):
        if not 1 <= bits <= 4:
            raise ValueError(f"bits: want 1 to 4, got {bits}")
        pointer(centroids, cnp.NPY_FLOAT64, 1 << bits, "centroids")
        self.centroids, self.bits = centroids, bits

    def nbytes(self, int64_t d):
        return 4 + packed_size(d, self.bits)

    def encode(self, cnp.ndarray x, cnp.ndarray messages, cnp.ndarray turns, cnp.ndarray room):
        cdef rows r
        cdef Py_ssize_t bad
        cdef double* c = <double*> cnp.PyArray_DATA(self.centroids)
        length(turns, 0, 1, "turns")
        check(x, messages, self.nbytes(length(room, 0, 1, "room")), &r, True, None, turns, room)
        with nogil:
            if r.typenum == cnp.NPY_FLOAT64:
                bad = levels_rows[double](&r, c, self.bits, <double*> r.x)
            else:
                bad = levels_rows[float](&r, c, self.bits, <float*> r.x)
        blame(bad)

    def decode(self, cnp.ndarray messages, cnp.ndarray x, cnp.ndarray turns, cnp.ndarray room):
        cdef rows r
        cdef double* c = <double*> cnp.PyArray_DATA(self.centroids)
        length(turns, 0, 1, "turns")
        check(x, messages, self.nbytes(length(room, 0, 1, "room")), &r, False, None, turns, room)
        with nogil:
            if r.typenum == cnp.NPY_FLOAT64:
                unlevel_rows[double](&r, c, self.bits, <double*> r.x)
            else:
                unlevel_rows[float](&r, c, self.bits, <float*> r.x)


# Short floating-point numbers


cdef Py_ssize_t floats_rows(rows* r, int form, real* x) noexcept nogil:
    cdef Py_ssize_t i
    cdef int bad
    for i in range(r.count):
        if real is double:
            bad = kernels.floats_encode_f64(x + i * r.d, r.d, form, key_of(r, i), r.message + i * r.nbytes)
        else:
            bad = kernels.floats_encode_f32(x + i * r.d, r.d, form, key_of(r, i), r.message + i * r.nbytes)
        if bad:
            return i
    return -1


cdef void unfloat_rows(rows* r, int form, real* x) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(r.count):
        if real is double:
            kernels.floats_decode_f64(r.message + i * r.nbytes, r.d, form, x + i * r.d)
        else:
            kernels.floats_decode_f32(r.message + i * r.nbytes, r.d, form, x + i * r.d)


cdef class Floats:
    """Numbers of a shorter format, relative to the smallest power of two above max|x| (float16: 2^15 times that).

    formats: float32, float16, bfloat16 (to nearest, ties to even) and power-of-two: sign and 8 bits of exponent,
    rounded up with the probability that makes it unbiased (keys), 0 below 2^-254.
    Message: the power of two (4 bytes, the upper half of a float64), then the numbers.
    """

    cdef int form

    def __init__(self, str format):
        self.form = FORMATS[format]

    def nbytes(self, int64_t d):
        return 4 + packed_size(d, <int> float_bits(self.form))

    def encode(self, cnp.ndarray x, cnp.ndarray messages, cnp.ndarray keys=None):
        cdef rows r
        cdef Py_ssize_t bad
        check(x, messages, self.nbytes(length(x, 1, 2, "x")), &r, True, keys)
        if keys is None and self.form == POWERS_OF_TWO:
            raise TypeError("keys: power-of-two rounds at random")
        with nogil:
            if r.typenum == cnp.NPY_FLOAT64:
                bad = floats_rows[double](&r, self.form, <double*> r.x)
            else:
                bad = floats_rows[float](&r, self.form, <float*> r.x)
        blame(bad)

    def decode(self, cnp.ndarray messages, cnp.ndarray x):
        cdef rows r
        check(x, messages, self.nbytes(length(x, 1, 2, "x")), &r, False)
        with nogil:
            if r.typenum == cnp.NPY_FLOAT64:
                unfloat_rows[double](&r, self.form, <double*> r.x)
            else:
                unfloat_rows[float](&r, self.form, <float*> r.x)


# Some of the coordinates


cdef Py_ssize_t largest_rows(rows* r, Py_ssize_t k, uint32_t* index, real* x) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint8_t* out
    cdef int bad, bits = index_bits(r.d)
    for i in range(r.count):
        out = r.message + i * r.nbytes
        if real is double:
            bad = not kernels.magnitude_f64(x + i * r.d, r.d, LARGEST) < BEYOND
        else:
            bad = not kernels.magnitude_f32(x + i * r.d, r.d, LARGEST) < BEYOND
        if bad:
            return i
        if real is double:
            kernels.largest_f64(x + i * r.d, r.d, k, index)
            bad = kernels.gather_f64(x + i * r.d, r.d, index, k, out)
        else:
            kernels.largest_f32(x + i * r.d, r.d, k, index)
            bad = kernels.gather_f32(x + i * r.d, r.d, index, k, out)
        if bad:
            return i
        kernels.pack_words(index, out + 4 + 4 * k, k, bits)
    return -1


cdef void unlargest_rows(rows* r, Py_ssize_t k, uint32_t* index, real* x) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint8_t* message
    for i in range(r.count):
        message = r.message + i * r.nbytes
        kernels.unpack_words(message + 4 + 4 * k, index, k, index_bits(r.d))
        if real is double:
            kernels.scatter_f64(message, r.d, index, k, 1.0, x + i * r.d)
        else:
            kernels.scatter_f32(message, r.d, index, k, 1.0, x + i * r.d)


def encode_largest(cnp.ndarray x, cnp.ndarray messages, cnp.ndarray index):
    """The k largest values of every row. index: uint32 (k,), overwritten.

    Message: a power of two above max|x| (4 bytes, the upper half of a float64), k float32 relative to it, k packed
    indices of ceil(log2 d) bits, ascending.
    """
    cdef rows r
    cdef Py_ssize_t k = length(index, 0, 1, "index"), bad
    cdef uint32_t* at = <uint32_t*> target(index, cnp.NPY_UINT32, k, "index")
    check(x, messages, 4 + 4 * k + packed_size(k, index_bits(length(x, 1, 2, "x"))), &r, True)
    if not 1 <= k <= r.d:
        raise ValueError(f"index: want 1 to {r.d} coordinates, got {k}")
    with nogil:
        if r.typenum == cnp.NPY_FLOAT64:
            bad = largest_rows[double](&r, k, at, <double*> r.x)
        else:
            bad = largest_rows[float](&r, k, at, <float*> r.x)
    blame(bad)


def decode_largest(cnp.ndarray messages, cnp.ndarray x, cnp.ndarray index):
    """The reverse of ``encode_largest``."""
    cdef rows r
    cdef Py_ssize_t k = length(index, 0, 1, "index")
    cdef uint32_t* at = <uint32_t*> target(index, cnp.NPY_UINT32, k, "index")
    check(x, messages, 4 + 4 * k + packed_size(k, index_bits(length(x, 1, 2, "x"))), &r, False)
    if not 1 <= k <= r.d:
        raise ValueError(f"index: want 1 to {r.d} coordinates, got {k}")
    with nogil:
        if r.typenum == cnp.NPY_FLOAT64:
            unlargest_rows[double](&r, k, at, <double*> r.x)
        else:
            unlargest_rows[float](&r, k, at, <float*> r.x)


cdef Py_ssize_t chosen_rows(rows* r, Py_ssize_t k, uint32_t* index, real* x) noexcept nogil:
    cdef Py_ssize_t i
    cdef int bad
    for i in range(r.count):
        kernels.choose(r.d, k, r.keys[i], index)
        if real is double:
            bad = kernels.gather_f64(x + i * r.d, r.d, index, k, r.message + i * r.nbytes)
        else:
            bad = kernels.gather_f32(x + i * r.d, r.d, index, k, r.message + i * r.nbytes)
        if bad:
            return i
    return -1


cdef void unchosen_rows(rows* r, Py_ssize_t k, uint32_t* index, real* x) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(r.count):
        kernels.choose(r.d, k, r.keys[i], index)
        if real is double:
            kernels.scatter_f64(r.message + i * r.nbytes, r.d, index, k, <double> r.d / k, x + i * r.d)
        else:
            kernels.scatter_f32(r.message + i * r.nbytes, r.d, index, k, <double> r.d / k, x + i * r.d)


def encode_chosen(cnp.ndarray x, cnp.ndarray messages, cnp.ndarray keys, cnp.ndarray index):
    """k values of every row, chosen by its key. index: uint32 (k,), overwritten.

    Message: a power of two above max|x| (4 bytes, the upper half of a float64), k float32 relative to it.
    """
    cdef rows r
    cdef Py_ssize_t k = length(index, 0, 1, "index"), bad
    cdef uint32_t* at = <uint32_t*> target(index, cnp.NPY_UINT32, k, "index")
    check(x, messages, 4 + 4 * k, &r, True, keys)
    if not 1 <= k <= r.d or keys is None:
        raise ValueError(f"index: want 1 to {r.d} coordinates and keys, got {k}")
    with nogil:
        if r.typenum == cnp.NPY_FLOAT64:
            bad = chosen_rows[double](&r, k, at, <double*> r.x)
        else:
            bad = chosen_rows[float](&r, k, at, <float*> r.x)
    blame(bad)


def decode_chosen(cnp.ndarray messages, cnp.ndarray x, cnp.ndarray keys, cnp.ndarray index):
    """The reverse of ``encode_chosen``, with values times d/k, which makes it unbiased."""
    cdef rows r
    cdef Py_ssize_t k = length(index, 0, 1, "index")
    cdef uint32_t* at = <uint32_t*> target(index, cnp.NPY_UINT32, k, "index")
    check(x, messages, 4 + 4 * k, &r, False, keys)
    if not 1 <= k <= r.d or keys is None:
        raise ValueError(f"index: want 1 to {r.d} coordinates and keys, got {k}")
    with nogil:
        if r.typenum == cnp.NPY_FLOAT64:
            unchosen_rows[double](&r, k, at, <double*> r.x)
        else:
            unchosen_rows[float](&r, k, at, <float*> r.x)


def require_finite(cnp.ndarray x):
    """Raise NotFinite for the first row with a value that is NaN, infinite or beyond 2^1022."""
    cdef Py_ssize_t count = length(x, 0, 2, "x"), d = x.shape[1], i
    cdef int typenum = cnp.NPY_FLOAT32 if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32 else cnp.NPY_FLOAT64
    cdef void* p = pointer(x, typenum, count * d, "x")
    cdef double size
    for i in range(count):
        with nogil:
            if typenum == cnp.NPY_FLOAT64:
                size = kernels.magnitude_f64(<double*> p + i * d, d, LARGEST)
            else:
                size = kernels.magnitude_f32(<float*> p + i * d, d, LARGEST)
        if not size < BEYOND:
            raise NotFinite(i)
