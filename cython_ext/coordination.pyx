"""Finite-time quantised coordination at the nodes of a process: everything but how bytes get to other processes.

Four things are kept apart, each in a file of its own that is included below.

* ``Links``: who is linked to whom, boxes of bytes for other processes, and the frames in them (``frames.h``).
  ``MailLinks`` also numbers frames, waits for acknowledgements and sends again what was lost.
* ``Packer``: what integers are packed by, which may depend on what was measured of links and coders.
* ``Rules``: what a coordinator does at a node. It splits off pieces, absorbs those that come, looks at what it has.
  ``SplitRules`` is FTQC, ``ShareRules`` integer push-sum, ``TreeRules`` a sum along a tree, which may be one that nodes
  look for themselves (``FoundTree``), and ``PythonRules`` calls a class in Python
  (``mpiqopt.coordination.protocol.NodeProtocol``).
* Delivery: when nodes act. In ``Lockstep`` all take a step at once, in ``Mailboxes`` each acts when something comes.
  Both call the rules by virtual methods, and know nothing of any of them. ``Mass`` hands on real vectors by the same
  mail, for push-sum without coordination.

Box 0 is for frames between the nodes of this process: they go the same way as others, so that only time depends on
which process hosts a node.
"""
cimport cython
cimport numpy as cnp
from libc.math cimport fabs, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memmove, memset
from arrays cimport pointer, target

import numpy as np

from mpiqopt.arithmetic.distinct import distinct_values
from mpiqopt.kernels import level

cnp.import_array()

cdef extern from "float.h" nogil:
    int LDBL_MANT_DIG

cdef extern from "coordination_kernels.h" nogil:
    int64_t packed_capacity(int64_t)
    int64_t packed_length(const uint8_t*, int64_t, int64_t, int*)
    void* value_address(void*, bint, int64_t)
    int64_t value_at(const void*, bint, int64_t)
    int64_t largest_of(int)
    enum: TILE, TILES, CODERS
    ctypedef struct destination:
        uint8_t* packed
        int64_t size
        int64_t* sum
        int fresh
        int64_t begun
        uint64_t all
    void widen_by_value(int64_t, int64_t*, int64_t*)
    int64_t extremes_length(const uint8_t*, int64_t, int64_t)
    uint32_t word(uint32_t, uint64_t)
    uint64_t block_key(uint64_t, uint64_t)
    ctypedef struct coordination_kernels:
        int64_t (*pack_vector)(const int64_t*, int64_t, int, uint8_t*) noexcept nogil
        void (*store_times)(void*, bint, const int64_t*, int64_t, int64_t) noexcept nogil
        void (*lengthen)(void*, int64_t) noexcept nogil
        int64_t (*reach_of)(const void*, bint, int64_t) noexcept nogil
        int64_t (*add_packed)(const uint8_t*, int64_t, int64_t, void*, bint) noexcept nogil
        void (*split_pieces)(void*, bint, int64_t, int64_t, int64_t, const int32_t*, destination*, int,
                             void*) noexcept nogil
        int64_t (*share_out)(void*, void*, bint, int64_t, int64_t, int64_t, double, int, int,
                             uint8_t*) noexcept nogil
        void (*quantise_row)(const double*, int64_t, double, int, const double*, int64_t*, double*,
                             double*) noexcept nogil
        void (*widen_by_ratio)(void*, bint, int64_t, int64_t, int64_t*, int64_t*) noexcept nogil
        void (*round_ratio)(const void*, bint, int64_t, int64_t, int64_t, int64_t, int64_t*) noexcept nogil
        void (*settle_row)(double*, const int64_t*, const void*, bint, int64_t, double, const double*, double,
                           double) noexcept nogil
        int64_t (*fingerprint)(const int64_t*, int64_t) noexcept nogil
        int64_t (*pack_extremes)(const int64_t*, const int64_t*, int64_t, int, uint8_t*) noexcept nogil
        int64_t (*widen_by_packed)(const uint8_t*, int64_t, int64_t, int64_t*, int64_t*) noexcept nogil
        int (*within)(const int64_t*, const int64_t*, int64_t, int64_t) noexcept nogil
    const coordination_kernels** coordination_tables

cdef extern from "frames.h" nogil:
    enum: PIECES, STAGE, EXTREMES, APART, PIECES_HEARD, STAGE_HEARD, FIND, FOUND, NEWS, NEWS_BACK, ASK, HEADER_MOST
    enum: FRAME_COUNTS, COUNT_REPEATED
    ctypedef struct frame_header:
        uint32_t edge, place, kind, call, count
        uint8_t tries
        uint64_t z
        uint32_t author, up, down, child
    ctypedef struct frame_format:
        int numbered, unreliable
    bint frame_goes_in(uint32_t)
    int count_of_frame(const frame_header*)
    int64_t write_header(const frame_header*, frame_format, uint8_t*)
    int64_t read_header(const uint8_t*, int64_t, frame_format, uint32_t, frame_header*)
    int64_t excess_of_place(const frame_header*)
    void set_tries(uint8_t*, uint8_t)

cdef const coordination_kernels* kernels = coordination_tables[level()]

ctypedef int64_t* integers


cdef int broken() except -1 nogil:
    """Raise ValueError: a frame is damaged."""
    with gil:
        raise ValueError("a frame is not what it says it is: bytes were lost or mixed on the way")


cdef void* zeros(list owner, Py_ssize_t size, Py_ssize_t item) except NULL:
    """Return ``size`` zeros of ``item`` bytes each, which live as long as the list that owns them."""
    array = np.zeros(max(size * item, 1), np.uint8)
    owner.append(array)
    return cnp.PyArray_DATA(array)


cdef int64_t* given(list owner, cnp.ndarray array, Py_ssize_t size, str name) except? NULL:
    """Return the data of an int64 array of ``size`` values, which lives as long as the list that owns it."""
    owner.append(array)
    return <int64_t*> pointer(array, cnp.NPY_INT64, size, name)


def quantise(cnp.ndarray rows, double step, bint nearest, cnp.ndarray centre, cnp.ndarray out):
    """Write floor(x/step) - centre, or round(x/step) - centre if ``nearest``, into the first columns of ``out``.

    Parameters
    ----------
    rows : float64 (hosted, d), the x
    step : Delta > 0
    centre : float64 (d,), integers
    out : int64 (hosted, e), e >= d; meaningless in rows with NaN or more than 2^62

    Returns
    -------
    float64 (2, hosted): the largest |x/step| of every row, rounded, and the largest |result|

    Examples
    --------
    >>> out = np.empty((1, 3), np.int64)
    >>> largest, farthest = quantise(np.array([[0.7, -0.2, 1.5]]), 0.5, False, np.array([1.0, 0.0, 0.0]), out)
    >>> out.tolist(), largest.tolist(), farthest.tolist()
    ([[0, -1, 3]], [3.0], [3.0])
    """
    cdef Py_ssize_t hosted = rows.shape[0], d = rows.shape[1], width = out.shape[1], i
    cdef double* x = <double*> pointer(rows, cnp.NPY_FLOAT64, hosted * d, "rows")
    cdef double* middle = <double*> pointer(centre, cnp.NPY_FLOAT64, d, "centre")
    cdef int64_t* into = <int64_t*> target(out, cnp.NPY_INT64, hosted * width, "out")
    if width < d:
        raise ValueError(f"out: want at least {d} columns, got {width}")
    largest = np.empty((2, hosted))
    cdef double* most = <double*> cnp.PyArray_DATA(largest)
    with nogil:
        for i in range(hosted):
            kernels.quantise_row(x + i * d, d, step, nearest, middle, into + i * width, most + i, most + hosted + i)
    return largest


include "coordination_coders.pxi"
include "coordination_packer.pxi"
include "coordination_links.pxi"
include "coordination_mail.pxi"
include "coordination_extremes.pxi"
include "coordination_collect.pxi"
include "coordination_quotients.pxi"
include "coordination_rules.pxi"
include "coordination_said.pxi"
include "coordination_pen.pxi"
include "coordination_tree.pxi"
include "coordination_python.pxi"
include "coordination_lockstep.pxi"
include "coordination_mailboxes.pxi"
include "coordination_mass.pxi"
include "coordination_stocks.pxi"
include "coordination_ledger.pxi"
