# A vector that one node says and all others hear.

@cython.final
@cython.no_gc
cdef class Said:
    """What all nodes come to know in a call, and the nodes here share once one of them has it.

    Attributes
    ----------
    values : int64 (d,)
    came, came_size : the payload that brought it to the first node here, and its bytes; 0 before
    told, told_size : the vector packed for others, and its bytes; 0 before
    packer : packs it
    """

    cdef list arrays
    cdef Py_ssize_t d
    cdef Packer packer
    cdef integers values
    cdef uint8_t* came
    cdef uint8_t* told
    cdef int64_t came_size, told_size

    def __cinit__(self, Py_ssize_t d, Packer packer not None):
        self.arrays, self.d, self.packer = [], d, packer
        self.values = <int64_t*> zeros(self.arrays, d, 8)
        self.came = <uint8_t*> zeros(self.arrays, packed_capacity(d + 1), 1)
        self.told = <uint8_t*> zeros(self.arrays, packed_capacity(d + 1), 1)

    cdef void forget(self) noexcept nogil:
        """A call begins: nothing is known."""
        self.came_size = self.told_size = 0

    cdef int tell(self, Links links, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        """Send the vector on link e of node i, with weight 0; it is packed once for all."""
        if self.told_size == 0:
            self.told_size = self.packer.pack(self.values, self.told)
        return links.send(i, e, 0, self.told, self.told_size)

    cdef int64_t learn(self, const uint8_t* payload, int64_t size) except -1 nogil:
        """Take the vector in, bytes read: it is unpacked for the first node, and again if it was packed otherwise."""
        cdef int widest = 0
        cdef int64_t read
        if self.came_size and size >= self.came_size and memcmp(payload, self.came, self.came_size) == 0:
            return self.came_size
        read = packed_length(payload, size, self.d, &widest)
        memset(self.values, 0, 8 * self.d)
        if read < 0 or kernels.add_packed(payload, size, self.d, self.values, False) < 0:
            return broken()
        if read <= packed_capacity(self.d + 1):
            memcpy(self.came, payload, read)
            self.came_size = read
        return read

    cdef cnp.ndarray numbers(self):
        """Return the vector, a new float64 (d,)."""
        integers = np.empty(self.d, np.int64)
        memcpy(cnp.PyArray_DATA(integers), self.values, 8 * self.d)
        return integers.astype(np.float64)
