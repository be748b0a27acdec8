/* One bit a coordinate: signs, dithered or not. Included once for each REAL; NAME(x) makes a name of its own. */

#ifndef SIGNS
#define SIGNS
static inline double amplitude_of(const uint8_t **message, int rule, double factor)
{
    if (rule == CONSTANT)
        return factor;
    *message += 4;
    return read_scale(*message - 4);
}
#endif

/* Bits of one tile: x_j / amplitude + (2 u_j - 1) >= 0, in single precision, u_j from 16 random bits (probabilities are
   right to 2^-17); whether a value is not finite, if that is not known. */
static inline __attribute__((always_inline)) int64_t NAME(dithered_bits)(
    const REAL *x, const half_word *random, uint8_t *bits, int size, double inverse, const int check)
{
    int64_t bad = 0;
    for (int j = 0; j < size; j++) {
        if (check)
            bad |= !(fabs((double)x[j]) < BEYOND);
        bits[j] = (float)((double)x[j] * inverse) + (float)random[j] * 0x1p-15f >= -0x1p-16f;
    }
    return bad;
}

/* x_j >= 0. */
static inline int64_t NAME(plain_bits)(const REAL *x, uint8_t *bits, int size)
{
    int64_t bad = 0;
    for (int j = 0; j < size; j++) {
        bad |= !(fabs((double)x[j]) < BEYOND);
        bits[j] = x[j] >= 0;
    }
    return bad;
}

/* The signs of a vector, dithered if there is a key. Returns 0, or -1 if a value is not finite. */
static inline int NAME(sign_bits)(
    const REAL *x, int64_t d, double amplitude, const uint64_t *key, const int check, uint8_t *out)
{
    const double inverse = 1 / amplitude;
    uint32_t random[TILE / 2];
    uint8_t bits[TILE];
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        int64_t bad;
        if (key) {
            random_words(random, (uint32_t)(start / 2), key, (size + 1) / 2);
            bad = check ? NAME(dithered_bits)(x + start, (const half_word *)random, bits, size, inverse, 1)
                        : NAME(dithered_bits)(x + start, (const half_word *)random, bits, size, inverse, 0);
        } else
            bad = NAME(plain_bits)(x + start, bits, size);
        if (bad)
            return -1;
        pack_bytes(bits, out + start / 8, size, 1);
    }
    return 0;
}

/* One vector -> one message of signs with amplitude factor * (a size of the vector), or factor itself.
   key: NULL for no dither. Returns 0, or -1 if a value is not finite. */
static int NAME(sign_encode)(const REAL *x, int64_t d, int rule, double factor, const uint64_t *key, uint8_t *out)
{
    if (rule == CONSTANT)
        return NAME(sign_bits)(x, d, factor, key, 1, out);
    const int kind = rule == MEAN_VALUE ? MEAN_ABSOLUTE : rule == ROOT_MEAN_SQUARE ? EUCLIDEAN : LARGEST;
    const double size = NAME(magnitude)(x, d, kind) / (kind == EUCLIDEAN ? sqrt((double)d) : 1);
    if (!(size < BEYOND))
        return -1;
    const double amplitude = send_scale(size < TINY ? 0 : factor * size, out);
    if (amplitude == 0)
        memset(out + 4, 0, (size_t)packed_size(d, 1));
    else
        NAME(sign_bits)(x, d, amplitude, key, 0, out + 4);
    return 0;
}

/* x_j = value[bit j], or sums to it. */
static inline void NAME(spread_bits)(const uint8_t *in, int64_t d, const REAL value[2], const int add, REAL *x)
{
    uint8_t bits[TILE];
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        REAL *out = x + start;
        unpack_bytes(in + start / 8, bits, size, 1);
        for (int j = 0; j < size; j++) {
            const REAL v = bits[j] ? value[1] : value[0];
            out[j] = add ? out[j] + v : v;
        }
    }
}

/* x_j = +-amplitude. */
static void NAME(sign_decode)(const uint8_t *in, int64_t d, int rule, double factor, REAL *x)
{
    const double amplitude = amplitude_of(&in, rule, factor);
    const REAL value[2] = {(REAL)-amplitude, (REAL)amplitude};
    if (amplitude == 0)
        memset(x, 0, (size_t)d * sizeof(REAL));
    else
        NAME(spread_bits)(in, d, value, 0, x);
}

/* sums_j += weight * (+-amplitude). */
static void NAME(add_signs)(const uint8_t *in, int64_t d, int rule, double weight, REAL *sums)
{
    const double amplitude = weight * amplitude_of(&in, rule, 1);
    const REAL value[2] = {(REAL)-amplitude, (REAL)amplitude};
    NAME(spread_bits)(in, d, value, 1, sums);
}

/* x_j = factor (2 counts_j - n)/n: the mean of n signs times ``factor``, from how many were positive. */
static void NAME(mean_of_votes)(const int32_t *counts, int64_t d, int64_t n, double factor, REAL *x)
{
    const double scale = (double)n;
    for (int64_t j = 0; j < d; j++)
        x[j] = (REAL)(factor * (double)(2 * counts[j] - (int32_t)n) / scale);
}
