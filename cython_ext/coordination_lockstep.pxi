# Delivery in common steps.

@cython.final
@cython.no_gc
cdef class Lockstep(Delivery):
    """Nodes that act in steps: what is sent in one arrives before the next.

    ``begin``, then ``step``s and, where nodes vote, now and then ``look_around``, ``flood`` as often as the diameter
    and ``agreed``. After every ``step`` and ``flood`` boxes are to be exchanged between processes and ``receive``d,
    and ``deliver`` is to be called.

    Parameters
    ----------
    wiring : ``mpiqopt.coordination.wiring.Wiring``
    rules : those of the coordinator, which nobody else has

    Examples
    --------
    >>> from mpiqopt.coordination.protocol import LocalProtocol
    >>> from mpiqopt.placement.placement import Placement
    >>> from mpiqopt.registry import find_member
    >>> from mpiqopt.topologies.topology import Topology
    >>> star = Topology("star", tuple(find_member("topology", "star")(nodes=4).cycle()))
    >>> local = LocalProtocol.of("tree", star, Placement(4))
    >>> nodes = Lockstep(local.wiring, local.rules(2))
    >>> nodes.begin(0, np.array([[1, 0], [2, 0], [3, 1], [4, 0]]))
    >>> for _ in range(local.steps):  # sums go up, and the result comes down
    ...     nodes.step()
    ...     nodes.deliver()
    >>> [part.tolist() for part in nodes.result], nodes.bytes_sent.tolist()
    ([[2, 0], [3, 1]], [12, 3, 3, 3])
    """

    cdef readonly Rules rules

    def __cinit__(self, wiring, Rules rules not None):
        self.links, self.rules = Links(wiring), rules
        rules.connect(self.links)

    def begin(self, uint32_t call, cnp.ndarray values, bint settles=False):
        """Start call number ``call`` with the integers of the hosted nodes, int64 (hosted, d).

        settles: True if ``settle`` will be called instead of ``result``.
        """
        self.links.call, self.rules.settles = call, settles
        self.rules.start(values)

    def step(self):
        """Let every node take a step; the first ones are for a tree, where nodes look for that."""
        cdef FoundTree tree = self.rules.tree
        cdef Py_ssize_t i
        with nogil:
            if tree is None or tree.over(0):  # all nodes are in the same stage
                self.rules.step_all()
            else:
                for i in range(self.links.hosted):
                    tree.enter(i)

    def look_around(self):
        """Begin a vote: every node knows what it has itself."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(self.links.hosted):
                self.rules.extremes.forget(i)
                self.rules.look(i)

    def flood(self):
        """Let every node tell its out-neighbours the extremes that it knows."""
        cdef Py_ssize_t i, e
        cdef int64_t size
        cdef frame_header h
        h.call, h.count, h.tries, h.z = 0, 0, 0, 1
        with nogil:
            for i in range(self.links.hosted):
                size = self.rules.extremes.prepare(i, &h)
                for e in range(self.links.out_starts[i], self.links.out_starts[i + 1]):
                    self.links.write(i, e, &h, self.rules.extremes.packed, size)

    @property
    def agreed(self):
        """True if the vote is won, after the floods; the same at all nodes."""
        return bool(self.rules.extremes.agree(0))

    @property
    def steps_to_find(self):
        """Steps until nodes have found what they have to know of the network: 0 but before the first call."""
        return 0 if self.rules.tree is None else self.rules.tree.stages_left

    @property
    def finished(self):
        """True if all nodes here have the result, where they do not vote."""
        cdef Py_ssize_t i
        for i in range(self.links.hosted):
            if not self.rules.done(i):
                return False
        return True

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

    @property
    def votes(self):
        """True if nodes find out together that they are done."""
        return self.rules.votes

    def deliver(self):
        """Read the frames between nodes of this process."""
        with nogil:
            self.deliver_own()

    cdef int64_t on_frame(self, frame_header* h, const uint8_t* payload, int64_t size) except -1 nogil:
        cdef Py_ssize_t i
        if h.kind == FIND or h.kind == FOUND:
            return self.rules.hear(h)
        if h.kind != PIECES and h.kind != EXTREMES and h.kind != APART:
            return broken()  # acknowledgements have links of another kind
        i = self.links.receiver[h.edge]
        if h.kind == PIECES:
            return self.rules.absorb(i, h.z, payload, size)
        if not self.rules.votes:
            return broken()
        if h.kind == EXTREMES:
            return self.rules.extremes.widen(i, payload, size)
        self.rules.extremes.apart[i] = True
        return 0
