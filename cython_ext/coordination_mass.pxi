# Real vectors by mail.

@cython.final
@cython.no_gc
cdef class Mass(Mail):
    """Real vectors that are handed on, not coordinated: push-sum at everybody's own pace, in float64.

    What is sent arrives once, is added up at the receiver, and what waits for a link adds up, too: the sum over all
    nodes and links stays what it was, up to rounding. A payload is d float64, little-endian.

    Parameters
    ----------
    wiring : ``mpiqopt.coordination.wiring.Wiring``
    d : length of the vectors
    unreliable : True if frames may be lost, repeated or overtake each other

    Attributes
    ----------
    come : float64 (hosted, d), what has come to each node since the last ``pull``
    waiting : float64 (links out, d), what waits until the link is free
    """

    cdef readonly Py_ssize_t d
    cdef double* come
    cdef double* waiting

    def __cinit__(self, wiring, Py_ssize_t d, bint unreliable=False):
        self.links = self.mail = MailLinks(wiring, unreliable)
        self.d = d
        self.loaded = <uint8_t*> zeros(self.mail.arrays, self.mail.out_edges, 1)
        self.come = <double*> zeros(self.mail.arrays, self.mail.hosted * d, 8)
        self.waiting = <double*> zeros(self.mail.arrays, self.mail.out_edges * d, 8)

    def free(self, Py_ssize_t i):
        """Return True if all that node i has sent is acknowledged."""
        if not 0 <= i < self.mail.hosted:
            raise IndexError(f"node {i} of {self.mail.hosted}")
        return bool(self.drained(i))

    def push(self, Py_ssize_t i, cnp.ndarray values):
        """Node i sends a vector, float64 (d,), along each of its links: at the next turn, added to what waits there."""
        cdef double* v = <double*> pointer(values, cnp.NPY_FLOAT64, self.d, "values")
        cdef double* sum
        cdef Py_ssize_t e, j
        if not 0 <= i < self.mail.hosted:
            raise IndexError(f"node {i} of {self.mail.hosted}")
        with nogil:
            for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
                sum = self.waiting + e * self.d
                if not self.loaded[e]:
                    memset(sum, 0, 8 * self.d)
                for j in range(self.d):
                    sum[j] += v[j]
                self.loaded[e] = True
                self.mail.count(i, 1)

    def pull(self, cnp.ndarray rows):
        """Add what has come to the nodes since the last time to float64 rows (hosted, d)."""
        cdef double* into = <double*> target(rows, cnp.NPY_FLOAT64, self.mail.hosted * self.d, "rows")
        cdef Py_ssize_t j
        with nogil:
            for j in range(self.mail.hosted * self.d):
                into[j] += self.come[j]
            memset(self.come, 0, 8 * self.mail.hosted * self.d)

    cdef int send_waiting(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        self.loaded[e] = False
        return self.mail.send(i, e, 1, <const uint8_t*> (self.waiting + e * self.d), 8 * self.d)

    cdef int64_t length(self, const frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        return 8 * self.d if size >= 8 * self.d else broken()

    cdef int on_pieces(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef double* into = self.come + self.mail.receiver[h.edge] * self.d
        cdef double value
        cdef Py_ssize_t j
        for j in range(self.d):
            memcpy(&value, payload + 8 * j, 8)
            into[j] += value
        return 0
