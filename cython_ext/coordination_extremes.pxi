# What nodes know of each other in a vote.

cdef int64_t beyond_all = 1 << 62


@cython.final
@cython.no_gc
cdef class Extremes:
    """The smallest and largest values of the network that each hosted node knows of, in a vote.

    Attributes
    ----------
    low, high : int64 (hosted, width); a vote is won where high - low <= tolerance everywhere
    apart : of nodes, 1 if they know, or were told, that the vote is lost
    packed : what ``prepare`` has packed
    packer : packs low
    """

    cdef list arrays
    cdef Py_ssize_t width
    cdef int64_t tolerance
    cdef Packer packer
    cdef integers low, high
    cdef uint8_t* apart
    cdef uint8_t* packed

    def __cinit__(self, Py_ssize_t hosted, Py_ssize_t width, int64_t tolerance):
        self.arrays, self.width, self.tolerance = [], width, tolerance
        self.low = <int64_t*> zeros(self.arrays, hosted * width, 8)
        self.high = <int64_t*> zeros(self.arrays, hosted * width, 8)
        self.apart = <uint8_t*> zeros(self.arrays, hosted, 1)
        self.packed = <uint8_t*> zeros(self.arrays, 2 * packed_capacity(width + 1), 1)

    @cython.final
    cdef void forget(self, Py_ssize_t i) noexcept nogil:
        """A vote begins: node i knows nothing."""
        cdef Py_ssize_t j
        self.apart[i] = False
        for j in range(i * self.width, (i + 1) * self.width):
            self.low[j], self.high[j] = beyond_all, -beyond_all

    @cython.final
    cdef bint agree(self, Py_ssize_t i) noexcept nogil:
        """True if what node i knows of wins the vote."""
        cdef Py_ssize_t at = i * self.width
        return not self.apart[i] and kernels.within(self.low + at, self.high + at, self.width, self.tolerance)

    @cython.final
    cdef int64_t prepare(self, Py_ssize_t i, frame_header* h) noexcept nogil:
        """Set the kind of a frame that tells what node i knows, and pack its payload; bytes of it.

        Once values are too far apart, what they are makes no difference: frames of a vote that fails are short.
        """
        cdef Py_ssize_t at = i * self.width
        if not self.agree(i):
            self.apart[i] = True
            h.kind = APART
            return 0
        h.kind = EXTREMES
        return kernels.pack_extremes(self.low + at, self.high + at, self.width, self.packer.pick(), self.packed)

    @cython.final
    cdef int64_t widen(self, Py_ssize_t i, const uint8_t* payload, int64_t size) except -1 nogil:
        """Node i hears what another one knows; bytes read."""
        cdef Py_ssize_t at = i * self.width
        cdef int64_t read = kernels.widen_by_packed(payload, size, self.width, self.low + at, self.high + at)
        return read if read >= 0 else broken()
