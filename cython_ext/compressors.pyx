"""Vectors to messages and back, row by row: the compiled half of the compressors.

Arrays are C-contiguous: vectors (rows, d) of float64 or float32, messages uint8 (rows, nbytes), keys uint64 (rows,).
Arithmetic is in double for both types of vectors. What encodes raises NotFinite for the first row with a value that
is NaN, infinite or beyond 2^1022, and otherwise writes every byte of the messages. Nothing is allocated.
"""
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from arrays cimport length, pointer, precision, target

from mpiqopt.errors import NotFinite
from mpiqopt.kernels import level

cnp.import_array()

cdef extern from "philox.h" nogil:
    void philox(const uint64_t* counter, const uint64_t* key, uint64_t* out)

cdef extern from "random.h" nogil:
    uint64_t block_key(uint64_t, uint64_t)
    uint32_t word(uint32_t, uint64_t)

cdef extern from "codes.h" nogil:
    int64_t packed_size(int64_t, int)

cdef extern from "compressors_kernels.h" nogil:
    enum: MOST_PARAMETERS
    enum: KEY_TO_ENCODE, KEY_ALWAYS
    ctypedef struct wire_format:
        const char* name
        int parameters, needs
        int64_t (*nbytes)(const void*, int64_t) noexcept nogil
        int (*encode)(const void*, const void*, int64_t, const uint64_t*, uint8_t*) noexcept nogil
        void (*decode)(const void*, const uint8_t*, int64_t, const uint64_t*, void*) noexcept nogil
    ctypedef struct compressors_kernels:
        const wire_format* (*find_wire_format)(const char*) noexcept nogil
        bint (*all_finite)(const void*, int64_t) noexcept nogil
        void (*hadamard)(void*, unsigned) noexcept nogil
        void (*rotate)(const void*, int64_t, unsigned, uint64_t, void*) noexcept nogil
        void (*rotate_back)(void*, int64_t, unsigned, uint64_t, void*) noexcept nogil
        void (*signs_decode_mean)(const void*, const uint8_t*, int64_t, int64_t, int64_t, int32_t*,
                                  void*) noexcept nogil
        void (*count_votes)(const uint8_t*, int64_t, int64_t, int64_t, int32_t*) noexcept nogil
        void (*pack_words)(const uint32_t*, uint8_t*, int64_t, int) noexcept nogil
        void (*unpack_words)(const uint8_t*, uint32_t*, int64_t, int) noexcept nogil
    const compressors_kernels* compressors_tables[1][2]

# of the level that runs, for float32 and for float64
cdef const compressors_kernels* kernels[2]
kernels[0], kernels[1] = compressors_tables[<int> level()][0], compressors_tables[<int> level()][1]


# Random words


def fill_keys(uint64_t seed, uint64_t purpose, uint64_t round, cnp.ndarray nodes, int64_t first_block,
              cnp.ndarray keys):
    """Write the keys of blocks first_block, first_block + 1, ... of the messages of ``nodes`` in a round.

    Block b of node i has the hash ``block_key`` of b and of the first word of Philox 4x64-10 at counter (0, round, i,
    purpose) under key (seed, 0): the same on any placement of the nodes.

    Parameters
    ----------
    nodes : int64 (n,)
    keys : uint64 (n * blocks,), written, the blocks of a node one after the other
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
    """Write the first words of the stream of a key: uint32 (n,)."""
    cdef Py_ssize_t n = length(words, 0, 1, "words"), j
    cdef uint32_t* out = <uint32_t*> target(words, cnp.NPY_UINT32, n, "words")
    with nogil:
        for j in range(n):
            out[j] = word(<uint32_t> j, key)


# Bits


cdef int check_width(int bits) except -1:
    if not 1 <= bits <= 32:
        raise ValueError(f"bits: want 1 to 32, got {bits}")
    return 0


def pack(cnp.ndarray codes, int bits, cnp.ndarray out):
    """Pack codes of 1 to 32 bits, uint32 (n,), as a little-endian stream: uint8 (ceil(n bits / 8),), written."""
    cdef Py_ssize_t n = length(codes, 0, 1, "codes")
    check_width(bits)
    cdef uint32_t* code = <uint32_t*> pointer(codes, cnp.NPY_UINT32, n, "codes")
    cdef uint8_t* o = <uint8_t*> target(out, cnp.NPY_UINT8, packed_size(n, bits), "out")
    with nogil:
        kernels[0].pack_words(code, o, n, bits)


def unpack(cnp.ndarray stream, int bits, cnp.ndarray codes):
    """Reverse ``pack``: write the codes, uint32 (n,), of a stream."""
    cdef Py_ssize_t n = length(codes, 0, 1, "codes")
    check_width(bits)
    cdef uint32_t* code = <uint32_t*> target(codes, cnp.NPY_UINT32, n, "codes")
    cdef uint8_t* s = <uint8_t*> pointer(stream, cnp.NPY_UINT8, packed_size(n, bits), "stream")
    with nogil:
        kernels[0].unpack_words(s, code, n, bits)


# Rows of vectors and of messages


cdef struct rows:
    int precision            # place of the type in tables
    Py_ssize_t count, d, size  # rows; their coordinates; those that are encoded: D with rotations, else d
    Py_ssize_t stride, nbytes  # bytes of a row and of a message
    char* x
    uint8_t* messages
    const uint64_t* keys       # NULL: none
    const uint64_t* rotations  # keys of the signs; NULL: none
    void* scratch              # for one rotated row
    unsigned log2_size         # of D


cdef int rotate_rows(rows* r, cnp.ndarray rotations, cnp.ndarray scratch) except -1:
    """Note that rows are to be rotated: D is the smallest power of two that is at least d."""
    r.rotations = <uint64_t*> pointer(rotations, cnp.NPY_UINT64, r.count, "rotations")
    while (<Py_ssize_t> 1) << r.log2_size < r.d:
        r.log2_size += 1
    r.size = (<Py_ssize_t> 1) << r.log2_size
    r.scratch = target(scratch, cnp.NPY_FLOAT64 if r.precision else cnp.NPY_FLOAT32, r.size, "scratch")
    return 0


cdef inline const void* rotated(const rows* r, Py_ssize_t i) noexcept nogil:
    """Return row i, rotated if there are rotations."""
    cdef const char* x = r.x + i * r.stride
    if r.rotations == NULL:
        return x
    kernels[r.precision].rotate(x, r.d, r.log2_size, r.rotations[i], r.scratch)
    return r.scratch


cdef inline void* before_rotation(const rows* r, Py_ssize_t i) noexcept nogil:
    """Return where to decode row i to, before ``rotate_back``."""
    return r.x + i * r.stride if r.rotations == NULL else r.scratch


cdef inline void rotate_back(const rows* r, Py_ssize_t i) noexcept nogil:
    if r.rotations != NULL:
        kernels[r.precision].rotate_back(r.scratch, r.d, r.log2_size, r.rotations[i], r.x + i * r.stride)


cdef class Kernel:
    """Rows of vectors to messages and back, by the compiled wire format ``name``.

    Its parameters, numbers, are those of cython_ext/NAME.h and not checked here.

    Examples
    --------
    >>> import numpy as np
    >>> byte = Kernel("uniform_grid", 8, 0, 127, 127, 127, 0.5, 1)
    >>> x, messages = np.array([[1.0, -1.5, 0.2]]), np.empty((1, byte.nbytes(3)), np.uint8)
    >>> byte.encode(x, messages)
    >>> messages.tolist()
    [[129, 124, 127]]
    >>> byte.decode(messages, x)
    >>> x.tolist()
    [[1.0, -1.5, 0.0]]
    """

    cdef const wire_format* form[2]
    cdef double parameters[MOST_PARAMETERS]

    def __init__(self, str name, *parameters):
        cdef bytes key = name.encode()
        cdef const char* text = key
        cdef int k
        for k in range(2):
            self.form[k] = kernels[k].find_wire_format(text)
        if self.form[0] == NULL:
            raise ValueError(f"{name}: there is no such wire format")
        if len(parameters) != self.form[0].parameters:
            raise ValueError(f"{name}: want {self.form[0].parameters} parameters, got {len(parameters)}")
        for k in range(self.form[0].parameters):
            self.parameters[k] = parameters[k]

    def nbytes(self, int64_t d):
        """Return the bytes of a message of d values."""
        return self.form[0].nbytes(self.parameters, d)

    def encode(self, cnp.ndarray x, cnp.ndarray messages, cnp.ndarray keys=None, cnp.ndarray rotations=None,
               cnp.ndarray scratch=None):
        """Write the messages of the rows of x.

        Parameters
        ----------
        x : float64 or float32 (rows, d)
        messages : uint8 (rows, nbytes(d)), or (rows, nbytes(D)) with rotations
        keys : uint64 (rows,), of the random words of each message; None for no randomness
        rotations : uint64 (rows,); rows become y = D^(-1/2) H diag(+-1) [x; 0] first, H the Hadamard matrix, D the
            power of two that is at least d, the signs bits of the stream of this key
        scratch : (D,) of the type of x, overwritten; for rotations

        Raises
        ------
        NotFinite : with the number of the first row with a value that is NaN, infinite or beyond 2^1022
        """
        self.write(x, messages, keys, rotations, scratch)

    def decode(self, cnp.ndarray messages, cnp.ndarray x, cnp.ndarray rotations=None, cnp.ndarray scratch=None,
               cnp.ndarray keys=None):
        """Write the rows of x, of any of the two types, from their messages; arguments are those of ``encode``."""
        self.read(messages, x, rotations, scratch, keys)

    cdef int check(self, rows* r, cnp.ndarray x, cnp.ndarray messages, cnp.ndarray keys, int needing,
                   cnp.ndarray rotations, cnp.ndarray scratch) except -1:
        """Fill ``r`` from arrays that fit each other. needing: the least need of keys that makes them necessary."""
        r.count, r.d = length(x, 0, 2, "x"), x.shape[1]
        r.precision, r.log2_size = precision(x, "x"), 0
        r.size, r.stride = r.d, r.d * (8 if r.precision else 4)
        r.x = <char*> pointer(x, cnp.PyArray_TYPE(x), r.count * r.d, "x")
        r.keys = r.rotations = NULL
        r.scratch = NULL
        if keys is not None:
            r.keys = <uint64_t*> pointer(keys, cnp.NPY_UINT64, r.count, "keys")
        elif self.form[0].needs >= needing:
            raise TypeError(f"keys: {self.form[0].name.decode()} does not work without")
        if rotations is not None:
            rotate_rows(r, rotations, scratch)
        r.nbytes = self.form[r.precision].nbytes(self.parameters, r.size)
        r.messages = <uint8_t*> pointer(messages, cnp.NPY_UINT8, r.count * r.nbytes, "messages")
        return 0

    cdef int write(self, cnp.ndarray x, cnp.ndarray messages, cnp.ndarray keys, cnp.ndarray rotations,
                   cnp.ndarray scratch) except -1:
        cdef rows r
        cdef Py_ssize_t i
        cdef int bad = 0
        self.check(&r, x, messages, keys, KEY_TO_ENCODE, rotations, scratch)
        require_writeable(messages, "messages")
        cdef const wire_format* form = self.form[r.precision]
        cdef uint8_t* message = r.messages
        cdef const uint64_t* key = r.keys
        with nogil:
            for i in range(r.count):
                bad = form.encode(self.parameters, rotated(&r, i), r.size, key, message)
                if bad:
                    break
                message += r.nbytes
                if key != NULL:
                    key += 1
        if bad:
            raise NotFinite(i)
        return 0

    cdef int read(self, cnp.ndarray messages, cnp.ndarray x, cnp.ndarray rotations, cnp.ndarray scratch,
                  cnp.ndarray keys) except -1:
        cdef rows r
        cdef Py_ssize_t i
        self.check(&r, x, messages, keys, KEY_ALWAYS, rotations, scratch)
        require_writeable(x, "x")
        cdef const wire_format* form = self.form[r.precision]
        cdef const uint8_t* message = r.messages
        cdef const uint64_t* key = r.keys
        with nogil:
            for i in range(r.count):
                form.decode(self.parameters, message, r.size, key, before_rotation(&r, i))
                rotate_back(&r, i)
                message += r.nbytes
                if key != NULL:
                    key += 1
        return 0


cdef int require_writeable(cnp.ndarray array, str name) except -1:
    if not cnp.PyArray_ISWRITEABLE(array):
        raise ValueError(f"{name}: read-only")
    return 0


# Wire formats by the names of their parameters; the numbers of rules are those of the enums in the headers


cdef class UniformGrid(Kernel):
    """code = floor(x / step + shift + u) in 0 .. 2^bits - 1, at most 2 levels, and x = step (code - centre).

    u is uniform on [0, 1) from the row's key, half a word of its stream for codes of at most 8 bits (which are computed
    in single precision); or 1/2 without keys.
    Message: the scale (max|x|, |x| or the step; 4 bytes, the upper half of a float64, rounded up; none for "given"),
    then the codes.

    Parameters
    ----------
    bits : of one code, 1 to 16
    rule : "given": the step is ``given``; "largest", "norm": max|x| or |x| divided by ``levels``; "zoom": the smallest
        of given * zoom^j, j >= 0, with max|x| <= levels * step
    """

    def __init__(self, int bits, str rule, int64_t levels, double shift, double centre, double given=0, double zoom=1):
        rules = {"given": 0, "largest": 1, "norm": 2, "zoom": 3}
        Kernel.__init__(self, "uniform_grid", bits, rules[rule], levels, shift, centre, given, zoom)


cdef class Signs(Kernel):
    """Bit j is x_j + amplitude (2 u_j - 1) >= 0, and x_j = +-amplitude. Without keys no dither: x_j >= 0.

    Message: the amplitude (4 bytes, the upper half of a float64, rounded up; none for "constant"), then the bits.

    Parameters
    ----------
    rule : "constant": the amplitude is ``factor``; "largest", "mean", "root-mean-square": factor times max|x|,
        (1/d)|x|_1 or |x|/sqrt(d), of the rotated row if there are rotations
    """

    def __init__(self, str rule, double factor=1):
        rules = {"constant": 0, "largest": 1, "mean": 2, "root-mean-square": 3}
        Kernel.__init__(self, "signs", rules[rule], factor)

    def decode_mean(self, cnp.ndarray messages, cnp.ndarray x, cnp.ndarray counts, cnp.ndarray rotations=None,
                    cnp.ndarray scratch=None):
        """Write the means over n of messages (n, rows, nbytes) to x (rows, d), each rotated back once.

        counts: int32 (D,), overwritten. Bits of equal amplitude are summed as integers; n < 2^24.
        """
        cdef rows r
        cdef Py_ssize_t n = length(messages, 0, 3, "messages"), i
        self.check(&r, x, messages[0], None, KEY_ALWAYS, rotations, scratch)
        require_writeable(x, "x")
        pointer(messages, cnp.NPY_UINT8, n * r.count * r.nbytes, "messages")
        cdef int32_t* c = <int32_t*> target(counts, cnp.NPY_INT32, r.size, "counts")
        if not 1 <= n < 1 << 24:
            raise ValueError(f"messages: want 1 to 2^24 - 1, got {n}")
        with nogil:
            for i in range(r.count):
                kernels[r.precision].signs_decode_mean(self.parameters, r.messages + i * r.nbytes, n,
                                                       r.count * r.nbytes, r.size, c, before_rotation(&r, i))
                rotate_back(&r, i)


cdef class Levels(Kernel):
    """The rotated and normalised row rounded to the nearest of 2^bits centroids (ascending, float64); bits: 1 to 4.

    Message: the scale S = |y|^2 / <y, rounded> (4 bytes, the upper half of a float64), then the codes, for all D
    coordinates of the rotated row y.
    """

    def __init__(self, cnp.ndarray centroids, int bits):
        if not 1 <= bits <= 4:
            raise ValueError(f"bits: want 1 to 4, got {bits}")
        pointer(centroids, cnp.NPY_FLOAT64, 1 << bits, "centroids")
        Kernel.__init__(self, "levels", bits, *centroids, *[0.0] * (16 - (1 << bits)))

    def encode(self, cnp.ndarray x, cnp.ndarray messages, cnp.ndarray rotations, cnp.ndarray scratch):
        """Write the messages of the rows of x, as ``Kernel.encode`` with rotations."""
        length(rotations, 0, 1, "rotations")
        self.write(x, messages, None, rotations, scratch)

    def decode(self, cnp.ndarray messages, cnp.ndarray x, cnp.ndarray rotations, cnp.ndarray scratch):
        """Write the rows of x from their messages."""
        length(rotations, 0, 1, "rotations")
        self.read(messages, x, rotations, scratch, None)


cdef class Floats(Kernel):
    """Numbers of a shorter format, relative to the smallest power of two above max|x| (float16: 2^15 times that).

    Message: the power of two (4 bytes, the upper half of a float64), then the numbers.

    Parameters
    ----------
    format : "float32", "float16" or "bfloat16", to nearest, ties to even; or "power-of-two": sign and 8 bits of
        exponent, rounded up with the probability that makes it unbiased (keys), 0 below 2^-254
    """

    def __init__(self, str format):
        if format == "power-of-two":
            Kernel.__init__(self, "natural")
        else:
            Kernel.__init__(self, "short_floats", {"float32": 0, "float16": 1, "bfloat16": 2}[format])


# What needs no messages


def sum_bits(cnp.ndarray messages, cnp.ndarray counts):
    """Count the messages (n, ceil(d/8)) whose bit j is set: int32 (d,), written. n < 2^24."""
    cdef Py_ssize_t n = length(messages, 0, 2, "messages"), d = length(counts, 0, 1, "counts")
    if n >= 1 << 24:
        raise ValueError(f"messages: want fewer than 2^24, got {n}")
    cdef uint8_t* m = <uint8_t*> pointer(messages, cnp.NPY_UINT8, n * packed_size(d, 1), "messages")
    cdef int32_t* c = <int32_t*> target(counts, cnp.NPY_INT32, d, "counts")
    with nogil:
        kernels[0].count_votes(m, n, packed_size(d, 1), d, c)


def hadamard(cnp.ndarray x):
    """Transform every row of (rows, 2^k) in place: x <- H x, H of entries +-1 in natural (Sylvester) order."""
    cdef Py_ssize_t count = length(x, 0, 2, "x"), d = x.shape[1], i
    cdef unsigned log2_size = 0
    cdef int p = precision(x, "x")
    while (<Py_ssize_t> 1) << log2_size < d:
        log2_size += 1
    if d != (<Py_ssize_t> 1) << log2_size:
        raise ValueError(f"x: want a power of two as the length of rows, got {d}")
    cdef char* row = <char*> target(x, cnp.PyArray_TYPE(x), count * d, "x")
    with nogil:
        for i in range(count):
            kernels[p].hadamard(row + i * d * (8 if p else 4), log2_size)


def require_finite(cnp.ndarray x):
    """Raise NotFinite for the first row of (rows, d) with a value that is NaN, infinite or beyond 2^1022."""
    cdef Py_ssize_t count = length(x, 0, 2, "x"), d = x.shape[1], i
    cdef int p = precision(x, "x")
    cdef char* row = <char*> pointer(x, cnp.PyArray_TYPE(x), count * d, "x")
    cdef bint finite = True
    with nogil:
        for i in range(count):
            finite = kernels[p].all_finite(row + i * d * (8 if p else 4), d)
            if not finite:
                break
    if not finite:
        raise NotFinite(i)
