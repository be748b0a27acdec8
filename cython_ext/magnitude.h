/* How large a vector is. Included once for each REAL; NAME(x) makes a name of its own. */

#ifndef PARTS
enum { LARGEST, EUCLIDEAN, MEAN_ABSOLUTE };
#define PARTS 32 /* independent partial results: the compiler may vectorise, and the order is fixed */
/* Vectors smaller than this are sent as zero: the reciprocal of their scale would overflow. Values beyond the other
   count as not finite: there must be room for a power of two above them. */
#define TINY 0x1p-900
#define BEYOND 0x1p1022
#endif

/* max |f x_j|, sum (f x_j)^2 or sum |f x_j|; not finite if a value is not. */
static inline double NAME(accumulate)(const REAL *x, int64_t d, const int kind, double f)
{
    double part[PARTS] = {0}, poison[PARTS] = {0};
    for (int64_t start = 0; start < d; start += PARTS) {
        REAL last[PARTS] = {0};
        const REAL *v = x + start;
        if (d - start < PARTS)
            v = memcpy(last, v, (size_t)(d - start) * sizeof(REAL));
        for (int j = 0; j < PARTS; j++) {
            const double a = fabs(f * (double)v[j]);
            if (kind == LARGEST) {
                part[j] = a > part[j] ? a : part[j];
                poison[j] += a * 0.0; /* NaN is not larger than anything */
            } else
                part[j] += kind == EUCLIDEAN ? a * a : a;
        }
    }
    double total = 0;
    for (int j = 0; j < PARTS; j++)
        total = (kind != LARGEST ? total + part[j] : part[j] > total ? part[j] : total) + poison[j];
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
        if (!(unit > TINY && unit < BEYOND))
            return unit;
        total = kind == EUCLIDEAN ? NAME(accumulate)(x, d, EUCLIDEAN, 1 / unit)
                                  : NAME(accumulate)(x, d, MEAN_ABSOLUTE, 1 / unit);
    }
    const double size = unit * (kind == EUCLIDEAN ? sqrt(total) : total / (double)d);
    return size < DBL_MAX ? size : DBL_MAX;
}
