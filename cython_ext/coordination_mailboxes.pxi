# Delivery without common steps, and votes.

cdef enum:  # what a node does
    STEPPING, DRAINING, FLOODING, CLOSING, RETRYING, DONE


@cython.final
@cython.no_gc
cdef class Mailboxes(Mail):
    """Nodes that act when something comes: no step is common to any two of them.

    Pieces of the next call wait until that begins here, and those of rules ``in_turn`` until the node has taken as
    many steps: such nodes take the same steps as in ``Lockstep``, each when it can.

    A vote: a node that has taken ``budget`` steps, or whose in-neighbour has, stops, waits until all its pieces are
    acknowledged, and then goes through 2 D stages (D: the diameter), of which it tells its out-neighbours; it enters
    a stage when all its in-neighbours are in the one before. After D stages nothing moves in the network, and the
    extremes that are told in the other D are those of one state of it (ours).

    Nodes that look for a tree do so from the start, before the first call begins (``FoundTree``).

    A neighbour may be one call ahead, not two, because every call needs all nodes.

    Parameters
    ----------
    wiring : ``mpiqopt.coordination.wiring.Wiring``
    rules : those of the coordinator, which nobody else has
    unreliable : True if frames may be lost, repeated or overtake each other

    Attributes
    ----------
    phase : of each node, what it does: STEPPING, and in a vote DRAINING, FLOODING, then CLOSING or RETRYING; DONE
    vote, stage : of each node, how many votes it has finished, and in which stage it is, counted through all votes
    budget : of each node, steps before the next vote
    in_stage, early_stage : of links in, the stage of the node there in this call, and in the next one
    heard_stage : of links out, the last stage that was acknowledged, if unreliable
    absorbed : of links in, frames of pieces that were taken in during this call
    early : of links in, frames that wait, as z and the payload
    done_before : nodes before this one have the result
    """

    cdef readonly Rules rules
    cdef int64_t diameter
    cdef Py_ssize_t done_before
    cdef bint begun
    cdef integers stage, vote, phase, budget
    cdef integers in_stage, early_stage, absorbed, heard_stage
    cdef box* early

    def __cinit__(self, wiring, Rules rules not None, bint unreliable=False):
        cdef Py_ssize_t i
        self.links = self.mail = MailLinks(wiring, unreliable)
        self.rules, self.diameter = rules, wiring.diameter
        rules.connect(self.mail)
        self.loaded = rules.loaded
        owner, hosted, in_edges = self.mail.arrays, self.mail.hosted, self.mail.in_edges
        self.stage, self.vote = <int64_t*> zeros(owner, hosted, 8), <int64_t*> zeros(owner, hosted, 8)
        self.phase, self.budget = <int64_t*> zeros(owner, hosted, 8), <int64_t*> zeros(owner, hosted, 8)
        self.in_stage, self.early_stage = <int64_t*> zeros(owner, in_edges, 8), <int64_t*> zeros(owner, in_edges, 8)
        self.absorbed = <int64_t*> zeros(owner, in_edges, 8)
        self.heard_stage = <int64_t*> zeros(owner, self.mail.out_edges, 8)
        self.early = <box*> zeros(owner, in_edges, sizeof(box))
        self.may_sleep = rules.waits and not unreliable
        for i in range(self.mail.hosted):
            self.phase[i] = DONE

    def __dealloc__(self):
        cdef Py_ssize_t e
        if self.early != NULL:
            for e in range(self.mail.in_edges):
                free(self.early[e].data)

    def begin(self, uint32_t call, cnp.ndarray values, cnp.ndarray budget, bint settles=False):
        """Start call number ``call`` with the integers of the nodes, int64 (hosted, d).

        call: one more than the last, modulo 2^32; budget: int64 (hosted,), steps of each node before the first vote;
        settles: True if ``settle`` will be called instead of ``result``.
        Takes in what in-neighbours that are ahead have sent already.
        """
        cdef int64_t* budgets = <int64_t*> pointer(budget, cnp.NPY_INT64, self.mail.hosted, "budget")
        cdef Py_ssize_t i, e
        self.mail.call, self.rules.settles = call, settles
        self.rules.start(values)
        self.begun, self.done_before = True, 0
        for i in range(self.mail.hosted):
            self.stage[i], self.vote[i], self.budget[i], self.phase[i] = 0, 0, budgets[i], STEPPING
            self.rules.extremes.forget(i)
            self.mail.asleep[i] = False
        for e in range(self.mail.out_edges):
            self.heard_stage[e] = 0
        for e in range(self.mail.in_edges):
            self.in_stage[e], self.early_stage[e], self.absorbed[e] = self.early_stage[e], 0, 0
            self.absorb_early(e)

    @property
    def finished(self):
        """True if all nodes here have the result."""
        while self.done_before < self.mail.hosted and self.phase[self.done_before] == DONE:
            self.done_before += 1
        return self.done_before == self.mail.hosted

    @property
    def called(self):
        """True if a frame of the next call has come."""
        for e in range(self.mail.in_edges):
            if self.early[e].size or self.early_stage[e]:
                return True
        return False

    @property
    def votes(self):
        """Votes taken in this call at node 0 of this process; 0 where nodes do not vote."""
        return self.vote[0] + 1 if self.rules.votes else 0

    @property
    def steps(self):
        """Steps of each hosted node in this call, int64 (hosted,)."""
        return self.rules.steps

    @property
    def result(self):
        """floor(S/n) and ceil(S/n), S the sum over all nodes: two new int64 (d,), when the call is over."""
        return self.rules.result()

    def settle(self, cnp.ndarray values, cnp.ndarray hat, double step):
        """See ``Rules.settle``; when the call is over."""
        return self.rules.settle(values, hat, step)

    @property
    def mass(self):
        """Sums of y, int64 (d,), and of z over the nodes here; for tests."""
        return self.rules.mass()

    @property
    def narrow(self):
        """True if the values of nodes are int32."""
        return self.rules.is_narrow()

    cdef int act(self, Py_ssize_t i) except -1 nogil:
        if self.rules.tree is not None and not self.rules.tree.settled(i):
            moved = self.rules.tree.act(i)
            if not self.rules.tree.over(i):
                return moved
        if self.phase[i] == STEPPING:
            return self.act_in_steps(i) if self.rules.votes else self.act_without_vote(i)
        if self.phase[i] == DRAINING and self.drained(i):
            self.phase[i] = FLOODING
            self.enter(i)
            return True
        if self.phase[i] == FLOODING:
            return self.follow(i)
        if self.phase[i] == CLOSING or self.phase[i] == RETRYING:
            return self.close_vote(i)
        return False

    cdef int act_without_vote(self, Py_ssize_t i) except -1 nogil:
        """Take a step, or find out that node i has the result."""
        if self.rules.step(i):
            return True
        if not self.rules.done(i):
            return False
        self.phase[i] = CLOSING
        return True

    cdef int act_in_steps(self, Py_ssize_t i) except -1 nogil:
        """Take a step, or stop for a vote.

        In turn all nodes take the same steps; else one that has nothing to do takes none, and stops when others do.
        """
        cdef Py_ssize_t e
        if self.rules.step_counts[i] >= self.budget[i] or (not self.rules.in_turn and self.stopped(i)):
            self.phase[i] = DRAINING
            return True
        if not self.rules.in_turn:
            return self.rules.step(i)
        if not self.is_its_turn(i):
            return False
        self.rules.step(i)
        for e in range(self.mail.in_starts[i], self.mail.in_starts[i + 1]):
            self.absorb_early(e)
        return True

    cdef bint is_its_turn(self, Py_ssize_t i) noexcept nogil:
        """True if the steps of the in-neighbours before the next have come, and its own have gone."""
        cdef Py_ssize_t e
        for e in range(self.mail.in_starts[i], self.mail.in_starts[i + 1]):
            if self.absorbed[e] < self.rules.step_counts[i]:
                return False
        for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
            if not self.rules.can_send(e):
                return False
        return True

    cdef bint stopped(self, Py_ssize_t i) noexcept nogil:
        """True if an in-neighbour of node i has stopped for the vote."""
        cdef Py_ssize_t e
        for e in range(self.mail.in_starts[i], self.mail.in_starts[i + 1]):
            if self.in_stage[e] > 2 * self.diameter * self.vote[i]:
                return True
        return False

    cdef int enter(self, Py_ssize_t i) except -1 nogil:
        """Node i enters the next stage, and says so."""
        cdef Py_ssize_t e
        self.stage[i] += 1
        for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
            self.mail.restart(&self.mail.stage_clock[e])
        return self.tell_stage(i, self.mail.out_starts[i], self.mail.out_starts[i + 1])

    cdef int tell_stage(self, Py_ssize_t i, Py_ssize_t first, Py_ssize_t end) except -1 nogil:
        """Node i says on links first .. end - 1 which stage it is in, and after D stages its extremes."""
        cdef frame_header h
        cdef int64_t size = 0
        cdef Py_ssize_t e
        h.kind, h.call, h.count, h.z = STAGE, self.mail.call, <uint32_t> self.stage[i], 1
        if self.stage[i] > (2 * self.vote[i] + 1) * self.diameter:
            size = self.rules.extremes.prepare(i, &h)
        for e in range(first, end):
            h.tries = self.mail.stage_clock[e].tries
            self.mail.write(i, e, &h, self.rules.extremes.packed, size)
        return 0

    cdef int follow(self, Py_ssize_t i) except -1 nogil:
        """Node i goes on in the stages of a vote as far as its in-neighbours allow."""
        cdef int64_t base = 2 * self.diameter * self.vote[i]
        cdef int moved = False
        while self.in_neighbours_at(i, self.stage[i]):
            moved = True
            if self.stage[i] == base + self.diameter:
                self.rules.look(i)
            if self.stage[i] < base + 2 * self.diameter:
                self.enter(i)
                continue
            # on unreliable links the last stage is said again until it is heard, with the extremes of this vote
            self.phase[i] = CLOSING if self.rules.extremes.agree(i) else RETRYING
            self.close_vote(i)
            break
        return moved

    cdef bint in_neighbours_at(self, Py_ssize_t i, int64_t stage) noexcept nogil:
        """True if all in-neighbours of node i are in that stage or beyond."""
        cdef Py_ssize_t e
        for e in range(self.mail.in_starts[i], self.mail.in_starts[i + 1]):
            if self.in_stage[e] < stage:
                return False
        return True

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
        self.phase[i] = STEPPING
        self.rules.extremes.forget(i)
        return True

    cdef bint drained(self, Py_ssize_t i) noexcept nogil:
        cdef Py_ssize_t e
        if self.rules.tree is not None and not self.rules.tree.settled(i):
            return False
        if self.mail.unreliable:
            for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
                if self.heard_stage[e] < self.stage[i]:
                    return False
        return Mail.drained(self, i)

    cdef int send_waiting(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        return self.rules.send_waiting(i, e)

    cdef int repeat(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        self.mail.repeat(i, e)
        if self.heard_stage[e] < self.stage[i] and self.mail.is_late(e, &self.mail.stage_clock[e], 0):
            self.tell_stage(i, e, e + 1)
        return 0

    cdef int64_t on_frame(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        self.mail.asleep[self.mail.receiver[h.edge] if frame_goes_in(h.kind) else self.mail.sender[h.edge]] = False
        if h.kind == STAGE or h.kind == EXTREMES or h.kind == APART:
            return self.on_stage(h, payload, size)
        if h.kind == FIND or h.kind == FOUND:
            return self.rules.hear(h)
        if h.kind != STAGE_HEARD:
            return Mail.on_frame(self, h, payload, size)
        if h.call == self.mail.call and h.count > self.heard_stage[h.edge]:
            self.heard_stage[h.edge] = h.count
            if h.count == self.stage[self.mail.sender[h.edge]]:
                self.mail.measure(h.edge, &self.mail.stage_clock[h.edge], h.tries)
        return 0

    cdef bint is_early(self, const frame_header* h) noexcept nogil:
        """True if a frame is of the call that has not begun here."""
        return not self.begun or h.call == <uint32_t> (self.mail.call + 1)

    cdef int on_pieces(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef Py_ssize_t e = h.edge
        cdef bint early = self.is_early(h)
        if not early and h.call != self.mail.call:
            # nothing is lost with them where nodes do not vote: each had the result without them
            return 0 if self.rules.bears_old and h.call == <uint32_t> (self.mail.call - 1) else broken()
        if early or self.is_ahead(e):
            append(&self.early[e], <const uint8_t*> &h.z, 8)
            return append(&self.early[e], payload, size)
        self.rules.absorb(self.mail.receiver[e], h.z, payload, size)
        self.absorbed[e] += 1
        return 0

    cdef bint is_ahead(self, Py_ssize_t e) noexcept nogil:
        """True if the next frame on link e is of a step, in turn, that the node here has not taken."""
        return self.rules.in_turn and self.absorbed[e] >= self.rules.step_counts[self.mail.receiver[e]]

    cdef int absorb_early(self, Py_ssize_t e) except -1 nogil:
        """Take in what has waited on link e."""
        cdef box* b = &self.early[e]
        cdef int64_t at = 0
        cdef uint64_t z
        while at < b.size and not self.is_ahead(e):
            memcpy(&z, b.data + at, 8)
            at += 8 + self.rules.absorb(self.mail.receiver[e], z, b.data + at + 8, b.size - at - 8)
            self.absorbed[e] += 1
        if at:
            memmove(b.data, b.data + at, b.size - at)
            b.size -= at
        return 0

    cdef int64_t on_stage(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        """Take note of the stage of an in-neighbour, and of the extremes that it knows.

        Of the next call only the stage counts: extremes come in the second D stages of a vote, which nobody enters
        before all nodes are in the first.
        """
        cdef Py_ssize_t e = h.edge, i = self.mail.receiver[e]
        cdef bint early = self.is_early(h), news = h.call == self.mail.call and h.count > self.in_stage[e]
        cdef int64_t read = self.length_of_extremes(payload, size) if h.kind == EXTREMES else 0
        if not self.rules.votes:
            return broken()
        if early:
            self.early_stage[e] = max(self.early_stage[e], <int64_t> h.count)
        elif news:
            self.in_stage[e] = h.count
            if h.kind == EXTREMES:
                self.rules.extremes.widen(i, payload, read)
            elif h.kind == APART:
                self.rules.extremes.apart[i] = True
        if self.mail.unreliable and not early:
            self.mail.acknowledge(e, STAGE_HEARD, h)
        return read

    cdef int64_t length(self, const frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef int widest = 0
        cdef int64_t packed = packed_length(payload, size, self.rules.d, &widest)
        return packed if packed >= 0 else broken()

    cdef int64_t length_of_extremes(self, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef int64_t read = extremes_length(payload, size, self.rules.extremes.width)
        return read if read >= 0 else broken()
