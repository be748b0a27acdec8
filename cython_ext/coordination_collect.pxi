# A tree that nodes look for by messages along their links.

cdef enum:  # what a child asks its neighbour for
    SUMS = 1, RESULTS = 2


@cython.final
@cython.no_gc
cdef class FoundTree:
    """Shortest ways to the lowest node and from it, found by nodes that know their links, n and D alone.

    Node i knows the lowest node a that it has heard of, the author, and how many links are between a and itself,

        up_i = 1 + min_j up_j  over links i -> j,    down_i = 1 + min_k down_k  over links k -> i,

    of those j and k that know the same a; at first a = i and both are 0. Among equals the lowest neighbour counts. What
    it knows it tells all its neighbours in D stages, D the diameter or a bound: along its links (FIND) and, where it
    has none to the neighbour, against that one's (FOUND), because ``up`` travels against the links. Afterwards all know
    the author and the ways, each node the first link of its way up and the last one of its way down. In stage D + 1 it
    says to the neighbours at their other ends that it is their child.

    In lock-step a stage is a step, and only news are sent. By mailboxes a node enters stage s + 1 when all neighbours
    have told it theirs in stage s. On unreliable links it tells them again until they are beyond its stage, and there
    is a stage D + 2, which says that D + 1 was heard of all; it is told again to those who ask by repeating D + 1.

    Parameters
    ----------
    wiring : ``mpiqopt.coordination.wiring.Wiring``

    Attributes
    ----------
    up, children, down : what ``TreeRules`` has to know, complete when a node is ``over``
    diameter, last : D, and the stage after which a node is done
    starts, owner : node i has neighbours starts[i] .. starts[i + 1] - 1, in the order of their numbers
    link_in, link_out : the link from each neighbour, and to it; -1: none
    by_link_in, by_link_out : the neighbour at the other end of each link
    author, hops_up, hops_down : of each node, a, 1 + up and 1 + down; 0 as long as it knows no way
    next_up, next_down : of each node, the neighbours through which these ways lead; -1 at the author
    stage, changed : of each node, and whether it has learnt anything since it told the others
    heard, told_up : the last stage of each neighbour that came, and 1 + the links of its way up then
    told_at, wait : when each neighbour was told last (s), and how long (s) to wait before telling it again

    References
    ----------
    Ours. Distances from neighbours' distances: Bellman, On a routing problem, 1958.
    """

    cdef readonly cnp.ndarray up, children, down
    cdef list arrays
    cdef Links links
    cdef MailLinks mail
    cdef bint unreliable
    cdef int64_t diameter, last
    cdef integers ways_up, child_counts, ways_down
    cdef integers starts, owner, link_in, link_out, by_link_in, by_link_out
    cdef integers author, hops_up, hops_down, next_up, next_down, stage, changed, heard, told_up
    cdef double* told_at
    cdef double* wait

    def __cinit__(self, wiring):
        hosted, nodes = len(wiring.in_starts) - 1, wiring.nodes
        key_in, key_out = wiring.in_links @ [1, nodes], wiring.out_links @ [nodes, 1]  # hosted node, neighbour
        pairs = distinct_values(np.concatenate([key_in, key_out]))
        owner = pairs // nodes - wiring.first
        by_in, by_out = np.searchsorted(pairs, key_in), np.searchsorted(pairs, key_out)
        link_in, link_out = np.full((2, len(pairs)), -1)
        link_in[by_in], link_out[by_out] = np.arange(len(key_in)), np.arange(len(key_out))
        self.arrays, self.diameter = [], wiring.diameter
        self.starts = given(self.arrays, np.searchsorted(owner, np.arange(hosted + 1)), hosted + 1, "wiring")
        self.owner = given(self.arrays, owner, len(pairs), "wiring")
        self.link_in = given(self.arrays, link_in, len(pairs), "wiring")
        self.link_out = given(self.arrays, link_out, len(pairs), "wiring")
        self.by_link_in = given(self.arrays, by_in, len(key_in), "wiring")
        self.by_link_out = given(self.arrays, by_out, len(key_out), "wiring")
        self.up, self.children = np.full(hosted, -1), np.zeros(hosted, np.int64)
        self.down = np.zeros(len(key_out), np.int64)
        self.ways_up = given(self.arrays, self.up, hosted, "up")
        self.child_counts = given(self.arrays, self.children, hosted, "children")
        self.ways_down = given(self.arrays, self.down, len(key_out), "down")
        own = np.arange(wiring.first, wiring.first + hosted)
        self.author = given(self.arrays, own, hosted, "author")
        self.hops_up = given(self.arrays, np.ones(hosted, np.int64), hosted, "hops")
        self.hops_down = given(self.arrays, np.ones(hosted, np.int64), hosted, "hops")
        self.next_up = given(self.arrays, np.full(hosted, -1), hosted, "next")
        self.next_down = given(self.arrays, np.full(hosted, -1), hosted, "next")
        self.stage = <int64_t*> zeros(self.arrays, hosted, 8)
        self.changed = given(self.arrays, np.ones(hosted, np.int64), hosted, "changed")
        self.heard = <int64_t*> zeros(self.arrays, len(pairs), 8)
        self.told_up = <int64_t*> zeros(self.arrays, len(pairs), 8)
        self.told_at = <double*> zeros(self.arrays, len(pairs), 8)
        self.wait = <double*> zeros(self.arrays, len(pairs), 8)

    cdef int connect(self, Links links) except -1:
        """Send along these links, from now on."""
        self.links, self.last = links, self.diameter + 1
        if isinstance(links, MailLinks):
            self.mail, self.last = links, self.diameter + 2
            self.unreliable = self.mail.unreliable
        return 0

    @property
    def stages_left(self):
        """Stages until the nodes here are done, which in lock-step are all in the same."""
        return self.last - self.stage[0]

    cdef inline bint over(self, Py_ssize_t i) noexcept nogil:
        """True if node i knows its place in the tree."""
        return self.stage[i] == self.last

    cdef bint settled(self, Py_ssize_t i) noexcept nogil:
        """True if node i has nothing to tell again, either."""
        return self.over(i) and (not self.unreliable or self.neighbours_at(i, self.last))

    cdef bint neighbours_at(self, Py_ssize_t i, int64_t stage) noexcept nogil:
        """True if all neighbours of node i have told it that they are in that stage or beyond."""
        cdef Py_ssize_t p
        for p in range(self.starts[i], self.starts[i + 1]):
            if self.heard[p] < stage:
                return False
        return True

    cdef bint act(self, Py_ssize_t i) except -1 nogil:
        """Go on at node i as far as its neighbours allow, by mailboxes; True if it has entered a stage."""
        cdef bint moved = False
        cdef int64_t asking
        cdef Py_ssize_t p
        while not self.over(i) and self.neighbours_at(i, self.stage[i]):
            self.enter(i)
            moved = True
        if self.unreliable:
            asking = min(self.stage[i], self.diameter + 1)
            for p in range(self.starts[i], self.starts[i + 1]):
                if self.heard[p] <= asking and self.is_late(p):
                    self.tell(i, p, asking, True)
        return moved

    cdef bint is_late(self, Py_ssize_t p) noexcept nogil:
        """True if neighbour p is to be told again now; each time later."""
        if self.mail.now - self.told_at[p] <= self.wait[p]:
            return False
        self.wait[p] = min(1.5 * self.wait[p], LONGEST_WAIT)
        return True

    cdef int enter(self, Py_ssize_t i) except -1 nogil:
        """Node i enters the next stage, and tells those whom it concerns: in lock-step if there are news."""
        cdef Py_ssize_t p
        self.stage[i] += 1
        if self.stage[i] == self.diameter + 1:
            self.choose(i)
        elif self.mail is None and not self.changed[i]:
            return 0
        for p in range(self.starts[i], self.starts[i + 1]):
            if self.concerns(i, p):
                self.wait[p] = max(self.wait[p] / 2, FIRST_ROUND_TRIP)
                self.tell(i, p, self.stage[i], False)
        self.changed[i] = False
        return 0

    cdef bint concerns(self, Py_ssize_t i, Py_ssize_t p) noexcept nogil:
        """True if neighbour p of node i has to hear of its stage, or of its news."""
        if self.mail is not None:
            return self.stage[i] <= self.diameter + 1 or self.unreliable
        return self.stage[i] <= self.diameter or self.asks(i, p) != 0

    cdef uint32_t asks(self, Py_ssize_t i, Py_ssize_t p) noexcept nogil:
        """Return what node i asks neighbour p for, once it has chosen."""
        if self.stage[i] <= self.diameter:
            return 0
        return (SUMS if p == self.next_up[i] else 0) | (RESULTS if p == self.next_down[i] else 0)

    cdef int choose(self, Py_ssize_t i) except -1 nogil:
        """Node i knows its way up. Raises ValueError if it has heard of an author without a way there and back."""
        if not (self.hops_up[i] and self.hops_down[i]):
            with gil:
                raise ValueError(
                    f"node {self.links.first + i} has found no ways of at most {self.diameter} links to node "
                    f"{self.author[i]} and back: the network is not as wide as was said"
                )
        if self.next_up[i] >= 0:
            self.ways_up[i] = self.link_out[self.next_up[i]]
        return 0

    cdef int tell(self, Py_ssize_t i, Py_ssize_t p, int64_t stage, bint again) except -1 nogil:
        """Tell neighbour p of node i what that knows; ``again``: it has been told this stage before."""
        cdef frame_header h
        h.call, h.count, h.tries, h.z = 0, <uint32_t> stage, again, 1
        h.author, h.child = <uint32_t> self.author[i], self.asks(i, p)
        h.up, h.down = <uint32_t> self.hops_up[i], <uint32_t> self.hops_down[i]
        if self.link_out[p] >= 0:
            h.kind = FIND
            self.links.write(i, self.link_out[p], &h, NULL, 0)
        else:
            h.kind = FOUND
            self.links.write_back(self.link_in[p], &h)
        if self.mail is not None:
            self.told_at[p] = self.mail.now
        return 0

    cdef int64_t hear(self, const frame_header* h) except -1 nogil:
        """Take in what a neighbour knows; returns 0. Raises ValueError if it cannot be so."""
        cdef Py_ssize_t p = self.by_link_in[h.edge] if h.kind == FIND else self.by_link_out[h.edge]
        cdef Py_ssize_t i = self.owner[p]
        cdef int64_t nodes = self.links.nodes
        if h.author >= nodes or h.up > nodes or h.down > nodes or h.child > (SUMS | RESULTS):
            return broken()
        if (h.child & SUMS and self.link_in[p] < 0) or (h.child & RESULTS and self.link_out[p] < 0):
            return broken()
        if self.mail is not None and not 0 < <int64_t> h.count <= self.last:
            return broken()
        self.told_up[p] = h.up
        if self.stage[i] <= self.diameter:
            self.learn(i, p, h)
        if self.mail is None:
            self.adopt(i, p, h.child)
        elif <int64_t> h.count > self.heard[p]:
            if h.count > self.diameter >= self.heard[p]:
                self.adopt(i, p, h.child)
            self.heard[p] = h.count
        elif self.unreliable and self.over(i) and h.count == self.diameter + 1:
            self.tell(i, p, self.last, True)
        return 0

    cdef void adopt(self, Py_ssize_t i, Py_ssize_t p, uint32_t asked) noexcept nogil:
        """Node i waits for the sums of neighbour p, or sends it results, if that has asked for it."""
        if asked & SUMS:
            self.child_counts[i] += 1
        if asked & RESULTS:
            self.ways_down[self.link_out[p]] = True

    cdef void learn(self, Py_ssize_t i, Py_ssize_t p, const frame_header* h) noexcept nogil:
        """Node i hears of neighbour p's author and of the ways there."""
        if h.author > self.author[i]:
            return
        if h.author < self.author[i]:
            self.author[i], self.changed[i] = h.author, True
            self.hops_up[i] = self.hops_down[i] = 0
        if h.up and self.link_out[p] >= 0:
            self.shorten(&self.hops_up[i], &self.next_up[i], h.up + 1, p, &self.changed[i])
        if h.down and self.link_in[p] >= 0:
            self.shorten(&self.hops_down[i], &self.next_down[i], h.down + 1, p, &self.changed[i])

    cdef void shorten(self, integers hops, integers through, int64_t offered, Py_ssize_t p,
                      integers changed) noexcept nogil:
        """Take the way through neighbour p if it is shorter, or as short and p is lower."""
        if hops[0] == 0 or offered < hops[0]:
            hops[0], through[0], changed[0] = offered, p, True
        elif offered == hops[0] and p < through[0]:
            through[0] = p
