/* Flattening: a randomised Hadamard rotation spreads a vector's energy evenly over its coordinates.
   Included once for each REAL; NAME(x) makes a name of its own. */

/* +1 or -1 for coordinate j, times ``scale``. */
#ifndef ROTATION
#define ROTATION
static inline double random_sign(uint32_t j, uint64_t key, double scale)
{
    return word(j, key) >> 31 ? -scale : scale;
}
#endif

/* y = D^(-1/2) H diag(signs) [x; 0] with D = 2^levels >= d values. */
static void NAME(rotate)(const REAL *x, int64_t d, unsigned levels, uint64_t key, REAL *y)
{
    const double scale = 1 / sqrt(ldexp(1, (int)levels));
    for (int64_t j = 0; j < d; j++)
        y[j] = (REAL)((double)x[j] * random_sign((uint32_t)j, key, scale));
    memset(y + d, 0, (size_t)(((int64_t)1 << levels) - d) * sizeof(REAL));
    NAME(hadamard)(y, levels);
}

/* The first d values of diag(signs) D^(-1/2) H y; y is overwritten. */
static void NAME(rotate_back)(REAL *y, int64_t d, unsigned levels, uint64_t key, REAL *x)
{
    const double scale = 1 / sqrt(ldexp(1, (int)levels));
    NAME(hadamard)(y, levels);
    for (int64_t j = 0; j < d; j++)
        x[j] = (REAL)((double)y[j] * random_sign((uint32_t)j, key, scale));
}
