/* Which values count as finite: those below 2^1022, so that there is a power of two above each. */
#ifndef FINITE_H
#define FINITE_H
#include <stdint.h>
#include <string.h>

#define BEYOND 0x1p1022

/* Negative if and only if |x| >= BEYOND or NaN: added to the bits of |x|, this makes them overflow. */
#define BEYOND_ALL INT64_C(0x0030000000000000)

static inline int64_t beyond(double x)
{
    int64_t bits;
    memcpy(&bits, &x, 8);
    return (int64_t)((uint64_t)(bits & INT64_MAX) + (uint64_t)BEYOND_ALL);
}
#endif
