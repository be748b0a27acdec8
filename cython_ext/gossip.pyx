"""Weighted sums of rows: the compiled half of X <- W X."""
cimport numpy as cnp
from libc.stdint cimport int64_t
from arrays cimport pointer

import numpy as np

cnp.import_array()

ctypedef fused real:
    float
    double

cdef extern from *:
    """
    /* coordinates handled at a time: the sums stay in the first-level cache */
    #define PIECE 1024
    """
    const int PIECE


cdef void weighted_sums(Py_ssize_t hosted, Py_ssize_t d, const int64_t* starts, const int64_t* columns,
                        const double* weights, const real* own, const real* ghosts, real* out,
                        double keep, double move, double rest, const real* previous) noexcept nogil:
    """out_i = keep x_i + move sum_j w_ij (x_j - x_i) + rest previous_i, summed in the order of ``columns``.

    Differences, and sums in double: equal rows stay equal to the bit, and float32 weights need not sum to 1.
    """
    cdef Py_ssize_t i, k, begin, size
    cdef int64_t e, column
    cdef double weight
    cdef const real* x
    cdef const real* row
    cdef double sums[PIECE]
    begin = 0
    while begin < d:
        size = min(<Py_ssize_t> PIECE, d - begin)
        for i in range(hosted):
            x = own + i * d + begin
            for k in range(size):
                sums[k] = 0
            for e in range(starts[i], starts[i + 1]):
                column = columns[e]
                if column == i:
                    continue
                weight = weights[e]
                row = begin + (own + column * d if column < hosted else ghosts + (column - hosted) * d)
                for k in range(size):
                    sums[k] += weight * (<double> row[k] - x[k])
            if previous == NULL:
                for k in range(size):
                    out[i * d + begin + k] = <real> (keep * x[k] + move * sums[k])
            else:
                row = previous + i * d + begin
                for k in range(size):
                    out[i * d + begin + k] = <real> (keep * x[k] + move * sums[k] + rest * row[k])
        begin += size


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
        cdef int64_t* starts = <int64_t*> cnp.PyArray_DATA(self.starts)
        cdef int64_t* columns = <int64_t*> cnp.PyArray_DATA(self.columns)
        cdef double* weights = <double*> cnp.PyArray_DATA(self.weights)
        if typenum == cnp.NPY_FLOAT64:
            with nogil:
                weighted_sums[double](self.hosted, d, starts, columns, weights, <double*> x, <double*> g,
                                      <double*> o, keep, move, rest, <double*> p)
        elif typenum == cnp.NPY_FLOAT32:
            with nogil:
                weighted_sums[float](self.hosted, d, starts, columns, weights, <float*> x, <float*> g,
                                     <float*> o, keep, move, rest, <float*> p)
        else:
            raise TypeError(f"rows: want float64 or float32, got {own.dtype}")
        return out
