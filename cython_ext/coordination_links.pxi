# Links between nodes, boxes of bytes for other processes, and the frames in them.

ctypedef struct box:
    uint8_t* data
    int64_t size, capacity


cdef int reserve(box* b, int64_t more) except -1 nogil:
    """Let a box grow by ``more`` bytes without moving."""
    cdef int64_t capacity
    cdef uint8_t* data
    if b.size + more > b.capacity:
        capacity = max(2 * b.capacity, b.size + more)
        data = <uint8_t*> realloc(b.data, capacity)
        if data == NULL:
            with gil:
                raise MemoryError(f"no memory for {capacity} bytes of messages")
        b.data, b.capacity = data, capacity
    return 0


cdef int append(box* b, const uint8_t* bytes, int64_t size) except -1 nogil:
    """Put bytes at the end of a box."""
    reserve(b, size)
    memcpy(b.data + b.size, bytes, size)
    b.size += size
    return 0


# no_gc, here and below: the garbage collector would empty ``arrays`` before __dealloc__ reads the boxes in them. No
# object here is part of a cycle: links know nobody, rules know links, deliveries know both.
@cython.no_gc
cdef class Links:
    """The links into and out of the hosted nodes, and a box of frames for each process at their other ends.

    Link e out of a hosted node goes by its position among those out of all hosted nodes, sorted by sender and receiver;
    links in are sorted by receiver and sender. Links of this plain kind bring what is sent once and in order, before
    the next step: nothing has to be numbered.

    Parameters
    ----------
    wiring : ``mpiqopt.coordination.wiring.Wiring``, of which all arrays are int64

    Attributes
    ----------
    hosted, nodes, first : nodes of this process, of the network, and the number of the first hosted one
    pieces : int64 (hosted,), pieces that left each node since the start of the process
    frames, frame_bytes : int64 (hosted, FRAME_COUNTS), frames of each node by what they are counted as (``frames.h``),
        and their bytes, headers included
    format, call : which fields headers have, and the call that new frames belong to
    in_starts, out_starts : links in_starts[i] .. in_starts[i + 1] - 1 lead into node i
    in_box, out_box : box of the process at the other end of each link
    in_there, out_there, in_place, out_place : number of the link there, and among the links of the node there
    receiver : of links in, the position of the node that they lead to
    widest : the largest number of links out of a node
    outgoing, taken : boxes that are being filled, and those that the transport reads

    Raises
    ------
    ValueError
        If a box of the wiring does not exist, or an array has another length.
    TypeError
        If an array is not int64.
    """

    cdef readonly Py_ssize_t hosted
    cdef readonly int64_t nodes, first
    cdef readonly cnp.ndarray pieces, frames, frame_bytes
    cdef list arrays
    cdef frame_format format
    cdef uint32_t call
    cdef Py_ssize_t boxes, in_edges, out_edges, widest
    cdef integers in_starts, in_box, in_there, in_place, out_starts, out_box, out_there, out_place
    cdef integers receiver, counted, counted_frames, counted_bytes
    cdef box* outgoing
    cdef box* taken

    def __cinit__(self, wiring, *_):
        self.arrays = []
        self.nodes, self.first, self.boxes = wiring.nodes, wiring.first, wiring.boxes
        self.hosted = len(wiring.in_starts) - 1
        self.in_edges, self.out_edges = wiring.in_starts[-1], wiring.out_starts[-1]
        self.widest = max(np.diff(wiring.out_starts).max(), 1)
        for b in (wiring.in_box, wiring.out_box):
            if len(b) and not 0 <= b.min() <= b.max() < self.boxes:
                raise ValueError(f"wiring: want boxes 0 .. {self.boxes - 1}")
        self.in_starts = given(self.arrays, wiring.in_starts, self.hosted + 1, "wiring")
        self.in_box = given(self.arrays, wiring.in_box, self.in_edges, "wiring")
        self.in_there = given(self.arrays, wiring.in_there, self.in_edges, "wiring")
        self.in_place = given(self.arrays, wiring.in_place, self.in_edges, "wiring")
        self.receiver = given(self.arrays, wiring.receiver, self.in_edges, "wiring")
        self.out_starts = given(self.arrays, wiring.out_starts, self.hosted + 1, "wiring")
        self.out_box = given(self.arrays, wiring.out_box, self.out_edges, "wiring")
        self.out_there = given(self.arrays, wiring.out_there, self.out_edges, "wiring")
        self.out_place = given(self.arrays, wiring.out_place, self.out_edges, "wiring")
        self.pieces = np.zeros(self.hosted, np.int64)
        self.frames, self.frame_bytes = np.zeros((2, self.hosted, FRAME_COUNTS), np.int64)
        self.counted = given(self.arrays, self.pieces, self.hosted, "pieces")
        self.counted_frames = given(self.arrays, self.frames, self.hosted * FRAME_COUNTS, "frames")
        self.counted_bytes = given(self.arrays, self.frame_bytes, self.hosted * FRAME_COUNTS, "bytes")
        self.outgoing = <box*> zeros(self.arrays, self.boxes, sizeof(box))
        self.taken = <box*> zeros(self.arrays, self.boxes, sizeof(box))

    def __dealloc__(self):
        cdef Py_ssize_t b
        if self.taken != NULL:
            for b in range(self.boxes):
                free(self.outgoing[b].data)
                free(self.taken[b].data)

    @cython.final
    cdef object take(self, Py_ssize_t b):
        """Return the frames in box b, uint8 (bytes,), and empty it."""
        cdef cnp.npy_intp size
        self.outgoing[b], self.taken[b] = self.taken[b], self.outgoing[b]
        self.outgoing[b].size = 0
        size = self.taken[b].size
        if size == 0:
            return np.empty(0, np.uint8)
        return cnp.PyArray_SimpleNewFromData(1, &size, cnp.NPY_UINT8, self.taken[b].data)

    cdef bint is_free(self, Py_ssize_t e) noexcept nogil:
        """True if pieces can leave on link e now."""
        return True

    @cython.final
    cdef inline void count(self, Py_ssize_t i, int64_t pieces) noexcept nogil:
        """Count pieces that leave node i."""
        self.counted[i] += pieces

    @cython.final
    cdef inline void count_frame(self, Py_ssize_t i, int what, int64_t size) noexcept nogil:
        """Count a frame of node i, of so many bytes, as what ``count_of_frame`` says."""
        self.counted_frames[i * FRAME_COUNTS + what] += 1
        self.counted_bytes[i * FRAME_COUNTS + what] += size

    cdef int send(self, Py_ssize_t i, Py_ssize_t e, uint64_t z, const uint8_t* payload, int64_t size) except -1 nogil:
        """Node i sends a frame of pieces on link e, which has to be free.

        z: their weight; payload: ``size`` bytes, a packed vector of integers or, of ``Mass``, float64. They are copied.
        """
        cdef frame_header h
        h.kind, h.call, h.count, h.tries, h.z = PIECES, self.call, 0, 0, z
        return self.write(i, e, &h, payload, size)

    @cython.final
    cdef inline int write(self, Py_ssize_t i, Py_ssize_t e, frame_header* h, const uint8_t* payload,
                          int64_t size) except -1 nogil:
        """Write a frame of node i for the receiver of link e into its box."""
        h.edge, h.place = <uint32_t> self.out_there[e], <uint32_t> self.out_place[e]
        return self.write_into(i, &self.outgoing[self.out_box[e]], h, payload, size)

    @cython.final
    cdef inline int write_back(self, Py_ssize_t e, frame_header* h) except -1 nogil:
        """Write a frame of the receiver of link e for its sender."""
        h.edge, h.place = <uint32_t> self.in_there[e], <uint32_t> self.in_place[e]
        return self.write_into(self.receiver[e], &self.outgoing[self.in_box[e]], h, NULL, 0)

    @cython.final
    cdef inline int write_into(self, Py_ssize_t i, box* b, const frame_header* h, const uint8_t* payload,
                               int64_t size) except -1 nogil:
        """Write a frame of node i, whose header is complete, at the end of a box, and count it."""
        cdef int64_t begin = b.size
        reserve(b, HEADER_MOST + size)
        b.size += write_header(h, self.format, b.data + b.size)
        if size:
            memcpy(b.data + b.size, payload, size)
            b.size += size
        self.count_frame(i, count_of_frame(h), b.size - begin + excess_of_place(h))
        return 0

    @cython.final
    cdef int64_t read(self, const uint8_t* data, int64_t size, frame_header* h) except -1 nogil:
        """Read the header of a frame; bytes read.

        Raises ValueError if it is cut off or names a link that does not exist: what comes is used to index arrays, so
        that nothing behind this looks at links again.
        """
        cdef int64_t at = read_header(data, size, self.format, self.call, h)
        if at < 0 or h.edge >= <uint64_t> (self.in_edges if frame_goes_in(h.kind) else self.out_edges):
            return broken()
        return at


@cython.no_gc
cdef class Delivery:
    """What the ways to deliver frames share: boxes are taken by the transport, and what it received is read here.

    A transport asks for ``filled`` boxes, ``take``s their bytes, and hands what it got to ``receive`` at the other end.
    It knows nothing of frames: bytes between two processes come in order and whole, in pieces that begin and end where
    frames do.
    """

    cdef readonly Links links

    def take(self, Py_ssize_t b):
        """Return the frames in box b, uint8 (bytes,), and empty it.

        They are valid until the next ``take`` of b: two buffers are used in turn. Raises IndexError without a box b.
        """
        if not 0 <= b < self.links.boxes:
            raise IndexError(f"box {b} of {self.links.boxes}")
        return self.links.take(b)

    def filled(self, Py_ssize_t b):
        """Return the bytes in box b."""
        if not 0 <= b < self.links.boxes:
            raise IndexError(f"box {b} of {self.links.boxes}")
        return self.links.outgoing[b].size

    def receive(self, cnp.ndarray frames):
        """Read frames that came from another process, uint8 (bytes,). Raises ValueError if they are damaged."""
        cdef uint8_t* data = <uint8_t*> pointer(frames, cnp.NPY_UINT8, cnp.PyArray_SIZE(frames), "frames")
        cdef int64_t size = cnp.PyArray_SIZE(frames)
        with nogil:
            self.receive_all(data, size)

    @property
    def hosted(self):
        """Nodes of this process."""
        return self.links.hosted

    @property
    def nodes(self):
        """Nodes of the network."""
        return self.links.nodes

    @property
    def pieces(self):
        """Pieces that left each hosted node so far, int64 (hosted,)."""
        return self.links.pieces

    @property
    def frames(self):
        """Frames that each hosted node sent so far, by what they are counted as, int64 (hosted, counts)."""
        return self.links.frames

    @property
    def frame_bytes(self):
        """Bytes of these, headers included, int64 (hosted, counts)."""
        return self.links.frame_bytes

    @property
    def bytes_sent(self):
        """Bytes that each hosted node sent so far, a new int64 (hosted,)."""
        return self.links.frame_bytes.sum(axis=1)

    @cython.final
    cdef int receive_all(self, const uint8_t* data, int64_t size) except -1 nogil:
        """Act on frames, one after the other."""
        cdef frame_header h
        cdef int64_t at = 0
        while at < size:
            at += self.links.read(data + at, size - at, &h)
            at += self.on_frame(&h, data + at, size - at)
        return 0

    @cython.final
    cdef int deliver_own(self) except -1 nogil:
        """Read the frames between nodes of this process."""
        cdef box b = self.links.outgoing[0]
        self.links.outgoing[0], self.links.taken[0] = self.links.taken[0], b
        self.links.outgoing[0].size = 0
        return self.receive_all(b.data, b.size)

    cdef int64_t on_frame(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        """Act on a frame; bytes of its payload.

        payload: the ``size`` bytes that come after the header, other frames included: the payload is as long as its
        kind says. Raises ValueError if it would be longer, or if the kind does not belong here.
        """
        return broken()
