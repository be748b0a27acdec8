"""Finite-time quantised coordination at the nodes of a process: everything but how bytes get to other processes.

``Lockstep`` has nodes that act all at once, step by step; ``Mailboxes`` nodes that act when something arrives. What
nodes say to each other are frames, a header of 16 bytes and a payload, collected in one box for each process that
hosts neighbours. Box 0 is for frames between the nodes of this process, so that only time depends on who hosts a node.
"""
cimport cython
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset
from arrays cimport pointer, target

import numpy as np

cnp.import_array()

cdef extern from "integers.h" nogil:
    int64_t packed_room(int64_t)
    int64_t pack_vector(const int64_t*, int64_t, uint8_t*)
    int64_t add_packed(const uint8_t*, int64_t, int64_t, int64_t*)
    enum: TILE
    ctypedef struct destination:
        uint8_t* packed
        int64_t size
        int64_t* sum
        int fresh
    void split_pieces(int64_t*, int64_t, int64_t, int64_t, const int32_t*, destination*, int, int64_t*)
    int64_t share_out(int64_t*, int64_t, int64_t, int64_t, int, uint8_t*)
    void quantise_row(const double*, int64_t, double, int, const double*, int64_t*, double*, double*)
    void widen_by_ratio(const int64_t*, int64_t, int64_t, int64_t*, int64_t*)
    void widen_by_value(int64_t, int64_t*, int64_t*)
    void round_ratio(const int64_t*, int64_t, int64_t, int64_t, int64_t*)
    int64_t fingerprint(const int64_t*, int64_t)
    int64_t pack_extremes(const int64_t*, const int64_t*, int64_t, uint8_t*)
    int64_t widen_by_packed(const uint8_t*, int64_t, int64_t, int64_t*, int64_t*)
    int within(const int64_t*, const int64_t*, int64_t, int64_t)
    uint32_t word(uint32_t, uint64_t)
    uint64_t block_key(uint64_t, uint64_t)

cdef enum:
    FTQC, PUSH_SUM, TREE
cdef enum:  # kinds of frames
    PIECES = 1
    CONTROL = 2
    PIECES_HEARD = 3
    CONTROL_HEARD = 4
cdef enum:  # what a node does
    SPLITTING, DRAINING, FLOODING, CLOSING, RETRYING, DONE

ctypedef struct header:
    uint32_t edge  # of the receiving process: among the links into it, or out of it if the frame says what was heard
    uint32_t count  # pieces: their number in sequence; control: stage
    uint32_t call
    uint32_t size  # of the payload; the kind of frame in the upper four bits

ctypedef struct box:
    uint8_t* data
    int64_t size, room

PROTOCOLS = {"ftqc": FTQC, "integer-push-sum": PUSH_SUM, "tree": TREE}
HEADER_BYTES = sizeof(header)
# s: the first guess of a round trip; what is added to twice the round trip before something is sent again
cdef double FIRST_ROUND_TRIP = 0.01, GRACE = 0.001, LONGEST_WAIT = 1.0
cdef int64_t beyond_all = 1 << 62


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
            quantise_row(x + i * d, d, step, nearest, middle, into + i * width, most + i, most + hosted + i)
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
    cdef int64_t first, unit, width  # unit: z at the start of push-sum; width: of what votes compare
    cdef Py_ssize_t boxes, in_edges, out_edges, origin
    cdef int64_t *in_starts, *in_box, *in_there, *out_starts, *out_box, *out_there, *receiver, *children, *up, *down
    cdef int64_t *y, *z, *low, *high, *total, *heard, *weight, *vectors, *counted, *counted_bytes, *step_counts
    cdef uint64_t* keys
    cdef uint32_t* drawn
    cdef int32_t *routes, *places, *shares
    cdef uint8_t *loaded, *packed
    cdef int64_t* work
    cdef destination* destinations
    cdef box *outgoing, *taken

    def __cinit__(self, *args, **kwargs):
        self.arrays = []

    cdef int prepare(self, wiring, str protocol, Py_ssize_t d, uint64_t seed) except -1:
        """Room for everything, and the links."""
        self.protocol, self.d, self.seed = PROTOCOLS[protocol], d, seed
        self.width = d if self.protocol == FTQC else 1
        self.nodes, self.first, self.boxes, self.unit = wiring.nodes, wiring.first, wiring.boxes, wiring.unit
        self.hosted = len(wiring.in_starts) - 1
        self.in_edges, self.out_edges = wiring.in_starts[-1], wiring.out_starts[-1]
        for b in (wiring.in_box, wiring.out_box):
            if len(b) and not 0 <= b.min() <= b.max() < self.boxes:
                raise ValueError(f"wiring: want boxes 0 .. {self.boxes - 1}")
        self.in_starts = self.given(wiring.in_starts, self.hosted + 1)
        self.in_box = self.given(wiring.in_box, self.in_edges)
        self.in_there = self.given(wiring.in_there, self.in_edges)
        self.receiver = self.given(wiring.receiver, self.in_edges)
        self.out_starts = self.given(wiring.out_starts, self.hosted + 1)
        self.out_box = self.given(wiring.out_box, self.out_edges)
        self.out_there = self.given(wiring.out_there, self.out_edges)
        self.children, self.up = self.given(wiring.children, self.hosted), self.given(wiring.up, self.hosted)
        self.down = self.given(wiring.down, self.out_edges)
        self.pieces = np.zeros(self.hosted, np.int64)
        self.bytes_sent, self.steps = np.zeros_like(self.pieces), np.zeros_like(self.pieces)
        self.counted = self.given(self.pieces, self.hosted)
        self.counted_bytes = self.given(self.bytes_sent, self.hosted)
        self.step_counts = self.given(self.steps, self.hosted)
        widest = max(np.diff(wiring.out_starts).max(), 1)
        self.y, self.z = <int64_t*> self.made(self.hosted * d, 8), <int64_t*> self.made(self.hosted, 8)
        self.low = <int64_t*> self.made(self.hosted * self.width, 8)
        self.high = <int64_t*> self.made(self.hosted * self.width, 8)
        self.total = <int64_t*> self.made(self.hosted * d if self.protocol == PUSH_SUM else 0, 8)
        self.heard = <int64_t*> self.made(self.hosted, 8)
        self.keys, self.drawn = <uint64_t*> self.made(self.hosted, 8), <uint32_t*> self.made(self.hosted, 4)
        self.weight, self.loaded = <int64_t*> self.made(self.out_edges, 8), <uint8_t*> self.made(self.out_edges, 1)
        self.routes = <int32_t*> self.made(2 * self.nodes, 4)
        self.places, self.shares = <int32_t*> self.made(widest, 4), <int32_t*> self.made(widest, 4)
        self.destinations = <destination*> self.made(widest, sizeof(destination))
        self.work = <int64_t*> self.made(widest * TILE, 8)
        self.packed = <uint8_t*> self.made(widest * packed_room(d), 1)
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
                y[j] += self.y[i * self.d + j]
        return y, z

    cdef int start(self, uint32_t call, cnp.ndarray values) except -1:
        """Every node has its own values (hosted, d), and no extremes."""
        cdef int64_t* own = <int64_t*> pointer(values, cnp.NPY_INT64, self.hosted * self.d, "values")
        cdef int64_t unit = 2 if self.protocol == FTQC else self.unit if self.protocol == PUSH_SUM else 1
        cdef Py_ssize_t i, j
        self.call = call
        for i in range(self.hosted):
            for j in range(i * self.d, (i + 1) * self.d):
                self.y[j] = unit * own[j]
            self.z[i] = unit
            self.heard[i] = self.drawn[i] = self.step_counts[i] = 0
            self.keys[i] = block_key(block_key(self.seed, <uint64_t> (self.first + i)), call)
            self.forget(i)
        return 0

    cdef void forget(self, Py_ssize_t i) noexcept nogil:
        """A vote begins: node i knows no extremes."""
        cdef Py_ssize_t j
        for j in range(i * self.width, (i + 1) * self.width):
            self.low[j], self.high[j] = beyond_all, -beyond_all

    cdef void look(self, Py_ssize_t i) noexcept nogil:
        """Node i's own part of the extremes."""
        cdef Py_ssize_t at = i * self.d
        if self.protocol == FTQC:
            widen_by_ratio(self.y + at, self.d, self.z[i], self.low + at, self.high + at)
        else:
            round_ratio(self.y + at, self.d, self.z[i], self.nodes, self.total + at)
            widen_by_value(fingerprint(self.total + at, self.d), self.low + i, self.high + i)

    cdef bint agrees(self, Py_ssize_t i) noexcept nogil:
        """Whether the extremes at node i say that all nodes know the result."""
        cdef Py_ssize_t at = i * self.width
        return within(self.low + at, self.high + at, self.width, 1 if self.protocol == FTQC else 0)

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
        split_pieces(self.y + i * self.d, self.d, z, pieces, self.routes, self.destinations, count, self.work)
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
        self.step_counts[i] += 1
        if share == 0:
            return 0
        size = share_out(self.y + i * self.d, self.d, self.z[i], share, <int> degree, self.packed)
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
            memcpy(self.vector(e), self.y + i * self.d, 8 * self.d)
            self.counted[i] += 1
        return True

    cdef void descend(self, Py_ssize_t i) noexcept nogil:
        """Node i has the result: the nodes below it get it with z = 0."""
        cdef Py_ssize_t e
        for e in range(self.out_starts[i], self.out_starts[i + 1]):
            if self.down[e]:
                self.load(e, 0)
                memcpy(self.vector(e), self.y + i * self.d, 8 * self.d)
                self.counted[i] += 1
        self.z[i] = 0

    cdef int absorb(self, Py_ssize_t i, const uint8_t* payload, int64_t size) except -1 nogil:
        """Pieces that have come to node i."""
        cdef int64_t z
        cdef bint down
        if size < 8:
            return self.broken()
        memcpy(&z, payload, 8)
        down = self.protocol == TREE and z == 0
        if down:
            memset(self.y + i * self.d, 0, 8 * self.d)
        if add_packed(payload + 8, size - 8, self.d, self.y + i * self.d) != size - 8:
            return self.broken()
        self.z[i] += z
        self.heard[i] += 1
        if down:
            self.descend(i)
        return 0

    cdef int broken(self) except -1 nogil:
        with gil:
            raise ValueError("a frame is not what it says it is: bytes were lost or mixed on the way")

    cdef int acknowledge(self, Py_ssize_t i, Py_ssize_t e, uint32_t kind, header* heard) except -1 nogil:
        """Node i has heard a frame on in edge e."""
        cdef box* b = &self.outgoing[self.in_box[e]]
        reserve(b, sizeof(header))
        self.seal(i, b, self.in_there[e], heard.count, heard.call, kind, 0)
        return 0

    cdef int send_packed(self, Py_ssize_t i, Py_ssize_t e, uint32_t count, const uint8_t* packed,
                         int64_t size) except -1 nogil:
        """A frame of packed values with weight[e]."""
        cdef box* b = &self.outgoing[self.out_box[e]]
        cdef uint8_t* payload
        reserve(b, <int64_t> sizeof(header) + 8 + size)
        payload = b.data + b.size + sizeof(header)
        memcpy(payload, &self.weight[e], 8)
        memcpy(payload + 8, packed, size)
        self.seal(i, b, self.out_there[e], count, self.call, PIECES, 8 + size)
        return 0

    cdef int64_t pack(self, const int64_t* values) noexcept nogil:
        """Values (d,) as they travel, into ``packed``; their bytes."""
        return pack_vector(values, self.d, self.packed)

    cdef int send_waiting(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        """What waits on out edge e leaves."""
        cdef int64_t size = self.pack(self.vector(e))
        self.loaded[e] = False
        return self.ship(i, e, self.packed, size)

    cdef int send_control(self, Py_ssize_t i, Py_ssize_t e, uint32_t stage, bint extremes) except -1 nogil:
        """Node i's stage, with its extremes if they matter."""
        cdef box* b = &self.outgoing[self.out_box[e]]
        cdef Py_ssize_t at = i * self.width
        cdef int64_t size = 0
        reserve(b, sizeof(header) + 2 * packed_room(self.width))
        if extremes:
            size = pack_extremes(self.low + at, self.high + at, self.width, b.data + b.size + sizeof(header))
        self.seal(i, b, self.out_there[e], stage, self.call, CONTROL, size)
        return 0

    cdef void seal(self, Py_ssize_t i, box* b, int64_t edge, uint32_t count, uint32_t call, uint32_t kind,
                   int64_t size) noexcept nogil:
        """The header of the frame at the end of a box."""
        cdef header h
        h.edge, h.count, h.call, h.size = <uint32_t> edge, count, call, kind << 28 | <uint32_t> size
        memcpy(b.data + b.size, &h, sizeof(header))
        b.size += <int64_t> sizeof(header) + size
        self.counted_bytes[i] += <int64_t> sizeof(header) + size

    cdef int widen(self, Py_ssize_t i, const uint8_t* payload, int64_t size) except -1 nogil:
        """Extremes that have come to node i."""
        cdef Py_ssize_t at = i * self.width
        if widen_by_packed(payload, size, self.width, self.low + at, self.high + at) != size:
            return self.broken()
        return 0

    cdef int receive_all(self, const uint8_t* data, int64_t size) except -1 nogil:
        """Frames, one after the other."""
        cdef header h
        cdef uint32_t kind
        cdef int64_t at = 0, payload
        while at < size:
            if size - at < <int64_t> sizeof(header):
                return self.broken()
            memcpy(&h, data + at, sizeof(header))
            kind, payload = h.size >> 28, h.size & 0xFFFFFFF
            at += <int64_t> sizeof(header)
            if payload > size - at or h.edge >= (self.in_edges if kind <= CONTROL else self.out_edges):
                return self.broken()
            self.on_frame(&h, kind, data + at, payload)
            at += payload
        return 0

    cdef int on_frame(self, header* h, uint32_t kind, const uint8_t* payload, int64_t size) except -1 nogil:
        return self.broken()

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
        with nogil:
            for i in range(self.hosted):
                for e in range(self.out_starts[i], self.out_starts[i + 1]):
                    self.send_control(i, e, 0, True)

    @property
    def agreed(self):
        """Whether the call is over, after a vote; the same at all nodes."""
        return bool(self.agrees(0))

    def deliver(self):
        """The frames between nodes of this process arrive."""
        cdef box b
        with nogil:
            b = self.outgoing[0]
            self.outgoing[0] = self.taken[0]
            self.taken[0] = b
            self.outgoing[0].size = 0
            self.receive_all(b.data, b.size)

    cdef int on_frame(self, header* h, uint32_t kind, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef Py_ssize_t i = self.receiver[h.edge]
        if h.call != self.call:
            return self.broken()
        if kind == CONTROL:
            return self.widen(i, payload, size)
        self.origin = self.out_starts[i]
        self.absorb(i, payload, size)
        return self.leave(i) if self.protocol == TREE else 0


@cython.no_gc
cdef class Mailboxes(Nodes):
    """Nodes that act when something arrives: no step is common to any two of them.

    On each link at most one frame of pieces is on its way; more pieces meanwhile add up, and the frame is sent again
    until it is acknowledged if the links are ``unreliable`` (frames may be lost, repeated or overtake each other). What
    arrives twice is known by its number. A frame of the next call waits until that begins here.

    Votes: a node that has taken ``budget`` steps, or whose in-neighbour has, stops, waits until all its pieces are
    acknowledged, and then goes through 2 D stages (D: the diameter), of which it tells its out-neighbours; it enters
    a stage when all its in-neighbours are in the one before. After D stages nothing moves in the network, and the
    extremes that are flooded in the other D are those of one state of it.
    """

    cdef int64_t diameter
    cdef bint unreliable, begun
    cdef int64_t *stage, *vote, *phase, *budget, *in_stage, *early_stage, *heard_stage
    cdef uint32_t *applied, *sent
    cdef uint8_t *news, *busy  # news: of in edges
    cdef double now
    cdef double *pieces_at, *control_at, *round_trip, *patience
    cdef box *early, *kept

    def __init__(self, wiring, str protocol, Py_ssize_t d, uint64_t seed, bint unreliable=False):
        self.prepare(wiring, protocol, d, seed)
        self.diameter, self.unreliable = wiring.diameter, unreliable
        self.vectors = <int64_t*> self.made(self.out_edges * d, 8)
        self.stage, self.vote = <int64_t*> self.made(self.hosted, 8), <int64_t*> self.made(self.hosted, 8)
        self.phase, self.budget = <int64_t*> self.made(self.hosted, 8), <int64_t*> self.made(self.hosted, 8)
        self.in_stage, self.early_stage = <int64_t*> self.made(self.in_edges, 8), <int64_t*> self.made(self.in_edges, 8)
        self.heard_stage = <int64_t*> self.made(self.out_edges, 8)
        self.applied, self.sent = <uint32_t*> self.made(self.in_edges, 4), <uint32_t*> self.made(self.out_edges, 4)
        self.news, self.busy = <uint8_t*> self.made(self.in_edges, 1), <uint8_t*> self.made(self.out_edges, 1)
        self.pieces_at, self.control_at = <double*> self.made(self.out_edges, 8), <double*> self.made(self.out_edges, 8)
        self.round_trip = <double*> self.made(self.out_edges, 8)
        self.patience = <double*> self.made(self.out_edges, 8)
        self.early = <box*> self.made(self.in_edges, sizeof(box))
        self.kept = <box*> self.made(self.out_edges, sizeof(box))
        for e in range(self.out_edges):
            self.round_trip[e], self.patience[e] = FIRST_ROUND_TRIP, 0
        for i in range(self.hosted):
            self.phase[i] = DONE

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
            self.stage[i], self.vote[i], self.budget[i] = 0, 0, budgets[i]
            self.go_on(i)
        for e in range(self.out_edges):
            self.heard_stage[e] = 0
        for e in range(self.in_edges):
            self.in_stage[e], self.early_stage[e] = self.early_stage[e], 0
            if self.early[e].size:
                self.receive_all(self.early[e].data, self.early[e].size)
                self.early[e].size = 0

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
        cdef box b
        if self.outgoing[0].size and not self.unreliable:
            b = self.outgoing[0]
            self.outgoing[0] = self.taken[0]
            self.taken[0] = b
            self.outgoing[0].size = 0
            self.receive_all(b.data, b.size)
            moved = True
        for i in range(self.hosted):
            moved |= self.act(i)
            for e in range(self.out_starts[i], self.out_starts[i + 1]):
                if self.loaded[e] and not self.busy[e]:
                    moved = True
                    self.send_waiting(i, e)
                if self.unreliable:
                    self.repeat(i, e)
        return moved

    cdef bint is_free(self, Py_ssize_t e) noexcept nogil:
        return not self.busy[e] and not self.loaded[e]

    cdef int ship(self, Py_ssize_t i, Py_ssize_t e, const uint8_t* packed, int64_t size) except -1 nogil:
        cdef box* b = &self.outgoing[self.out_box[e]]
        cdef int64_t before = b.size
        self.sent[e] += 1
        self.busy[e] = True
        self.pieces_at[e] = self.now
        self.send_packed(i, e, self.sent[e], packed, size)
        if self.unreliable:
            self.kept[e].size = 0
            reserve(&self.kept[e], b.size - before)
            memcpy(self.kept[e].data, b.data + before, b.size - before)
            self.kept[e].size = b.size - before
        return 0

    cdef int repeat(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        """Send again what should have been acknowledged by now; each time wait half as long again."""
        cdef box* b = &self.outgoing[self.out_box[e]]
        cdef double wait = min(2 * self.round_trip[e] + GRACE + self.patience[e], LONGEST_WAIT)
        if self.busy[e] and self.now - self.pieces_at[e] > wait:
            reserve(b, self.kept[e].size)
            memcpy(b.data + b.size, self.kept[e].data, self.kept[e].size)
            b.size += self.kept[e].size
            self.counted_bytes[i] += self.kept[e].size
            self.pieces_at[e], self.patience[e] = self.now, wait / 2
        if self.heard_stage[e] < self.stage[i] and self.now - self.control_at[e] > wait:
            self.tell_stage(i, e)
            self.patience[e] = wait / 2
        return 0

    cdef int tell_stage(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        self.control_at[e] = self.now
        return self.send_control(
            i, e, <uint32_t> self.stage[i], self.stage[i] > (2 * self.vote[i] + 1) * self.diameter
        )

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
            self.tell_stage(i, e)
        return 0

    cdef int act(self, Py_ssize_t i) except -1 nogil:
        """What node i can do now. Whether it did anything."""
        if self.phase[i] == SPLITTING:
            if self.protocol == TREE:
                return self.act_in_tree(i)
            if self.step_counts[i] >= self.budget[i] or self.stopped(i):
                self.phase[i] = DRAINING
                return True
            return self.split(i) if self.protocol == FTQC else self.share_news(i)
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

    cdef void go_on(self, Py_ssize_t i) noexcept nogil:
        """Node i takes steps (again), the first at once."""
        cdef Py_ssize_t e
        self.phase[i] = SPLITTING
        for e in range(self.in_starts[i], self.in_starts[i + 1]):
            self.news[e] = True

    cdef bint share_news(self, Py_ssize_t i) except -1 nogil:
        """A step of push-sum when the last shares have arrived and every in-neighbour has sent since.

        No node runs ahead of its neighbours, and none waits for ever: in a cycle of nodes the one that took its first
        step last has sent after all others began to wait.
        """
        cdef Py_ssize_t e
        for e in range(self.in_starts[i], self.in_starts[i + 1]):
            if not self.news[e]:
                return False
        for e in range(self.out_starts[i], self.out_starts[i + 1]):
            if self.busy[e] or self.loaded[e]:
                return False
        for e in range(self.in_starts[i], self.in_starts[i + 1]):
            self.news[e] = False
        self.share(i)
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
        self.budget[i] = self.step_counts[i] + self.step_counts[i] / 6 + 1
        self.go_on(i)
        self.forget(i)
        return True

    cdef int on_frame(self, header* h, uint32_t kind, const uint8_t* payload, int64_t size) except -1 nogil:
        if kind == PIECES:
            return self.on_pieces(h, payload, size)
        if kind == CONTROL:
            return self.on_control(h, payload, size)
        if kind == PIECES_HEARD:
            if self.busy[h.edge] and h.count == self.sent[h.edge]:
                self.busy[h.edge] = False
                if self.patience[h.edge] == 0:  # sent once: which sending was heard is known
                    self.round_trip[h.edge] += (self.now - self.pieces_at[h.edge] - self.round_trip[h.edge]) / 8
                self.patience[h.edge] = 0
            return 0
        if kind == CONTROL_HEARD:
            self.patience[h.edge] = 0
            if h.call == self.call and h.count > self.heard_stage[h.edge]:
                self.heard_stage[h.edge] = h.count
            return 0
        return self.broken()

    cdef bint is_early(self, header* h) noexcept nogil:
        """Whether a frame is for the call that has not begun here."""
        return not self.begun or h.call == <uint32_t> (self.call + 1)

    cdef int on_pieces(self, header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef Py_ssize_t e = h.edge, i = self.receiver[e]
        if <int32_t> (h.count - self.applied[e]) <= 0:
            return self.acknowledge(i, e, PIECES_HEARD, h)
        if self.is_early(h):
            if self.early[e].size == 0:
                reserve(&self.early[e], <int64_t> sizeof(header) + size)
                memcpy(self.early[e].data, h, sizeof(header))
                memcpy(self.early[e].data + sizeof(header), payload, size)
                self.early[e].size = <int64_t> sizeof(header) + size
            return 0
        if h.call != self.call:
            return self.broken()
        self.applied[e] = h.count
        self.absorb(i, payload, size)
        self.news[e] = True
        return self.acknowledge(i, e, PIECES_HEARD, h)

    cdef int on_control(self, header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef Py_ssize_t e = h.edge, i = self.receiver[e]
        if self.is_early(h):
            self.early_stage[e] = max(self.early_stage[e], <int64_t> h.count)
            return 0
        if h.call == self.call and h.count > self.in_stage[e]:
            self.in_stage[e] = h.count
            if size:
                self.widen(i, payload, size)
        return self.acknowledge(i, e, CONTROL_HEARD, h) if self.unreliable else 0


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
            if not self.is_free(e):
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

    cdef int absorb(self, Py_ssize_t i, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef double* into = <double*> self.y + i * self.d
        cdef double value
        cdef Py_ssize_t j
        if size != 8 + 8 * self.d:
            return self.broken()
        for j in range(self.d):
            memcpy(&value, payload + 8 + 8 * j, 8)
            into[j] += value
        return 0
