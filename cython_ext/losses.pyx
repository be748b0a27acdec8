"""Losses and gradients of linear models for all hosted nodes, one pass over the samples.

``LinearModel`` keeps the samples of the hosted nodes, node after node, and evaluates

    f_i(x) = (1/m_i) sum_j phi(A_j x, b_j) + (l2/2) |x|^2 + nonconvex sum_k x_k^2 / (1 + x_k^2)

with phi the squared, logistic or softmax loss. Nothing is allocated in ``evaluate``.
"""
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t
from arrays cimport pointer, precision

import numpy as np

from mpiqopt.kernels import level

cnp.import_array()


cdef extern from "losses_kernels.h" nogil:
    ctypedef struct linear_model:
        int64_t loss, features, outputs
        double l2, nonconvex
    enum: BLOCK_ROWS
    ctypedef struct node_samples:
        const void* values
        const void* targets
        const int32_t* columns
        const int64_t* starts
        const int64_t* index
        int64_t count
    ctypedef struct losses_kernels:
        void (*dense_node)(const linear_model*, const node_samples*, const void*, void*, double*,
                           double*) noexcept nogil
        void (*sparse_node)(const linear_model*, const node_samples*, const void*, void*, double*,
                            double*) noexcept nogil
    const losses_kernels* losses_tables[1][2]

# of the level that runs, for float32 and for float64
cdef const losses_kernels* kernels[2]
kernels[0], kernels[1] = losses_tables[<int> level()][0], losses_tables[<int> level()][1]

LOSSES = {"squared": 0, "logistic": 1, "softmax": 2}


cdef bint in_range(Py_ssize_t hosted, Py_ssize_t width, const int64_t* offsets, const int64_t* index,
                   const int64_t* counts) noexcept nogil:
    """Return True if every counted index is one of its node's samples."""
    cdef Py_ssize_t i, j
    cdef int64_t size
    for i in range(hosted):
        size = offsets[i + 1] - offsets[i]
        if not 1 <= counts[i] <= width:
            return False
        for j in range(counts[i]):
            if not 0 <= index[i * width + j] < size:
                return False
    return True


cdef class LinearModel:
    """Samples of the hosted nodes and the loss on them, f_i as above.

    Parameters
    ----------
    loss : "squared" (phi = (z - b)^2 / 2), "logistic" (log(1 + exp(-b z)), b = -1 or 1) or "softmax" (-log of the
        softmax of z at class b = 0 .. outputs - 1)
    values, targets : float64 or float32: the dense rows (M, features), or their values in compressed sparse rows; (M,)
    offsets : int64 (hosted + 1,), where the samples of each node begin
    features, outputs : d, and the number of classes (softmax) or 1: x is (hosted, outputs * d)
    l2, nonconvex : weights of the regularisers
    columns, starts : int32 and int64 (M + 1,) of compressed sparse rows
    """

    cdef linear_model model
    cdef cnp.ndarray values, targets, columns, starts, offsets, margins
    cdef Py_ssize_t hosted
    cdef int typenum, precision
    cdef bint sparse

    def __init__(self, str loss, cnp.ndarray values, cnp.ndarray targets, cnp.ndarray offsets, *, features,
                 outputs=1, l2=0.0, nonconvex=0.0, cnp.ndarray columns=None, cnp.ndarray starts=None):
        self.model.loss = LOSSES[loss]
        self.model.features, self.model.outputs = features, outputs
        self.model.l2, self.model.nonconvex = l2, nonconvex
        self.precision = precision(values, "values")
        self.typenum = cnp.PyArray_TYPE(values)
        samples = targets.shape[0]
        self.hosted = offsets.shape[0] - 1
        if outputs < 1 or (outputs > 1 and loss != "softmax") or not 1 <= features < 2**31:
            raise ValueError(f"outputs = {outputs}, features = {features}: do not fit the loss {loss!r}")
        self.sparse = columns is not None
        if self.sparse:
            check_sparse_rows(values, self.typenum, columns, starts, samples, features)
        else:
            pointer(values, self.typenum, samples * features, "values")
        pointer(targets, self.typenum, samples, "targets")
        pointer(offsets, cnp.NPY_INT64, self.hosted + 1, "offsets")
        if offsets[0] != 0 or offsets[self.hosted] != samples or np.any(np.diff(offsets) < 1):
            raise ValueError("offsets: want 0 = o_0 < o_1 < ... < o_hosted = number of samples")
        if loss == "softmax" and not np.all(np.isin(targets, np.arange(outputs))):
            raise ValueError(f"targets: want the classes 0 .. {outputs - 1}")
        self.values, self.targets, self.offsets = values, targets, offsets
        self.columns, self.starts = columns, starts
        self.margins = aligned_doubles(2 * BLOCK_ROWS * outputs + 8)

    def evaluate(self, cnp.ndarray x, cnp.ndarray gradient=None, cnp.ndarray value=None,
                 cnp.ndarray index=None, cnp.ndarray counts=None):
        """Write the gradients and values of all f_i at x, for all samples or a batch.

        Parameters
        ----------
        x : (hosted, outputs * d), or (1, outputs * d) for one point common to all nodes; of the type of the samples
        gradient : (hosted, outputs * d), of the same type, or None
        value : float64 (hosted,), or None
        index : int64 (hosted, width), places within each node's samples, of which the first counts[i] count
        counts : int64 (hosted,)
        """
        cdef Py_ssize_t i, size = self.model.features * self.model.outputs
        cdef Py_ssize_t item = 8 if self.precision else 4
        cdef Py_ssize_t x_step = 0 if x.shape[0] == 1 else size * item
        cdef Py_ssize_t width = 0
        cdef char* x_at = <char*> pointer(x, self.typenum, size if x_step == 0 else self.hosted * size, "x")
        cdef char* g_at = NULL
        cdef double* v_at = NULL
        cdef int64_t* index_at = NULL
        cdef int64_t* counts_at = NULL
        if gradient is not None:
            g_at = <char*> pointer(gradient, self.typenum, self.hosted * size, "gradient")
        if value is not None:
            v_at = <double*> pointer(value, cnp.NPY_FLOAT64, self.hosted, "value")
        if index is not None:
            width = index.shape[1]
            index_at = <int64_t*> pointer(index, cnp.NPY_INT64, self.hosted * width, "index")
            counts_at = <int64_t*> pointer(counts, cnp.NPY_INT64, self.hosted, "counts")
        cdef int64_t* offsets = <int64_t*> cnp.PyArray_DATA(self.offsets)
        if index_at != NULL and not in_range(self.hosted, width, offsets, index_at, counts_at):
            raise IndexError("batch: a count outside 1 .. width, or an index outside the node's samples")
        with nogil:
            for i in range(self.hosted):
                self.node(offsets[i], offsets[i + 1] - offsets[i] if counts_at == NULL else counts_at[i],
                          NULL if index_at == NULL else index_at + i * width, x_at + i * x_step,
                          NULL if g_at == NULL else g_at + i * size * item,
                          NULL if v_at == NULL else v_at + i)

    cdef void node(self, int64_t first, int64_t count, int64_t* index, void* x, void* gradient,
                   double* value) noexcept nogil:
        """Evaluate a node whose samples begin with number ``first``."""
        cdef node_samples samples
        cdef Py_ssize_t item = 8 if self.precision else 4
        cdef double* margins = <double*> cnp.PyArray_DATA(self.margins)
        samples.values = cnp.PyArray_DATA(self.values)
        samples.targets = <char*> cnp.PyArray_DATA(self.targets) + first * item
        samples.index, samples.count = index, count
        if self.sparse:
            samples.columns = <int32_t*> cnp.PyArray_DATA(self.columns)
            samples.starts = <int64_t*> cnp.PyArray_DATA(self.starts) + first
            kernels[self.precision].sparse_node(&self.model, &samples, x, gradient, value, margins)
        else:
            samples.values = <char*> samples.values + first * self.model.features * item
            kernels[self.precision].dense_node(&self.model, &samples, x, gradient, value, margins)


def check_sparse_rows(cnp.ndarray values, int typenum, cnp.ndarray columns, cnp.ndarray starts, Py_ssize_t samples,
                      features):
    """Raise ValueError or TypeError unless these are compressed sparse rows with so many samples and features."""
    pointer(values, typenum, columns.shape[0], "values")
    pointer(columns, cnp.NPY_INT32, columns.shape[0], "columns")
    pointer(starts, cnp.NPY_INT64, samples + 1, "starts")
    if starts[0] != 0 or starts[samples] != len(columns) or np.any(np.diff(starts) < 0):
        raise ValueError("starts: want 0 = s_0 <= s_1 <= ... <= s_samples = number of values")
    if len(columns) and not 0 <= columns.min() <= columns.max() < features:
        raise ValueError(f"columns: want 0 .. {features - 1}")


def aligned_doubles(Py_ssize_t size):
    """Return float64 (size,), not set, at an address that is a multiple of 64."""
    memory = np.empty(size + 8)
    shift = (-memory.ctypes.data // 8) % 8
    return memory[shift:shift + size]
