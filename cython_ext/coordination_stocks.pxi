# Sums that go towards one author when they are there: nothing waits for a certain node.

cdef extern from "packed.h" nogil:
    int put_number(uint64_t, uint8_t*)
    int get_number(const uint8_t*, int64_t, uint64_t*)
    enum: NUMBER_MOST

cdef enum:  # what a node asks an in-neighbour for
    NO_RESULTS, ALL_RESULTS

# numbers before the vector of a frame
cdef enum:
    STOCK_NUMBERS = 2, RESULT_NUMBERS = 4


ctypedef struct account:  # of a node
    int64_t known  # results that it has taken, counted from call 0; -1: it has not begun
    int64_t age, ages, count  # of what it knows; the sum of those in its stock, and how many nodes they are of
    int64_t ballot, heard  # which author it follows, and the number of the last word of that
    int64_t hops, way  # 1 + links to the author (0: it knows of none), and the first of them (-1: none)
    int64_t feeder  # the link in that results come by; -1: none yet
    int64_t need, came, expected  # in-neighbours that sent stocks in the last call, and in this; nodes to wait for
    bint placed, sent, fresh, complete, written, new
    double began_at, counting_since, came_at, due, usual, swing  # s: the call, the ballot or it, the last stock, ...
    double quiet, patient, turned_at, asked_at, told_at, complete_at
    double mute_from, mute_until

ctypedef struct lane:  # of a link out
    bint feeds  # results are wanted there
    int64_t fed, carries  # the next result for it, and 1 + the last one that was sent
    uint32_t number  # of the frame with that
    double waits_since, avoided_until  # s: since when a frame is not heard; until when stocks come from there


@cython.no_gc
cdef class Stocks(Mail):
    """What the nodes of a ledger hold: integers that add up on their way to the author, call after call.

    Whatever comes is held until it is sent on or the call ends. What a node holds then, and what comes later, it gives
    back. Who the author is, and what the results are, ``Ledger`` says.

    Parameters
    ----------
    wiring : ``mpiqopt.coordination.wiring.Wiring``
    d : length of the vectors
    coder : what packs them, as in ``Rules``
    quorum : nodes, more than n/2
    span : every so many calls the author waits for all that answered the last time it did so
    patience : s
    unreliable : True if frames may be lost, repeated or overtake each other

    Attributes
    ----------
    tree : the first author, and the ways there and back
    packer : packs vectors
    accounts, lanes : of the nodes here, and of links out
    stock, residue : int64 and float64 (hosted, d): what a node holds, and, in units of 1, what came after its call
    call, base, steps : the call that has begun, or begins next (-1: the first); the first one; what integers of each
        call are multiples of
    early : stocks of later calls, with their link, call and weight
    results : by call, what was taken: the ballot in which it was said, that of the result before, ages, packed m
    came_by : of links in, 1 if a stock came in this call
    work, packed : int64 (d,) and bytes, for a moment
    """

    cdef readonly Py_ssize_t d
    cdef readonly dict results
    cdef FoundTree tree
    cdef Packer packer
    cdef bint begun
    cdef int64_t quorum, span, call, base
    cdef double patience
    cdef list early, steps
    cdef account* accounts
    cdef lane* lanes
    cdef uint8_t* came_by
    cdef integers stock, work
    cdef double* residue
    cdef uint8_t* packed

    def __cinit__(self, wiring, Py_ssize_t d, int coder, int64_t quorum, int64_t span, double patience,
                  bint unreliable=False):
        cdef Py_ssize_t i, e
        self.links = self.mail = MailLinks(wiring, unreliable)
        self.tree = FoundTree(wiring)
        self.tree.connect(self.mail)
        if not self.mail.nodes < 2 * quorum <= 2 * self.mail.nodes:
            raise ValueError(f"quorum: want more than half of {self.mail.nodes} nodes, got {quorum}")
        self.d, self.quorum, self.span, self.patience = d, quorum, span, patience
        self.packer = self.mail.packer = Packer(coder, self.mail.out_edges, d)
        self.results, self.early, self.steps, self.call = {}, [], [], -1
        owner, hosted = self.mail.arrays, self.mail.hosted
        self.accounts = <account*> zeros(owner, hosted, sizeof(account))
        self.lanes = <lane*> zeros(owner, self.mail.out_edges, sizeof(lane))
        self.came_by = <uint8_t*> zeros(owner, self.mail.in_edges, 1)
        self.loaded = <uint8_t*> zeros(owner, self.mail.out_edges, 1)
        self.stock, self.work = <int64_t*> zeros(owner, hosted * d, 8), <int64_t*> zeros(owner, d, 8)
        self.residue = <double*> zeros(owner, hosted * d, 8)
        self.packed = <uint8_t*> zeros(owner, packed_capacity(d) + RESULT_NUMBERS * NUMBER_MOST, 1)
        for i in range(hosted):
            self.accounts[i].known = self.accounts[i].feeder = self.accounts[i].way = -1
            self.accounts[i].expected, self.accounts[i].patient = self.mail.nodes, patience
        for e in range(self.mail.out_edges):
            self.lanes[e].fed = -1

    def silence(self, Py_ssize_t i, double begin, double end):
        """Node i neither acts nor counts between these times (s), on the clock of ``advance``."""
        if not 0 <= i < self.mail.hosted:
            raise IndexError(f"node {i} of {self.mail.hosted}")
        self.accounts[i].mute_from, self.accounts[i].mute_until = begin, end

    def begin(self, int64_t call, cnp.ndarray values, double step, cnp.ndarray ages, double now):
        """Start call number ``call``, one more than the last, with the integers of the nodes, int64 (hosted, d).

        step: what they are multiples of; ages: int64 (hosted,), how old what the nodes know is, in calls; now: s, as of
        ``advance``.
        """
        cdef int64_t* q = <int64_t*> pointer(values, cnp.NPY_INT64, self.mail.hosted * self.d, "values")
        cdef int64_t* old = <int64_t*> pointer(ages, cnp.NPY_INT64, self.mail.hosted, "ages")
        cdef Py_ssize_t i, j
        self.mail.now = now
        if self.call < 0:
            self.base = self.call = call
            self.take_early()
        if call != self.call or self.begun:
            raise ValueError(f"call: want {self.call}, got {call}")
        self.steps.append(step)
        self.begun = True
        for i in range(self.mail.hosted):
            if self.accounts[i].known < 0:
                self.start_at(i, call)
            for j in range(self.d):
                self.stock[i * self.d + j] += q[i * self.d + j]
            self.accounts[i].age = old[i]
            self.accounts[i].began_at = self.accounts[i].counting_since = self.mail.now
            self.contribute(i)

    @property
    def called(self):
        """True if something of a call that has not begun here has come."""
        cdef Py_ssize_t i
        if self.begun or self.early:
            return bool(self.early)
        return any(self.accounts[i].fresh or self.accounts[i].known > self.call for i in range(self.mail.hosted))

    @property
    def finished(self):
        """True if all nodes here that are not silent know the result of the call, and one does."""
        cdef Py_ssize_t i
        return self.call in self.results and all(
            self.accounts[i].known > self.call or self.is_mute(i) for i in range(self.mail.hosted))

    def close_call(self, cnp.ndarray values, cnp.ndarray hat):
        """End a call that is ``finished``: hat_i += step (q_i - what node i holds), which it then holds no more.

        values: int64 (hosted, d), the q_i; hat: float64 (hosted, d), changed. Returns m, a new float64 (d,), and the
        mean age of what nodes know: an absent node counts as ``span`` calls old.
        """
        cdef int64_t* q = <int64_t*> pointer(values, cnp.NPY_INT64, self.mail.hosted * self.d, "values")
        cdef double* given = rows_of(hat, self.mail.hosted * self.d)
        cdef double step = self.steps[self.call - self.base]
        cdef Py_ssize_t i, at
        for at in range(self.mail.hosted * self.d):
            given[at] += step * <double> (q[at] - self.stock[at])
            self.stock[at] = 0
        origin, previous, ages, vector = self.results[self.call]
        self.unpack(vector)
        m = np.empty(self.d)
        cdef double* mean = <double*> cnp.PyArray_DATA(m)
        for at in range(self.d):
            mean[at] = <double> self.work[at]
        for i in range(self.mail.hosted):
            self.end_call(i)
        self.call += 1
        self.begun = False
        self.take_early()
        self.give_back(hat)
        return m, ages / self.mail.nodes

    def give_back(self, cnp.ndarray hat):
        """Subtract from hat, float64 (hosted, d), what came too late for its call, and is held here no more."""
        cdef double* given = rows_of(hat, self.mail.hosted * self.d)
        cdef Py_ssize_t at
        for at in range(self.mail.hosted * self.d):
            given[at] -= self.residue[at]
            self.residue[at] = 0

    def forget(self):
        """Forget all results but the last: nobody will ask for them, as nothing is on its way."""
        for k in [k for k in self.results if k < self.call - 1]:
            del self.results[k]

    # --- calls

    cdef int start_at(self, Py_ssize_t i, int64_t call) except -1:
        """Node i takes part from this call on."""
        cdef Py_ssize_t e
        self.accounts[i].known = call
        for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
            if self.lanes[e].fed < 0:
                self.lanes[e].fed = call
        return 0

    cdef void contribute(self, Py_ssize_t i) noexcept nogil:
        """Count node i among those whose integers are in its stock."""
        cdef account* a = &self.accounts[i]
        if self.begun and a.known == self.call:
            a.count += 1
            a.ages += a.age
            self.refresh(a)

    cdef void refresh(self, account* a) noexcept nogil:
        """A node holds something new, which is to go after some time at the latest."""
        if not a.fresh:
            a.fresh, a.due = True, self.mail.now + self.hold(a)

    cdef inline double hold(self, account* a) noexcept nogil:
        """Return how long a node waits for its in-neighbours (s)."""
        return min(a.usual + 4 * a.swing + GRACE, self.patience / 4) if a.usual > 0 else self.patience / 8

    cdef int end_call(self, Py_ssize_t i) except -1 nogil:
        """Node i remembers who came in this call and how long that took."""
        cdef account* a = &self.accounts[i]
        cdef double took = max(a.came_at - a.began_at, 1e-6)
        cdef Py_ssize_t e
        if a.came:
            a.swing = a.swing + (fabs(took - a.usual) - a.swing) / 4 if a.usual > 0 else took / 2
            a.usual = a.usual + (took - a.usual) / 8 if a.usual > 0 else took
        a.need = a.came
        a.count = a.ages = a.came = 0
        a.sent = a.fresh = a.complete = False
        for e in range(self.mail.in_starts[i], self.mail.in_starts[i + 1]):
            self.came_by[e] = False
        return 0

    cdef int take_early(self) except -1:
        """Take in the stocks of the call that begins."""
        early, self.early = self.early, []
        for e, call, z, stock in early:
            self.take_stock(e, call, z, stock, len(stock))

    cdef inline bint is_mute(self, Py_ssize_t i) noexcept nogil:
        return self.accounts[i].mute_from <= self.mail.now < self.accounts[i].mute_until

    # --- stocks

    cdef int send_up(self, Py_ssize_t i) except -1 nogil:
        """Send the stock of node i towards the author, when it is time; True if it went."""
        cdef account* a = &self.accounts[i]
        cdef Py_ssize_t e
        cdef int64_t at
        if not a.fresh or ((a.sent or a.came < a.need) and self.mail.now < a.due):
            return False
        e = self.next_hop(i)
        if e < 0 or not self.mail.is_free(e):
            return False
        at = put_number(<uint64_t> a.ballot, self.packed)
        at += put_number(<uint64_t> a.ages, self.packed + at)
        at += self.packer.pack(self.stock + i * self.d, self.packed + at)
        self.dispatch(i, e, self.call, <uint64_t> (a.count + 1), at)
        memset(self.stock + i * self.d, 0, 8 * self.d)
        a.count = a.ages = 0
        a.fresh, a.sent = False, True
        return True

    cdef int dispatch(self, Py_ssize_t i, Py_ssize_t e, int64_t call, uint64_t z, int64_t size) except -1 nogil:
        """Node i sends what is packed on link e."""
        if not self.mail.busy[e]:
            self.lanes[e].waits_since = self.mail.now
        self.mail.call = <uint32_t> call
        self.mail.count(i, 1)
        return self.mail.send(i, e, z, self.packed, size)

    cdef Py_ssize_t next_hop(self, Py_ssize_t i) noexcept nogil:
        """Return the link for stocks of node i: its way, or else that to the neighbour nearest the author; -1: none."""
        cdef Py_ssize_t p, e, best = -1
        cdef int64_t hops, fewest = 0
        if self.accounts[i].way >= 0 and self.is_usable(self.accounts[i].way):
            return self.accounts[i].way
        for p in range(self.tree.starts[i], self.tree.starts[i + 1]):
            e, hops = self.tree.link_out[p], self.tree.told_up[p] or self.mail.nodes
            if e >= 0 and self.is_usable(e) and (best < 0 or hops < fewest):
                best, fewest = e, hops
        return best

    cdef inline bint is_usable(self, Py_ssize_t e) noexcept nogil:
        """True unless the node at the other end of link e says nothing, or sends its own stocks here."""
        return self.mail.now >= self.lanes[e].avoided_until and not (
            self.mail.busy[e] and self.mail.now - self.lanes[e].waits_since > self.patience / 4)

    cdef int take_stock(self, Py_ssize_t e, int64_t call, uint64_t z, const uint8_t* payload,
                        int64_t size) except -1 with gil:
        """Take in a stock that came by link e."""
        cdef Py_ssize_t i = self.mail.receiver[e], p = self.tree.by_link_in[e], at, out = self.tree.link_out[p]
        cdef account* a = &self.accounts[i]
        cdef uint64_t[STOCK_NUMBERS] numbers
        if self.call < 0 or call > self.call:
            self.early.append((e, call, z, payload[:size]))
            if 0 <= a.known < call:
                self.ask(i, e, ALL_RESULTS)
            return 0
        at = self.read_numbers(payload, size, numbers, STOCK_NUMBERS)
        if call < self.call:
            self.keep(i, call, payload[at:size], 1)
            return 0
        kernels.add_packed(payload + at, size - at, self.d, self.stock + i * self.d, False)
        if <int64_t> numbers[0] > a.ballot:
            self.join(i, numbers[0], p)
        if <int64_t> numbers[0] < a.ballot:
            self.tell(i, p)
        else:
            a.count += z - 1
            a.ages += numbers[1]
        if not self.came_by[e]:
            self.came_by[e] = True
            a.came += 1
            a.came_at = self.mail.now
        if out >= 0 and out == a.way:
            self.lanes[out].avoided_until = self.mail.now + self.patience / 4
        self.refresh(a)
        return 0

    cdef int keep(self, Py_ssize_t i, int64_t call, vector, int64_t times) except -1:
        """Node i holds a packed vector of a call that is over, so many times, until it gives it back."""
        cdef double step
        cdef Py_ssize_t j
        if call < self.base:
            broken()
        step = times * <double> self.steps[call - self.base]
        self.unpack(vector)
        for j in range(self.d):
            self.residue[i * self.d + j] += step * <double> self.work[j]
        return 0

    cdef int unpack(self, vector) except -1:
        """Write a packed vector into ``work``."""
        cdef const uint8_t* data = vector
        memset(self.work, 0, 8 * self.d)
        kernels.add_packed(data, len(vector), self.d, self.work, False)
        return 0

    cdef int64_t read_numbers(self, const uint8_t* payload, int64_t size, uint64_t* numbers, int count) except -1 nogil:
        """Read what is before the vector of a frame; bytes read."""
        cdef int64_t at = 0, read
        cdef int k
        for k in range(count):
            read = get_number(payload + at, size - at, &numbers[k])
            if read < 0 or numbers[k] >> 62:
                broken()
            at += read
        return at

    # --- of the ledger

    cdef int join(self, Py_ssize_t i, int64_t ballot, Py_ssize_t p) except -1 nogil:
        """Node i joins a ballot of which it heard of neighbour p; -1: its own."""
        return broken()

    cdef int tell(self, Py_ssize_t i, Py_ssize_t p) except -1 nogil:
        """Node i tells neighbour p what it knows of the author."""
        return broken()

    cdef int ask(self, Py_ssize_t i, Py_ssize_t e, uint32_t what) except -1 nogil:
        """Node i asks the node at the other end of link e, which leads to it, for all results from the next on."""
        return broken()
