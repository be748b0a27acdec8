# Rules that are written in Python.

@cython.final
@cython.no_gc
cdef class PythonRules(Rules):
    """Rules that call an object in Python for each node: ``mpiqopt.coordination.protocol.NodeProtocol``.

    What a node sends leaves in order: on links that are not free it waits in a queue. Labels of messages travel where
    other rules have weights. The interpreter's lock is taken for each call of the object, and its exceptions end the
    run like those of any plug-in.

    Parameters
    ----------
    d : length of the vectors
    protocol : has ``start``, ``step``, ``absorb``, ``look`` and ``votes``
    sites : list of what each hosted node knows of the network from the start

    Attributes
    ----------
    states : what ``start`` returned for each hosted node
    queues : of links out, lists of (label, vector) that wait
    sums : S of each hosted node that knows it, else None
    """

    cdef object protocol
    cdef list sites, states, queues, sums
    cdef uint8_t* packed

    def __cinit__(self, Py_ssize_t d, protocol, list sites):
        self.protocol, self.sites, self.votes, self.bears_old = protocol, sites, protocol.votes, not protocol.votes

    cdef int connect(self, Links links) except -1:
        Rules.connect(self, links)
        if len(self.sites) != links.hosted:
            raise ValueError(f"sites: want {links.hosted}, got {len(self.sites)}")
        self.queues = [[] for _ in range(links.out_edges)]
        self.packed = <uint8_t*> zeros(self.arrays, packed_capacity(self.d + 1), 1)
        return 0

    cdef int start(self, cnp.ndarray values) except -1:
        pointer(values, cnp.NPY_INT64, self.links.hosted * self.d, "values")
        self.states = [self.protocol.start(site, own.copy()) for site, own in zip(self.sites, values, strict=True)]
        self.sums = [None] * self.links.hosted
        self.steps[:] = 0
        return 0

    cdef bint step(self, Py_ssize_t i) except -1 nogil:
        with gil:
            messages = self.protocol.step(self.states[i])
            for link, label, values in messages:
                self.send(i, link, label, values)
            if messages:
                self.step_counts[i] += 1
            return bool(messages)

    cdef int send(self, Py_ssize_t i, link, label, values) except -1:
        """Send a message on one of node i's links, now or when it is free.

        Raises IndexError if there is no such link, ValueError for a label or a shape that cannot travel.
        """
        cdef Py_ssize_t first = self.links.out_starts[i], degree = self.links.out_starts[i + 1] - first
        if not 0 <= link < degree:
            raise IndexError(f"link {link} of {degree}")
        if not 0 <= label < 1 << 62:
            raise ValueError(f"label = {label}: want a number from 0 to 2^62 - 1")
        vector = np.ascontiguousarray(values, np.int64)
        if vector.shape != (self.d,):
            raise ValueError(f"a message has shape {vector.shape}: want {(self.d,)}")
        self.links.count(i, 1)
        if self.links.is_free(first + link) and not self.loaded[first + link]:
            return self.ship(i, first + link, label, vector)
        self.queues[first + link].append((label, vector.copy()))
        self.loaded[first + link] = True
        return 0

    cdef int ship(self, Py_ssize_t i, Py_ssize_t e, uint64_t label, cnp.ndarray vector) except -1:
        cdef int64_t size = self.packer.pack(<int64_t*> cnp.PyArray_DATA(vector), self.packed)
        return self.links.send(i, e, label, self.packed, size)

    cdef int send_waiting(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        with gil:
            label, vector = self.queues[e].pop(0)
            self.loaded[e] = len(self.queues[e]) > 0
            return self.ship(i, e, label, vector)

    cdef int64_t absorb(self, Py_ssize_t i, uint64_t z, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef int widest = 0
        cdef int64_t read = packed_length(payload, size, self.d, &widest)
        if read < 0 or z >> 62:
            return broken()
        with gil:
            values = np.zeros(self.d, np.int64)
            if kernels.add_packed(payload, size, self.d, cnp.PyArray_DATA(values), False) < 0:
                return broken()
            self.protocol.absorb(self.states[i], z, values)
        return read

    cdef int look(self, Py_ssize_t i) except -1 nogil:
        with gil:
            low, high = self.protocol.look(self.states[i])
            return self.widen(i, low, high)

    cdef int widen(self, Py_ssize_t i, low, high) except -1:
        """Widen what node i knows by its own low and high, int64 (d,). Raises TypeError or ValueError for others."""
        cdef int64_t* lowest = <int64_t*> pointer(low, cnp.NPY_INT64, self.d, "look(): low")
        cdef int64_t* highest = <int64_t*> pointer(high, cnp.NPY_INT64, self.d, "look(): high")
        cdef Py_ssize_t at = i * self.d, j
        for j in range(self.d):
            widen_by_value(lowest[j], self.extremes.low + at + j, self.extremes.high + at + j)
            widen_by_value(highest[j], self.extremes.low + at + j, self.extremes.high + at + j)
        return 0

    cdef bint done(self, Py_ssize_t i) except -1 nogil:
        with gil:
            if self.sums[i] is None:
                self.sums[i] = self.protocol.look(self.states[i])
            return self.sums[i] is not None

    cdef object result(self):
        if self.votes:
            return Rules.result(self)
        return quotients(<int64_t*> pointer(self.sums[0], cnp.NPY_INT64, self.d, "look()"), self.d, self.links.nodes)

    cdef object settle(self, cnp.ndarray values, cnp.ndarray hat, double step):
        """m = round(S/n) of the sum that all nodes know, and R_i = 0 but at node 0; not where nodes vote."""
        if self.votes:
            return Rules.settle(self, values, hat, step)
        cdef integers sum = <int64_t*> pointer(self.sums[0], cnp.NPY_INT64, self.d, "look()")
        m = np.array([nearest_quotient(sum[j], self.links.nodes) for j in range(self.d)], np.float64)
        hat += step * values
        if self.links.first == 0:
            hat[0] -= step * (self.sums[0] - m * self.links.nodes)
        return m
