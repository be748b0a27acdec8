/* Losses and gradients of linear models: the model and its kernels. */
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

#define NODE_KERNELS(EACH, real, f) \
    EACH(void, dense_node_##f, (const linear_model *, const real *, const real *, const int64_t *, int64_t, \
                                const real *, real *, double *, double *)) \
    EACH(void, sparse_node_##f, (const linear_model *, const real *, const int32_t *, const int64_t *, const real *, \
                                 const int64_t *, int64_t, const real *, real *, double *, double *))

#define LOSSES_KERNELS(EACH) \
    NODE_KERNELS(EACH, double, f64) \
    NODE_KERNELS(EACH, float, f32)

DECLARE_KERNELS(losses, LOSSES_KERNELS)
#endif
