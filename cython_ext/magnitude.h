/* How large a vector is. Included once for each REAL; NAME(x) makes a name of its own. */

#ifndef PARTS
#define PARTS 32 /* partial results, in a fixed order: the same bits for any width of vectors */
#define PART_VECTORS (PARTS / DOUBLES)
#endif

typedef REAL NAME(lanes) __attribute__((vector_size(DOUBLES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

/* As many values as fit a vector of doubles. */
INLINE doubles NAME(load)(const REAL *x)
{
    return __builtin_convertvector(*(const NAME(lanes) *)x, doubles);
}

INLINE void NAME(accumulate_parts)(doubles part[PART_VECTORS], const REAL *v, const int kind, const int scaled, double f)
{
    for (int k = 0; k < PART_VECTORS; k++) {
        doubles value = NAME(load)(v + DOUBLES * k);
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
INLINE double NAME(accumulate)(const REAL *x, int64_t d, const int kind, const int scaled, double f)
{
    doubles part[PART_VECTORS] = {{0}};
    double parts[PARTS];
    REAL last[PARTS] = {0};
    const int64_t whole = d / PARTS * PARTS;
    for (int64_t start = 0; start < whole; start += PARTS)
        NAME(accumulate_parts)(part, x + start, kind, scaled, f);
    memcpy(last, x + whole, (size_t)(d - whole) * sizeof(REAL));
    NAME(accumulate_parts)(part, last, kind, scaled, f);
    memcpy(parts, part, sizeof parts);
    double total = 0;
    for (int j = 0; j < PARTS; j++)
        total = kind != LARGEST ? total + parts[j] : parts[j] > total || parts[j] != parts[j] ? parts[j] : total;
    return total;
}

/* max |x_j|, |x|_2 or (1/d) sum |x_j| in double; not finite if and only if a value is not. */
static double NAME(magnitude)(const REAL *x, int64_t d, int kind)
{
    if (kind == LARGEST)
        return NAME(accumulate)(x, d, LARGEST, 0, 1.0);
    double total = kind == EUCLIDEAN ? NAME(accumulate)(x, d, EUCLIDEAN, 0, 1.0) : NAME(accumulate)(x, d, MEAN_ABSOLUTE, 0, 1.0);
    double unit = 1.0;
    if (!(total > 0x1p-960 && total < 0x1p1020)) { /* the squares may have left the range of numbers */
        unit = NAME(accumulate)(x, d, LARGEST, 0, 1.0);
        if (!(unit > 0x1p-1020 && unit < BEYOND))
            return unit;
        total = kind == EUCLIDEAN ? NAME(accumulate)(x, d, EUCLIDEAN, 1, 1 / unit)
                                  : NAME(accumulate)(x, d, MEAN_ABSOLUTE, 1, 1 / unit);
    }
    const double size = unit * (kind == EUCLIDEAN ? sqrt(total) : total / (double)d);
    return size < DBL_MAX ? size : DBL_MAX;
}
