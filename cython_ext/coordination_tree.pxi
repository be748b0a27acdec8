# Sums along a tree, laid out before or found.

@cython.final
@cython.no_gc
cdef class TreeRules(IntegerRules):
    """A sum along a tree: a node that has heard all its children sends their sum up; the root's sum comes down again.

    The weight says which way: z is 1 in a sum on the way up, and 0 in the result. If a call ``settles``, it is
    round(S/n) that comes down, as short as what goes up, and the root keeps the rest.

    Parameters
    ----------
    d : length of the vectors
    up : int64 (hosted,), the link out of each node towards the root, -1 at the root
    children : int64 (hosted,), how many nodes send their sums to it
    down : int64 (links out,), 1 where the result goes
    tree : if nodes look for it themselves: fills the three others, which are its own, before the first step

    Attributes
    ----------
    heard : int64 (hosted,), frames that have come to each node in this call
    ready, ready_count : where all take steps together, the nodes that have something to do in the next one, and how
        many; -1: not listed yet in this call
    rest : int64 (d,), what remains at the root, if it is here and the call settles
    said : the result, with weight 0 in frames; common: int64 (d,), its values
    """

    cdef cnp.ndarray ways_up, child_counts, ways_down
    cdef integers up, children, down, heard, rest, ready, common
    cdef Said said
    cdef Py_ssize_t ready_count

    def __cinit__(self, Py_ssize_t d, cnp.ndarray up, cnp.ndarray children, cnp.ndarray down, FoundTree tree=None):
        self.unit, self.votes, self.waits, self.tree = 1, False, True, tree
        self.ways_up, self.child_counts, self.ways_down = up, children, down

    cdef int connect(self, Links links) except -1:
        IntegerRules.connect(self, links)
        self.total = links.nodes
        self.up = given(self.arrays, self.ways_up, links.hosted, "up")
        self.children = given(self.arrays, self.child_counts, links.hosted, "children")
        self.down = given(self.arrays, self.ways_down, links.out_edges, "down")
        self.heard = <int64_t*> zeros(self.arrays, links.hosted, 8)
        self.ready = <int64_t*> zeros(self.arrays, links.hosted, 8)
        self.said = Said(self.d, self.packer)
        self.common = self.said.values
        root_may_be_here = self.tree is not None or (links.hosted and self.ways_up.min() < 0)
        self.rest = <int64_t*> zeros(self.arrays, self.d if root_may_be_here else 0, 8)
        if len(self.ways_up) and self.ways_up.max() >= links.out_edges:
            raise ValueError(f"up: want links below {links.out_edges}")
        return 0

    cdef int start(self, cnp.ndarray values) except -1:
        cdef Py_ssize_t i
        IntegerRules.start(self, values)
        self.ready_count = -1
        self.said.forget()
        for i in range(self.links.hosted):
            self.heard[i] = 0
        return 0

    cdef int step_all(self) except -1 nogil:
        """Visit only the nodes that have just heard the last of their children: a call takes many steps."""
        cdef Py_ssize_t k
        if self.ready_count < 0:
            self.ready_count = 0
            for k in range(self.links.hosted):
                if self.children[k] == 0:
                    self.get_ready(k)
        for k in range(self.ready_count):
            self.step(self.ready[k])
        self.ready_count = 0
        return 0

    cdef void get_ready(self, Py_ssize_t i) noexcept nogil:
        """List node i, which has heard all its children."""
        self.ready[self.ready_count] = i
        self.ready_count += 1

    cdef bint step(self, Py_ssize_t i) except -1 nogil:
        if self.step_counts[i] or self.heard[i] < self.children[i]:
            return False
        self.step_counts[i] = 1
        if self.up[i] < 0:
            memcpy(self.common, self.values(i), 8 * self.d)
            if self.settles:
                self.divide(self.common)
            self.descend(i)
        else:
            self.pass_on(i, self.up[i], 1)
        return True

    cdef void divide(self, int64_t* y) noexcept nogil:
        """Replace the sum at the root by round(S/n); what remains is kept."""
        cdef Py_ssize_t j
        for j in range(self.d):
            self.rest[j] = y[j]
            y[j] = nearest_quotient(y[j], self.links.nodes)
            self.rest[j] -= y[j] * self.links.nodes

    cdef int descend(self, Py_ssize_t i) except -1 nogil:
        """Node i has the result, and the nodes below it get it."""
        cdef Py_ssize_t e
        for e in range(self.links.out_starts[i], self.links.out_starts[i + 1]):
            if self.down[e]:
                self.pass_on(i, e, 0)
        self.z[i] = 0
        return 0

    cdef int pass_on(self, Py_ssize_t i, Py_ssize_t e, int64_t z) except -1 nogil:
        """Send y of node i on link e, or the result, which is packed once for all, now or when the link is free."""
        cdef int64_t* vector = <int64_t*> self.values(i) if z else self.common
        self.links.count(i, 1)
        if not self.can_send(e):
            self.load(e, z)
            memcpy(self.waiting(e), vector, 8 * self.d)
            return 0
        if z:
            return self.links.send(i, e, <uint64_t> z, self.packed, self.packer.pack(vector, self.packed))
        return self.said.tell(self.links, i, e)

    cdef int64_t absorb(self, Py_ssize_t i, uint64_t z, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef int64_t read
        read = IntegerRules.absorb(self, i, z, payload, size) if z else self.said.learn(payload, size)
        self.heard[i] += 1
        if z == 0:
            self.descend(i)
        elif self.ready_count >= 0 and self.heard[i] == self.children[i]:
            self.get_ready(i)
        return read

    cdef bint done(self, Py_ssize_t i) except -1 nogil:
        return self.z[i] == 0

    cdef object result(self):
        return quotients(self.common, self.d, self.links.nodes)

    cdef object mass(self):
        """Return the sums of what nodes here have, the result those that are done, and of z."""
        cdef Py_ssize_t i, j
        y, z = np.zeros(self.d, np.int64), 0
        for i in range(self.links.hosted):
            z += self.z[i]
            for j in range(self.d):
                y[j] += self.common[j] if self.z[i] == 0 else value_at(self.y, self.narrow, i * self.d + j)
        return y, z

    cdef object settle(self, cnp.ndarray values, cnp.ndarray hat, double step):
        """m = round(S/n), and R_i = 0 but at the root."""
        cdef Py_ssize_t size = self.links.hosted * self.d, i
        cdef const int64_t* q = <int64_t*> pointer(values, cnp.NPY_INT64, size, "values")
        cdef double* rows = rows_of(hat, size)
        cdef cnp.ndarray common = self.said.numbers()
        cdef const double* mean = <double*> cnp.PyArray_DATA(common)
        cdef bint at_root
        with nogil:
            for i in range(self.links.hosted):
                at_root = self.up[i] < 0
                kernels.settle_row(rows + i * self.d, q + i * self.d, self.rest if at_root else self.common, False,
                                   self.d, at_root, mean, 0.0, step)
        return common
