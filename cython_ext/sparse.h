/* Some of the coordinates of a vector: what top-k and random-k have in common.

   Message: a power of two above max|x| as the scale, then k values as float32, relative to it. */
#ifndef SPARSE_H
#define SPARSE_H
#include <string.h>
#include "codes.h"
#include "magnitude.h"
#include "scale.h"

/* k, if there are so many coordinates. */
static inline int64_t sparse_count(double k, int64_t d)
{
    return k < (double)d ? (int64_t)k : d;
}

/* Write the scale of x; ``unit`` becomes what values are multiplied by. Returns 0, or -1 if a value is not finite. */
static inline int sparse_scale(const real *x, int64_t d, double *unit, uint8_t *out)
{
    const double size = magnitude(x, d, LARGEST);
    if (!(size < BEYOND))
        return -1;
    *unit = size < TINY ? 0 : 1 / power_above(size);
    send_scale(*unit > 0 ? 1 / *unit : 0, out);
    return 0;
}

/* Values ``first``, first + 1, ... of a message, from or to the coordinates of x that ``index`` names. */

static inline void gather(const real *x, const uint32_t *index, int count, double unit, int64_t first, uint8_t *message)
{
    for (int i = 0; i < count; i++) {
        const float value = (float)((double)x[index[i]] * unit);
        memcpy(message + SCALE_BYTES + 4 * (first + i), &value, 4);
    }
}

static inline void scatter(const uint8_t *message, int64_t first, const uint32_t *index, int count, double factor,
                           real *x, int64_t d)
{
    const double scale = read_scale(message);
    for (int i = 0; i < count; i++) {
        float value;
        memcpy(&value, message + SCALE_BYTES + 4 * (first + i), 4);
        if (index[i] < d) /* a broken message does no harm */
            x[index[i]] = (real)(factor * (scale * (double)value));
    }
}
#endif
