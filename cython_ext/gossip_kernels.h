/* Weighted sums of rows: the matrix, and the list of kernels. */
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

#define GOSSIP_KERNELS(EACH) \
    EACH(void, weighted_sums, (const mixing_rows *, int64_t, const void *, const void *, void *, double, double, \
                               double, const void *))

DECLARE_REAL_KERNELS(gossip, GOSSIP_KERNELS)
#endif
