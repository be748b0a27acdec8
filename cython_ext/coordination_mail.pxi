# Links on which frames are numbered and acknowledged, and what everything does that travels on them.

cdef enum:
    TRIES = 8

# bytes/s of a link before a round trip was measured
cdef double FIRST_BANDWIDTH = 1e6
# s: a round trip before one was measured; added to what is measured; no message waits longer to be sent again
cdef double FIRST_ROUND_TRIP = 0.002, GRACE = 0.0002, LONGEST_WAIT = 1.0

ctypedef struct clock:
    uint8_t tries  # how often something was sent again; no more than 255 are counted
    double at[TRIES]  # when, each of the last times (s)


@cython.final
@cython.no_gc
cdef class MailLinks(Links):
    """Links without common steps: every frame of pieces has a number and is acknowledged.

    On ``unreliable`` links frames may be lost, repeated or overtake each other. At most one frame of pieces is then on
    its way on a link: it is kept, and sent again until it is acknowledged. With R the measured round trip of the link
    and V its mean deviation, the wait for that is, as in TCP,

        R + 4 V + 0.2 ms,    R <- R + (r - R)/8,    V <- V + (|r - R| - V)/4    for each measured r,

    half as long again after every try.

    Attributes
    ----------
    unreliable : True if frames may be lost, repeated or overtake each other
    now : s, the time of this turn
    sender : of links out, the position of the node that they lead from
    asleep : of nodes, 1 if one has nothing to do until a frame comes
    sent, received : number of the last frame of pieces on each link out and in; numbers wrap at 2^32
    busy : of links out, frames that are not acknowledged
    round_trip, deviation : R and V of links out (s); 0 before one was measured
    patience : by how much longer than usual to wait for the next acknowledgement
    pieces_clock, stage_clock : when the last frame of pieces, or of a stage, was sent, and sent again
    kept : of links out, the frame that is on its way
    packer : learns of links how long frames take, if a coder is to be chosen by that; or None
    alone, coding : of links out, bytes of the frame of pieces on its way, 0 if it is not the only one, and the time (s)
        that packing and unpacking it takes

    References
    ----------
    Jacobson, Congestion avoidance and control, SIGCOMM 1988.
    """

    cdef bint unreliable
    cdef double now
    cdef integers sender
    cdef uint8_t* asleep
    cdef uint32_t* received
    cdef uint32_t* sent
    cdef uint32_t* busy
    cdef double* round_trip
    cdef double* deviation
    cdef double* patience
    cdef clock* pieces_clock
    cdef clock* stage_clock
    cdef box* kept
    cdef Packer packer
    cdef integers alone
    cdef double* coding

    def __cinit__(self, wiring, bint unreliable=False):
        cdef Py_ssize_t i, e
        self.unreliable, self.format.numbered, self.format.unreliable = unreliable, True, unreliable
        self.sender = <int64_t*> zeros(self.arrays, self.out_edges, 8)
        self.asleep = <uint8_t*> zeros(self.arrays, self.hosted, 1)
        self.received = <uint32_t*> zeros(self.arrays, self.in_edges, 4)
        self.sent = <uint32_t*> zeros(self.arrays, self.out_edges, 4)
        self.busy = <uint32_t*> zeros(self.arrays, self.out_edges, 4)
        self.round_trip = <double*> zeros(self.arrays, self.out_edges, 8)
        self.deviation = <double*> zeros(self.arrays, self.out_edges, 8)
        self.patience = <double*> zeros(self.arrays, self.out_edges, 8)
        self.pieces_clock = <clock*> zeros(self.arrays, self.out_edges, sizeof(clock))
        self.stage_clock = <clock*> zeros(self.arrays, self.out_edges, sizeof(clock))
        self.kept = <box*> zeros(self.arrays, self.out_edges, sizeof(box))
        self.alone = <int64_t*> zeros(self.arrays, self.out_edges, 8)
        self.coding = <double*> zeros(self.arrays, self.out_edges, 8)
        for i in range(self.hosted):
            for e in range(self.out_starts[i], self.out_starts[i + 1]):
                self.sender[e], self.patience[e] = i, 1

    def __dealloc__(self):
        cdef Py_ssize_t e
        if self.kept != NULL:
            for e in range(self.out_edges):
                free(self.kept[e].data)

    cdef bint is_free(self, Py_ssize_t e) noexcept nogil:
        return not (self.unreliable and self.busy[e])

    cdef int send(self, Py_ssize_t i, Py_ssize_t e, uint64_t z, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef box* b = &self.outgoing[self.out_box[e]]
        cdef int64_t begin = b.size
        cdef frame_header h
        self.sent[e] += 1
        self.busy[e] += 1
        self.restart(&self.pieces_clock[e])
        h.kind, h.call, h.count, h.tries, h.z = PIECES, self.call, self.sent[e], 0, z
        self.write(i, e, &h, payload, size)
        self.alone[e] = b.size - begin if self.busy[e] == 1 else 0
        if self.packer is not None:
            self.coding[e] = self.packer.coding
        if self.unreliable:
            self.kept[e].size = 0
            append(&self.kept[e], b.data + begin, b.size - begin)
        return 0

    cdef int repeat(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        """Send pieces again that should have been acknowledged by now."""
        cdef box* kept = &self.kept[e]
        if self.busy[e] and self.is_late(e, &self.pieces_clock[e], kept.size):
            set_tries(kept.data, self.pieces_clock[e].tries)
            append(&self.outgoing[self.out_box[e]], kept.data, kept.size)
            self.count_frame(i, COUNT_REPEATED, kept.size)
        return 0

    cdef int acknowledge(self, Py_ssize_t e, uint32_t kind, const frame_header* heard) except -1 nogil:
        """The receiver of link e says that it has heard a frame: its call, number and try come back to the sender.

        Acknowledgements, and only they and FOUND, go against the direction of a link.
        """
        cdef frame_header h
        h.kind, h.call, h.count, h.tries = kind, heard.call, heard.count, heard.tries
        return self.write_back(e, &h)

    cdef bint is_new(self, const frame_header* h) noexcept nogil:
        """True the first time that these pieces come, which are the last on their link then.

        Pieces of an older number are a repetition that was late: they count once.
        """
        if <int32_t> (h.count - self.received[h.edge]) <= 0:  # numbers wrap at 2^32
            return False
        self.received[h.edge] = h.count
        return True

    cdef void on_pieces_heard(self, const frame_header* h) noexcept nogil:
        """Take note of an acknowledgement: of the frame on its way, or on reliable links of the oldest one."""
        if self.busy[h.edge] and (h.count == self.sent[h.edge] or not self.unreliable):
            self.busy[h.edge] -= 1
            self.learn(h.edge)
            self.measure(h.edge, &self.pieces_clock[h.edge], h.tries)

    cdef inline void learn(self, Py_ssize_t e) noexcept nogil:
        """Let the packer know how long the frame on link e took, if it was the only one and was sent once."""
        cdef clock* sent = &self.pieces_clock[e]
        if self.packer is not None and self.packer.fixed == AUTO and self.alone[e] and sent.tries == 0:
            self.packer.observe(e, self.alone[e], max(self.now - sent.at[0] - self.coding[e], 0))

    cdef void restart(self, clock* sent) noexcept nogil:
        """Something new is sent."""
        sent.tries, sent.at[0] = 0, self.now

    cdef bint is_late(self, Py_ssize_t e, clock* sent, int64_t size) noexcept nogil:
        """True if ``size`` bytes on link e are to be sent again now, which is noted as done.

        Before a round trip was measured it is taken as 2 ms and a microsecond a byte; no wait is longer than 1 s,
        unless the round trip is.
        """
        cdef double wait = FIRST_ROUND_TRIP + size / FIRST_BANDWIDTH
        if self.round_trip[e] > 0:
            wait = self.round_trip[e] + 4 * self.deviation[e] + GRACE
        if self.now - sent.at[sent.tries % TRIES] <= min(wait * self.patience[e], max(LONGEST_WAIT, wait)):
            return False
        if sent.tries < 255:
            sent.tries += 1
        sent.at[sent.tries % TRIES] = self.now
        self.patience[e] *= 1.5
        return True

    cdef void measure(self, Py_ssize_t e, clock* sent, uint8_t tries) noexcept nogil:
        """Update round trip and mean deviation of link e by the time since the given try.

        Tries of long ago do not count: the other end did not listen. Much shorter times do at once, because what was
        measured before them was of such an end.
        """
        cdef double seconds = self.now - sent.at[tries % TRIES]
        if sent.tries - tries >= TRIES:
            return
        self.patience[e] = 1
        if seconds > self.round_trip[e] / 4 and self.round_trip[e] > 0:
            self.deviation[e] += (fabs(seconds - self.round_trip[e]) - self.deviation[e]) / 4
            self.round_trip[e] += (seconds - self.round_trip[e]) / 8
        else:
            self.round_trip[e], self.deviation[e] = max(seconds, 1e-9), seconds / 2


@cython.no_gc
cdef class Mail(Delivery):
    """Delivery without common steps: turns in which nodes act, waiting pieces leave and late ones are sent again.

    A class derived from it says what nodes do (``act``), what waits on links (``loaded``, ``send_waiting``) and what
    becomes of pieces that have come (``on_pieces``). Numbers, acknowledgements and repetition are the same for all:
    nobody is told of a frame twice.

    Attributes
    ----------
    mail : the links
    loaded : of links out, 1 if pieces wait until the link is free
    may_sleep : True if a node that had nothing to do is left alone until a frame comes
    """

    cdef MailLinks mail
    cdef uint8_t* loaded
    cdef bint may_sleep

    def advance(self, double now):
        """Let every node do what it can; returns True if anything moved.

        now: s, of a clock that never goes back. Returns early if there are frames for other processes.
        """
        cdef bint moved = False, more = True
        cdef int turns = 0
        self.mail.now = now
        with nogil:
            # frames for other processes leave soon, and their own nodes do not keep a rank from listening
            while more and turns < 64:
                more = self.turn()
                moved = moved or more
                turns += 1
                if self.has_mail():
                    break
        return moved

    def cut(self, cnp.ndarray frames):
        """Return where frames from ``take`` end, for emulated links: a list of (end, link, goes_in).

        link: its number at the destination, among the links in there or, without ``goes_in``, among those out.
        """
        cdef uint8_t* data = <uint8_t*> pointer(frames, cnp.NPY_UINT8, cnp.PyArray_SIZE(frames), "frames")
        cdef int64_t size = cnp.PyArray_SIZE(frames), at = 0, header
        cdef frame_header h
        parts = []
        while at < size:
            header = read_header(data + at, size - at, self.mail.format, self.mail.call, &h)
            if header < 0:
                broken()
            at += header
            if h.kind == PIECES:
                at += self.length(&h, data + at, size - at)
            elif h.kind == EXTREMES:
                at += self.length_of_extremes(data + at, size - at)
            parts.append((at, h.edge, frame_goes_in(h.kind)))
        return parts

    @property
    def quiet(self):
        """True if all that nodes here have sent is acknowledged (stages of votes: if links are unreliable)."""
        cdef Py_ssize_t i
        for i in range(self.mail.hosted):
            if not self.drained(i):
                return False
        return True

    @cython.final
    cdef bint has_mail(self) noexcept nogil:
        """True if frames wait for the transport: unreliable ones between nodes of this process go its way, too."""
        cdef Py_ssize_t b
        for b in range(0 if self.mail.unreliable else 1, self.mail.boxes):
            if self.mail.outgoing[b].size:
                return True
        return False

    @cython.final
    cdef int turn(self) except -1 nogil:
        """Let every node act once; True if anything moved."""
        cdef Py_ssize_t i, e
        cdef int moved = False, acted
        if self.mail.outgoing[0].size and not self.mail.unreliable:
            self.deliver_own()
            moved = True
        for i in range(self.mail.hosted):
            if self.mail.asleep[i]:
                continue
            acted = self.act(i)
            moved |= acted
            self.mail.asleep[i] = self.may_sleep and not acted
            for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
                if self.loaded[e] and self.mail.is_free(e):
                    moved = True
                    self.send_waiting(i, e)
                if self.mail.unreliable:
                    self.repeat(i, e)
        return moved

    cdef int64_t on_frame(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef int64_t read
        if h.kind == PIECES:
            read = self.length(h, payload, size)
            if self.mail.is_new(h):
                self.on_pieces(h, payload, read)
            # also if it waits: nothing is decided here before it is absorbed
            self.mail.acknowledge(h.edge, PIECES_HEARD, h)
            return read
        if h.kind == PIECES_HEARD:
            self.mail.on_pieces_heard(h)
            return 0
        return broken()

    cdef int act(self, Py_ssize_t i) except -1 nogil:
        """Let node i do what it can now; True if it did anything."""
        return False

    cdef int send_waiting(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        """Send what waits on link e."""
        return 0

    cdef int repeat(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        """Send again on link e what should have been acknowledged by now."""
        return self.mail.repeat(i, e)

    cdef bint drained(self, Py_ssize_t i) noexcept nogil:
        """True if nothing of node i is on its way."""
        cdef Py_ssize_t e
        for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
            if self.loaded[e] or self.mail.busy[e]:
                return False
        return True

    cdef int64_t length(self, const frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        """Return the bytes of the payload of pieces. Raises ValueError if it goes beyond ``size``."""
        return broken()

    cdef int64_t length_of_extremes(self, const uint8_t* payload, int64_t size) except -1 nogil:
        """Return the bytes of the payload of a stage with extremes, where there are votes."""
        return broken()

    cdef int on_pieces(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        """Take in pieces that have come for the first time; ``size``: bytes of the payload."""
        return broken()
