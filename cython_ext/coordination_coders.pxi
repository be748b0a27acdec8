# Packed vectors by themselves, for tests and benchmarks.

cdef int known_coder(coder) except -1:
    """Return the number of a coder. Raises ValueError if there is none of it."""
    if not 0 <= coder < CODERS:
        raise ValueError(f"coder = {coder}: want 0 (tiles), 1 (rice) or 2 (range)")
    return coder


cdef int known_choice(coder) except -1:
    """Return the same, or 3 if measurements choose the coder. Raises ValueError for others."""
    if not 0 <= coder <= CODERS:
        raise ValueError(f"coder = {coder}: want 0 (tiles), 1 (rice), 2 (range) or 3 (what measurements favour)")
    return coder


def pack(cnp.ndarray values, coder):
    """Return integers, int64 (d,), as bytes that say themselves what packed them.

    Parameters
    ----------
    values : int64 (d,)
    coder : 0 tiles; 1 Golomb-Rice codes; 2 a range coder. Where tiles are not longer they are what is returned.

    Examples
    --------
    >>> values = np.arange(1000) % 7 - 3
    >>> [len(pack(values, coder)) for coder in range(3)]
    [376, 376, 357]
    >>> all(np.array_equal(unpack(pack(values, coder), 1000), values) for coder in range(3))
    True
    """
    cdef Py_ssize_t d = cnp.PyArray_SIZE(values)
    cdef int64_t* v = <int64_t*> pointer(values, cnp.NPY_INT64, d, "values")
    cdef int number = known_coder(coder)
    cdef cnp.ndarray packed = np.empty(packed_capacity(d), np.uint8)
    cdef uint8_t* out = <uint8_t*> cnp.PyArray_DATA(packed)
    cdef int64_t size
    with nogil:
        size = kernels.pack_vector(v, d, number, out)
    return packed[:size].tobytes()


def unpack(const uint8_t[::1] packed not None, Py_ssize_t d, cnp.ndarray out=None):
    """Return the integers, int64 (d,), that ``pack`` made bytes of; they are added to ``out``, if there is one.

    Raises ValueError if the bytes are damaged; then ``out`` is meaningless.
    """
    cdef cnp.ndarray values = np.zeros(d, np.int64) if out is None else out
    cdef void* into = target(values, cnp.NPY_INT64, d, "out")
    cdef int64_t size = packed.shape[0]
    cdef int widest = 0
    cdef const uint8_t* data = &packed[0] if size else NULL
    with nogil:
        if packed_length(data, size, d, &widest) != size or kernels.add_packed(data, size, d, into, False) != size:
            broken()
    return values
