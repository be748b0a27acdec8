# Quotients of sums and the number of nodes.

cdef object quotients(const int64_t* sum, Py_ssize_t d, int64_t nodes):
    """Return floor(S/n) and ceil(S/n) of a sum S, int64 (d,): two new arrays."""
    total = np.empty(d, np.int64)
    memcpy(cnp.PyArray_DATA(total), sum, 8 * d)
    return total // nodes, -(-total // nodes)


cdef inline int64_t nearest_quotient(int64_t sum, int64_t nodes) noexcept nogil:
    """Return floor(S/n + 1/2), so that what remains, S - n of it, is at most n/2."""
    cdef int64_t whole = sum / nodes, rest = sum % nodes
    if rest < 0:
        whole, rest = whole - 1, rest + nodes
    return whole + (2 * rest >= nodes)
