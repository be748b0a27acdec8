/* X <- W X and its kin. */
#ifndef WEIGHTED_SUMS_H
#define WEIGHTED_SUMS_H
#include <stddef.h>
#include "gossip_kernels.h"
#include "real.h"

#define PIECE 1024 /* coordinates handled at a time: the sums stay in the first-level cache */

/* out_i = keep x_i + move sum_j w_ij (x_j - x_i) + rest previous_i, summed in the order of ``columns``.

   Differences, and sums in double: equal rows stay equal to the bit, and float32 weights need not sum to 1. */
static void weighted_sums(const mixing_rows *w, int64_t d, const void *hosted_rows, const void *ghost_rows,
                          void *result, double keep, double move, double rest, const void *previous_rows)
{
    const real *own = hosted_rows, *ghosts = ghost_rows, *previous = previous_rows;
    real *out = result;
    double sums[PIECE];
    for (int64_t begin = 0; begin < d; begin += PIECE) {
        const int size = d - begin < PIECE ? (int)(d - begin) : PIECE;
        for (int64_t i = 0; i < w->hosted; i++) {
            const real *x = own + i * d + begin;
            real *to = out + i * d + begin;
            for (int k = 0; k < size; k++)
                sums[k] = 0;
            for (int64_t e = w->starts[i]; e < w->starts[i + 1]; e++) {
                const int64_t column = w->columns[e];
                const double weight = w->weights[e];
                const real *row = begin + (column < w->hosted ? own + column * d : ghosts + (column - w->hosted) * d);
                if (column == i)
                    continue;
                for (int k = 0; k < size; k++)
                    sums[k] += weight * ((double)row[k] - (double)x[k]);
            }
            if (!previous)
                for (int k = 0; k < size; k++)
                    to[k] = (real)(keep * (double)x[k] + move * sums[k]);
            else
                for (int k = 0; k < size; k++)
                    to[k] = (real)(keep * (double)x[k] + move * sums[k] + rest * (double)previous[i * d + begin + k]);
        }
    }
}
#endif
