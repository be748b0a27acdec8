"""Weighted sums of rows: the compiled half of X <- W X."""
cimport numpy as cnp
from libc.stdint cimport int64_t
from arrays cimport pointer

cnp.import_array()

ctypedef fused real:
    float
    double

# Coordinates handled at a time: the piece of a row that is being summed stays in the first-level cache.
cdef enum:
    PIECE = 1024


cdef void weighted_sums(Py_ssize_t hosted, Py_ssize_t d, const int64_t* starts, const int64_t* columns,
                        const double* weights, const real* own, const real* ghosts, real* out, real scale,
                        const real* previous) noexcept nogil:
    """out = scale (W [own; ghosts]) + (1 - scale) previous, summed in the order of ``columns``."""
    cdef Py_ssize_t i, k, begin, end
    cdef int64_t e, column
    cdef real weight, rest = 1 - scale
    cdef const real* row
    cdef real* sums
    begin = 0
    while begin < d:
        end = min(begin + PIECE, d)
        for i in range(hosted):
            sums = out + i * d
            for k in range(begin, end):
                sums[k] = 0
            for e in range(starts[i], starts[i + 1]):
                column = columns[e]
                weight = <real> weights[e]
                row = own + column * d if column < hosted else ghosts + (column - hosted) * d
                for k in range(begin, end):
                    sums[k] += weight * row[k]
            if previous != NULL:
                row = previous + i * d
                for k in range(begin, end):
                    sums[k] = scale * sums[k] + rest * row[k]
        begin = end


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
        if columns.size and not 0 <= columns.min() <= columns.max() < self.hosted + ghosts:
            raise ValueError("columns: outside the hosted and ghost rows")
        self.starts, self.columns, self.weights = starts, columns, weights

    def mix(self, cnp.ndarray own, cnp.ndarray ghosts, cnp.ndarray out, double scale=1.0,
            cnp.ndarray previous=None):
        """out = W [own; ghosts], or scale W [own; ghosts] + (1 - scale) previous; rows of float64 or float32."""
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
                                      <double*> o, scale, <double*> p)
        elif typenum == cnp.NPY_FLOAT32:
            with nogil:
                weighted_sums[float](self.hosted, d, starts, columns, weights, <float*> x, <float*> g,
                                     <float*> o, <float> scale, <float*> p)
        else:
            raise TypeError(f"rows: want float64 or float32, got {own.dtype}")
