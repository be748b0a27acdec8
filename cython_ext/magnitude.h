/* How large a vector is. Included once for each REAL; NAME(x) makes a name of its own. */

#ifndef PARTS
#define PARTS 32 /* partial results, in a fixed order: the same bits for any width of vectors */
typedef double doubles __attribute__((vector_size(64)));
typedef int64_t words8 __attribute__((vector_size(64)));
#endif

typedef REAL NAME(eight) __attribute__((vector_size(8 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

static inline __attribute__((always_inline)) void NAME(accumulate32)(
    doubles part[4], const REAL *v, const int kind, double f)
{
    for (int k = 0; k < 4; k++) {
        const doubles value = __builtin_convertvector(*(const NAME(eight) *)(v + 8 * k), doubles) * f;
        const words8 bits = (words8)value & INT64_MAX;
        if (kind == LARGEST) { /* as integers: NaN is larger than infinity, and that than numbers */
            const words8 above = bits > (words8)part[k];
            part[k] = (doubles)((bits & above) | ((words8)part[k] & ~above));
        } else
            part[k] += kind == EUCLIDEAN ? value * value : (doubles)bits;
    }
}

/* max |f x_j|, sum (f x_j)^2 or sum |f x_j|, in 4 vectors of 8 partial results; not finite if a value is not. */
static inline __attribute__((always_inline)) double NAME(accumulate)(const REAL *x, int64_t d, const int kind, double f)
{
    doubles part[4] = {{0}};
    REAL last[PARTS] = {0};
    const int64_t whole = d / PARTS * PARTS;
    for (int64_t start = 0; start < whole; start += PARTS)
        NAME(accumulate32)(part, x + start, kind, f);
    memcpy(last, x + whole, (size_t)(d - whole) * sizeof(REAL));
    NAME(accumulate32)(part, last, kind, f);
    double total = 0;
    for (int j = 0; j < PARTS; j++) {
        const double p = part[j / 8][j % 8];
        total = kind != LARGEST ? total + p : p > total || p != p ? p : total;
    }
    return total;
}

/* max |x_j|, |x|_2 or (1/d) sum |x_j| in double; not finite if and only if a value is not. */
static double NAME(magnitude)(const REAL *x, int64_t d, int kind)
{
    if (kind == LARGEST)
        return NAME(accumulate)(x, d, LARGEST, 1.0);
    double total = kind == EUCLIDEAN ? NAME(accumulate)(x, d, EUCLIDEAN, 1.0) : NAME(accumulate)(x, d, MEAN_ABSOLUTE, 1.0);
    double unit = 1.0;
    if (!(total > 0x1p-960 && total < 0x1p1020)) { /* the squares may have left the range of numbers */
        unit = NAME(accumulate)(x, d, LARGEST, 1.0);
        if (!(unit > 0x1p-1020 && unit < BEYOND))
            return unit;
        total = kind == EUCLIDEAN ? NAME(accumulate)(x, d, EUCLIDEAN, 1 / unit)
                                  : NAME(accumulate)(x, d, MEAN_ABSOLUTE, 1 / unit);
    }
    const double size = unit * (kind == EUCLIDEAN ? sqrt(total) : total / (double)d);
    return size < DBL_MAX ? size : DBL_MAX;
}
