/* Losses and gradients of linear models: the model, and the list of kernels. */
#ifndef LOSSES_KERNELS_H
#define LOSSES_KERNELS_H
#include <stdint.h>
#include "kernels.h"

enum { SQUARED = 0, LOGISTIC = 1, SOFTMAX = 2 };
enum { BLOCK_ROWS = 64 };

typedef struct {
    int64_t loss, features, outputs;
    double l2, nonconvex;
} linear_model;

/* The samples of one node: rows of values, dense, or compressed sparse rows if there are ``columns``. */
typedef struct {
    const void *values, *targets; /* float64 or float32 */
    const int32_t *columns;
    const int64_t *starts;
    const int64_t *index; /* numbers of the rows that count; NULL: all of them */
    int64_t count;
} node_samples;

#define LOSSES_KERNELS(EACH) \
    EACH(void, dense_node, (const linear_model *, const node_samples *, const void *, void *, double *, double *)) \
    EACH(void, sparse_node, (const linear_model *, const node_samples *, const void *, void *, double *, double *))

DECLARE_REAL_KERNELS(losses, LOSSES_KERNELS)
#endif
