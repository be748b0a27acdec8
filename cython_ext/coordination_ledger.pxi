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
    double waits_since, avoided_until  # s: since when a frame is not acknowledged; not for stocks, which come from there


@cython.final
@cython.no_gc
cdef class Ledger(Mail):
    """A sum that one node, the author, writes off call after call, whoever is late or silent.

    In call k node i adds its integers to what it holds, its stock s_i, and a node other than the author sends its stock
    to the out-neighbour nearest the author, when those that sent it theirs in the last call have done so, or after some
    time. With stocks go how many nodes have added theirs to them in this call, and the ages of what these know. When
    ``quorum`` nodes have, the author says

        m = round(s/n),    s <- s - n m,

    and all nodes tell it on, in order. What a node still holds when it hears m is its remainder (``close``), and so is
    a stock of a call that is over when it comes. So the sum of all integers is n times the sum of all m, plus what is
    held or on its way, on any route and with any delay.

    **Silence.** A stock whose next hop does not acknowledge frames goes to another out-neighbour. A node that hears no
    results asks all in-neighbours for them, and keeps the first that has some. One that hears nothing of the author
    for ``patience`` seconds of listening becomes the author of a new ballot, higher than all that it knows of: ballot
    b is that of node b mod n, and the first is that of the tree that was found. Who hears of a higher ballot joins it,
    and accepts no results of lower ones any more (as in Paxos). The author of a new ballot waits for all nodes, or half
    its patience, before it says anything; a node of the ballot that knows a later result brings it on. An author goes
    on itself when another node has taken its result, else it forgets it if a later ballot says another.

    So all nodes apply the same results in the same order, as long as no node that has taken a result which no other
    reachable node knows falls silent; one that finds out that others have applied another result raises
    ``ArithmeticError``. Less than n/2 silent nodes at a time hold nobody up; more do, and then all wait for them.

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
    accounts, lanes : of the nodes here, and of links out
    stock, residue : int64 and float64 (hosted, d): what a node holds, and what came too late for its call, in units of 1
    call, base, steps : the call that has begun, or begins next (-1: the first); the first one; what integers of each
        call are multiples of
    early : stocks of later calls, with their link, call and weight
    results : by call, what was taken: the ballot in which it was said, that of the result before, ages, packed m
    pending : the same, by hosted author, of what it said and no other node, as far as it knows, has taken
    came_by : of links in, 1 if a stock came in this call
    work, packed : int64 (d,) and bytes, for a moment

    References
    ----------
    Ours. Ballots: Lamport, The part-time parliament, 1998.
    """

    cdef readonly Py_ssize_t d
    cdef readonly dict results, pending
    cdef FoundTree tree
    cdef int coder
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
        self.d, self.coder, self.quorum, self.span, self.patience = d, known_coder(coder), quorum, span, patience
        self.results, self.pending, self.early, self.steps, self.call = {}, {}, [], [], -1
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
        """True if all nodes here that are not silent know the result of the call."""
        cdef Py_ssize_t i
        return all(self.accounts[i].known > self.call or self.is_mute(i) for i in range(self.mail.hosted))

    @property
    def ballots(self):
        """The ballot of each node here, int64 (hosted,)."""
        cdef Py_ssize_t i
        return np.array([self.accounts[i].ballot for i in range(self.mail.hosted)], np.int64)

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

    cdef int act(self, Py_ssize_t i) except -1 nogil:
        cdef account* a = &self.accounts[i]
        cdef int moved
        if not self.tree.settled(i):
            moved = self.tree.act(i)
            if not self.tree.over(i):
                return moved
        if not a.placed:
            self.place(i)
        if self.is_mute(i):
            return False
        a.quiet += min(self.mail.now - a.turned_at, self.patience / 8)
        a.turned_at = self.mail.now
        moved = self.feed(i)
        if self.begun and a.known == self.call:
            moved |= self.write(i) if self.is_author(i) else self.send_up(i)
        if a.known >= 0:
            self.watch(i)
        return moved

    cdef void place(self, Py_ssize_t i) noexcept nogil:
        """Node i takes its place in the tree that was found."""
        cdef account* a = &self.accounts[i]
        cdef Py_ssize_t e
        a.placed, a.turned_at, a.quiet = True, self.mail.now, 0
        if a.ballot == 0:
            a.ballot, a.way, a.hops = self.tree.author[i], self.tree.ways_up[i], self.tree.hops_up[i]
            a.need = self.tree.child_counts[i]
            for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
                self.lanes[e].feeds = self.tree.ways_down[e]

    cdef inline bint is_author(self, Py_ssize_t i) noexcept nogil:
        return self.accounts[i].ballot % self.mail.nodes == self.mail.first + i

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
        at += kernels.pack_vector(self.stock + i * self.d, self.d, self.coder, self.packed + at)
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

    # --- results

    cdef int write(self, Py_ssize_t i) except -1 nogil:
        """Let the author say a result, when it is time; True if it did."""
        cdef account* a = &self.accounts[i]
        cdef double waited
        if a.written:
            return False
        if a.count < self.quorum:
            return self.count_again(i)
        if not a.complete:
            a.complete, a.complete_at = True, self.mail.now
        if (a.new or self.call % self.span == 0) and a.count < self.mail.nodes:
            waited = self.mail.now - a.complete_at
            if waited < self.patience / 2 and (a.count < a.expected or waited < self.hold(a)):
                return False
            a.expected = a.count
        self.write_off(i)
        return True

    cdef bint count_again(self, Py_ssize_t i) except -1 nogil:
        """Let the author begin a ballot, in which all count anew, if it has waited long: counts get lost on the way.

        They do with stocks that are on their way to a node that has fallen silent.
        """
        cdef account* a = &self.accounts[i]
        if self.mail.now - a.counting_since <= a.patient:
            return False
        a.patient *= 1.5
        self.join(i, a.ballot + self.mail.nodes, -1)
        return True

    cdef int write_off(self, Py_ssize_t i) except -1 with gil:
        """The author writes n m off its stock, m = round(stock/n), which is the result when another node takes it."""
        cdef account* a = &self.accounts[i]
        cdef int64_t n = self.mail.nodes, j, size
        cdef int64_t* s = self.stock + i * self.d
        self.withdraw(i, self.call, a.ballot)
        for j in range(self.d):
            self.work[j] = nearest_quotient(s[j], n)
            s[j] -= n * self.work[j]
        size = kernels.pack_vector(self.work, self.d, self.coder, self.packed)
        ages = a.ages + (n - a.count) * self.span
        a.patient = self.patience
        self.pending[i] = a.ballot, self.origin_before(self.call), ages, self.packed[:size]
        a.written, a.new, a.told_at = True, False, self.mail.now
        return 0

    cdef int64_t origin_before(self, int64_t call) except -1:
        """Return the ballot of the result before ``call``; 0 before the first."""
        return self.results[call - 1][0] if call - 1 in self.results else 0

    cdef int feed(self, Py_ssize_t i) except -1 nogil:
        """Send results of node i along links that want them; True if any went."""
        cdef account* a = &self.accounts[i]
        cdef int64_t end = a.known + a.written
        cdef Py_ssize_t e
        cdef int moved = False
        for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
            while self.lanes[e].feeds and 0 <= self.lanes[e].fed < end and self.mail.is_free(e):
                self.send_result(i, e)
                moved = True
        return moved

    cdef int send_result(self, Py_ssize_t i, Py_ssize_t e) except -1 with gil:
        """Node i sends the next result on link e."""
        cdef lane* l = &self.lanes[e]
        cdef int64_t call = l.fed, at = 0
        record = self.pending[i] if call == self.accounts[i].known else self.results.get(call)
        if record is None:
            raise ArithmeticError(f"node {self.mail.first + i} was asked for the result of call {call + 1}: forgotten")
        origin, previous, ages, vector = record
        for number in (self.accounts[i].ballot, origin, previous, ages):
            at += put_number(number, self.packed + at)
        memcpy(self.packed + at, <const uint8_t*> vector, len(vector))
        self.dispatch(i, e, call, 0, at + len(vector))
        l.fed, l.carries, l.number = call + 1, call + 1, self.mail.sent[e]
        self.accounts[i].told_at = self.mail.now
        return 0

    cdef int take_result(self, Py_ssize_t e, int64_t call, const uint8_t* payload, int64_t size) except -1 with gil:
        """Take in a result that came by link e."""
        cdef Py_ssize_t i = self.mail.receiver[e], at
        cdef account* a = &self.accounts[i]
        cdef uint64_t[RESULT_NUMBERS] numbers
        at = self.read_numbers(payload, size, numbers, RESULT_NUMBERS)
        if <int64_t> numbers[0] > a.ballot:
            self.join(i, numbers[0], self.tree.by_link_in[e])
        if a.known < 0:
            self.start_at(i, call)
        if call < a.known:
            self.require_same(i, call, numbers[1])
            if e != a.feeder:
                self.ask(i, e, NO_RESULTS)
        elif call > a.known:
            self.ask(i, e, ALL_RESULTS)
        else:
            self.require_same(i, call - 1, numbers[2])
            a.feeder = e
            self.learn(i, (numbers[1], numbers[2], numbers[3], payload[at:size]))
        return 0

    cdef int require_same(self, Py_ssize_t i, int64_t call, int64_t origin) except -1:
        """Raise ArithmeticError if the result of a call here is of another ballot."""
        if call in self.results and self.results[call][0] != origin:
            raise ArithmeticError(
                f"node {self.mail.first + i} has another result of call {call + 1} than others: an author fell silent "
                "together with the nodes that knew its last result"
            )
        return 0

    cdef int learn(self, Py_ssize_t i, record) except -1:
        """Node i takes the next result."""
        cdef account* a = &self.accounts[i]
        cdef int64_t call = a.known, j
        self.require_same(i, call, record[0])
        self.results[call] = record
        a.known += 1
        a.quiet = 0
        a.written = False
        self.withdraw(i, call, record[0])
        return 0

    cdef int withdraw(self, Py_ssize_t i, int64_t call, int64_t origin) except -1:
        """Node i puts back n m of what it said as an author, if that is not the result, which is of ballot origin."""
        cdef Py_ssize_t j
        said = self.pending.pop(i, None)
        if said is None or said[0] == origin:
            return 0
        if call < self.call:
            return self.keep(i, call, said[3], self.mail.nodes)
        self.unpack(said[3])
        for j in range(self.d):
            self.stock[i * self.d + j] += self.mail.nodes * self.work[j]
        return 0

    # --- silence

    cdef int watch(self, Py_ssize_t i) except -1 nogil:
        """Node i says a word as the author; or it asks for results, or wants to be the author, if it hears none."""
        cdef account* a = &self.accounts[i]
        cdef Py_ssize_t e
        if self.is_author(i):
            if self.mail.now - a.told_at > self.patience / 4:
                a.heard += 1
                self.tell_all(i, -1)
            return 0
        if a.hops == 0 and self.mail.now - a.told_at > self.patience / 8:
            self.tell_all(i, -1)
        if a.quiet > a.patient / 2 and self.mail.now - a.asked_at > self.patience / 4:
            a.asked_at = self.mail.now
            for e in range(self.mail.in_starts[i], self.mail.in_starts[i + 1]):
                self.ask(i, e, ALL_RESULTS)
        if a.quiet > a.patient * (1 + word(<uint32_t> a.ballot, <uint64_t> (self.mail.first + i)) * 2.0 ** -32):
            a.patient *= 1.5
            self.join(i, (a.ballot / self.mail.nodes + 1) * self.mail.nodes + self.mail.first + i, -1)
        return 0

    cdef int join(self, Py_ssize_t i, int64_t ballot, Py_ssize_t p) except -1 nogil:
        """Node i joins a ballot of which it heard of neighbour p; -1: its own."""
        cdef account* a = &self.accounts[i]
        cdef Py_ssize_t e
        a.ballot, a.heard, a.hops, a.way, a.feeder = ballot, 0, p < 0, -1, -1
        a.counting_since = self.mail.now
        a.quiet = a.need = a.count = a.ages = 0
        a.sent = a.complete = a.written = False
        a.new, a.expected = True, self.mail.nodes
        for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
            self.lanes[e].feeds, self.lanes[e].avoided_until = False, 0
            if self.mail.unreliable and self.lanes[e].carries and self.lanes[e].number == self.mail.sent[e]:
                self.mail.busy[e] = 0  # nobody takes a result of the old ballot any more
            self.lanes[e].carries = 0
        self.contribute(i)
        self.tell_all(i, -1)
        if p >= 0 and self.tree.link_in[p] >= 0:
            self.ask(i, self.tree.link_in[p], ALL_RESULTS)
        return 0

    cdef int tell_all(self, Py_ssize_t i, Py_ssize_t but) except -1 nogil:
        """Node i tells its neighbours, but for one, what it knows of the author."""
        cdef Py_ssize_t p
        self.accounts[i].told_at = self.mail.now
        for p in range(self.tree.starts[i], self.tree.starts[i + 1]):
            if p != but:
                self.tell(i, p)
        return 0

    cdef int tell(self, Py_ssize_t i, Py_ssize_t p) except -1 nogil:
        """Node i tells neighbour p what it knows of the author."""
        cdef account* a = &self.accounts[i]
        cdef frame_header h
        h.call, h.tries, h.z, h.child = 0, 0, 1, 0
        h.count, h.author, h.up = <uint32_t> a.ballot, <uint32_t> a.heard, <uint32_t> a.hops
        h.down = <uint32_t> max(a.known + a.written, 0)
        if self.tree.link_out[p] >= 0:
            h.kind = NEWS
            return self.mail.write(i, self.tree.link_out[p], &h, NULL, 0)
        h.kind = NEWS_BACK
        return self.mail.write_back(self.tree.link_in[p], &h)

    cdef int ask(self, Py_ssize_t i, Py_ssize_t e, uint32_t what) except -1 nogil:
        """Node i asks the node at the other end of link e, which leads to it, for all results from the next on."""
        cdef frame_header h
        h.call, h.tries, h.z, h.author, h.up = 0, 0, 1, 0, 0
        h.kind, h.count, h.child = ASK, <uint32_t> self.accounts[i].ballot, what
        h.down = <uint32_t> max(self.accounts[i].known, 0)
        return self.mail.write_back(e, &h)

    cdef int on_news(self, const frame_header* h) except -1 nogil:
        """Take in what a neighbour knows of the author."""
        cdef Py_ssize_t p = self.tree.by_link_in[h.edge] if h.kind == NEWS else self.tree.by_link_out[h.edge]
        cdef Py_ssize_t i = self.tree.owner[p]
        cdef account* a = &self.accounts[i]
        cdef bint news = False
        if not a.placed:
            return 0
        if h.count < a.ballot:
            return self.tell(i, p)
        if h.count > a.ballot:
            self.join(i, h.count, p)
        if h.author > a.heard and not self.is_author(i):
            a.patient = max(a.patient, 3 * a.quiet)
            a.heard, a.quiet, news = h.author, 0, True
        self.tree.told_up[p] = h.up
        if h.up and self.tree.link_out[p] >= 0 and (a.hops == 0 or h.up + 1 < a.hops):
            a.hops, a.way, news = h.up + 1, self.tree.link_out[p], True
        if news:
            self.tell_all(i, -1)
        elif h.up == 0 and a.hops:
            self.tell(i, p)
        if h.down > a.known >= 0 and self.tree.link_in[p] >= 0:
            self.ask(i, self.tree.link_in[p], ALL_RESULTS)
        return 0

    cdef int on_ask(self, const frame_header* h) except -1 nogil:
        """A neighbour wants results, or no more."""
        cdef lane* l = &self.lanes[h.edge]
        l.feeds = h.child == ALL_RESULTS
        if l.feeds and self.accounts[self.mail.sender[h.edge]].known >= 0:
            l.fed = h.down
        return 0

    # --- frames

    cdef int64_t on_frame(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef int64_t read
        if h.kind == FIND or h.kind == FOUND:
            return self.tree.hear(h)
        if h.kind == NEWS or h.kind == NEWS_BACK:
            return self.on_news(h)
        if h.kind == ASK:
            return self.on_ask(h)
        if h.kind == PIECES and h.z == 0 and self.rejects(h.edge, payload, size):
            read = self.length(h, payload, size)
            if not self.mail.unreliable and self.mail.is_new(h):
                self.mail.acknowledge(h.edge, PIECES_HEARD, h)
            return read
        if h.kind == PIECES_HEARD:
            self.on_heard(h)
        return Mail.on_frame(self, h, payload, size)

    cdef bint rejects(self, Py_ssize_t e, const uint8_t* payload, int64_t size) except -1 nogil:
        """True if a result is of a lower ballot than that of the node it came to, which says so."""
        cdef Py_ssize_t i = self.mail.receiver[e]
        cdef uint64_t ballot
        self.read_numbers(payload, size, &ballot, 1)
        if <int64_t> ballot >= self.accounts[i].ballot:
            return False
        self.tell(i, self.tree.by_link_in[e])
        return True

    cdef int on_heard(self, const frame_header* h) except -1 nogil:
        """A frame was acknowledged: if it had the result of an author here, that counts now."""
        cdef lane* l = &self.lanes[h.edge]
        cdef Py_ssize_t i = self.mail.sender[h.edge]
        l.waits_since = self.mail.now
        if self.accounts[i].written and l.carries == self.accounts[i].known + 1 and h.count == l.number:
            with gil:
                self.learn(i, self.pending[i])
        return 0

    cdef int on_pieces(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        if h.z:
            return self.take_stock(h.edge, h.call, h.z, payload, size)
        return self.take_result(h.edge, h.call, payload, size)

    cdef int64_t length(self, const frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef uint64_t[RESULT_NUMBERS] numbers
        cdef int widest = 0
        cdef int64_t at = self.read_numbers(payload, size, numbers, STOCK_NUMBERS if h.z else RESULT_NUMBERS)
        cdef int64_t packed = packed_length(payload + at, size - at, self.d, &widest)
        return at + packed if packed >= 0 else broken()

    cdef bint drained(self, Py_ssize_t i) noexcept nogil:
        cdef account* a = &self.accounts[i]
        cdef Py_ssize_t e
        if not self.tree.settled(i) or a.written or 0 <= a.known < self.call:
            return False
        for e in range(self.mail.out_starts[i], self.mail.out_starts[i + 1]):
            if self.lanes[e].feeds and 0 <= self.lanes[e].fed < a.known:
                return False
        return Mail.drained(self, i)
