"""Random sample indices keyed by (seed, node, purpose, step): the same on any placement of the nodes."""
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t
from arrays cimport pointer

cnp.import_array()


cdef extern from "philox.h" nogil:
    void philox(const uint64_t* counter, const uint64_t* key, uint64_t* out)
    int64_t below(uint64_t word, int64_t size)


def fill_indices(uint64_t seed, uint64_t purpose, uint64_t step, int64_t first_node, cnp.ndarray sizes,
                 cnp.ndarray index, cnp.ndarray counts):
    """Draw ``width`` samples uniformly with replacement at each hosted node.

    sizes (hosted,): samples at nodes first_node, first_node + 1, ...; index (hosted, width) and counts
    (hosted,) are written. A node with no more than ``width`` samples takes each of them once instead:
    counts[i] = min(width, sizes[i]).
    Word j of node i is word j % 4 of Philox block (j // 4, step, node, purpose) under key (seed, 0).
    """
    cdef Py_ssize_t hosted = sizes.shape[0], width = index.shape[1], i, j
    cdef int64_t* size = <int64_t*> pointer(sizes, cnp.NPY_INT64, hosted, "sizes")
    cdef int64_t* out = <int64_t*> pointer(index, cnp.NPY_INT64, hosted * width, "index")
    cdef int64_t* count = <int64_t*> pointer(counts, cnp.NPY_INT64, hosted, "counts")
    cdef uint64_t counter[4]
    cdef uint64_t key[2]
    cdef uint64_t words[4]
    key[0], key[1] = seed, 0
    with nogil:
        for i in range(hosted):
            counter[1], counter[2], counter[3] = step, <uint64_t> (first_node + i), purpose
            count[i] = min(<int64_t> width, size[i])
            for j in range(width):
                if size[i] <= width:
                    out[j] = j
                    continue
                if j % 4 == 0:
                    counter[0] = <uint64_t> (j // 4)
                    philox(counter, key, words)
                out[j] = below(words[j % 4], size[i])
            out += width
