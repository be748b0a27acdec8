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
    const int64_t whole = (int64_t)k;
    return whole < d ? whole : d;
}

/* Write the scale of a vector whose largest value is ``largest``; returns what values are multiplied by. */
static inline double sparse_unit(double largest, uint8_t *out)
{
    const double unit = largest < TINY ? 0 : 1 / power_above(largest);
    send_scale(unit > 0 ? 1 / unit : 0, out);
    return unit;
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
