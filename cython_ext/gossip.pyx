"""Weighted sums of rows: the compiled half of X <- W X."""
cimport numpy as cnp
from libc.stdint cimport int64_t
from arrays cimport pointer, precision

import numpy as np

from mpiqopt.kernels import level

cnp.import_array()

cdef extern from "gossip_kernels.h" nogil:
    ctypedef struct mixing_rows:
        int64_t hosted
        const int64_t* starts
        const int64_t* columns
        const double* weights
    ctypedef struct gossip_kernels:
        void (*weighted_sums)(const mixing_rows*, int64_t, const void*, const void*, void*, double, double, double,
                              const void*) noexcept nogil
    const gossip_kernels* gossip_tables[1][2]

# of the level that runs, for float32 and for float64
cdef const gossip_kernels* kernels[2]
kernels[0], kernels[1] = gossip_tables[<int> level()][0], gossip_tables[<int> level()][1]


cdef class Mixer:
    """The rows of a mixing matrix W for the hosted nodes, in compressed sparse rows.

    Parameters
    ----------
    starts : int64 (hosted + 1,), where each row begins
    columns : int64 (values,); below ``hosted`` a hosted row, else ghost row ``column - hosted``. Sums run in this order
        (ascending node id), so the result does not depend on who hosts a neighbour
    weights : float64 (values,)
    ghosts : how many ghost rows there are
    """

    cdef cnp.ndarray starts, columns, weights
    cdef Py_ssize_t hosted, ghosts

    def __init__(self, cnp.ndarray starts, cnp.ndarray columns, cnp.ndarray weights, Py_ssize_t ghosts):
        self.hosted = starts.shape[0] - 1
        self.ghosts = ghosts
        pointer(starts, cnp.NPY_INT64, self.hosted + 1, "starts")
        pointer(columns, cnp.NPY_INT64, starts[self.hosted], "columns")
        pointer(weights, cnp.NPY_FLOAT64, starts[self.hosted], "weights")
        if starts[0] != 0 or np.any(np.diff(starts) < 0):
            raise ValueError("starts: want 0 = s_0 <= s_1 <= ...")
        if columns.size and not 0 <= columns.min() <= columns.max() < self.hosted + ghosts:
            raise ValueError("columns: outside the hosted and ghost rows")
        self.starts, self.columns, self.weights = starts, columns, weights

    def mix(self, cnp.ndarray own, cnp.ndarray ghosts, cnp.ndarray out, double keep=1.0, double move=1.0,
            double rest=0.0, cnp.ndarray previous=None):
        """Write and return out = keep X + move (W - I) [X; ghosts] + rest previous.

        own (hosted, d), ghosts (ghosts, d), out and previous (hosted, d): all float64, or all float32. The defaults
        give W X: the rows of W sum to 1.
        """
        cdef Py_ssize_t d = own.shape[1]
        cdef int typenum = cnp.PyArray_TYPE(own), p = precision(own, "rows")
        cdef void* x = pointer(own, typenum, self.hosted * d, "own")
        cdef void* g = pointer(ghosts, typenum, self.ghosts * d, "ghosts")
        cdef void* o = pointer(out, typenum, self.hosted * d, "out")
        cdef void* before = NULL
        if previous is not None:
            before = pointer(previous, typenum, self.hosted * d, "previous")
        cdef mixing_rows w
        w.hosted = self.hosted
        w.starts = <int64_t*> cnp.PyArray_DATA(self.starts)
        w.columns = <int64_t*> cnp.PyArray_DATA(self.columns)
        w.weights = <double*> cnp.PyArray_DATA(self.weights)
        with nogil:
            kernels[p].weighted_sums(&w, d, x, g, o, keep, move, rest, before)
        return out
