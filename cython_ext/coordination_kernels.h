/* Vectors of integers at the nodes: where they are, and the kernels that compute with them. */
#ifndef COORDINATION_KERNELS_H
#define COORDINATION_KERNELS_H
#include <stdint.h>
#include "kernels.h"
#include "packed.h"
#include "random.h"

/* Where pieces go: packed bytes, or a sum with others that wait (which they begin if fresh). */
typedef struct {
    uint8_t *packed;
    int64_t size;
    int64_t *sum;
    int fresh;
    int64_t begun; /* where the last tile with a piece begins, plus one */
    uint64_t all;  /* of that tile: its codes */
} destination;

/* Values at nodes are int32 if ``narrow``, or else int64. */

static inline void *value_address(void *v, int narrow, int64_t at)
{
    return (char *)v + at * (narrow ? 4 : 8);
}

static inline int64_t value_at(const void *v, int narrow, int64_t at)
{
    return narrow ? ((const int32_t *)v)[at] : ((const int64_t *)v)[at];
}

/* As large as a value with a code of so many bits may be. */
static inline int64_t largest_of(int bits)
{
    return bits > 62 ? INT64_C(1) << 62 : bits ? INT64_C(1) << (bits - 1) : 0;
}

/* low = min(low, v), high = max(high, v). */
static inline void widen_by_value(int64_t v, int64_t *low, int64_t *high)
{
    *low = v < *low ? v : *low;
    *high = v > *high ? v : *high;
}

#define COORDINATION_KERNELS(EACH) \
    EACH(int64_t, pack_vector, (const int64_t *, int64_t, int, uint8_t *)) \
    EACH(void, store_times, (void *, int, const int64_t *, int64_t, int64_t)) \
    EACH(void, lengthen, (void *, int64_t)) \
    EACH(int64_t, reach_of, (const void *, int, int64_t)) \
    EACH(int64_t, add_packed, (const uint8_t *, int64_t, int64_t, void *, int)) \
    EACH(void, split_pieces, (void *, int, int64_t, int64_t, int64_t, const int32_t *, destination *, int, void *)) \
    EACH(int64_t, share_out, (void *, void *, int, int64_t, int64_t, int64_t, double, int, int, uint8_t *)) \
    EACH(void, quantise_row, (const double *, int64_t, double, int, const double *, int64_t *, double *, double *)) \
    EACH(void, widen_by_ratio, (void *, int, int64_t, int64_t, int64_t *, int64_t *)) \
    EACH(void, round_ratio, (const void *, int, int64_t, int64_t, int64_t, int64_t, int64_t *)) \
    EACH(void, settle_row, (double *, const int64_t *, const void *, int, int64_t, double, const double *, double, \
                            double)) \
    EACH(int64_t, fingerprint, (const int64_t *, int64_t)) \
    EACH(int64_t, pack_extremes, (const int64_t *, const int64_t *, int64_t, int, uint8_t *)) \
    EACH(int64_t, widen_by_packed, (const uint8_t *, int64_t, int64_t, int64_t *, int64_t *)) \
    EACH(int, within, (const int64_t *, const int64_t *, int64_t, int64_t))

DECLARE_KERNELS(coordination, COORDINATION_KERNELS)
#endif
