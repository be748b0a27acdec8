"""Weighted sums of rows: the compiled half of X <- W X."""
cimport numpy as cnp
from libc.stdint cimport int64_t
from arrays cimport pointer

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
        void (*weighted_sums_f64)(const mixing_rows*, int64_t, const double*, const double*, double*, double, double,
                                  double, const double*) noexcept nogil
        void (*weighted_sums_f32)(const mixing_rows*, int64_t, const float*, const float*, float*, double, double,
                                  double, const float*) noexcept nogil
    const gossip_kernels** gossip_tables

cdef const gossip_kernels* kernels = gossip_tables[level()]


cdef class Mixer:
    """The rows of a mixing matrix W for the hosted nodes, in compressed sparse rows.

    columns < hosted mean hosted rows, larger ones mean ghost row ``column - hosted``. Sums run in
    the stored order (ascending node id), so the result does not depend on who hosts a neighbour.
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
        """out = keep X + move (W - I) [X; ghosts] + rest previous, returned; rows of float64 or float32.

        The defaults give W X: the rows of W sum to 1.
        """
        cdef Py_ssize_t d = own.shape[1]
        cdef int typenum = cnp.PyArray_TYPE(own)
        cdef void* x = pointer(own, typenum, self.hosted * d, "own")
        cdef void* g = pointer(ghosts, typenum, self.ghosts * d, "ghosts")
        cdef void* o = pointer(out, typenum, self.hosted * d, "out")
        cdef void* p = NULL
        if previous is not None:
            p = pointer(previous, typenum, self.hosted * d, "previous")
        cdef mixing_rows w
        w.hosted = self.hosted
        w.starts = <int64_t*> cnp.PyArray_DATA(self.starts)
        w.columns = <int64_t*> cnp.PyArray_DATA(self.columns)
        w.weights = <double*> cnp.PyArray_DATA(self.weights)
        if typenum == cnp.NPY_FLOAT64:
            with nogil:
                kernels.weighted_sums_f64(&w, d, <double*> x, <double*> g, <double*> o, keep, move, rest, <double*> p)
        elif typenum == cnp.NPY_FLOAT32:
            with nogil:
                kernels.weighted_sums_f32(&w, d, <float*> x, <float*> g, <float*> o, keep, move, rest, <float*> p)
        else:
            raise TypeError(f"rows: want float64 or float32, got {own.dtype}")
        return out
