"""Finite-time quantised coordination at the nodes of a process: everything but how bytes get to other processes.

``Lockstep`` has nodes that act all at once, step by step; ``Mailboxes`` nodes that act when something arrives. What
nodes say to each other are frames, collected in one box for each process that hosts neighbours: a number with the link
(of the receiving process) and the kind of frame, for mailboxes the call and a count (and on unreliable links which
sending this is), and what the kind wants. Box 0 is for frames between the nodes of this process, so that only time
depends on who hosts a node.
"""
cimport cython
cimport numpy as cnp
from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset
from arrays cimport pointer, target

import numpy as np

from mpiqopt.kernels import level

cnp.import_array()

cdef extern from "float.h" nogil:
    int LDBL_MANT_DIG

cdef extern from "coordination_kernels.h" nogil:
    int64_t packed_room(int64_t)
    int64_t packed_length(const uint8_t*, int64_t, int64_t, int*)
    enum: NUMBER_MOST
    int put_number(uint64_t, uint8_t*)
    int get_number(const uint8_t*, int64_t, uint64_t*)
    void* held_at(void*, bint, int64_t)
    int64_t held_value(const void*, bint, int64_t)
    int64_t largest_of(int)
    enum: TILE
    ctypedef struct destination:
        uint8_t* packed
        int64_t size
        int64_t* sum
        int fresh
        int64_t begun
        uint64_t all
    void widen_by_value(int64_t, int64_t*, int64_t*)
    int64_t extremes_length(const uint8_t*, int64_t, int64_t)
    uint32_t word(uint32_t, uint64_t)
    uint64_t block_key(uint64_t, uint64_t)
    ctypedef struct coordination_kernels:
        int64_t (*pack_vector)(const int64_t*, int64_t, uint8_t*) noexcept nogil
        void (*hold)(void*, bint, const int64_t*, int64_t, int64_t) noexcept nogil
        void (*lengthen)(void*, int64_t) noexcept nogil
        int64_t (*reach_of)(const void*, bint, int64_t) noexcept nogil
        int64_t (*add_packed)(const uint8_t*, int64_t, int64_t, void*, bint) noexcept nogil
        void (*split_pieces)(void*, bint, int64_t, int64_t, int64_t, const int32_t*, destination*, int,
                             void*) noexcept nogil
        int64_t (*share_out)(void*, void*, bint, int64_t, int64_t, int64_t, double, int, uint8_t*) noexcept nogil
        void (*quantise_row)(const double*, int64_t, double, int, const double*, int64_t*, double*,
                             double*) noexcept nogil
        void (*widen_by_ratio)(void*, bint, int64_t, int64_t, int64_t*, int64_t*) noexcept nogil
        void (*round_ratio)(const void*, bint, int64_t, int64_t, int64_t, int64_t, int64_t*) noexcept nogil
        int64_t (*fingerprint)(const int64_t*, int64_t) noexcept nogil
        int64_t (*pack_extremes)(const int64_t*, const int64_t*, int64_t, uint8_t*) noexcept nogil
        int64_t (*widen_by_packed)(const uint8_t*, int64_t, int64_t, int64_t*, int64_t*) noexcept nogil
        int (*within)(const int64_t*, const int64_t*, int64_t, int64_t) noexcept nogil
    const coordination_kernels** coordination_tables

cdef const coordination_kernels* kernels = coordination_tables[level()]

cdef enum:
    FTQC, PUSH_SUM, TREE
cdef enum:  # kinds of frames, with what follows
    PIECES = 1  # z and packed values; as PIECE on the way if z = 1
    STAGE = 2  # of a vote; count: its number
    EXTREMES = 3  # the same, with packed extremes
    APART = 4  # the same: nodes are too far apart, whatever the extremes
    PIECES_HEARD = 5  # count: that of the pieces
    STAGE_HEARD = 6
    PIECE = 7
cdef enum:
    TRIES = 8
    HASHED = 4  # values of which push-sum compares no hash
cdef enum:  # what a node does
    SPLITTING, DRAINING, FLOODING, CLOSING, RETRYING, DONE

ctypedef int64_t* integers

ctypedef struct header:
    uint32_t edge  # of the receiving process: among the links into it, or out of it if the frame says what was heard
    uint32_t place  # the same among the links of the receiving node; not sent
    uint32_t kind
    uint32_t call, count  # of mailboxes
    uint8_t tries  # of mailboxes with unreliable links: which sending of it this is, or of what was heard
    uint64_t z  # of pieces

ctypedef struct clock:
    uint8_t tries  # how often something was sent again; no more than 255 are counted
    double at[TRIES]  # when, each of the last times (s)

ctypedef struct box:
    uint8_t* data
    int64_t size, room

PROTOCOLS = {"ftqc": FTQC, "integer-push-sum": PUSH_SUM, "tree": TREE}
cdef enum:
    HEADER_MOST = 9 + NUMBER_MOST
# bytes/s of a link before a round trip was measured
cdef double FIRST_BANDWIDTH = 1e6
# s: a round trip before one was measured; added to what is measured; no message waits longer to be sent again
cdef double FIRST_ROUND_TRIP = 0.002, GRACE = 0.0002, LONGEST_WAIT = 1.0
# so large may |y| of push-sum become, where long double has 64 bits of mantissa or no more than double
WEIGHTED_ROOM = 2.0**62 if LDBL_MANT_DIG >= 64 else 2.0**50
cdef int64_t beyond_all = 1 << 62
# so large may |y| become as int32
cdef int64_t narrow_room = (1 << 31) - 1


cdef int reserve(box* b, int64_t more) except -1 nogil:
    """Room for so many more bytes."""
    cdef int64_t room
    cdef uint8_t* data
    if b.size + more > b.room:
        room = max(2 * b.room, b.size + more)
        data = <uint8_t*> realloc(b.data, room)
        if data == NULL:
            with gil:
                raise MemoryError(f"no room for {room} bytes of messages")
        b.data, b.room = data, room
    return 0


def quantise(cnp.ndarray rows, double step, bint nearest, cnp.ndarray centre, cnp.ndarray out):
    """floor(x/step) - centre, or round(x/step) - centre, of float64 rows (hosted, d) into the first columns of ``out``.

    centre: float64 (d,) integers; out: int64 (hosted, e), e >= d. Returns the largest |x/step| and the largest |result|
    of every row, float64 (2, hosted); ``out`` is meaningless in rows with NaN or more than 2^62.
    """
    cdef Py_ssize_t hosted = rows.shape[0], d = rows.shape[1], width = out.shape[1], i
    cdef double* x = <double*> pointer(rows, cnp.NPY_FLOAT64, hosted * d, "rows")
    cdef double* middle = <double*> pointer(centre, cnp.NPY_FLOAT64, d, "centre")
    cdef int64_t* into = <int64_t*> target(out, cnp.NPY_INT64, hosted * width, "out")
    if width < d:
        raise ValueError(f"out: want at least {d} columns, got {width}")
    largest = np.empty((2, hosted))
    cdef double* most = <double*> cnp.PyArray_DATA(largest)
    with nogil:
        for i in range(hosted):
            kernels.quantise_row(x + i * d, d, step, nearest, middle, into + i * width, most + i, most + hosted + i)
    return largest


@cython.no_gc
cdef class Nodes:
    """The hosted nodes of a network in which integers are coordinated: what both ways to run it share.

    wiring: ``coordination.wiring.Wiring``. protocol: one of PROTOCOLS. d: length of the vectors.
    """

    cdef readonly Py_ssize_t hosted, d
    cdef readonly int64_t nodes
    cdef readonly cnp.ndarray pieces  # int64 (hosted,): pieces that left each node
    cdef readonly cnp.ndarray bytes_sent  # int64 (hosted,): bytes of all frames of each node, headers included
    cdef readonly cnp.ndarray steps  # int64 (hosted,): steps of each node in this call
    cdef list arrays
    cdef int protocol
    cdef uint32_t call
    cdef uint64_t seed
    cdef int64_t first, unit, width  # unit: what y begins with for each 1; width: of what votes compare
    cdef int64_t weights  # the sum of all z in the network
    cdef double momentum
    cdef bint numbered, unreliable  # whether frames have calls and counts, and which sending they are
    cdef Py_ssize_t boxes, in_edges, out_edges, origin
    cdef integers in_starts, in_box, in_there, in_place, out_starts, out_box, out_there, out_place
    cdef integers receiver, children, up, down
    cdef integers start_weight
    cdef void* y  # int32 as long as these are wide enough (``narrow``), or else int64
    cdef void* flow
    cdef readonly bint narrow
    cdef integers reach, swing  # no |y| or |flow| of the node is larger, if narrow
    cdef integers z, low, high, total, heard, weight, vectors, counted, counted_bytes, step_counts
    cdef uint64_t* keys
    cdef uint32_t* drawn
    cdef int32_t* routes
    cdef int32_t* places
    cdef int32_t* shares
    cdef uint8_t* loaded
    cdef uint8_t* packed
    cdef uint8_t* apart  # nodes that know that the extremes are too far apart
    cdef void* work
    cdef destination* destinations
    cdef box* outgoing
    cdef box* taken

    def __cinit__(self, *args, **kwargs):
        self.arrays = []

    cdef int prepare(self, wiring, str protocol, Py_ssize_t d, uint64_t seed) except -1:
        """Room for everything, and the links."""
        self.protocol, self.d, self.seed = PROTOCOLS[protocol], d, seed
        self.width = d if self.protocol == FTQC or d <= HASHED else 1
        self.nodes, self.first, self.boxes, self.momentum = wiring.nodes, wiring.first, wiring.boxes, wiring.momentum
        self.unit = {FTQC: 2, PUSH_SUM: wiring.unit, TREE: 1}[self.protocol]
        self.weights = {FTQC: 2 * self.nodes, PUSH_SUM: wiring.total, TREE: self.nodes}[self.protocol]
        self.hosted = len(wiring.in_starts) - 1
        self.in_edges, self.out_edges = wiring.in_starts[-1], wiring.out_starts[-1]
        for b in (wiring.in_box, wiring.out_box):
            if len(b) and not 0 <= b.min() <= b.max() < self.boxes:
                raise ValueError(f"wiring: want boxes 0 .. {self.boxes - 1}")
        self.in_starts = self.given(wiring.in_starts, self.hosted + 1)
        self.in_box = self.given(wiring.in_box, self.in_edges)
        self.in_there = self.given(wiring.in_there, self.in_edges)
        self.in_place = self.given(wiring.in_place, self.in_edges)
        self.receiver = self.given(wiring.receiver, self.in_edges)
        self.out_starts = self.given(wiring.out_starts, self.hosted + 1)
        self.out_box = self.given(wiring.out_box, self.out_edges)
        self.out_there = self.given(wiring.out_there, self.out_edges)
        self.out_place = self.given(wiring.out_place, self.out_edges)
        self.children, self.up = self.given(wiring.children, self.hosted), self.given(wiring.up, self.hosted)
        self.down, self.start_weight = self.given(wiring.down, self.out_edges), self.given(wiring.weight, self.hosted)
        self.pieces = np.zeros(self.hosted, np.int64)
        self.bytes_sent, self.steps = np.zeros_like(self.pieces), np.zeros_like(self.pieces)
        self.counted = self.given(self.pieces, self.hosted)
        self.counted_bytes = self.given(self.bytes_sent, self.hosted)
        self.step_counts = self.given(self.steps, self.hosted)
        widest = max(np.diff(wiring.out_starts).max(), 1)
        self.y, self.z = self.made(self.hosted * d, 8), <int64_t*> self.made(self.hosted, 8)
        self.reach, self.swing = <int64_t*> self.made(self.hosted, 8), <int64_t*> self.made(self.hosted, 8)
        self.low = <int64_t*> self.made(self.hosted * self.width, 8)
        self.high = <int64_t*> self.made(self.hosted * self.width, 8)
        self.total = <int64_t*> self.made(self.hosted * d if self.protocol == PUSH_SUM else 0, 8)
        self.flow = self.made(self.hosted * d if self.protocol == PUSH_SUM else 0, 8)
        self.apart = <uint8_t*> self.made(self.hosted, 1)
        self.heard = <int64_t*> self.made(self.hosted, 8)
        self.keys, self.drawn = <uint64_t*> self.made(self.hosted, 8), <uint32_t*> self.made(self.hosted, 4)
        self.weight, self.loaded = <int64_t*> self.made(self.out_edges, 8), <uint8_t*> self.made(self.out_edges, 1)
        self.routes = <int32_t*> self.made(2 * self.nodes, 4)
        self.places, self.shares = <int32_t*> self.made(widest, 4), <int32_t*> self.made(widest, 4)
        self.destinations = <destination*> self.made(widest, sizeof(destination))
        self.work = self.made(widest * TILE, 8)
        self.packed = <uint8_t*> self.made(max(widest, 2) * packed_room(d + 1), 1)
        self.outgoing = <box*> self.made(self.boxes, sizeof(box))
        self.taken = <box*> self.made(self.boxes, sizeof(box))

    def __dealloc__(self):
        cdef Py_ssize_t b
        if self.taken != NULL:
            for b in range(self.boxes):
                free(self.outgoing[b].data)
                free(self.taken[b].data)

    cdef int64_t* given(self, cnp.ndarray array, Py_ssize_t size) except? NULL:
        self.arrays.append(array)
        return <int64_t*> pointer(array, cnp.NPY_INT64, size, "wiring")

    cdef void* made(self, Py_ssize_t size, Py_ssize_t item) except NULL:
        """Zeros, which live as long as this."""
        array = np.zeros(max(size * item, 1), np.uint8)
        self.arrays.append(array)
        return cnp.PyArray_DATA(array)

    def take(self, Py_ssize_t b):
        """The frames in box b, uint8 (bytes,), which is empty afterwards. Valid until the next ``take`` of b."""
        cdef cnp.npy_intp size
        if not 0 <= b < self.boxes:
            raise IndexError(f"box {b} of {self.boxes}")
        self.outgoing[b], self.taken[b] = self.taken[b], self.outgoing[b]
        self.outgoing[b].size = 0
        size = self.taken[b].size
        if size == 0:
            return np.empty(0, np.uint8)
        return cnp.PyArray_SimpleNewFromData(1, &size, cnp.NPY_UINT8, self.taken[b].data)

    def filled(self, Py_ssize_t b):
        """Bytes in box b."""
        if not 0 <= b < self.boxes:
            raise IndexError(f"box {b} of {self.boxes}")
        return self.outgoing[b].size

    @property
    def result(self):
        """floor(S/n) and ceil(S/n), S the sum over all nodes: two new int64 (d,), when the call is over."""
        low, high = np.empty(self.d, np.int64), np.empty(self.d, np.int64)
        if self.protocol == FTQC:
            memcpy(cnp.PyArray_DATA(low), self.low, 8 * self.d)
            memcpy(cnp.PyArray_DATA(high), self.high, 8 * self.d)
            return low, high
        memcpy(cnp.PyArray_DATA(low), self.total if self.protocol == PUSH_SUM else self.y, 8 * self.d)
        return low // self.nodes, -(-low // self.nodes)

    @property
    def mass(self):
        """Sums of y, int64 (d,), and of z held by the nodes here; for tests."""
        y, z = np.zeros(self.d, np.int64), 0
        for i in range(self.hosted):
            z += self.z[i]
            for j in range(self.d):
                y[j] += held_value(self.y, self.narrow, i * self.d + j)
        return y, z

    cdef int start(self, uint32_t call, cnp.ndarray values) except -1:
        """Every node has its own values (hosted, d), and no extremes."""
        cdef int64_t* own = <int64_t*> pointer(values, cnp.NPY_INT64, self.hosted * self.d, "values")
        cdef Py_ssize_t i
        cdef int64_t reach = kernels.reach_of(own, False, self.hosted * self.d)
        self.call = call
        self.narrow = self.protocol != TREE and reach <= narrow_room / 4 / self.unit
        if self.protocol == PUSH_SUM:
            memset(self.flow, 0, 8 * self.hosted * self.d)
        kernels.hold(self.y, self.narrow, own, self.hosted * self.d, self.unit)
        for i in range(self.hosted):
            self.reach[i], self.swing[i] = reach * self.unit, 0
            self.z[i] = self.start_weight[i] if self.protocol == PUSH_SUM else self.unit
            self.heard[i] = self.drawn[i] = self.step_counts[i] = 0
            self.keys[i] = block_key(block_key(self.seed, <uint64_t> (self.first + i)), call)
            self.forget(i)
        return 0

    cdef void* held(self, Py_ssize_t i) noexcept nogil:
        """y of node i."""
        return held_at(self.y, self.narrow, i * self.d)

    cdef void make_room(self, Py_ssize_t i, int64_t times, int64_t more) noexcept nogil:
        """|y| of node i may become so many times as large, and ``more``: if int32 are too short all become int64."""
        if not self.narrow:
            return
        if times * self.reach[i] + more > narrow_room:
            self.reach[i] = kernels.reach_of(self.held(i), True, self.d)
            if times * self.reach[i] + more > narrow_room / 2:
                self.narrow = False
                kernels.lengthen(self.y, self.hosted * self.d)
                if self.protocol == PUSH_SUM:
                    kernels.lengthen(self.flow, self.hosted * self.d)

    cdef void forget(self, Py_ssize_t i) noexcept nogil:
        """A vote begins: node i knows no extremes."""
        cdef Py_ssize_t j
        self.apart[i] = False
        for j in range(i * self.width, (i + 1) * self.width):
            self.low[j], self.high[j] = beyond_all, -beyond_all

    cdef void look(self, Py_ssize_t i) noexcept nogil:
        """Node i's own part of the extremes."""
        cdef Py_ssize_t at = i * self.d, j
        if self.protocol == FTQC:
            kernels.widen_by_ratio(self.held(i), self.narrow, self.d, self.z[i], self.low + at, self.high + at)
        else:
            kernels.round_ratio(self.held(i), self.narrow, self.d, self.z[i], self.weights, self.unit, self.total + at)
            if self.width == self.d:
                for j in range(at, at + self.d):
                    widen_by_value(self.total[j], self.low + j, self.high + j)
            else:
                widen_by_value(kernels.fingerprint(self.total + at, self.d), self.low + i, self.high + i)

    cdef bint agrees(self, Py_ssize_t i) noexcept nogil:
        """Whether the extremes at node i say that all nodes know the result."""
        cdef Py_ssize_t at = i * self.width
        if self.apart[i]:
            return False
        return kernels.within(self.low + at, self.high + at, self.width, 1 if self.protocol == FTQC else 0)

    cdef int64_t* vector(self, Py_ssize_t e) noexcept nogil:
        """Where the values that wait on out edge e are."""
        return self.vectors + (e - self.origin) * self.d

    cdef bint load(self, Py_ssize_t e, int64_t z) noexcept nogil:
        """z more waits on out edge e. Whether nothing did before."""
        cdef bint fresh = not self.loaded[e]
        self.weight[e] = z if fresh else self.weight[e] + z
        self.loaded[e] = True
        return fresh

    cdef bint is_free(self, Py_ssize_t e) noexcept nogil:
        """Whether a frame of pieces can leave on out edge e now."""
        return True

    cdef bint split(self, Py_ssize_t i) except -1 nogil:
        """A step of FTQC: all pieces of node i but one, each to a random out-neighbour or the node itself.

        The pieces that the node keeps are split off last and come back at once: they stay where they are.
        """
        cdef Py_ssize_t first = self.out_starts[i], degree = self.out_starts[i + 1] - first, to
        cdef int64_t z = self.z[i], k, pieces = 0
        cdef int count = 0, t
        if z < 2:
            return False
        self.step_counts[i] += 1
        for to in range(degree):
            self.shares[to] = 0
        for _ in range(z - 1):
            to = <Py_ssize_t> ((<uint64_t> word(self.drawn[i], self.keys[i]) * <uint64_t> (degree + 1)) >> 32)
            self.drawn[i] += 1
            if to < degree:
                self.routes[pieces] = <int32_t> to
                self.shares[to] += 1
                pieces += 1
        for to in range(degree):
            if self.shares[to]:
                self.address(&self.destinations[count], first + to, self.shares[to], count)
                self.shares[to] = count
                self.places[count] = <int32_t> to
                count += 1
        for k in range(pieces):
            self.routes[k] = self.shares[self.routes[k]]
        kernels.split_pieces(
            self.held(i), self.narrow, self.d, z, pieces, self.routes, self.destinations, count, self.work
        )
        for t in range(count):
            if self.destinations[t].packed != NULL:
                self.ship(i, first + self.places[t], self.destinations[t].packed, self.destinations[t].size)
        self.z[i] = z - pieces
        self.counted[i] += pieces
        return True

    cdef void address(self, destination* to, Py_ssize_t e, int64_t z, int place) noexcept nogil:
        """Pieces for out edge e are packed if it is free, or else added to those that wait."""
        if self.is_free(e):
            to.packed, to.size = self.packed + place * packed_room(self.d), 0
            self.weight[e] = z
        else:
            to.packed, to.sum = NULL, self.vector(e)
            to.fresh = self.load(e, z)

    cdef int share(self, Py_ssize_t i) except -1 nogil:
        """A step of integer push-sum: equal shares to all out-neighbours, and not less for the node itself."""
        cdef Py_ssize_t first = self.out_starts[i], degree = self.out_starts[i + 1] - first, e
        cdef int64_t share = self.z[i] / (degree + 1), size
        cdef int widest = 0
        self.step_counts[i] += 1
        self.make_room(i, 2, degree * (self.swing[i] + 1))
        size = kernels.share_out(
            self.held(i), held_at(self.flow, self.narrow, i * self.d), self.narrow, self.d, self.z[i], share,
            self.momentum, <int> degree, self.packed
        )
        packed_length(self.packed, size, self.d, &widest)
        self.swing[i] = largest_of(widest)
        self.reach[i] += degree * self.swing[i]
        for e in range(first, first + degree):
            self.weight[e] = share
            self.ship(i, e, self.packed, size)
        self.z[i] -= share * degree
        self.counted[i] += degree
        return 0

    cdef int ship(self, Py_ssize_t i, Py_ssize_t e, const uint8_t* packed, int64_t size) except -1 nogil:
        """Packed values leave on out edge e."""
        return self.send_packed(i, e, 0, packed, size)

    cdef bint climb(self, Py_ssize_t i) noexcept nogil:
        """A step of the tree: a node that has heard all its children sends their sum up; the root has the result."""
        cdef Py_ssize_t e = self.up[i]
        if self.step_counts[i] or self.heard[i] < self.children[i]:
            return False
        self.step_counts[i] = 1
        if e < 0:
            self.descend(i)
        else:
            self.load(e, 1)
            memcpy(self.vector(e), self.held(i), 8 * self.d)
            self.counted[i] += 1
        return True

    cdef void descend(self, Py_ssize_t i) noexcept nogil:
        """Node i has the result: the nodes below it get it with z = 0."""
        cdef Py_ssize_t e
        for e in range(self.out_starts[i], self.out_starts[i + 1]):
            if self.down[e]:
                self.load(e, 0)
                memcpy(self.vector(e), self.held(i), 8 * self.d)
                self.counted[i] += 1
        self.z[i] = 0

    cdef int64_t absorb(self, Py_ssize_t i, uint64_t z, const uint8_t* payload, int64_t room) except -1 nogil:
        """Pieces that have come to node i; bytes read."""
        cdef int widest = 0
        cdef int64_t packed = packed_length(payload, room, self.d, &widest)
        cdef bint down = self.protocol == TREE and z == 0
        if packed < 0 or z > <uint64_t> (self.weights - self.z[i]) or (z == 0 and self.protocol == FTQC):
            return self.broken()
        if down:
            memset(self.held(i), 0, 8 * self.d)
        self.make_room(i, 1, largest_of(widest))
        kernels.add_packed(payload, room, self.d, self.held(i), self.narrow)
        self.reach[i] += largest_of(widest)
        self.z[i] += <int64_t> z
        self.heard[i] += 1
        if down:
            self.descend(i)
        return packed

    cdef int broken(self) except -1 nogil:
        with gil:
            raise ValueError("a frame is not what it says it is: bytes were lost or mixed on the way")

    cdef int post(self, Py_ssize_t i, box* b, header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        """A frame of node i at the end of a box.

        Counted as if every node had a process of its own, which changes the size of the number of the link.
        """
        cdef uint8_t* out
        cdef uint8_t alone[NUMBER_MOST]
        cdef int64_t at, more = put_number(<uint64_t> h.place << 3, alone)
        cdef uint32_t kind = PIECE if h.kind == PIECES and h.z == 1 else h.kind
        reserve(b, HEADER_MOST + NUMBER_MOST + size)
        out = b.data + b.size
        at = put_number(<uint64_t> h.edge << 3 | kind, out)
        more -= at
        if self.numbered:
            memcpy(out + at, &h.call, 4)
            memcpy(out + at + 4, &h.count, 4)
            at += 8
        if self.unreliable:
            out[at] = h.tries
            at += 1
        if kind == PIECES:
            at += put_number(h.z, out + at)
        memcpy(out + at, payload, size)
        b.size += at + size
        self.counted_bytes[i] += at + size + more
        return 0

    cdef int acknowledge(self, Py_ssize_t i, Py_ssize_t e, uint32_t kind, header* heard) except -1 nogil:
        """Node i has heard a frame on in edge e."""
        cdef header h
        h.edge, h.place = <uint32_t> self.in_there[e], <uint32_t> self.in_place[e]
        h.kind, h.call, h.count, h.tries = kind, heard.call, heard.count, heard.tries
        return self.post(i, &self.outgoing[self.in_box[e]], &h, NULL, 0)

    cdef int send_packed(self, Py_ssize_t i, Py_ssize_t e, uint32_t count, const uint8_t* packed,
                         int64_t size) except -1 nogil:
        """A frame of packed values with weight[e]."""
        cdef header h
        h.edge, h.place = <uint32_t> self.out_there[e], <uint32_t> self.out_place[e]
        h.kind, h.call, h.count, h.tries, h.z = PIECES, self.call, count, 0, <uint64_t> self.weight[e]
        return self.post(i, &self.outgoing[self.out_box[e]], &h, packed, size)

    cdef int64_t pack(self, const int64_t* values) noexcept nogil:
        """Values (d,) as they travel, into ``packed``; their bytes."""
        return kernels.pack_vector(values, self.d, self.packed)

    cdef int send_waiting(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        """What waits on out edge e leaves."""
        cdef int64_t size = self.pack(self.vector(e))
        self.loaded[e] = False
        return self.ship(i, e, self.packed, size)

    cdef int64_t prepare_extremes(self, Py_ssize_t i, header* h) noexcept nogil:
        """What node i has to say of them: its kind, into the header, and bytes, into ``packed``; how many."""
        cdef Py_ssize_t at = i * self.width
        if not self.agrees(i):
            self.apart[i] = True
            h.kind = APART
            return 0
        h.kind = EXTREMES
        return kernels.pack_extremes(self.low + at, self.high + at, self.width, self.packed)

    cdef int64_t widen(self, Py_ssize_t i, const uint8_t* payload, int64_t room) except -1 nogil:
        """Extremes that have come to node i; bytes read."""
        cdef Py_ssize_t at = i * self.width
        cdef int64_t size = kernels.widen_by_packed(payload, room, self.width, self.low + at, self.high + at)
        return size if size >= 0 else self.broken()

    cdef int64_t read_header(self, const uint8_t* data, int64_t room, header* h) except -1 nogil:
        """What a frame begins with; bytes read."""
        cdef uint64_t key
        cdef int64_t at = get_number(data, room, &key), number
        if at < 0 or key >> 32:
            return self.broken()
        h.edge, h.kind, h.call, h.count, h.tries, h.z = <uint32_t> (key >> 3), key & 7, self.call, 0, 0, 1
        if self.numbered:
            if room - at < 8 + self.unreliable:
                return self.broken()
            memcpy(&h.call, data + at, 4)
            memcpy(&h.count, data + at + 4, 4)
            if self.unreliable:
                h.tries = data[at + 8]
            at += 8 + self.unreliable
        if h.kind == PIECES:
            number = get_number(data + at, room - at, &h.z)
            if number < 0:
                return self.broken()
            at += number
        elif h.kind == PIECE:
            h.kind = PIECES
        return at

    cdef int receive_all(self, const uint8_t* data, int64_t size) except -1 nogil:
        """Frames, one after the other."""
        cdef header h
        cdef int64_t at = 0
        while at < size:
            at += self.read_header(data + at, size - at, &h)
            if h.edge >= <uint64_t> (self.in_edges if h.kind <= APART else self.out_edges):
                return self.broken()
            at += self.on_frame(&h, data + at, size - at)
        return 0

    cdef int64_t on_frame(self, header* h, const uint8_t* payload, int64_t room) except -1 nogil:
        """A frame has come; bytes of what follows the header."""
        return self.broken()

    cdef int deliver_own(self) except -1 nogil:
        """The frames between nodes of this process arrive."""
        cdef box b = self.outgoing[0]
        self.outgoing[0], self.taken[0] = self.taken[0], b
        self.outgoing[0].size = 0
        return self.receive_all(b.data, b.size)

    def receive(self, cnp.ndarray frames):
        """Frames that came from another process: uint8 (bytes,)."""
        cdef uint8_t* data = <uint8_t*> pointer(frames, cnp.NPY_UINT8, cnp.PyArray_SIZE(frames), "frames")
        cdef int64_t size = cnp.PyArray_SIZE(frames)
        with nogil:
            self.receive_all(data, size)


@cython.no_gc
cdef class Lockstep(Nodes):
    """Nodes that act in steps: what is sent in one arrives before the next.

    ``begin``, then ``step``s and now and then a vote: ``look_around``, ``flood`` as often as the diameter, ``agreed``.
    After each of these but ``begin`` the boxes are to be exchanged and ``receive``d.
    """

    def __init__(self, wiring, str protocol, Py_ssize_t d, uint64_t seed):
        self.prepare(wiring, protocol, d, seed)
        widest = max(np.diff(wiring.out_starts).max(), 1)
        self.vectors = <int64_t*> self.made(widest * d, 8)

    def begin(self, uint32_t call, cnp.ndarray values):
        """Start call number ``call`` with the integers (hosted, d) of the nodes."""
        self.start(call, values)

    def step(self):
        """One step of every node."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(self.hosted):
                self.origin = self.out_starts[i]
                if self.protocol == FTQC:
                    self.split(i)
                elif self.protocol == PUSH_SUM:
                    self.share(i)
                else:
                    self.climb(i)
                    self.leave(i)

    cdef int leave(self, Py_ssize_t i) except -1 nogil:
        cdef Py_ssize_t e
        for e in range(self.out_starts[i], self.out_starts[i + 1]):
            if self.loaded[e]:
                self.send_waiting(i, e)
        return 0

    def look_around(self):
        """Begin a vote."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(self.hosted):
                self.forget(i)
                self.look(i)

    def flood(self):
        """Every node tells its out-neighbours the extremes that it knows."""
        cdef Py_ssize_t i, e
        cdef int64_t size
        cdef header h
        h.call, h.count, h.tries = 0, 0, 0
        with nogil:
            for i in range(self.hosted):
                size = self.prepare_extremes(i, &h)
                for e in range(self.out_starts[i], self.out_starts[i + 1]):
                    h.edge, h.place = <uint32_t> self.out_there[e], <uint32_t> self.out_place[e]
                    self.post(i, &self.outgoing[self.out_box[e]], &h, self.packed, size)

    @property
    def agreed(self):
        """Whether the call is over, after a vote; the same at all nodes."""
        return bool(self.agrees(0))

    def deliver(self):
        """The frames between nodes of this process arrive."""
        with nogil:
            self.deliver_own()

    cdef int64_t on_frame(self, header* h, const uint8_t* payload, int64_t room) except -1 nogil:
        cdef Py_ssize_t i
        cdef int64_t size
        if h.kind != PIECES and h.kind != EXTREMES and h.kind != APART:
            return self.broken()
        i = self.receiver[h.edge]
        if h.kind == EXTREMES:
            return self.widen(i, payload, room)
        if h.kind == APART:
            self.apart[i] = True
            return 0
        self.origin = self.out_starts[i]
        size = self.absorb(i, h.z, payload, room)
        if self.protocol == TREE:
            self.leave(i)
        return size


@cython.no_gc
cdef class Mailboxes(Nodes):
    """Nodes that act when something arrives: no step is common to any two of them.

    On ``unreliable`` links frames may be lost, repeated or overtake each other: at most one frame of pieces is on its
    way, which is sent again until it is acknowledged, and more pieces meanwhile add up. What arrives twice is known by
    its number. Pieces of the next call wait until that begins here, and those of push-sum until the node has taken as
    many steps: nodes take the same steps as in ``Lockstep``, each when it can.

    Votes: a node that has taken ``budget`` steps, or whose in-neighbour has, stops, waits until all its pieces are
    acknowledged, and then goes through 2 D stages (D: the diameter), of which it tells its out-neighbours; it enters
    a stage when all its in-neighbours are in the one before. After D stages nothing moves in the network, and the
    extremes that are flooded in the other D are those of one state of it.
    """

    cdef int64_t diameter
    cdef bint begun
    cdef integers stage, vote, phase, budget, in_stage, early_stage, heard_stage, absorbed  # frames in this call
    cdef integers sender  # of out edges: the position of the node
    cdef uint32_t* received
    cdef uint32_t* sent
    cdef uint32_t* busy  # frames that are not acknowledged
    cdef double now
    cdef double* round_trip
    cdef double* deviation
    cdef double* longer  # how often, than a round trip, to wait for the answer
    cdef clock* pieces_clock
    cdef clock* stage_clock
    cdef box* early
    cdef box* kept

    def __init__(self, wiring, str protocol, Py_ssize_t d, uint64_t seed, bint unreliable=False):
        self.prepare(wiring, protocol, d, seed)
        self.diameter, self.unreliable, self.numbered = wiring.diameter, unreliable, True
        self.vectors = <int64_t*> self.made(self.out_edges * d, 8)
        self.stage, self.vote = <int64_t*> self.made(self.hosted, 8), <int64_t*> self.made(self.hosted, 8)
        self.phase, self.budget = <int64_t*> self.made(self.hosted, 8), <int64_t*> self.made(self.hosted, 8)
        self.in_stage, self.early_stage = <int64_t*> self.made(self.in_edges, 8), <int64_t*> self.made(self.in_edges, 8)
        self.heard_stage = <int64_t*> self.made(self.out_edges, 8)
        self.absorbed = <int64_t*> self.made(self.in_edges, 8)
        self.sender = <int64_t*> self.made(self.out_edges, 8)
        self.received, self.sent = <uint32_t*> self.made(self.in_edges, 4), <uint32_t*> self.made(self.out_edges, 4)
        self.busy = <uint32_t*> self.made(self.out_edges, 4)
        self.round_trip, self.deviation = <double*> self.made(self.out_edges, 8), <double*> self.made(self.out_edges, 8)
        self.longer = <double*> self.made(self.out_edges, 8)
        self.pieces_clock = <clock*> self.made(self.out_edges, sizeof(clock))
        self.stage_clock = <clock*> self.made(self.out_edges, sizeof(clock))
        self.early = <box*> self.made(self.in_edges, sizeof(box))
        self.kept = <box*> self.made(self.out_edges, sizeof(box))
        for e in range(self.out_edges):
            self.longer[e] = 1
        for i in range(self.hosted):
            self.phase[i] = DONE
            for e in range(self.out_starts[i], self.out_starts[i + 1]):
                self.sender[e] = i

    def __dealloc__(self):
        cdef Py_ssize_t e
        if self.kept != NULL:
            for e in range(self.in_edges):
                free(self.early[e].data)
            for e in range(self.out_edges):
                free(self.kept[e].data)

    def begin(self, uint32_t call, cnp.ndarray values, cnp.ndarray budget):
        """Start call number ``call`` with the integers (hosted, d) of the nodes; budget: int64 (hosted,), steps."""
        cdef int64_t* budgets = <int64_t*> pointer(budget, cnp.NPY_INT64, self.hosted, "budget")
        cdef Py_ssize_t i, e
        self.start(call, values)
        self.begun = True
        for i in range(self.hosted):
            self.stage[i], self.vote[i], self.budget[i], self.phase[i] = 0, 0, budgets[i], SPLITTING
        for e in range(self.out_edges):
            self.heard_stage[e] = 0
        for e in range(self.in_edges):
            self.in_stage[e], self.early_stage[e], self.absorbed[e] = self.early_stage[e], 0, 0
            self.take_in(e)

    @property
    def finished(self):
        """Whether all nodes here have the result."""
        for i in range(self.hosted):
            if self.phase[i] != DONE:
                return False
        return True

    @property
    def quiet(self):
        """Whether all that nodes here have sent is acknowledged (of stages: if links are unreliable)."""
        for i in range(self.hosted):
            if not self.drained(i):
                return False
        return True

    @property
    def called(self):
        """Whether a frame of the next call has come."""
        for e in range(self.in_edges):
            if self.early[e].size or self.early_stage[e]:
                return True
        return False

    @property
    def votes(self):
        """Votes taken in this call at node 0 of this process."""
        return self.vote[0] + 1

    def cut(self, cnp.ndarray frames):
        """Where frames from ``take`` end, the number of the link at their destination, and whether that is a link into
        it (or, with what was heard, out of it): a list of tuples."""
        cdef uint8_t* data = <uint8_t*> pointer(frames, cnp.NPY_UINT8, cnp.PyArray_SIZE(frames), "frames")
        cdef int64_t size = cnp.PyArray_SIZE(frames), at = 0
        cdef header h
        parts = []
        while at < size:
            at += self.read_header(data + at, size - at, &h)
            if h.kind == PIECES:
                at += self.length(data + at, size - at)
            elif h.kind == EXTREMES:
                at += self.length_of_extremes(data + at, size - at)
            parts.append((at, h.edge, h.kind <= APART))
        return parts

    def advance(self, double now):
        """Let every node do what it can at time ``now`` (s). Whether anything moved."""
        cdef bint moved = False, more = True
        cdef int passes = 0
        self.now = now
        with nogil:
            while more and passes < 64:
                more = self.round()
                moved = moved or more
                passes += 1
                if self.has_mail():
                    break
        return moved

    cdef bint has_mail(self) noexcept nogil:
        cdef Py_ssize_t b
        for b in range(0 if self.unreliable else 1, self.boxes):
            if self.outgoing[b].size:
                return True
        return False

    cdef int round(self) except -1 nogil:
        cdef Py_ssize_t i, e
        cdef int moved = False
        if self.outgoing[0].size and not self.unreliable:
            self.deliver_own()
            moved = True
        for i in range(self.hosted):
            moved |= self.act(i)
            for e in range(self.out_starts[i], self.out_starts[i + 1]):
                if self.loaded[e] and not (self.unreliable and self.busy[e]):
                    moved = True
                    self.send_waiting(i, e)
                if self.unreliable:
                    self.repeat(i, e)
        return moved

    cdef bint is_free(self, Py_ssize_t e) noexcept nogil:
        return not self.unreliable or not (self.busy[e] or self.loaded[e])

    cdef int ship(self, Py_ssize_t i, Py_ssize_t e, const uint8_t* packed, int64_t size) except -1 nogil:
        cdef box* b = &self.outgoing[self.out_box[e]]
        cdef int64_t before = b.size
        self.sent[e] += 1
        self.busy[e] += 1
        self.restart(&self.pieces_clock[e])
        self.send_packed(i, e, self.sent[e], packed, size)
        if self.unreliable:
            self.kept[e].size = 0
            reserve(&self.kept[e], b.size - before)
            memcpy(self.kept[e].data, b.data + before, b.size - before)
            self.kept[e].size = b.size - before
        return 0

    cdef void restart(self, clock* sent) noexcept nogil:
        """Something new is sent."""
        sent.tries, sent.at[0] = 0, self.now

    cdef bint is_late(self, Py_ssize_t e, clock* sent, int64_t size) noexcept nogil:
        """Whether ``size`` bytes sent on out edge e should have been acknowledged by now: to be sent again."""
        cdef double wait = FIRST_ROUND_TRIP + size / FIRST_BANDWIDTH
        if self.round_trip[e] > 0:
            wait = self.round_trip[e] + 4 * self.deviation[e] + GRACE
        if self.now - sent.at[sent.tries % TRIES] <= min(wait * self.longer[e], max(LONGEST_WAIT, wait)):
            return False
        if sent.tries < 255:
            sent.tries += 1
        sent.at[sent.tries % TRIES] = self.now
        self.longer[e] *= 1.5
        return True

    cdef void measure(self, Py_ssize_t e, clock* sent, uint8_t tries) noexcept nogil:
        """A round trip on out edge e, of a certain sending, and how much they differ (Jacobson 1988).

        Old sendings do not count: the other end did not listen. Much shorter ones do at once, for the same reason.
        """
        cdef double seconds = self.now - sent.at[tries % TRIES]
        if sent.tries - tries >= TRIES:
            return
        self.longer[e] = 1
        if seconds > self.round_trip[e] / 4 and self.round_trip[e] > 0:
            self.deviation[e] += (fabs(seconds - self.round_trip[e]) - self.deviation[e]) / 4
            self.round_trip[e] += (seconds - self.round_trip[e]) / 8
        else:
            self.round_trip[e], self.deviation[e] = max(seconds, 1e-9), seconds / 2

    cdef int repeat(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        """Send again what should have been acknowledged by now."""
        cdef box* b = &self.outgoing[self.out_box[e]]
        cdef Py_ssize_t at = 0
        if self.busy[e] and self.is_late(e, &self.pieces_clock[e], self.kept[e].size):
            while self.kept[e].data[at] & 128:  # the number of the link
                at += 1
            self.kept[e].data[at + 9] = self.pieces_clock[e].tries
            reserve(b, self.kept[e].size)
            memcpy(b.data + b.size, self.kept[e].data, self.kept[e].size)
            b.size += self.kept[e].size
            self.counted_bytes[i] += self.kept[e].size
        if self.heard_stage[e] < self.stage[i] and self.is_late(e, &self.stage_clock[e], 0):
            self.tell_stage(i, e, e + 1)
        return 0

    cdef int tell_stage(self, Py_ssize_t i, Py_ssize_t first, Py_ssize_t end) except -1 nogil:
        """Node i says on out edges first .. end - 1 which stage it is in, and after D stages its extremes."""
        cdef header h
        cdef int64_t size = 0
        cdef Py_ssize_t e
        h.kind, h.call, h.count = STAGE, self.call, <uint32_t> self.stage[i]
        if self.stage[i] > (2 * self.vote[i] + 1) * self.diameter:
            size = self.prepare_extremes(i, &h)
        for e in range(first, end):
            h.edge, h.place = <uint32_t> self.out_there[e], <uint32_t> self.out_place[e]
            h.tries = self.stage_clock[e].tries
            self.post(i, &self.outgoing[self.out_box[e]], &h, self.packed, size)
        return 0

    cdef bint drained(self, Py_ssize_t i) noexcept nogil:
        """Whether nothing of node i is on its way."""
        cdef Py_ssize_t e
        for e in range(self.out_starts[i], self.out_starts[i + 1]):
            if self.loaded[e] or self.busy[e] or (self.unreliable and self.heard_stage[e] < self.stage[i]):
                return False
        return True

    cdef bint in_neighbours_at(self, Py_ssize_t i, int64_t stage) noexcept nogil:
        cdef Py_ssize_t e
        for e in range(self.in_starts[i], self.in_starts[i + 1]):
            if self.in_stage[e] < stage:
                return False
        return True

    cdef bint stopped(self, Py_ssize_t i) noexcept nogil:
        """Whether an in-neighbour of node i has stopped for the vote."""
        cdef Py_ssize_t e
        for e in range(self.in_starts[i], self.in_starts[i + 1]):
            if self.in_stage[e] > 2 * self.diameter * self.vote[i]:
                return True
        return False

    cdef int enter(self, Py_ssize_t i) except -1 nogil:
        """Node i is in the next stage, and says so."""
        cdef Py_ssize_t e
        self.stage[i] += 1
        for e in range(self.out_starts[i], self.out_starts[i + 1]):
            self.restart(&self.stage_clock[e])
        return self.tell_stage(i, self.out_starts[i], self.out_starts[i + 1])

    cdef int act(self, Py_ssize_t i) except -1 nogil:
        """What node i can do now. Whether it did anything."""
        if self.phase[i] == SPLITTING:
            if self.protocol == TREE:
                return self.act_in_tree(i)
            # of push-sum all nodes take the same steps; with FTQC one that has nothing to split takes none
            if self.step_counts[i] >= self.budget[i] or (self.protocol == FTQC and self.stopped(i)):
                self.phase[i] = DRAINING
                return True
            return self.split(i) if self.protocol == FTQC else self.share_in_turn(i)
        if self.phase[i] == DRAINING and self.drained(i):
            self.phase[i] = FLOODING
            self.enter(i)
            return True
        if self.phase[i] == FLOODING:
            return self.follow(i)
        if self.phase[i] == CLOSING or self.phase[i] == RETRYING:
            return self.close_vote(i)
        return False

    cdef bint act_in_tree(self, Py_ssize_t i) noexcept nogil:
        if self.z[i]:
            return self.climb(i)
        self.phase[i] = CLOSING
        return True

    cdef bint share_in_turn(self, Py_ssize_t i) except -1 nogil:
        """A step of push-sum when those of the in-neighbours before it have come, and its own have gone."""
        cdef Py_ssize_t e
        for e in range(self.in_starts[i], self.in_starts[i + 1]):
            if self.absorbed[e] < self.step_counts[i]:
                return False
        for e in range(self.out_starts[i], self.out_starts[i + 1]):
            if not self.is_free(e):
                return False
        self.share(i)
        for e in range(self.in_starts[i], self.in_starts[i + 1]):
            self.take_in(e)
        return True

    cdef int follow(self, Py_ssize_t i) except -1 nogil:
        """Node i goes on in the stages of a vote as far as its in-neighbours allow."""
        cdef int64_t base = 2 * self.diameter * self.vote[i]
        cdef int moved = False
        while self.in_neighbours_at(i, self.stage[i]):
            moved = True
            if self.stage[i] == base + self.diameter:
                self.look(i)
            if self.stage[i] < base + 2 * self.diameter:
                self.enter(i)
                continue
            # on unreliable links the last stage is said again until it is heard, with the extremes of this vote
            self.phase[i] = CLOSING if self.agrees(i) else RETRYING
            self.close_vote(i)
            break
        return moved

    cdef bint close_vote(self, Py_ssize_t i) noexcept nogil:
        """After a vote: the call is over, or the steps go on, when all have heard so."""
        if not self.drained(i):
            return False
        if self.phase[i] == CLOSING:
            self.phase[i] = DONE
            return True
        self.vote[i] += 1
        # whatever it took: those who came late to a vote would otherwise call the next one too early
        self.budget[i] += self.budget[i] / 6 + 1
        self.phase[i] = SPLITTING
        self.forget(i)
        return True

    cdef int64_t on_frame(self, header* h, const uint8_t* payload, int64_t room) except -1 nogil:
        if h.kind == PIECES:
            return self.on_pieces(h, payload, room)
        if h.kind == STAGE or h.kind == EXTREMES or h.kind == APART:
            return self.on_stage(h, payload, room)
        if h.kind == PIECES_HEARD:
            if self.busy[h.edge] and (h.count == self.sent[h.edge] or not self.unreliable):
                self.busy[h.edge] -= 1
                self.measure(h.edge, &self.pieces_clock[h.edge], h.tries)
            return 0
        if h.kind == STAGE_HEARD:
            if h.call == self.call and h.count > self.heard_stage[h.edge]:
                self.heard_stage[h.edge] = h.count
                if h.count == self.stage[self.sender[h.edge]]:
                    self.measure(h.edge, &self.stage_clock[h.edge], h.tries)
            return 0
        return self.broken()

    cdef int64_t length(self, const uint8_t* payload, int64_t room) except -1 nogil:
        """Bytes of pieces."""
        cdef int widest = 0
        cdef int64_t packed = packed_length(payload, room, self.d, &widest)
        return packed if packed >= 0 else self.broken()

    cdef int64_t length_of_extremes(self, const uint8_t* payload, int64_t room) except -1 nogil:
        cdef int64_t size = extremes_length(payload, room, self.width)
        return size if size >= 0 else self.broken()

    cdef bint is_early(self, header* h) noexcept nogil:
        """Whether a frame is for the call that has not begun here."""
        return not self.begun or h.call == <uint32_t> (self.call + 1)

    cdef int64_t on_pieces(self, header* h, const uint8_t* payload, int64_t room) except -1 nogil:
        """What has come is acknowledged, even if it waits: nothing is decided here before it is taken in."""
        cdef Py_ssize_t e = h.edge, i = self.receiver[e]
        cdef int64_t size = self.length(payload, room)
        cdef box* b = &self.early[e]
        if <int32_t> (h.count - self.received[e]) > 0:
            if not self.is_early(h) and h.call != self.call:
                return self.broken()
            self.received[e] = h.count
            if self.is_early(h) or self.is_ahead(e):
                reserve(b, 8 + size)
                memcpy(b.data + b.size, &h.z, 8)
                memcpy(b.data + b.size + 8, payload, size)
                b.size += 8 + size
            else:
                self.absorb(i, h.z, payload, size)
                self.absorbed[e] += 1
        self.acknowledge(i, e, PIECES_HEARD, h)
        return size

    cdef bint is_ahead(self, Py_ssize_t e) noexcept nogil:
        """Whether the next frame on in edge e is of a step of push-sum that the node here has not taken."""
        return self.protocol == PUSH_SUM and self.absorbed[e] >= self.step_counts[self.receiver[e]]

    cdef int take_in(self, Py_ssize_t e) except -1 nogil:
        """Absorb what has waited on in edge e."""
        cdef box* b = &self.early[e]
        cdef int64_t at = 0
        cdef uint64_t z
        while at < b.size and not self.is_ahead(e):
            memcpy(&z, b.data + at, 8)
            at += 8 + self.absorb(self.receiver[e], z, b.data + at + 8, b.size - at - 8)
            self.absorbed[e] += 1
        if at:
            memmove(b.data, b.data + at, b.size - at)
            b.size -= at
        return 0

    cdef int64_t on_stage(self, header* h, const uint8_t* payload, int64_t room) except -1 nogil:
        cdef Py_ssize_t e = h.edge, i = self.receiver[e]
        cdef bint early = self.is_early(h), news = h.call == self.call and h.count > self.in_stage[e]
        cdef int64_t size = 0
        if early:
            self.early_stage[e] = max(self.early_stage[e], <int64_t> h.count)
        elif news:
            self.in_stage[e] = h.count
        if h.kind == EXTREMES and news and not early:
            size = self.widen(i, payload, room)
        elif h.kind == EXTREMES:
            size = self.length_of_extremes(payload, room)
        elif h.kind == APART and news and not early:
            self.apart[i] = True
        if self.unreliable and not early:
            self.acknowledge(i, e, STAGE_HEARD, h)
        return size


@cython.no_gc
cdef class Mass(Mailboxes):
    """Real vectors that are handed on, not coordinated: push-sum at everybody's own pace, in float64.

    The links are those of ``Mailboxes``: what is sent arrives once, and what waits for a link adds up.
    """

    def __init__(self, wiring, Py_ssize_t d, bint unreliable=False):
        super().__init__(wiring, "tree", d, 0, unreliable)
        self.begun = True

    def free(self, Py_ssize_t i):
        """Whether all that node i has sent is acknowledged."""
        if not 0 <= i < self.hosted:
            raise IndexError(f"node {i} of {self.hosted}")
        for e in range(self.out_starts[i], self.out_starts[i + 1]):
            if self.busy[e] or self.loaded[e]:
                return False
        return True

    def push(self, Py_ssize_t i, cnp.ndarray values):
        """Node i sends a vector (d,) along each of its links."""
        cdef double* v = <double*> pointer(values, cnp.NPY_FLOAT64, self.d, "values")
        cdef double* sum
        cdef Py_ssize_t e, j
        if not 0 <= i < self.hosted:
            raise IndexError(f"node {i} of {self.hosted}")
        with nogil:
            for e in range(self.out_starts[i], self.out_starts[i + 1]):
                sum = <double*> self.vector(e)
                if self.load(e, 1):
                    memcpy(sum, v, 8 * self.d)
                else:
                    for j in range(self.d):
                        sum[j] += v[j]
                self.counted[i] += 1

    def pull(self, cnp.ndarray rows):
        """Add what has come to the nodes since the last time to float64 rows (hosted, d)."""
        cdef double* into = <double*> target(rows, cnp.NPY_FLOAT64, self.hosted * self.d, "rows")
        cdef double* come = <double*> self.y
        cdef Py_ssize_t j
        with nogil:
            for j in range(self.hosted * self.d):
                into[j] += come[j]
            memset(come, 0, 8 * self.hosted * self.d)

    cdef int64_t pack(self, const int64_t* values) noexcept nogil:
        memcpy(self.packed, values, 8 * self.d)
        return 8 * self.d

    cdef int64_t length(self, const uint8_t* payload, int64_t room) except -1 nogil:
        return 8 * self.d if room >= 8 * self.d else self.broken()

    cdef int64_t absorb(self, Py_ssize_t i, uint64_t z, const uint8_t* payload, int64_t room) except -1 nogil:
        cdef double* into = <double*> self.y + i * self.d
        cdef double value
        cdef Py_ssize_t j
        for j in range(self.d):
            memcpy(&value, payload + 8 * j, 8)
            into[j] += value
        return 8 * self.d
