/* One bit a coordinate: signs, dithered or not. */
#ifndef SIGNS_H
#define SIGNS_H
#include <math.h>
#include <string.h>
#include "bits.h"
#include "codes.h"
#include "magnitude.h"
#include "random.h"
#include "scale.h"
#include "votes.h"

/* What the amplitude follows from; all but CONSTANT send it in front of the bits. */
enum { CONSTANT, LARGEST_VALUE, MEAN_VALUE, ROOT_MEAN_SQUARE };

typedef struct {
    double rule, factor; /* the amplitude is factor times what the rule says, 1 for CONSTANT */
} signs;

static int64_t signs_nbytes(const void *parameters, int64_t d)
{
    const signs *s = parameters;
    return (s->rule == CONSTANT ? 0 : SCALE_BYTES) + packed_size(d, 1);
}

/* The amplitude of a message, whose bits begin at *message afterwards. */
static inline double read_amplitude(const signs *s, const uint8_t **message)
{
    if (s->rule == CONSTANT)
        return s->factor;
    *message += SCALE_BYTES;
    return read_scale(*message - SCALE_BYTES);
}

/* t_j = x_j / amplitude + (2 u_j - 1) of one tile, in single precision, u_j from 16 random bits (probabilities are
   right to 2^-17). With ``check`` returns 1 if a value is not finite. */
INLINE int64_t add_dither(const real *x, const half_word *random, float *t, int size, double inverse, const int check)
{
    int64_t bad = 0;
    for (int j = 0; j < size; j++) {
        if (check)
            bad |= beyond((double)x[j]);
        t[j] = add_exact(random[j], 0x1p-15f, (float)((double)x[j] * inverse));
    }
    return bad < 0;
}

/* Bits of one tile: t_j >= -2^-16, which is half of the last random bit. ``t`` reaches to the next multiple of 64. */
INLINE void dithered_bits(const float *t, uint8_t *bits, int size)
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
INLINE uint64_t plain_word(const real *x, longs *bad)
{
    uint64_t word = 0;
    for (int l = 0; l < 64; l += DOUBLES) {
        const doubles value = load_doubles(x + l);
        *bad |= ((longs)value & INT64_MAX) + BEYOND_ALL;
        word |= (uint64_t)doubles_at_least(value, (doubles){0}) << l;
    }
    return word;
}

/* Bits of one tile; returns 1 if a value is not finite. */
INLINE int64_t plain_bits(const real *x, uint8_t *bits, int size)
{
    longs bad = {0};
    int64_t any = 0;
    const int rest = size % 64, whole = size - rest;
    for (int start = 0; start < whole; start += 64)
        store_word(plain_word(x + start, &bad), bits + start / 8, 64);
    if (rest) {
        real last[64] = {0};
        memcpy(last, x + whole, (size_t)rest * sizeof(real));
        store_word(plain_word(last, &bad), bits + whole / 8, rest);
    }
    for (int l = 0; l < DOUBLES; l++)
        any |= bad[l];
    return any < 0;
}

/* The signs of a vector, dithered if there is a key. Returns 0, or -1 if a value is not finite. */
static inline int sign_bits(
    const real *x, int64_t d, double amplitude, const uint64_t *key, const int check, uint8_t *out)
{
    const double inverse = 1 / amplitude;
    uint32_t random[TILE / 2];
    float t[TILE] = {0};
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        int64_t bad;
        if (key) {
            random_words(random, (uint32_t)(start / 2), key, (size + 1) / 2);
            bad = check ? add_dither(x + start, (const half_word *)random, t, size, inverse, 1)
                        : add_dither(x + start, (const half_word *)random, t, size, inverse, 0);
            dithered_bits(t, out + start / 8, size);
        } else
            bad = plain_bits(x + start, out + start / 8, size);
        if (bad)
            return -1;
    }
    return 0;
}

static int signs_encode(const void *parameters, const void *vector, int64_t d, const uint64_t *key, uint8_t *out)
{
    const signs *s = parameters;
    const real *x = vector;
    if (s->rule == CONSTANT)
        return sign_bits(x, d, s->factor, key, 1, out);
    const int kind = s->rule == MEAN_VALUE ? MEAN_ABSOLUTE : s->rule == ROOT_MEAN_SQUARE ? EUCLIDEAN : LARGEST;
    const double size = magnitude(x, d, kind) / (kind == EUCLIDEAN ? sqrt((double)d) : 1);
    if (!(size < BEYOND))
        return -1;
    const double amplitude = send_scale(size < TINY ? 0 : s->factor * size, out);
    if (amplitude == 0)
        memset(out + SCALE_BYTES, 0, (size_t)packed_size(d, 1));
    else
        sign_bits(x, d, amplitude, key, 0, out + SCALE_BYTES);
    return 0;
}

/* x_j = +-amplitude, or sums to it, for 64 values. */
INLINE void spread_block(uint64_t bits, real amplitude, const int add, real *x)
{
    const reals size = (reals){0} + amplitude;
    for (int l = 0; l < 64; l += REALS) {
        const reals value = (reals)((real_masks)size ^ negative(bits, l));
        if (add)
            *(reals *)(x + l) += value;
        else
            *(reals *)(x + l) = value;
    }
}

INLINE void spread_signs(const uint8_t *in, int64_t d, real amplitude, const int add, real *x)
{
    int64_t start = 0;
    for (; start + 64 <= d; start += 64)
        spread_block(load_word(in + start / 8, 64), amplitude, add, x + start);
    if (start < d) {
        const size_t size = (size_t)(d - start) * sizeof(real);
        real last[64] = {0};
        memcpy(last, x + start, size);
        spread_block(load_word(in + start / 8, d - start), amplitude, add, last);
        memcpy(x + start, last, size);
    }
}

static void signs_decode(const void *parameters, const uint8_t *in, int64_t d, const uint64_t *key, void *x)
{
    const double amplitude = read_amplitude(parameters, &in);
    (void)key;
    if (amplitude == 0)
        memset(x, 0, (size_t)d * sizeof(real));
    else
        spread_signs(in, d, (real)amplitude, 0, x);
}

/* The mean of n messages, ``stride`` bytes apart. Bits of one amplitude are summed as integers, in ``counts`` (d); of
   others +-amplitude/n in the order of messages. */
static void signs_decode_mean(const void *parameters, const uint8_t *messages, int64_t n, int64_t stride, int64_t d,
                              int32_t *counts, void *mean)
{
    const signs *s = parameters;
    real *x = mean;
    if (s->rule == CONSTANT) {
        count_votes(messages, n, stride, d, counts);
        for (int64_t j = 0; j < d; j++)
            x[j] = (real)(s->factor * (double)(2 * counts[j] - (int32_t)n) / (double)n);
        return;
    }
    memset(x, 0, (size_t)d * sizeof(real));
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *bits = messages + i * stride;
        const double amplitude = 1.0 / (double)n * read_amplitude(s, &bits);
        spread_signs(bits, d, (real)amplitude, 1, x);
    }
}
#endif
