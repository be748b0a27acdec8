"""Losses and gradients of linear models for all hosted nodes, one pass over the samples.

``LinearModel`` keeps the samples of the hosted nodes, node after node, and evaluates

    f_i(x) = (1/m_i) sum_j phi(A_j x, b_j) + (l2/2) |x|^2 + nonconvex sum_k x_k^2 / (1 + x_k^2)

with phi the squared, logistic or softmax loss. Nothing is allocated in ``evaluate``.
"""
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t
from arrays cimport pointer

import numpy as np

from mpiqopt.kernels import level

cnp.import_array()


cdef extern from "losses_kernels.h" nogil:
    ctypedef struct linear_model:
        int64_t loss, features, outputs
        double l2, nonconvex
    enum: BLOCK_ROWS
    ctypedef struct losses_kernels:
        void (*dense_node_f64)(const linear_model*, const double*, const double*, const int64_t*, int64_t,
                               const double*, double*, double*, double*) noexcept nogil
        void (*dense_node_f32)(const linear_model*, const float*, const float*, const int64_t*, int64_t,
                               const float*, float*, double*, double*) noexcept nogil
        void (*sparse_node_f64)(const linear_model*, const double*, const int32_t*, const int64_t*, const double*,
                                const int64_t*, int64_t, const double*, double*, double*, double*) noexcept nogil
        void (*sparse_node_f32)(const linear_model*, const float*, const int32_t*, const int64_t*, const float*,
                                const int64_t*, int64_t, const float*, float*, double*, double*) noexcept nogil
    const losses_kernels** losses_tables

cdef const losses_kernels* kernels = losses_tables[level()]

LOSSES = {"squared": 0, "logistic": 1, "softmax": 2}


cdef bint in_range(Py_ssize_t hosted, Py_ssize_t width, const int64_t* offsets, const int64_t* index,
                   const int64_t* counts) noexcept nogil:
    """Whether every counted index is one of its node's samples."""
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
    """Samples of the hosted nodes and the loss on them.

    loss: "squared" | "logistic" | "softmax"; values, targets: float64 or float32, the dense rows
    (M, d), or the CSR data with ``columns`` (int32) and ``starts`` (int64, M + 1). offsets (hosted + 1)
    delimit the nodes' samples. ``outputs`` is the number of classes (softmax) or 1; x has shape
    (hosted, outputs * d).
    """

    cdef linear_model model
    cdef cnp.ndarray values, targets, columns, starts, offsets, margins
    cdef Py_ssize_t hosted
    cdef int typenum
    cdef bint sparse

    def __init__(self, str loss, cnp.ndarray values, cnp.ndarray targets, cnp.ndarray offsets, *, features,
                 outputs=1, l2=0.0, nonconvex=0.0, cnp.ndarray columns=None, cnp.ndarray starts=None):
        self.model.loss = LOSSES[loss]
        self.model.features, self.model.outputs = features, outputs
        self.model.l2, self.model.nonconvex = l2, nonconvex
        self.typenum = cnp.PyArray_TYPE(values)
        if self.typenum not in (cnp.NPY_FLOAT64, cnp.NPY_FLOAT32):
            raise TypeError(f"values: want float64 or float32, got {values.dtype}")
        samples = targets.shape[0]
        self.hosted = offsets.shape[0] - 1
        self.sparse = columns is not None
        if outputs < 1 or (outputs > 1 and loss != "softmax") or not 1 <= features < 2**31:
            raise ValueError(f"outputs = {outputs}, features = {features}: do not fit the loss {loss!r}")
        if self.sparse:
            pointer(values, self.typenum, columns.shape[0], "values")
            pointer(columns, cnp.NPY_INT32, columns.shape[0], "columns")
            pointer(starts, cnp.NPY_INT64, samples + 1, "starts")
            if starts[0] != 0 or starts[samples] != len(columns) or np.any(np.diff(starts) < 0):
                raise ValueError("starts: want 0 = s_0 <= s_1 <= ... <= s_samples = number of values")
            if len(columns) and not 0 <= columns.min() <= columns.max() < features:
                raise ValueError(f"columns: want 0 .. {features - 1}")
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
        room = np.empty(2 * BLOCK_ROWS * outputs + 16)
        shift = (-room.ctypes.data // 8) % 8
        self.margins = room[shift:shift + 2 * BLOCK_ROWS * outputs + 8]

    def evaluate(self, cnp.ndarray x, cnp.ndarray gradient=None, cnp.ndarray value=None,
                 cnp.ndarray index=None, cnp.ndarray counts=None):
        """Write gradients (hosted, outputs * d) and values (hosted,) at x, for all samples or a batch.

        x: (hosted, outputs * d), or (1, outputs * d) for one point common to all nodes.
        index: (hosted, width) positions within each node's samples, of which the first counts[i] count.
        """
        cdef Py_ssize_t i, size = self.model.features * self.model.outputs
        cdef Py_ssize_t item = 8 if self.typenum == cnp.NPY_FLOAT64 else 4
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
        cdef double* margins = <double*> cnp.PyArray_DATA(self.margins)
        cdef double* values = <double*> cnp.PyArray_DATA(self.values)
        cdef float* values32 = <float*> values
        cdef double* targets = <double*> cnp.PyArray_DATA(self.targets)
        cdef float* targets32 = <float*> targets
        cdef int32_t* columns
        cdef int64_t* starts
        cdef int64_t d = self.model.features
        if self.sparse:
            columns = <int32_t*> cnp.PyArray_DATA(self.columns)
            starts = <int64_t*> cnp.PyArray_DATA(self.starts) + first
            if self.typenum == cnp.NPY_FLOAT64:
                kernels.sparse_node_f64(&self.model, values, columns, starts, targets + first, index, count,
                                        <double*> x, <double*> gradient, value, margins)
            else:
                kernels.sparse_node_f32(&self.model, values32, columns, starts, targets32 + first, index, count,
                                        <float*> x, <float*> gradient, value, margins)
        elif self.typenum == cnp.NPY_FLOAT64:
            kernels.dense_node_f64(&self.model, values + first * d, targets + first, index, count,
                                   <double*> x, <double*> gradient, value, margins)
        else:
            kernels.dense_node_f32(&self.model, values32 + first * d, targets32 + first, index, count,
                                   <float*> x, <float*> gradient, value, margins)
