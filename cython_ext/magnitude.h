/* How large a vector is: its largest value, its norm, or its mean magnitude. */
#ifndef MAGNITUDE_H
#define MAGNITUDE_H
#include <float.h>
#include <math.h>
#include <string.h>
#include "finite.h"
#include "real.h"

enum { LARGEST, EUCLIDEAN, MEAN_ABSOLUTE };

/* Partial results, in a fixed order: the same bits for any width of vectors. */
enum { PARTS = 32, PART_VECTORS = PARTS / DOUBLES };

INLINE void accumulate_parts(doubles part[PART_VECTORS], const real *v, const int kind, const int scaled, double f)
{
    for (int k = 0; k < PART_VECTORS; k++) {
        doubles value = load_doubles(v + DOUBLES * k);
        if (scaled)
            value *= f;
        const longs size = (longs)value & INT64_MAX;
        if (kind == LARGEST)
            part[k] = (doubles)larger(size, (longs)part[k]);
        else if (kind == EUCLIDEAN)
            part[k] += value * value;
        else
            part[k] += (doubles)size;
    }
}

/* max |f x_j|, sum (f x_j)^2 or sum |f x_j|, in PARTS partial results; not finite if a value is not. */
INLINE double accumulate(const real *x, int64_t d, const int kind, const int scaled, double f)
{
    doubles part[PART_VECTORS] = {{0}};
    double parts[PARTS];
    real last[PARTS] = {0};
    const int64_t whole = d / PARTS * PARTS;
    for (int64_t start = 0; start < whole; start += PARTS)
        accumulate_parts(part, x + start, kind, scaled, f);
    memcpy(last, x + whole, (size_t)(d - whole) * sizeof(real));
    accumulate_parts(part, last, kind, scaled, f);
    memcpy(parts, part, sizeof parts);
    double total = 0;
    for (int j = 0; j < PARTS; j++)
        total = kind != LARGEST ? total + parts[j] : parts[j] > total || parts[j] != parts[j] ? parts[j] : total;
    return total;
}

/* max |x_j|, |x|_2 or (1/d) sum |x_j| in double; not finite if and only if a value is not. */
static double magnitude(const real *x, int64_t d, int kind)
{
    if (kind == LARGEST)
        return accumulate(x, d, LARGEST, 0, 1.0);
    double total = kind == EUCLIDEAN ? accumulate(x, d, EUCLIDEAN, 0, 1.0) : accumulate(x, d, MEAN_ABSOLUTE, 0, 1.0);
    double unit = 1.0;
    if (!(total > 0x1p-960 && total < 0x1p1020)) { /* the squares may have left the range of numbers */
        unit = accumulate(x, d, LARGEST, 0, 1.0);
        if (!(unit > 0x1p-1020 && unit < BEYOND))
            return unit;
        total = kind == EUCLIDEAN ? accumulate(x, d, EUCLIDEAN, 1, 1 / unit)
                                  : accumulate(x, d, MEAN_ABSOLUTE, 1, 1 / unit);
    }
    const double size = unit * (kind == EUCLIDEAN ? sqrt(total) : total / (double)d);
    return size < DBL_MAX ? size : DBL_MAX;
}

/* True if no value is NaN, infinite or beyond 2^1022. */
static int all_finite(const void *x, int64_t d)
{
    return magnitude(x, d, LARGEST) < BEYOND;
}
#endif
