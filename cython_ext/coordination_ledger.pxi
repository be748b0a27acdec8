# Results that one author says, and all tell on: who that is when nodes fall silent.

@cython.final
@cython.no_gc
cdef class Ledger(Stocks):
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

    Attributes
    ----------
    pending : as ``results``, by hosted author, of what it said and no other node, as far as it knows, has taken

    References
    ----------
    Ours. Ballots: Lamport, The part-time parliament, 1998.
    """

    cdef readonly dict pending

    def __cinit__(self, *_):
        self.pending = {}

    @property
    def ballots(self):
        """The ballot of each node here, int64 (hosted,)."""
        cdef Py_ssize_t i
        return np.array([self.accounts[i].ballot for i in range(self.mail.hosted)], np.int64)

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
        size = self.packer.pack(self.work, self.packed)
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
        cdef lane* way = &self.lanes[e]
        cdef int64_t call = way.fed, at = 0
        record = self.pending[i] if call == self.accounts[i].known else self.results.get(call)
        if record is None:
            raise ArithmeticError(f"node {self.mail.first + i} was asked for the result of call {call + 1}: forgotten")
        origin, previous, ages, vector = record
        for number in (self.accounts[i].ballot, origin, previous, ages):
            at += put_number(number, self.packed + at)
        memcpy(self.packed + at, <const uint8_t*> vector, len(vector))
        self.dispatch(i, e, call, 0, at + len(vector))
        way.fed, way.carries, way.number = call + 1, call + 1, self.mail.sent[e]
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
        cdef lane* way = &self.lanes[h.edge]
        way.feeds = h.child == ALL_RESULTS
        if way.feeds and self.accounts[self.mail.sender[h.edge]].known >= 0:
            way.fed = h.down
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
        cdef lane* way = &self.lanes[h.edge]
        cdef Py_ssize_t i = self.mail.sender[h.edge]
        way.waits_since = self.mail.now
        if self.accounts[i].written and way.carries == self.accounts[i].known + 1 and h.count == way.number:
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
