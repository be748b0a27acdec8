/* Shorter floating-point numbers, relative to the power of two above the largest value: they neither overflow nor, for
   what matters beside the largest value, underflow. */
#ifndef SHORT_FLOATS_H
#define SHORT_FLOATS_H
#include <string.h>
#include "codes.h"
#include "magnitude.h"
#include "scale.h"

enum { FLOAT32, FLOAT16, BFLOAT16 };

typedef struct {
    double format;
} short_floats;

static inline int bytes_of_float(const short_floats *f)
{
    return f->format == FLOAT32 ? 4 : 2;
}

static int64_t short_floats_nbytes(const void *parameters, int64_t d)
{
    return SCALE_BYTES + d * bytes_of_float(parameters);
}

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static inline float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* To single precision with the last bit set if that is not exact: rounding again, to a shorter format, is then right. */
static inline float to_odd(double x)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    u = (u & ~0x1FFFFFFFULL) | (uint64_t)((u & 0x1FFFFFFFULL) != 0) << 29;
    memcpy(&x, &u, 8);
    return (float)x;
}

/* To nearest, ties to even; |x| < 65504. */
static inline uint16_t to_half(float x)
{
    const uint32_t u = bits_of(x), magnitude = u & 0x7FFFFFFFu;
    const uint32_t small = bits_of(float_of(magnitude) + 0.5f) - 0x3F000000u; /* the addition rounds */
    const uint32_t normal = (magnitude + 0xC8000FFFu + (magnitude >> 13 & 1)) >> 13;
    return (uint16_t)(u >> 16 & 0x8000u) | (uint16_t)(magnitude < 0x38800000u ? small : normal);
}

static inline float from_half(uint16_t h)
{
    return float_of((uint32_t)(h & 0x7FFF) << 13) * (h & 0x8000 ? -0x1p112f : 0x1p112f);
}

/* To nearest, ties to even. */
static inline uint16_t to_bfloat(float x)
{
    const uint32_t u = bits_of(x);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1)) >> 16);
}

/* A tile of x times unit in the format. */
static inline void shorten_tile(const real *x, int count, double unit, int format, uint8_t *out)
{
    float values[TILE];
    uint16_t halves[TILE];
    for (int j = 0; j < count; j++)
        values[j] = format == FLOAT32 ? (float)((double)x[j] * unit) : to_odd((double)x[j] * unit);
    if (format == FLOAT32) {
        memcpy(out, values, (size_t)count * 4);
        return;
    }
    if (format == FLOAT16)
        for (int j = 0; j < count; j++)
            halves[j] = to_half(values[j]);
    else
        for (int j = 0; j < count; j++)
            halves[j] = to_bfloat(values[j]);
    memcpy(out, halves, (size_t)count * 2);
}

static int short_floats_encode(const void *parameters, const void *vector, int64_t d, const uint64_t *key, uint8_t *out)
{
    const short_floats *f = parameters;
    const real *x = vector;
    const int format = (int)f->format, bytes = bytes_of_float(f);
    const double size = magnitude(x, d, LARGEST);
    (void)key;
    if (!(size < BEYOND))
        return -1;
    if (size < TINY) {
        memset(out, 0, (size_t)short_floats_nbytes(f, d));
        return 0;
    }
    /* float16 has more numbers above 1 than below */
    const double unit = (format == FLOAT16 ? 0x1p15 : 1) / send_scale(power_above(size), out);
    for (int64_t start = 0; start < d; start += TILE)
        shorten_tile(x + start, d - start < TILE ? (int)(d - start) : TILE, unit, format,
                     out + SCALE_BYTES + bytes * start);
    return 0;
}

/* The reverse of shorten_tile. */
static __attribute__((noinline)) void lengthen_tile(const uint8_t *in, int count, double unit, int format, real *x)
{
    float values[TILE];
    uint16_t halves[TILE];
    if (format == FLOAT32)
        memcpy(values, in, (size_t)count * 4);
    else
        memcpy(halves, in, (size_t)count * 2);
    if (format == FLOAT16)
        for (int j = 0; j < count; j++)
            values[j] = from_half(halves[j]);
    if (format == BFLOAT16)
        for (int j = 0; j < count; j++)
            values[j] = float_of((uint32_t)halves[j] << 16);
    for (int j = 0; j < count; j++)
        x[j] = (real)(unit * (double)values[j]);
}

static void short_floats_decode(const void *parameters, const uint8_t *in, int64_t d, const uint64_t *key, void *vector)
{
    const short_floats *f = parameters;
    real *x = vector;
    const int format = (int)f->format, bytes = bytes_of_float(f);
    const double unit = read_scale(in) * (format == FLOAT16 ? 0x1p-15 : 1);
    (void)key;
    for (int64_t start = 0; start < d; start += TILE)
        lengthen_tile(in + SCALE_BYTES + bytes * start, d - start < TILE ? (int)(d - start) : TILE, unit, format,
                      x + start);
}
#endif
