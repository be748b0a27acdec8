# What coordinators do at a node: one class each. Delivery calls them by the methods of ``Rules``.

cdef enum:
    HASHED = 4  # values of which push-sum compares no hash

# so large may |y| of push-sum become, where long double has 64 bits of mantissa or no more than double
WEIGHTED_HEADROOM = 2.0**62 if LDBL_MANT_DIG >= 64 else 2.0**50
# so large may |y| become as int32
cdef int64_t largest_narrow = (1 << 31) - 1


@cython.no_gc
cdef class Rules:
    """What a coordinator does at the hosted nodes, whatever brings its frames.

    In a call every node begins (``start``) with a vector of integers, takes steps (``step``), in which it sends pieces,
    and takes in those that come (``absorb``). Either nodes vote from time to time (``votes``): each tells what it has
    (``look``), and the call is over when the extremes of that are close enough; or each knows by itself when it has the
    result (``done``). Pieces for a link that is not free wait (``loaded``) until delivery asks for them
    (``send_waiting``).

    A further coordinator derives from this class, or from ``IntegerRules``, and is handed out by
    ``mpiqopt.coordination.protocol.FrameProtocol.rules``.

    Attributes
    ----------
    d : length of the vectors
    steps : int64 (hosted,), steps of each node in this call
    links : where pieces are sent
    extremes : what nodes know in a vote; of width 0 if they do not vote
    tree : what nodes look for before the first call, or None
    votes : True if nodes find out together that they are done
    in_turn : True if all nodes take the same steps, each when those of its in-neighbours before it have come
    waits : True if a node has nothing to do until a frame comes, once a step had nothing to do
    bears_old : True if pieces of the last call may come in this one, and mean nothing
    settles : True if this call ends with ``settle`` instead of ``result``
    loaded : of links out, 1 if pieces wait until the link is free
    coder : what packs vectors: 0 tiles, 1 Golomb-Rice codes, 2 a range coder (``pack``), 3 what measurements favour, by
        mailboxes only; set before delivery has the rules. Nodes need not have the same: vectors say what packed them.
    packer : packs them, once there are links
    """

    cdef readonly Py_ssize_t d
    cdef readonly cnp.ndarray steps
    cdef Links links
    cdef Extremes extremes
    cdef FoundTree tree
    cdef list arrays
    cdef bint votes, in_turn, waits, bears_old, settles
    cdef int coder
    cdef readonly Packer packer
    cdef integers step_counts
    cdef uint8_t* loaded

    def __cinit__(self, Py_ssize_t d, *_):
        self.arrays, self.d, self.votes = [], d, True

    @property
    def coder(self):
        """What packs vectors: 0 tiles, 1 Golomb-Rice codes, 2 a range coder, 3 what measurements favour."""
        return self.coder

    @coder.setter
    def coder(self, coder):
        if self.links is not None:
            raise ValueError("coder: too late, these rules are in use")
        self.coder = known_choice(coder)

    cdef int connect(self, Links links) except -1:
        """Make arrays for the nodes of these links; delivery calls it once.

        Raises ValueError if these rules have links already: what they store is that of one network; or if measurements
        are to choose the coder where nothing is acknowledged.
        """
        if self.links is not None:
            raise ValueError("these rules are those of other links already")
        if self.coder == AUTO and not isinstance(links, MailLinks):
            raise ValueError("coder: only mailboxes measure what is best")
        self.links = links
        self.packer = Packer(self.coder, links.out_edges, self.d)
        if isinstance(links, MailLinks):
            (<MailLinks> links).packer = self.packer
        if self.tree is not None:
            self.tree.connect(links)
        self.steps = np.zeros(links.hosted, np.int64)
        self.step_counts = given(self.arrays, self.steps, links.hosted, "steps")
        self.loaded = <uint8_t*> zeros(self.arrays, links.out_edges, 1)
        self.extremes = self.make_extremes()
        self.extremes.packer = self.packer
        return 0

    cdef Extremes make_extremes(self):
        """Return what a vote compares: by default d values, which may be 1 apart."""
        return Extremes(self.links.hosted, self.d if self.votes else 0, 1)

    cdef int start(self, cnp.ndarray values) except -1:
        """Begin a call with the integers of the nodes, int64 (hosted, d); ``links.call`` is its number."""
        return 0

    cdef bint step(self, Py_ssize_t i) except -1 nogil:
        """Take a step at node i; False if there was nothing to do."""
        return False

    cdef int step_all(self) except -1 nogil:
        """Take a step at every node that has something to do, where all take steps together."""
        cdef Py_ssize_t i
        for i in range(self.links.hosted):
            self.step(i)
        return 0

    cdef int64_t absorb(self, Py_ssize_t i, uint64_t z, const uint8_t* payload, int64_t size) except -1 nogil:
        """Take in pieces of weight z at node i; bytes read of ``size``.

        Raises ValueError if the payload is cut off, or a weight cannot be: it would be used to index arrays.
        """
        return broken()

    @cython.final
    cdef int64_t hear(self, const frame_header* h) except -1 nogil:
        """Take in a frame about the tree that nodes look for; bytes of its payload: none."""
        return broken() if self.tree is None else self.tree.hear(h)

    cdef int look(self, Py_ssize_t i) except -1 nogil:
        """Widen the extremes that node i knows of by what it has."""
        return 0

    cdef bint done(self, Py_ssize_t i) except -1 nogil:
        """True if node i has the result; where nodes do not vote."""
        return False

    cdef int send_waiting(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        """Send what waits on link e."""
        return 0

    @cython.final
    cdef inline bint can_send(self, Py_ssize_t e) noexcept nogil:
        """True if pieces may leave on link e now, without overtaking others."""
        return self.links.is_free(e) and not self.loaded[e]

    cdef object result(self):
        """Return floor(S/n) and ceil(S/n), S the sum over all nodes: two new int64 (d,), when the call is over."""
        low, high = np.empty(self.d, np.int64), np.empty(self.d, np.int64)
        memcpy(cnp.PyArray_DATA(low), self.extremes.low, 8 * self.d)
        memcpy(cnp.PyArray_DATA(high), self.extremes.high, 8 * self.d)
        return low, high

    cdef object settle(self, cnp.ndarray values, cnp.ndarray hat, double step):
        """Leave what nodes still have of their integers with them, and return what all nodes have found.

        With q_i the integers, R_i what node i has of them at the end, and m a vector that all nodes know,

            hat_i += step (q_i - R_i),    sum_i (q_i - R_i) = n m,

        exactly as long as numbers are below 2^53.

        Parameters
        ----------
        values : int64 (hosted, d), the q_i
        hat : float64 (hosted, d), changed
        step : a power of two

        Returns
        -------
        m, a new float64 (d,)
        """
        raise NotImplementedError("these rules do not say what nodes keep")

    cdef object mass(self):
        """Return what nodes have, of which tests know that it stays the same."""
        raise NotImplementedError("these rules do not say what nodes have")

    cdef bint is_narrow(self):
        """True if the values of nodes are int32."""
        return False


cdef double* rows_of(cnp.ndarray hat, Py_ssize_t size) except? NULL:
    """Return the numbers of float64 (hosted, d). Raises TypeError or ValueError for others."""
    return <double*> target(hat, cnp.NPY_FLOAT64, size, "hat")


@cython.no_gc
cdef class IntegerRules(Rules):
    """Rules of nodes that have a vector y of integers and a weight z, which add up over the network.

    y is int32 as long as |y| fits (``narrow``), which is nearly twice as quick, and becomes int64 for all nodes of the
    process when it does not; nobody sees which. The sums of y and z over all nodes and links stay what they are.

    Attributes
    ----------
    unit : what y begins with for each 1 of an integer, and by default z
    total : the sum of all z in the network
    y, z : int32 or int64 (hosted, d), int64 (hosted,)
    may_be_narrow, narrow : True if y may ever be int32, and if it is
    reach : int64 (hosted,), a bound of |y| of each node, if narrow
    vectors, weight : of links out, y and z that wait: int64 (links, d), on unreliable links only, and (links,)
    packed : for the pieces of a step, a packed vector for each link of a node
    """

    cdef int64_t unit, total
    cdef bint may_be_narrow, narrow
    cdef void* y
    cdef integers z, reach, weight, vectors
    cdef uint8_t* packed

    cdef int connect(self, Links links) except -1:
        Rules.connect(self, links)
        cdef bint wait = isinstance(links, MailLinks) and (<MailLinks> links).unreliable
        self.y = zeros(self.arrays, links.hosted * self.d, 8)
        self.z = <int64_t*> zeros(self.arrays, links.hosted, 8)
        self.reach = <int64_t*> zeros(self.arrays, links.hosted, 8)
        self.weight = <int64_t*> zeros(self.arrays, links.out_edges, 8)
        self.vectors = <int64_t*> zeros(self.arrays, links.out_edges * self.d if wait else 0, 8)
        self.packed = <uint8_t*> zeros(self.arrays, links.widest * packed_capacity(self.d + 1), 1)
        return 0

    cdef int start(self, cnp.ndarray values) except -1:
        cdef Py_ssize_t hosted = self.links.hosted, i
        cdef int64_t* own = <int64_t*> pointer(values, cnp.NPY_INT64, hosted * self.d, "values")
        cdef int64_t reach = kernels.reach_of(own, False, hosted * self.d)
        # a quarter, so that it lasts for some steps
        self.narrow = self.may_be_narrow and reach <= largest_narrow / 4 / self.unit
        kernels.store_times(self.y, self.narrow, own, hosted * self.d, self.unit)
        for i in range(hosted):
            self.z[i], self.reach[i], self.step_counts[i] = self.unit, reach * self.unit, 0
        return 0

    @cython.final
    cdef void* values(self, Py_ssize_t i) noexcept nogil:
        """Return the address of y at node i."""
        return value_address(self.y, self.narrow, i * self.d)

    @cython.final
    cdef void keep_headroom(self, Py_ssize_t i, int64_t times, int64_t more) noexcept nogil:
        """Make all int64 unless ``times`` |y| + ``more`` of node i fits into int32.

        The bound ``reach`` grows with all that comes; when it is too large it is measured again, and half of int32 is
        kept free so that this is seldom.
        """
        if not self.narrow:
            return
        if times * self.reach[i] + more > largest_narrow:
            self.reach[i] = kernels.reach_of(self.values(i), True, self.d)
            if times * self.reach[i] + more > largest_narrow / 2:
                self.lengthen()

    cdef void lengthen(self) noexcept nogil:
        """Make int64 of what is int32."""
        self.narrow = False
        kernels.lengthen(self.y, self.links.hosted * self.d)

    cdef int64_t absorb(self, Py_ssize_t i, uint64_t z, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef int widest = 0
        cdef int64_t read = packed_length(payload, size, self.d, &widest)
        if read < 0 or z > <uint64_t> (self.total - self.z[i]):
            return broken()
        self.keep_headroom(i, 1, largest_of(widest))
        if kernels.add_packed(payload, size, self.d, self.values(i), self.narrow) < 0:
            return broken()
        if self.narrow:
            self.reach[i] += largest_of(widest)
        self.z[i] += <int64_t> z
        return read

    @cython.final
    cdef int64_t* waiting(self, Py_ssize_t e) noexcept nogil:
        """Return the address of the values that wait on link e."""
        return self.vectors + e * self.d

    @cython.final
    cdef bint load(self, Py_ssize_t e, int64_t z) noexcept nogil:
        """Let pieces of weight z wait on link e; True if none did before."""
        cdef bint fresh = not self.loaded[e]
        self.weight[e] = z if fresh else self.weight[e] + z
        self.loaded[e] = True
        return fresh

    cdef int send_waiting(self, Py_ssize_t i, Py_ssize_t e) except -1 nogil:
        cdef int64_t size = self.packer.pack(self.waiting(e), self.packed)
        self.loaded[e] = False
        return self.links.send(i, e, <uint64_t> self.weight[e], self.packed, size)

    cdef object mass(self):
        """Return the sums of y, int64 (d,), and of z over the hosted nodes; for tests."""
        y, z = np.zeros(self.d, np.int64), 0
        for i in range(self.links.hosted):
            z += self.z[i]
            for j in range(self.d):
                y[j] += value_at(self.y, self.narrow, i * self.d + j)
        return y, z

    cdef bint is_narrow(self):
        return self.narrow


@cython.no_gc
cdef class SplitRules(IntegerRules):
    """FTQC: y_i = 2 v_i and z_i = 2, and steps in which all pieces of a node but one go to random neighbours.

    A step of node i with z_i > 1, until z_i = 1 but for the pieces that it keeps:

        c = floor(y_i/z_i),    (y_i, z_i) <- (y_i - c, z_i - 1),    (c, 1) to an out-neighbour or to the node itself,

    drawn uniformly from a stream keyed by (seed, node, call). Pieces that arrive are added. Done when the largest
    ceil(y_i/z_i) is at most 1 above the smallest floor(y_i/z_i), which is the result. With z_i = 1 everywhere nothing
    would ever move: hence the 2.

    Parameters
    ----------
    d : length of the vectors
    seed : of the routes

    Attributes
    ----------
    keys, drawn : of each node's stream, and how many numbers were drawn from it in this call
    routes : where each piece of a step goes, a position in ``destinations``
    destinations, places : for each link of a node that gets pieces, where they are added up, and which link it is
    shares : of each link of a node, how many pieces it gets, and then its position in ``destinations``
    work : for kernels, a tile for each destination
    whole : for coders, which see vectors as a whole, those for each destination: int64 (links of a node, d)

    References
    ----------
    Bastianello, Rikos, Johansson, arXiv 2307.06620.
    """

    cdef uint64_t seed
    cdef uint64_t* keys
    cdef uint32_t* drawn
    cdef int32_t* routes
    cdef int32_t* places
    cdef int32_t* shares
    cdef void* work
    cdef integers whole
    cdef destination* destinations

    def __cinit__(self, Py_ssize_t d, uint64_t seed, *_):
        self.seed, self.unit, self.may_be_narrow = seed, 2, True

    cdef int connect(self, Links links) except -1:
        IntegerRules.connect(self, links)
        self.total = 2 * links.nodes
        self.keys = <uint64_t*> zeros(self.arrays, links.hosted, 8)
        self.drawn = <uint32_t*> zeros(self.arrays, links.hosted, 4)
        self.routes = <int32_t*> zeros(self.arrays, 2 * links.nodes, 4)
        self.places = <int32_t*> zeros(self.arrays, links.widest, 4)
        self.shares = <int32_t*> zeros(self.arrays, links.widest, 4)
        self.destinations = <destination*> zeros(self.arrays, links.widest, sizeof(destination))
        self.work = zeros(self.arrays, links.widest * TILE, 8)
        self.whole = <int64_t*> zeros(self.arrays, links.widest * self.d if self.coder != TILES else 0, 8)
        return 0

    cdef int start(self, cnp.ndarray values) except -1:
        cdef Py_ssize_t i
        IntegerRules.start(self, values)
        for i in range(self.links.hosted):
            self.drawn[i] = 0
            self.keys[i] = block_key(block_key(self.seed, <uint64_t> (self.links.first + i)), self.links.call)
        return 0

    cdef bint step(self, Py_ssize_t i) except -1 nogil:
        """Split off all pieces of a node but one, and send those that leave.

        The pieces that the node keeps are split off last and come back at once: they stay where they are.
        """
        cdef Py_ssize_t first = self.links.out_starts[i], e
        cdef int64_t z = self.z[i], pieces
        cdef destination* to
        cdef int count, t
        if z < 2:
            return False
        self.step_counts[i] += 1
        pieces = self.draw_routes(i, z)
        count = self.address(i, pieces)
        kernels.split_pieces(
            self.values(i), self.narrow, self.d, z, pieces, self.routes, self.destinations, count, self.work
        )
        for t in range(count):
            to = &self.destinations[t]
            e = first + self.places[t]
            if self.loaded[e]:
                continue
            if to.packed == NULL:
                to.packed, to.size = self.packed, self.packer.pack(to.sum, self.packed)
            self.links.send(i, e, <uint64_t> self.weight[e], to.packed, to.size)
        self.z[i] = z - pieces
        self.links.count(i, pieces)
        return True

    cdef inline int64_t draw_routes(self, Py_ssize_t i, int64_t z) noexcept nogil:
        """Draw the link of each of z - 1 pieces that leaves; how many do."""
        cdef Py_ssize_t degree = self.links.out_starts[i + 1] - self.links.out_starts[i], to
        cdef int64_t pieces = 0
        for to in range(degree):
            self.shares[to] = 0
        for _ in range(z - 1):
            to = <Py_ssize_t> ((<uint64_t> word(self.drawn[i], self.keys[i]) * <uint64_t> (degree + 1)) >> 32)
            self.drawn[i] += 1
            if to < degree:
                self.routes[pieces] = <int32_t> to
                self.shares[to] += 1
                pieces += 1
        return pieces

    cdef inline int address(self, Py_ssize_t i, int64_t pieces) noexcept nogil:
        """Number the links that get pieces, and let the routes name these numbers; how many."""
        cdef Py_ssize_t first = self.links.out_starts[i], degree = self.links.out_starts[i + 1] - first, to
        cdef int64_t k
        cdef int count = 0
        for to in range(degree):
            if self.shares[to]:
                self.open(&self.destinations[count], first + to, self.shares[to], count)
                self.shares[to] = count
                self.places[count] = <int32_t> to
                count += 1
        for k in range(pieces):
            self.routes[k] = self.shares[self.routes[k]]
        return count

    cdef inline void open(self, destination* to, Py_ssize_t e, int64_t z, int place) noexcept nogil:
        """Pieces for link e are packed if it is free, or else added to those that wait."""
        if not self.can_send(e):
            to.packed, to.sum = NULL, self.waiting(e)
            to.fresh = self.load(e, z)
            return
        self.weight[e] = z
        if self.coder == TILES:
            to.packed, to.size = self.packed + place * packed_capacity(self.d), 0
        else:
            to.packed, to.sum, to.fresh = NULL, self.whole + place * self.d, True

    cdef int64_t absorb(self, Py_ssize_t i, uint64_t z, const uint8_t* payload, int64_t size) except -1 nogil:
        return IntegerRules.absorb(self, i, z, payload, size) if z else broken()

    cdef int look(self, Py_ssize_t i) except -1 nogil:
        cdef Py_ssize_t at = i * self.d
        kernels.widen_by_ratio(
            self.values(i), self.narrow, self.d, self.z[i], self.extremes.low + at, self.extremes.high + at
        )
        return 0

    cdef object settle(self, cnp.ndarray values, cnp.ndarray hat, double step):
        """m is the middle of floor(S/n) and ceil(S/n), and R_i = (y_i - m z_i)/2."""
        low, high = self.result()
        return self.keep_rest(values, hat, step, 0.5 * (low + high))

    @cython.final
    cdef object keep_rest(self, cnp.ndarray values, cnp.ndarray hat, double step, cnp.ndarray middle):
        """Leave R_i = (y_i - m z_i)/2 with the nodes; middle: m, float64 (d,), which is returned."""
        cdef Py_ssize_t size = self.links.hosted * self.d, i
        cdef const int64_t* q = <int64_t*> pointer(values, cnp.NPY_INT64, size, "values")
        cdef double* rows = rows_of(hat, size)
        cdef const double* m = <double*> cnp.PyArray_DATA(middle)
        with nogil:
            for i in range(self.links.hosted):
                kernels.settle_row(rows + i * self.d, q + i * self.d, self.values(i), self.narrow, self.d, 0.5, m,
                                   0.5 * self.z[i], step)
        return middle


@cython.final
@cython.no_gc
cdef class ShareRules(IntegerRules):
    """Integer push-sum: a step gives equal shares of y and z to all out-neighbours, and not less to the node itself.

    A step of node i:

        s = floor(z_i/(degree_i + 1)),    c <- round(y_i s/z_i + momentum c),    (c, s) to every out-neighbour,

    where c remembers what they got in the step before. Done when S = round(total y_i/(unit z_i)) is the same at all
    nodes; of more than HASHED values a hash of 62 bits is compared. Ours
    (``mpiqopt.coordination.protocols.integer_push_sum``).

    Parameters
    ----------
    d : length of the vectors
    unit : what they are multiplied by, a power of two
    weight : int64 (hosted,), z at the start
    total : the sum of all z in the network
    momentum : in [0, 1)

    Attributes
    ----------
    flow : like y, c of each node; swing: int64 (hosted,), a bound of |c|, if narrow
    sums : int64 (hosted, d), S at each node when it last looked
    """

    cdef double momentum
    cdef cnp.ndarray weights
    cdef integers start_weight, swing, sums
    cdef void* flow

    def __cinit__(self, Py_ssize_t d, int64_t unit, cnp.ndarray weight, int64_t total, double momentum):
        self.unit, self.weights, self.total, self.momentum = unit, weight, total, momentum
        self.may_be_narrow = self.in_turn = True

    cdef Extremes make_extremes(self):
        return Extremes(self.links.hosted, self.d if self.d <= HASHED else 1, 0)

    cdef int connect(self, Links links) except -1:
        IntegerRules.connect(self, links)
        self.start_weight = given(self.arrays, self.weights, links.hosted, "weight")
        self.swing = <int64_t*> zeros(self.arrays, links.hosted, 8)
        self.sums = <int64_t*> zeros(self.arrays, links.hosted * self.d, 8)
        self.flow = zeros(self.arrays, links.hosted * self.d, 8)
        return 0

    cdef int start(self, cnp.ndarray values) except -1:
        cdef Py_ssize_t i
        IntegerRules.start(self, values)
        memset(self.flow, 0, 8 * self.links.hosted * self.d)
        for i in range(self.links.hosted):
            self.z[i], self.swing[i] = self.start_weight[i], 0
        return 0

    cdef void lengthen(self) noexcept nogil:
        IntegerRules.lengthen(self)
        kernels.lengthen(self.flow, self.links.hosted * self.d)

    cdef bint step(self, Py_ssize_t i) except -1 nogil:
        cdef Py_ssize_t first = self.links.out_starts[i], degree = self.links.out_starts[i + 1] - first, e
        cdef int64_t share = self.z[i] / (degree + 1), size
        cdef int widest = 0
        self.step_counts[i] += 1
        self.keep_headroom(i, 2, degree * (self.swing[i] + 1))
        size = kernels.share_out(
            self.values(i), value_address(self.flow, self.narrow, i * self.d), self.narrow, self.d, self.z[i], share,
            self.momentum, <int> degree, self.packer.pick(), self.packed
        )
        self.packer.measure_packed(self.packed, size)
        packed_length(self.packed, size, self.d, &widest)
        self.swing[i] = largest_of(widest)
        if self.narrow:
            self.reach[i] += degree * self.swing[i]
        for e in range(first, first + degree):
            self.links.send(i, e, <uint64_t> share, self.packed, size)
        self.z[i] -= share * degree
        self.links.count(i, degree)
        return True

    cdef int look(self, Py_ssize_t i) except -1 nogil:
        cdef int64_t* sum = self.sums + i * self.d
        cdef Py_ssize_t at = i * self.extremes.width, j
        kernels.round_ratio(self.values(i), self.narrow, self.d, self.z[i], self.total, self.unit, sum)
        if self.extremes.width == self.d:
            for j in range(self.d):
                widen_by_value(sum[j], self.extremes.low + at + j, self.extremes.high + at + j)
        else:
            widen_by_value(kernels.fingerprint(sum, self.d), self.extremes.low + at, self.extremes.high + at)
        return 0

    cdef object result(self):
        return quotients(self.sums, self.d, self.links.nodes)

    cdef object settle(self, cnp.ndarray values, cnp.ndarray hat, double step):
        """m = S/n, which all nodes know, and R_i = 0: exact but for the rounding of S/n."""
        total = np.empty(self.d, np.int64)
        memcpy(cnp.PyArray_DATA(total), self.sums, 8 * self.d)
        hat += step * values
        return total / self.links.nodes
