"""Messages of a uniform grid, of a fixed size, to shorter ones of varying size and back: entropy coding."""
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy
from arrays cimport length, pointer, target

import numpy as np

from mpiqopt.kernels import level

cnp.import_array()

cdef extern from "message_coder_kernels.h" nogil:
    enum: SCALE_BYTES, CODERS
    ctypedef struct message_layout:
        int64_t d
        int scale_bytes, bits
        int32_t centre
        int coder
    int64_t message_bytes(const message_layout*)
    int64_t shorter_most(const message_layout*)
    int64_t packed_capacity(int64_t)
    ctypedef struct message_coder_kernels:
        int64_t (*shorten)(const message_layout*, const uint8_t*, int32_t*, uint8_t*) noexcept nogil
        int64_t (*restore)(const message_layout*, const uint8_t*, int64_t, int32_t*, uint8_t*) noexcept nogil
    const message_coder_kernels* message_coder_tables[1]

# of the level that runs
cdef const message_coder_kernels* kernels = message_coder_tables[<int> level()]


cdef class MessageCoder:
    """Messages that ``UniformGrid`` makes of d values to shorter ones, which say how long they are, and back.

    A shorter message: the scale, if there is one, and the codes less ``centre`` as vectors of coordination are packed
    (``mpiqopt._coordination.pack``).

    Parameters
    ----------
    d : values of a message
    bits : of one code, 1 to 16
    centre : the code that is to be shortest, 0 to 2^bits - 1
    scaled : True if messages begin with a scale
    coder : 0 tiles, 1 Golomb-Rice codes, 2 a range coder

    Attributes
    ----------
    nbytes : of a message before it is shorter

    Examples
    --------
    >>> from mpiqopt._compressors import UniformGrid
    >>> grid, coder = UniformGrid(8, "given", 127, 127, 127, 0.5), MessageCoder(1000, 8, 127, False, 2)
    >>> messages, ends = np.empty((2, 1000), np.uint8), np.empty(2, np.int64)
    >>> grid.encode(np.linspace(-1, 1, 2000).reshape(2, 1000), messages)
    >>> stream = coder.shorten(messages, ends)
    >>> ends.tolist(), len(stream)
    ([251, 537], 537)
    >>> restored = np.empty_like(messages)
    >>> coder.restore(stream, restored, ends), np.array_equal(restored, messages)
    (537, True)
    """

    cdef message_layout layout
    cdef cnp.ndarray values, stream

    def __init__(self, int64_t d, int bits, int32_t centre, bint scaled, int coder):
        if d < 1 or not 1 <= bits <= 16 or not 0 <= centre < 1 << bits or not 0 <= coder < CODERS:
            raise ValueError(f"d = {d}, bits = {bits}, centre = {centre}, coder = {coder}: there are no such messages")
        self.layout.d, self.layout.bits, self.layout.centre, self.layout.coder = d, bits, centre, coder
        self.layout.scale_bytes = SCALE_BYTES if scaled else 0
        self.values, self.stream = np.empty(d, np.int32), np.empty(0, np.uint8)

    @property
    def nbytes(self):
        return message_bytes(&self.layout)

    def shorten(self, cnp.ndarray messages, cnp.ndarray ends):
        """Return messages, uint8 (rows, nbytes), shorter and one after the other: valid until the next call.

        ends: int64 (rows,), written: where each ends.
        """
        cdef Py_ssize_t rows = length(messages, 0, 2, "messages"), i
        cdef int64_t nbytes = message_bytes(&self.layout), at = 0
        cdef int64_t most = rows * shorter_most(&self.layout) + packed_capacity(self.layout.d)
        cdef uint8_t* message = <uint8_t*> pointer(messages, cnp.NPY_UINT8, rows * nbytes, "messages")
        cdef int64_t* end = <int64_t*> target(ends, cnp.NPY_INT64, rows, "ends")
        if self.stream.shape[0] < most:
            self.stream = np.empty(most, np.uint8)
        cdef uint8_t* out = <uint8_t*> cnp.PyArray_DATA(self.stream)
        cdef int32_t* values = <int32_t*> cnp.PyArray_DATA(self.values)
        with nogil:
            for i in range(rows):
                at += kernels.shorten(&self.layout, message + i * nbytes, values, out + at)
                end[i] = at
        return self.stream[:at]

    def restore(self, cnp.ndarray stream, cnp.ndarray messages, cnp.ndarray ends):
        """Write messages, uint8 (rows, nbytes), from shorter ones that lie one after the other; return bytes read.

        ends: int64 (rows,), written: where each ends. Raises ValueError if bytes are damaged or missing.
        """
        cdef Py_ssize_t rows = length(messages, 0, 2, "messages"), i
        cdef int64_t nbytes = message_bytes(&self.layout), size = length(stream, 0, 1, "stream"), at = 0, read = 0
        cdef uint8_t* data = <uint8_t*> pointer(stream, cnp.NPY_UINT8, size, "stream")
        cdef uint8_t* message = <uint8_t*> target(messages, cnp.NPY_UINT8, rows * nbytes, "messages")
        cdef int64_t* end = <int64_t*> target(ends, cnp.NPY_INT64, rows, "ends")
        cdef int32_t* values = <int32_t*> cnp.PyArray_DATA(self.values)
        with nogil:
            for i in range(rows):
                read = kernels.restore(&self.layout, data + at, size - at, values, message + i * nbytes)
                if read < 0:
                    break
                at += read
                end[i] = at
        if read < 0:
            raise ValueError(f"message {i} of {rows} that came in {size} bytes is damaged")
        return at


def take_pieces(cnp.ndarray stream, cnp.ndarray ends, cnp.ndarray rows):
    """Return some pieces of a stream, uint8 (bytes,), one after the other.

    stream: uint8 (bytes,); ends: int64 (pieces,), ascending, where each piece ends; rows: int64 (n,), which pieces.

    >>> take_pieces(np.arange(6, dtype=np.uint8), np.array([1, 3, 6]), np.array([2, 0])).tolist()
    [3, 4, 5, 0]
    """
    cdef Py_ssize_t n = length(rows, 0, 1, "rows"), pieces = length(ends, 0, 1, "ends"), k
    cdef int64_t size = length(stream, 0, 1, "stream"), total = 0, begin, at = 0
    cdef uint8_t* data = <uint8_t*> pointer(stream, cnp.NPY_UINT8, size, "stream")
    cdef int64_t* end = <int64_t*> pointer(ends, cnp.NPY_INT64, pieces, "ends")
    cdef int64_t* row = <int64_t*> pointer(rows, cnp.NPY_INT64, n, "rows")
    if pieces and (end[0] < 0 or end[pieces - 1] > size or np.any(np.diff(ends) < 0)):
        raise ValueError("ends: want 0 <= e_0 <= e_1 <= ... <= bytes")
    for k in range(n):
        if not 0 <= row[k] < pieces:
            raise ValueError(f"rows: want numbers below {pieces}, got {row[k]}")
        total += end[row[k]] - (end[row[k] - 1] if row[k] else 0)
    cdef cnp.ndarray taken = np.empty(total, np.uint8)
    cdef uint8_t* out = <uint8_t*> cnp.PyArray_DATA(taken)
    with nogil:
        for k in range(n):
            begin = end[row[k] - 1] if row[k] else 0
            memcpy(out + at, data + begin, end[row[k]] - begin)
            at += end[row[k]] - begin
    return taken
