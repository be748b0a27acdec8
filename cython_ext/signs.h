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

/* x_j / amplitude + (2 u_j - 1) of one tile, in single precision, u_j from 16 random bits (probabilities are right to
   2^-17); whether a value is not finite, if that is not known. */
INLINE int64_t NAME(dithered)(
    const REAL *x, const half_word *random, float *t, int size, double inverse, const int check)
{
    int64_t bad = 0;
    for (int j = 0; j < size; j++) {
        if (check)
            bad |= beyond((double)x[j]);
        t[j] = add_exact(random[j], 0x1p-15f, (float)((double)x[j] * inverse));
    }
    return bad < 0;
}

/* Bits of one tile: t_j >= -2^-16, which is half of the last random bit. ``t`` has room for the next multiple of 64. */
INLINE void NAME(dithered_bits)(const float *t, uint8_t *bits, int size)
{
    const float_lanes middle = (float_lanes){0} - 0x1p-16f;
    for (int start = 0; start < size; start += 64) {
        uint64_t word = 0;
        for (int l = 0; l < 64; l += FLOAT_LANES)
            word |= (uint64_t)floats_at_least(*(const float_lanes *)(t + start + l), middle) << l;
        store_word(word, bits + start / 8, size - start);
    }
}

/* x_j >= 0 of 64 values; ``bad`` becomes negative in a lane with a value that is not finite. */
INLINE uint64_t NAME(plain_word)(const REAL *x, longs *bad)
{
    uint64_t word = 0;
    for (int l = 0; l < 64; l += DOUBLES) {
        const doubles value = NAME(load)(x + l);
        *bad |= ((longs)value & INT64_MAX) + BEYOND_ALL;
        word |= (uint64_t)doubles_at_least(value, (doubles){0}) << l;
    }
    return word;
}

/* Bits of one tile; whether a value is not finite. */
INLINE int64_t NAME(plain_bits)(const REAL *x, uint8_t *bits, int size)
{
    longs bad = {0};
    int64_t any = 0;
    const int rest = size % 64, whole = size - rest;
    for (int start = 0; start < whole; start += 64)
        store_word(NAME(plain_word)(x + start, &bad), bits + start / 8, 64);
    if (rest) {
        REAL last[64] = {0};
        memcpy(last, x + whole, (size_t)rest * sizeof(REAL));
        store_word(NAME(plain_word)(last, &bad), bits + whole / 8, rest);
    }
    for (int l = 0; l < DOUBLES; l++)
        any |= bad[l];
    return any < 0;
}

/* The signs of a vector, dithered if there is a key. Returns 0, or -1 if a value is not finite. */
static inline int NAME(sign_bits)(
    const REAL *x, int64_t d, double amplitude, const uint64_t *key, const int check, uint8_t *out)
{
    const double inverse = 1 / amplitude;
    uint32_t random[TILE / 2];
    float t[TILE] = {0};
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        int64_t bad;
        if (key) {
            random_words(random, (uint32_t)(start / 2), key, (size + 1) / 2);
            bad = check ? NAME(dithered)(x + start, (const half_word *)random, t, size, inverse, 1)
                        : NAME(dithered)(x + start, (const half_word *)random, t, size, inverse, 0);
            NAME(dithered_bits)(t, out + start / 8, size);
        } else
            bad = NAME(plain_bits)(x + start, out + start / 8, size);
        if (bad)
            return -1;
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

/* x_j = +-amplitude, or sums to it, for 64 values. */
INLINE void NAME(spread_block)(uint64_t bits, REAL amplitude, const int add, REAL *x)
{
    const NAME(vector) size = (NAME(vector)){0} + amplitude;
    for (int l = 0; l < 64; l += LANES) {
        const NAME(vector) value = (NAME(vector))((NAME(mask))size ^ NAME(negative)(bits, l));
        if (add)
            *(NAME(vector) *)(x + l) += value;
        else
            *(NAME(vector) *)(x + l) = value;
    }
}

INLINE void NAME(spread_signs)(const uint8_t *in, int64_t d, REAL amplitude, const int add, REAL *x)
{
    int64_t start = 0;
    for (; start + 64 <= d; start += 64)
        NAME(spread_block)(load_word(in + start / 8, 64), amplitude, add, x + start);
    if (start < d) {
        const size_t size = (size_t)(d - start) * sizeof(REAL);
        REAL last[64] = {0};
        memcpy(last, x + start, size);
        NAME(spread_block)(load_word(in + start / 8, d - start), amplitude, add, last);
        memcpy(x + start, last, size);
    }
}

static void NAME(sign_decode)(const uint8_t *in, int64_t d, int rule, double factor, REAL *x)
{
    const double amplitude = amplitude_of(&in, rule, factor);
    if (amplitude == 0)
        memset(x, 0, (size_t)d * sizeof(REAL));
    else
        NAME(spread_signs)(in, d, (REAL)amplitude, 0, x);
}

/* sums_j += weight * (+-amplitude). */
static void NAME(add_signs)(const uint8_t *in, int64_t d, int rule, double weight, REAL *sums)
{
    const double amplitude = weight * amplitude_of(&in, rule, 1);
    NAME(spread_signs)(in, d, (REAL)amplitude, 1, sums);
}

/* x_j = factor (2 counts_j - n)/n: the mean of n signs times ``factor``, from how many were positive. */
static void NAME(mean_of_votes)(const int32_t *counts, int64_t d, int64_t n, double factor, REAL *x)
{
    const double scale = (double)n;
    for (int64_t j = 0; j < d; j++)
        x[j] = (REAL)(factor * (double)(2 * counts[j] - (int32_t)n) / scale);
}
