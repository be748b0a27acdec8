# FTQC's pieces without votes.

@cython.final
@cython.no_gc
cdef class PenRules(SplitRules):
    """Pieces as in FTQC for some steps; then the node that holds the pen says what it has, and all others hear it.

    The pen goes round: in call k node k mod n holds it. After ``spread`` steps it says m = round(y/z), and each node
    that hears m tells its out-neighbours in the next step, once. After D further steps all know m, and node i keeps

        R_i = (y_i - m z_i)/2,    sum_i (q_i - R_i) = n m,

    whatever m is. Ours.

    Parameters
    ----------
    d : length of the vectors
    seed : of the routes
    spread : steps before m is said

    Attributes
    ----------
    taken : steps of this call
    said : m, with weight 0 in frames
    knows : of nodes, 1 if they know m; news: 1 if they have not told it yet
    """

    cdef int64_t spread, taken
    cdef Said said
    cdef uint8_t* knows
    cdef uint8_t* news

    def __cinit__(self, Py_ssize_t d, uint64_t seed, int64_t spread):
        self.votes, self.spread = False, spread

    cdef int connect(self, Links links) except -1:
        SplitRules.connect(self, links)
        self.said = Said(self.d, self.packer)
        self.knows = <uint8_t*> zeros(self.arrays, links.hosted, 1)
        self.news = <uint8_t*> zeros(self.arrays, links.hosted, 1)
        return 0

    cdef int start(self, cnp.ndarray values) except -1:
        SplitRules.start(self, values)
        self.taken = 0
        self.said.forget()
        memset(self.knows, 0, self.links.hosted)
        memset(self.news, 0, self.links.hosted)
        return 0

    cdef int step_all(self) except -1 nogil:
        cdef Py_ssize_t i
        if self.taken < self.spread:
            SplitRules.step_all(self)
        else:
            if self.taken == self.spread:
                self.write()
            for i in range(self.links.hosted):
                if self.news[i]:
                    self.tell(i)
        self.taken += 1
        return 0

    cdef void write(self) noexcept nogil:
        """Say m, if the pen is here."""
        cdef Py_ssize_t i = <Py_ssize_t> (self.links.call % self.links.nodes) - self.links.first, j
        if not 0 <= i < self.links.hosted:
            return
        for j in range(self.d):
            self.said.values[j] = nearest_quotient(value_at(self.y, self.narrow, i * self.d + j), self.z[i])
        self.knows[i] = self.news[i] = True

    cdef int tell(self, Py_ssize_t i) except -1 nogil:
        """Let node i tell its out-neighbours m."""
        cdef Py_ssize_t first = self.links.out_starts[i], last = self.links.out_starts[i + 1], e
        self.news[i] = False
        self.links.count(i, last - first)
        for e in range(first, last):
            self.said.tell(self.links, i, e)
        return 0

    cdef int64_t absorb(self, Py_ssize_t i, uint64_t z, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef int64_t read
        if z:
            return SplitRules.absorb(self, i, z, payload, size)
        read = self.said.learn(payload, size)
        if not self.knows[i]:
            self.knows[i] = self.news[i] = True
        return read

    cdef bint done(self, Py_ssize_t i) except -1 nogil:
        return self.knows[i]

    cdef object result(self):
        raise TypeError("the pen settles what is new, and finds no points")

    cdef object settle(self, cnp.ndarray values, cnp.ndarray hat, double step):
        """m is what was said, and R_i = (y_i - m z_i)/2."""
        return self.keep_rest(values, hat, step, self.said.numbers())
