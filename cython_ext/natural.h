/* Natural compression: sign and exponent of each value, relative to the power of two above the largest.
   Horvath, Ho, Horvath, Sahu, Canini, Richtarik, "Natural compression for distributed deep learning", 2019. */
#ifndef NATURAL_H
#define NATURAL_H
#include <string.h>
#include "codes.h"
#include "magnitude.h"
#include "random.h"
#include "scale.h"

enum { NATURAL_BITS = 9 };

typedef struct {} natural; /* no parameters */

static int64_t natural_nbytes(const void *parameters, int64_t d)
{
    (void)parameters;
    return SCALE_BYTES + packed_size(d, NATURAL_BITS);
}

/* Sign and exponent of x, |x| < 1, rounded up with probability equal to the mantissa; code 255 of the exponent is 1, and
   0 is zero, for everything below 2^-254. */
static inline uint32_t to_power(double x, uint32_t random)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    const int exponent = (int)(((u & 0x7FFFFFFFFFFFFFFFULL) + ((uint64_t)random << 20)) >> 52) - 1023;
    return (uint32_t)(u >> 63) << 8 | (uint32_t)(exponent < -254 ? 0 : 255 + exponent);
}

static inline double from_power(uint32_t code)
{
    const uint64_t u = code & 255 ? (uint64_t)(code >> 8) << 63 | (uint64_t)((code & 255) + 1023 - 255) << 52 : 0;
    double x;
    memcpy(&x, &u, 8);
    return x;
}

static int natural_encode(const void *parameters, const void *vector, int64_t d, const uint64_t *key, uint8_t *out)
{
    const real *x = vector;
    const double size = magnitude(x, d, LARGEST);
    uint32_t codes[TILE];
    if (!(size < BEYOND))
        return -1;
    if (size < TINY) {
        memset(out, 0, (size_t)natural_nbytes(parameters, d));
        return 0;
    }
    const double unit = 1 / send_scale(power_above(size), out);
    const uint64_t stream = *key; /* the compiler could not know that messages do not change it */
    for (int64_t start = 0; start < d; start += TILE) {
        const int count = d - start < TILE ? (int)(d - start) : TILE;
        for (int j = 0; j < count; j++)
            codes[j] = to_power((double)x[start + j] * unit, word((uint32_t)(start + j), stream));
        pack_words(codes, out + SCALE_BYTES + packed_size(start, NATURAL_BITS), count, NATURAL_BITS);
    }
    return 0;
}

static void natural_decode(const void *parameters, const uint8_t *in, int64_t d, const uint64_t *key, void *vector)
{
    real *x = vector;
    const double unit = read_scale(in);
    uint32_t codes[TILE];
    (void)parameters, (void)key;
    for (int64_t start = 0; start < d; start += TILE) {
        const int count = d - start < TILE ? (int)(d - start) : TILE;
        unpack_words(in + SCALE_BYTES + packed_size(start, NATURAL_BITS), codes, count, NATURAL_BITS);
        for (int j = 0; j < count; j++)
            x[start + j] = (real)(unit * from_power(codes[j]));
    }
}
#endif
