/* Weighted sums of rows. */
#ifndef GOSSIP_KERNELS_H
#define GOSSIP_KERNELS_H
#include <stdint.h>
#include "kernels.h"

/* Rows of a matrix W - I in compressed sparse rows: columns below ``hosted`` are own rows, the others ghost rows. */
typedef struct {
    int64_t hosted;
    const int64_t *starts, *columns;
    const double *weights;
} mixing_rows;

#define SUM_KERNELS(EACH, real, f) \
    EACH(void, weighted_sums_##f, (const mixing_rows *, int64_t, const real *, const real *, real *, double, double, \
                                   double, const real *))

#define GOSSIP_KERNELS(EACH) \
    SUM_KERNELS(EACH, double, f64) \
    SUM_KERNELS(EACH, float, f32)

DECLARE_KERNELS(gossip, GOSSIP_KERNELS)
#endif
