/* Flattening: a randomised Hadamard rotation spreads a vector's energy evenly over its coordinates.
   Included once for each REAL; NAME(x) makes a name of its own. */

/* y_j = +-scale x_j of 64 values: - where the bit is not set. */
INLINE void NAME(turn_block)(const REAL *restrict x, uint64_t signs, double scale, REAL *restrict y)
{
    for (int l = 0; l < 64; l++)
        y[l] = (REAL)((double)x[l] * scale);
    for (int l = 0; l < 64; l += LANES)
        *(NAME(mask) *)(y + l) ^= NAME(negative)(signs, l);
}

/* The same of d values: bit j % 32 of word j / 32 of the stream. */
INLINE void NAME(turn_signs)(const REAL *x, int64_t d, uint64_t key, double scale, REAL *y)
{
    int64_t start = 0;
    for (; start + 64 <= d; start += 64)
        NAME(turn_block)(x + start, two_words((uint32_t)(start / 32), key), scale, y + start);
    if (start < d) {
        const size_t size = (size_t)(d - start) * sizeof(REAL);
        REAL in[64] = {0}, out[64];
        memcpy(in, x + start, size);
        NAME(turn_block)(in, two_words((uint32_t)(start / 32), key), scale, out);
        memcpy(y + start, out, size);
    }
}

/* y = D^(-1/2) H diag(signs) [x; 0] with D = 2^levels >= d values. */
static void NAME(rotate)(const REAL *x, int64_t d, unsigned levels, uint64_t key, REAL *y)
{
    NAME(turn_signs)(x, d, key, 1 / sqrt(ldexp(1, (int)levels)), y);
    memset(y + d, 0, (size_t)(((int64_t)1 << levels) - d) * sizeof(REAL));
    NAME(hadamard)(y, levels);
}

/* The first d values of diag(signs) D^(-1/2) H y; y is overwritten. */
static void NAME(rotate_back)(REAL *y, int64_t d, unsigned levels, uint64_t key, REAL *x)
{
    NAME(hadamard)(y, levels);
    NAME(turn_signs)(y, d, key, 1 / sqrt(ldexp(1, (int)levels)), x);
}
