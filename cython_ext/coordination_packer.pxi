# What packs integers before they travel: a coder, or that which measurements favour.

cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int, timespec*)
    int CLOCK_MONOTONIC

cdef enum:
    AUTO = CODERS  # the coder that measurements favour
    TRIED = 1024  # values that all coders are tried on
    SHORT = 64  # vectors below go in tiles: there is nothing to gain
    FITTED = 64, FEWEST = 8  # frames that a link is judged by, and before it is

# share of the time that trying coders may take
cdef double TRYING = 0.01
# s: round trips are not known better
cdef double GRAIN = 1e-5
# round trips so many times those of before say nothing of a link: the other end was busy
cdef double BUSY = 3.0
# another coder has to take less than this share of the time
cdef double BETTER = 0.95

ctypedef struct line_fit:  # of a link: seconds by bytes of the last frames
    int64_t count
    double bytes, seconds  # means
    double spread, both, noise  # variance of bytes, covariance, variance of seconds
    double least, least_bytes  # the shortest round trip, and the bytes of that

ctypedef struct cost:  # of a coder, for each value
    double seconds, bytes


cdef double seconds_now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + 1e-9 * t.tv_nsec


@cython.final
@cython.no_gc
cdef class Packer:
    """Packs the vectors of a process by a coder, or by the one that is quickest on its links.

    That is the coder c with the least

        t_c + s b_c,

    t_c seconds of packing and unpacking, and b_c bytes, of a value: measured now and then on 1024 values that travel,
    in 1 % of the time. s: seconds of a byte on the slowest link out. On each, round trips less coding are fitted by
    a + s b, b the bytes of a frame, by least squares over the last 64 frames; s less two standard errors counts, so
    that it is 0, and tiles are taken, as long as nothing is sure. Sizes that differ are needed for that: when another
    coder would be best if s were as large as it may be, it packs a part of the frames: half of them as long as a link
    is little known, then an eighth. Ours.

    Parameters
    ----------
    coder : 0 tiles, 1 Golomb-Rice codes, 2 a range coder, 3 what measurements favour
    links : out of the process
    d : length of the vectors

    Examples
    --------
    >>> packer = Packer(3, 1, 1000)
    >>> for coder, size in enumerate((1000, 700, 600)):
    ...     packer.note(coder, 1000, size, 1e-5 * coder)
    >>> packer.coder
    0
    >>> for k in range(20):  # a link of 100 kB/s
    ...     size = 600 + 10 * k
    ...     packer.hear(0, size, 1e-3 + 1e-5 * size)
    >>> packer.coder
    2
    """

    cdef list arrays
    cdef int fixed, best, other  # other: the best if links are as slow as they may be
    cdef bint known  # True if all links that were heard are known
    cdef int64_t links, d, packed_frames, heard_frames, trials
    cdef double began, spent, coding
    cdef cost[CODERS] costs
    cdef line_fit* fits
    cdef integers values, back
    cdef uint8_t* packed

    def __cinit__(self, coder, Py_ssize_t links, Py_ssize_t d):
        self.fixed, self.best, self.links, self.d, self.arrays = known_choice(coder), TILES, links, d, []
        cdef bint auto = self.fixed == AUTO
        self.fits = <line_fit*> zeros(self.arrays, links if auto else 0, sizeof(line_fit))
        self.values = <int64_t*> zeros(self.arrays, d if auto else 0, 8)
        self.back = <int64_t*> zeros(self.arrays, TRIED if auto else 0, 8)
        self.packed = <uint8_t*> zeros(self.arrays, packed_capacity(TRIED) if auto else 0, 1)

    @property
    def coder(self):
        """What packs vectors now, but for those on which others are tried."""
        return self.best if self.fixed == AUTO else self.fixed

    cdef int64_t pack(self, const int64_t* v, uint8_t* out) noexcept nogil:
        """Pack d integers; bytes written."""
        if self.is_due():
            self.measure(v)
        return kernels.pack_vector(v, self.d, self.pick(), out)

    cdef int pick(self) noexcept nogil:
        """Return the coder for the next vector."""
        cdef int coder = self.fixed
        if self.fixed == AUTO:
            coder = self.pick_by_measurements()
            self.coding = self.costs[coder].seconds * self.d
        return coder

    cdef int pick_by_measurements(self) noexcept nogil:
        cdef uint64_t draw
        if self.d < SHORT or self.trials == 0:
            return TILES
        self.packed_frames += 1
        # so that every link gets some of both kinds, whatever the order in which they are served
        draw = <uint64_t> self.packed_frames * 0x9E3779B97F4A7C15ULL >> 61
        return self.other if draw == 0 or (draw % 2 == 0 and not self.known) else self.best

    cdef bint is_due(self) noexcept nogil:
        """True if coders are to be tried."""
        cdef double now
        if self.fixed != AUTO or self.d < SHORT:
            return False
        now = seconds_now()
        if self.trials == 0:
            self.began = now
        return self.spent <= TRYING * (now - self.began)

    cdef void measure(self, const int64_t* v) noexcept nogil:
        """Try all coders on some of d integers."""
        cdef int64_t size = min(self.d, TRIED), at = min(self.trials * TRIED % self.d, self.d - size), written
        cdef double before
        cdef int coder
        for coder in range(CODERS):
            memset(self.back, 0, 8 * size)
            before = seconds_now()
            written = kernels.pack_vector(v + at, size, coder, self.packed)
            kernels.add_packed(self.packed, written, size, self.back, False)
            before = seconds_now() - before
            self.spent += before
            self.learn(coder, size, written, before)
        self.trials += 1
        self.decide()

    cdef void measure_packed(self, const uint8_t* packed, int64_t size) noexcept nogil:
        """Try all coders on a vector that is packed, if it is time."""
        if self.is_due():
            memset(self.values, 0, 8 * self.d)
            kernels.add_packed(packed, size, self.d, self.values, False)
            self.measure(self.values)

    cdef void learn(self, int coder, int64_t values, int64_t size, double seconds) noexcept nogil:
        cdef cost* known = &self.costs[coder]
        cdef double own = seconds / values
        if known.bytes == 0:
            known.seconds, known.bytes = own, <double> size / values
        # at most twice what is known: a trial may have been interrupted
        known.seconds += (min(own, 2 * known.seconds) - known.seconds) / 4
        known.bytes += (<double> size / values - known.bytes) / 4

    cdef void observe(self, Py_ssize_t e, double size, double seconds) noexcept nogil:
        """A frame of ``size`` bytes was heard on link e, after so many seconds but for coding."""
        cdef line_fit* f = &self.fits[e]
        cdef double share, more, later
        if f.least > 0 and seconds > BUSY * f.least * max(1, size / f.least_bytes):
            f.least *= 1.02
            return
        if f.least == 0 or seconds <= f.least:
            if BUSY * seconds < f.least:
                f.count = 0
            f.least, f.least_bytes = max(seconds, 1e-9), size
        else:
            f.least *= 1.02  # of long ago it says little
        if f.count == 0:
            f.bytes = f.seconds = f.spread = f.both = f.noise = 0
        f.count += 1
        share = 1.0 / min(f.count, FITTED)
        more, later = size - f.bytes, seconds - f.seconds
        f.bytes += share * more
        f.seconds += share * later
        f.spread = (1 - share) * (f.spread + share * more * more)
        f.both = (1 - share) * (f.both + share * more * later)
        f.noise = (1 - share) * (f.noise + share * later * later)
        self.heard_frames += 1
        # which looks at all links: not for every frame where there are many
        if self.heard_frames % (self.links // 16 + 1) == 0:
            self.decide()

    cdef double slowness(self, const line_fit* f, bint at_most) noexcept nogil:
        """Return seconds of a byte, as long as is sure or, with ``at_most``, as may be."""
        cdef double slope, error, longest = f.seconds / f.bytes if f.bytes > 0 else 0
        if f.count < FEWEST or f.spread <= 0:
            return longest if at_most else 0
        slope = f.both / f.spread
        error = sqrt((max(f.noise - slope * f.both, 0) + GRAIN * GRAIN) / f.spread / (min(f.count, FITTED) - 2))
        return min(longest, max(slope + 2 * error, 0)) if at_most else max(slope - 2 * error, 0)

    cdef double slowest(self, bint at_most) noexcept nogil:
        """Return ``slowness`` of the slowest link: calls are over when that is."""
        cdef double most = 0
        cdef Py_ssize_t e
        for e in range(self.links):
            most = max(most, self.slowness(&self.fits[e], at_most))
        return most

    cdef bint all_known(self) noexcept nogil:
        cdef Py_ssize_t e
        for e in range(self.links):
            if 0 < self.fits[e].count < 2 * FEWEST:
                return False
        return True

    cdef int favourite(self, double slowness, int now) noexcept nogil:
        """Return the coder to take at so many seconds a byte, ``now`` unless another is clearly better."""
        cdef double least = self.costs[now].seconds + slowness * self.costs[now].bytes, own
        cdef int coder, best = now
        least *= BETTER
        for coder in range(CODERS):
            own = self.costs[coder].seconds + slowness * self.costs[coder].bytes
            if own < least:
                best, least = coder, own
        return best

    cdef void decide(self) noexcept nogil:
        cdef double slowness = self.slowest(False)
        self.best = self.favourite(slowness, self.best) if slowness > 0 else TILES
        self.other, self.known = self.favourite(self.slowest(True), TILES), self.all_known()

    def note(self, int coder, int64_t values, int64_t size, double seconds):
        """Learn that packing and unpacking so many values took some seconds, and ``size`` bytes."""
        self.learn(known_coder(coder), values, size, seconds)
        self.decide()

    def hear(self, Py_ssize_t link, double size, double seconds):
        """Learn that a frame of ``size`` bytes was acknowledged after some seconds, less those of ``note``."""
        if not 0 <= link < self.links or self.fixed != AUTO:
            raise IndexError(f"link {link} of {self.links if self.fixed == AUTO else 0}")
        self.observe(link, size, seconds)
